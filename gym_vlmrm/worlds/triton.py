"""Loading triton, which torch brings in by itself, so that it does not meet the LLVM of Mesa's OpenGL."""

import contextlib
import os
import sys
from functools import cache

__all__ = ["load_triton_apart"]


@cache  # a search in vain would be repeated for every frame
def load_triton_apart() -> None:
    """Load triton with its own LLVM symbols, before torch's optimisers, torchvision or peft would; without it, nothing.

    Mesa's software OpenGL brings another LLVM; once a context exists, an ordinary import of triton crashes the process.
    """
    if "triton" in sys.modules or not hasattr(sys, "setdlopenflags"):
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0))
    try:
        with contextlib.suppress(ImportError):
            import triton  # noqa: F401
    finally:
        sys.setdlopenflags(flags)
