"""Which OpenGL draws offscreen: EGL, else OSMesa, else a window system; and what to install when none works."""

import ctypes
import ctypes.util
import os
import sys
import warnings
from collections.abc import Callable
from multiprocessing import parent_process

from gym_vlmrm.errors import RenderingError
from gym_vlmrm.worlds.forks import begin_anew, note_drawing
from gym_vlmrm.worlds.triton import load_triton_apart

__all__ = ["BACKENDS", "ensure_gl"]

_EGL_PLATFORM_DEVICE, _MAX_DEVICES = 0x313F, 16
_proven: set[str] = set()


def _load(*names: str) -> ctypes.CDLL | None:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _egl_works() -> bool:
    """Initialise one EGL device, as MuJoCo will, but without PyOpenGL, which chooses a platform once and for all."""
    if "mujoco.egl" in sys.modules:
        return True
    egl = _load("libEGL.so.1", "libEGL.so")
    if egl is None or _load("libGL.so.1", "libOpenGL.so.0", "libGL.so") is None:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    egl.eglGetProcAddress.argtypes = [ctypes.c_char_p]
    query_at = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    display_at = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query_at or not display_at:
        return False
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(query_at)
    get_display = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(display_at)
    devices, count = (ctypes.c_void_p * _MAX_DEVICES)(), ctypes.c_int()
    if not query(_MAX_DEVICES, devices, ctypes.byref(count)):
        return False
    egl.eglInitialize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    for device in devices[: count.value]:
        display = get_display(_EGL_PLATFORM_DEVICE, device, None)
        if display and egl.eglInitialize(display, None, None):
            return True
    return False


def _osmesa_works() -> bool:
    found = ctypes.util.find_library("OSMesa")
    return _load(*((found,) if found else ()), "libOSMesa.so.8", "libOSMesa.so") is not None


def _glfw_works() -> bool:
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        import glfw
    except ImportError:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(glfw.init())


BACKENDS: dict[str, Callable[[], bool]] = {"egl": _egl_works, "osmesa": _osmesa_works, "glfw": _glfw_works}
"""Name of the backend, as ``MUJOCO_GL`` spells it, and a cheap test of whether it works here; best first."""
_CURE = {
    "egl": "install the Debian packages libegl1 and libgl1-mesa-dri",
    "osmesa": "install the Debian package libosmesa6",
    "glfw": "start it from a desktop session (DISPLAY or WAYLAND_DISPLAY must be set)",
}


def ensure_gl() -> str:
    """Choose an OpenGL backend, write it to ``MUJOCO_GL`` and return its name; an explicit ``MUJOCO_GL`` is kept.

    Software OpenGL gets one thread per process (``LP_NUM_THREADS``) unless the user said otherwise: frames are small
    and environments, not pixels, are what runs in parallel.

    Raises:
        RenderingError: no backend works, or the one that ``MUJOCO_GL`` names does not, or not after a fork.
    """
    os.environ.setdefault("LP_NUM_THREADS", "1")
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if not chosen:
        candidates = list(BACKENDS) if sys.platform.startswith("linux") else ["glfw"]
        chosen = next((name for name in candidates if name in _proven or BACKENDS[name]()), "")
        if not chosen:
            raise RenderingError(f"no OpenGL found (tried {', '.join(candidates)}); {_CURE['egl']} (or libosmesa6)")
        os.environ["MUJOCO_GL"] = chosen
    elif chosen not in BACKENDS:
        raise RenderingError(f"MUJOCO_GL is '{chosen}', which cannot draw here; unset it or use {', '.join(BACKENDS)}")
    elif chosen not in _proven and not BACKENDS[chosen]():
        raise RenderingError(f"MUJOCO_GL is '{chosen}', which does not work here; {_CURE[chosen]}, or unset MUJOCO_GL")
    _proven.add(chosen)
    begin_anew(chosen)
    note_drawing(chosen)
    if parent_process() is None:  # whoever draws here may train here later, by any library; workers do not
        load_triton_apart()
    return chosen
