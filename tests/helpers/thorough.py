"""What takes long and seldom breaks: a sample of it by default, all of it on request (``GYM_VLMRM_COUNT=1``)."""

import os
from collections.abc import Iterable
from typing import Any

__all__ = ["THOROUGH", "sample"]

THOROUGH = "GYM_VLMRM_COUNT" in os.environ


def sample(everything: Iterable[Any], *chosen: Any) -> list[Any]:
    """Return what is chosen of some parameters, in their order, or all of them on request."""
    known = list(everything)
    assert all(one in known for one in chosen), f"{chosen} are not all among {known}"
    return known if THOROUGH else [one for one in known if one in chosen]
