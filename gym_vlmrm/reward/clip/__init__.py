"""Rewards of CLIP-type models: all that imports torch and open_clip."""

import contextlib
import os
import sys


def _load_triton_apart() -> None:
    """Load triton with its own LLVM symbols, before torchvision would; here, so that no module below can be first.

    Mesa's software OpenGL brings another LLVM; once a context exists, an ordinary import of triton crashes the process.
    """
    if "triton" in sys.modules or not hasattr(sys, "setdlopenflags"):
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0))
    with contextlib.suppress(ImportError):
        import triton  # noqa: F401
    sys.setdlopenflags(flags)


_load_triton_apart()
