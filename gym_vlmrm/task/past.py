"""What a rule reads of the states before the present one: ``mean(turn_rate, 33) > 45``.

``mean``, ``min``, ``max`` and ``span`` (largest less smallest) take a name and a number of states, and see the present
state and those before it, one per environment step, of the same episode. Before its first state an episode is taken to
have stayed in it: a mean begins with the value there, and moves away from it as the episode goes on.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, cast, get_args

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.task.names import QUANTITY_NAME, turn

__all__ = ["LONGEST", "LOOK_BACK", "LookBack", "look_back"]

Summary: TypeAlias = Literal["mean", "min", "max", "span"]
LOOK_BACK = rf"(?:{'|'.join(get_args(Summary))})\(\s*(?:{QUANTITY_NAME})\s*,\s*\d{{1,9}}\s*\)"
"""A regular expression of what a rule makes of several states."""
LONGEST = 1000
"""Most states that are looked at."""
_PARTS = re.compile(r"(?P<summary>\w+)\(\s*(?P<name>[^\s,]+)\s*,\s*(?P<states>\d+)\s*\)")


@dataclass(frozen=True)
class LookBack:
    """One number of several states."""

    summary: Summary
    name: str
    states: int
    """The present one among them."""

    def __str__(self) -> str:
        return f"{self.summary}({self.name}, {self.states})"

    def of(self, values: Floats) -> float:
        """Return the number of the values (T,) of an episode so far, oldest first; T > 0.

        Of a longer episode the last values are enough, as many as are looked at.
        """
        seen = values[-self.states :]
        if self.summary == "mean":
            missing = self.states - len(seen)
            with np.errstate(all="ignore"):  # a stranger's numbers may be infinite
                return float((seen.sum() + missing * float(seen[0])) / self.states)
        least, most = float(seen.min()), float(seen.max())
        return least if self.summary == "min" else most if self.summary == "max" else most - least


@lru_cache(maxsize=4096)
def look_back(name: str) -> LookBack | None:
    """Return what a name of a rule asks of several states, or ``None`` for a name of the present one.

    Raises:
        ValueError: too few or too many states.
    """
    if "(" not in name or turn(name) is not None:
        return None
    match = _PARTS.fullmatch(name)
    assert match is not None, name
    states = int(match["states"])
    if not 2 <= states <= LONGEST:
        raise ValueError(f"'{name}' looks at {states:,} states; from 2 to {LONGEST:,} can be looked at")
    return LookBack(cast("Summary", match["summary"]), match["name"], states)
