"""Where this package keeps what need not be computed or asked for twice."""

import contextlib
import os
from pathlib import Path

__all__ = ["CACHE_VARIABLE", "cache_folder"]

CACHE_VARIABLE = "GYM_VLMRM_CACHE"
"""Environment variable: a folder, or ``off``."""


def cache_folder() -> Path | None:
    """Return the folder of this package's caches; ``None`` where ``GYM_VLMRM_CACHE=off`` forbids them."""
    chosen = os.environ.get(CACHE_VARIABLE, "")
    if chosen.lower() == "off":
        return None
    if chosen:
        return Path(chosen).expanduser()
    with contextlib.suppress(RuntimeError):  # no home
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gym-vlmrm"
    return None
