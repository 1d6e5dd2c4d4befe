"""Names of what rules and captions read of one state: ``obs[3]``, ``info.x_position``, ``torso_up``, ``sin(obs[1])``.

``sin`` and ``cos`` take an angle in radians that an observation or an info has. A body that has turned once around
looks as before, and its angle has grown by 2 pi; its sine and cosine are what they were.
"""

import math
import re
from collections.abc import Callable
from functools import lru_cache

__all__ = ["QUANTITY_NAME", "Turn", "turn"]

Turn = tuple[Callable[[float], float], str]
"""The function, and the name of the angle."""
_FUNCTIONS: dict[str, Callable[[float], float]] = {"sin": math.sin, "cos": math.cos}
_ANGLE = r"obs\[\d{1,9}\]|info\.[\w.]+"
QUANTITY_NAME = rf"(?:{'|'.join(_FUNCTIONS)})\((?:{_ANGLE})\)|obs\[\d{{1,9}}\]|[A-Za-z_][\w.]*"
"""A regular expression of the names."""
_TURN = re.compile(rf"(?P<function>{'|'.join(_FUNCTIONS)})\((?P<angle>{_ANGLE})\)")


@lru_cache(maxsize=4096)
def turn(name: str) -> Turn | None:
    """Return what a name makes of an angle, or ``None`` for a name that stands for a value itself."""
    match = _TURN.fullmatch(name)
    return None if match is None else (_FUNCTIONS[match["function"]], match["angle"])
