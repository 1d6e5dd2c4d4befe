"""Names of what rules and captions read of one state: ``obs[3]``, ``info.x_position``, ``torso_up``, ``sin(obs[1])``.

Of an observation that is a Dict or a Tuple, ``obs.achieved_goal[2]`` is a number of one of its parts; a key that is no
word is written ``obs['slide cabinet'][0]``.

``sin`` and ``cos`` take an angle in radians that an observation or an info has. A body that has turned once around
looks as before, and its angle has grown by 2 pi; its sine and cosine are what they were.
"""

import math
import re
from collections.abc import Callable
from functools import lru_cache

__all__ = ["OBSERVED", "QUANTITY_NAME", "Turn", "observed_number", "part_name", "turn"]

Turn = tuple[Callable[[float], float], str]
"""The function, and the name of the angle."""
_FUNCTIONS: dict[str, Callable[[float], float]] = {"sin": math.sin, "cos": math.cos}
_KEY = r"\.\w+|\['[^'\n]{1,80}'\]"
OBSERVED = rf"obs(?:{_KEY})*\[\d{{1,9}}\]"
"""A regular expression of the names of an observation's numbers."""
_ANGLE = rf"{OBSERVED}|info\.[\w.]+"
QUANTITY_NAME = rf"(?:{'|'.join(_FUNCTIONS)})\((?:{_ANGLE})\)|{OBSERVED}|[A-Za-z_][\w.]*"
"""A regular expression of the names."""
_TURN = re.compile(rf"(?P<function>{'|'.join(_FUNCTIONS)})\((?P<angle>{_ANGLE})\)")


@lru_cache(maxsize=4096)
def turn(name: str) -> Turn | None:
    """Return what a name makes of an angle, or ``None`` for a name that stands for a value itself."""
    match = _TURN.fullmatch(name)
    return None if match is None else (_FUNCTIONS[match["function"]], match["angle"])


@lru_cache(maxsize=4096)
def observed_number(name: str) -> tuple[tuple[str, ...], int] | None:
    """Return the keys and the index of a number of an observation, ``None`` for any other name."""
    if not re.fullmatch(OBSERVED, name):
        return None
    keys, _, index = name.rpartition("[")
    found = [key.removeprefix(".").removeprefix("['").removesuffix("']") for key in re.findall(_KEY, keys)]
    return tuple(found), int(index[:-1])


def part_name(whole: str, key: object) -> str:
    """Name a part of an observation that is called `whole`, as rules write it."""
    return f"{whole}.{key}" if re.fullmatch(r"\w+", str(key)) else f"{whole}['{key}']"
