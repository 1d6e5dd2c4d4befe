"""OpenGL in a process that was forked from one that has drawn: it begins anew, and never touches its parent's.

The parent's software OpenGL has threads which a fork does not copy; whoever draws, or frees anything, through what
was inherited waits for them for ever. Mesa gives a forked process a display of its own, with threads of its own.
"""

import ctypes
import os
import sys
from typing import Any

from gym_vlmrm.errors import RenderingError

__all__ = ["abandon", "begin_anew", "note_drawing"]

_EGL_VENDOR, _PLATFORM_SURFACELESS = 0x3053, 0x31DD
_drawing: set[str] = set()
"""Backends that were started in this process."""
_inherited: set[str] = set()
"""Backends that were started in the process from which this one was forked, and not here yet."""
_parents_display: Any = None


def note_drawing(backend: str) -> None:
    """Remember that a backend was started in this process: a later fork must not go on with it."""
    _drawing.add(backend)


def _after_fork() -> None:
    global _parents_display
    _inherited.update(_drawing)
    _drawing.clear()
    egl: Any = sys.modules.get("mujoco.egl")
    display = getattr(egl, "EGL_DISPLAY", None)
    if egl is not None and display is not None:
        # Also keeps MuJoCo from ending the parent's display when this process ends.
        _parents_display, egl.EGL_DISPLAY = display, None
        _inherited.add("egl")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def begin_anew(backend: str) -> None:
    """Make a backend usable in this process, whatever its parent did before the fork.

    Raises:
        RenderingError: this OpenGL does not survive a fork.
    """
    if backend not in _inherited:
        return
    if backend != "egl" or not _open_display():
        raise RenderingError(
            f"this process was forked from one that has drawn by OpenGL ({backend}), which does not survive that; "
            "start workers by 'forkserver' or 'spawn' (AsyncVectorEnv(..., context='forkserver')), or use "
            "gymnasium.make_vec(id, num_envs), whose workers are no forks"
        )
    _inherited.discard(backend)


def _open_display() -> bool:
    """Give MuJoCo a display that this process does not share with its parent; Mesa alone has one."""
    import atexit

    import mujoco.egl
    from mujoco.egl import egl_ext as egl

    try:
        extensions = egl.eglQueryString(egl.EGL_NO_DISPLAY, egl.EGL_EXTENSIONS) or b""
        if b"EGL_MESA_platform_surfaceless" not in extensions or not _is_mesa(egl):
            return False
        display = egl.eglGetPlatformDisplayEXT(_PLATFORM_SURFACELESS, None, None)
        if not display or not egl.eglInitialize(display, None, None):
            return False
    except Exception:  # each driver fails in its own way
        return False
    module: Any = mujoco.egl
    module.EGL_DISPLAY = display
    atexit.register(module._terminate_display)
    _leave_mesas_end_out()
    return True


def _leave_mesas_end_out() -> None:
    """Have C's `exit` end this process before it comes to what Mesa registered in the parent.

    That joins the parent's threads, whose memory new threads of this process have taken: it would wait for ever.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "on_exit"):
        library.on_exit(library._exit, None)


def _is_mesa(egl: Any) -> bool:
    display = _parents_display
    if display is None:  # the parent only tried whether EGL works
        devices = egl.eglQueryDevicesEXT()
        display = egl.eglGetPlatformDisplayEXT(egl.EGL_PLATFORM_DEVICE_EXT, devices[0], None)
    return b"Mesa" in (egl.eglQueryString(display, _EGL_VENDOR) or b"")


def abandon(*things: Any) -> None:
    """Keep objects of the parent's OpenGL from ever being freed here, at the end of the process too."""
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
