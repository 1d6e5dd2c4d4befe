"""One MuJoCo model drawn into memory: only what a frame needs."""

import contextlib
import ctypes
import os
import threading
import weakref
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import RenderingError
from gym_vlmrm.worlds.contexts import current
from gym_vlmrm.worlds.forks import abandon
from gym_vlmrm.worlds.gl import ensure_gl

if TYPE_CHECKING:
    import mujoco

__all__ = ["OffscreenRenderer", "opengl_name"]

_GL_VENDOR = 0x1F00


def _make_context(backend: str, size: int) -> Any:
    """Return an OpenGL context object of MuJoCo's (``make_current``, ``free``)."""
    try:
        if backend == "egl":
            from mujoco.egl import GLContext
        elif backend == "osmesa":
            from mujoco.osmesa import GLContext
        else:
            from mujoco.glfw import GLContext
        return GLContext(size, size)
    except Exception as error:  # each backend has its own exceptions, down to AttributeError inside PyOpenGL
        raise RenderingError(f"OpenGL backend '{backend}' failed to start: {error}") from error


def opengl_name() -> str | None:
    """Name the OpenGL that draws MuJoCo's frames in this process, such as ``egl of NVIDIA Corporation``, if it says."""
    with contextlib.suppress(Exception):  # said for the sake of other errors only
        backend = ensure_gl()
        library = ctypes.CDLL("libOSMesa.so.8" if backend == "osmesa" else "libGL.so.1")
        library.glGetString.restype = ctypes.c_char_p
        context = _make_context(backend, 16)
        context.make_current()
        vendor = library.glGetString(_GL_VENDOR)
        context.free()
        return f"{backend} of {vendor.decode()}" if vendor else backend
    return None


class _Context:
    """An OpenGL context that holds the meshes and textures of a model."""

    def __init__(self, model: "mujoco.MjModel", size: int) -> None:
        import mujoco

        self.pid = os.getpid()
        """The process in which it can be used."""
        self._gl: Any = None
        self._gl = _make_context(ensure_gl(), size)
        self._gl.make_current()
        self.mjr = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.mjr)

    def make_current(self) -> None:
        self._gl.make_current()

    def __del__(self) -> None:
        # Left to itself, MuJoCo would free these objects in whatever context is current: perhaps another environment's.
        try:
            if self.pid != os.getpid():
                abandon(self._gl, self.mjr)
            elif self._gl is not None:
                with current(self._gl):
                    self.mjr.free()
                self._gl.free()
                self._gl = None
        except Exception:  # as Python ends, modules are empty already, contextlib too
            pass


class _ThreadsContexts(threading.local):
    """Contexts of one thread; a table with the threads' numbers would mix them up, as numbers are given anew."""

    def __init__(self) -> None:
        self.known: weakref.WeakValueDictionary[Hashable, _Context] = weakref.WeakValueDictionary()


_of_thread = _ThreadsContexts()


def _context_for(model: "mujoco.MjModel", size: int, assets: Hashable | None) -> _Context:
    """Return a context for a model; models of equal `assets` share one within a thread of a process.

    A context per environment costs memory, and processor caches: every one has textures of its own to be read again.
    """
    key = (assets, size, os.getpid())
    context = _of_thread.known.get(key) if assets is not None else None
    if context is None:
        context = _Context(model, size)
        if assets is not None:
            _of_thread.known[key] = context
    return context


class OffscreenRenderer:
    """Draws the current state of ``data`` as a square uint8 picture through a free camera.

    Unlike Gymnasium's renderer it makes its own context current before every frame, so any number of environments
    can share a process, and it reads neither depth nor a buffer larger than the frame.
    """

    def __init__(
        self,
        model: "mujoco.MjModel",
        data: "mujoco.MjData",
        size: int,
        *,
        effects: bool,
        assets: Hashable | None = None,
    ) -> None:
        """Prepare to draw.

        Args:
            model: what is drawn.
            data: its state.
            size: side of the square picture [px].
            effects: whether shadows and reflections are drawn.
            assets: equal for models whose meshes and textures are equal, so that they share one OpenGL context;
                ``None`` shares nothing.

        Raises:
            RenderingError: the OpenGL context cannot be made.
        """
        import mujoco

        self._mujoco = mujoco
        self.model, self.data, self.size = model, data, size
        self.camera = mujoco.MjvCamera()
        self.look_through(None)
        self._option, self._perturbation = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._assets = assets
        self._context: _Context | None = _context_for(model, size, assets)
        self._scene = mujoco.MjvScene(model, maxgeom=200 + model.ngeom)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = effects
        self._viewport = mujoco.MjrRect(0, 0, size, size)
        self._upside_down: NDArray[np.uint8] = np.empty((size, size, 3), np.uint8)

    def look_through(self, number: int | None) -> None:
        """Draw through a camera of the model, or freely as `camera` says."""
        types = self._mujoco.mjtCamera
        self.camera.type = types.mjCAMERA_FREE if number is None else types.mjCAMERA_FIXED
        self.camera.fixedcamid = -1 if number is None else number

    def render(self) -> NDArray[np.uint8]:
        """Return the current state as a new uint8 array (size, size, 3).

        Raises:
            RenderingError: this process was forked from the one that made this, and OpenGL cannot begin anew in it.
        """
        assert self._context is not None, "the renderer is closed"
        mj, context = self._mujoco, self._context
        if context.pid != os.getpid():  # a fork's copy of it
            self._context = context = _context_for(self.model, self.size, self._assets)
        context.make_current()
        categories = mj.mjtCatBit.mjCAT_STATIC | mj.mjtCatBit.mjCAT_DYNAMIC
        mj.mjv_updateScene(
            self.model, self.data, self._option, self._perturbation, self.camera, int(categories), self._scene
        )
        mj.mjr_render(self._viewport, self._scene, context.mjr)
        mj.mjr_readPixels(self._upside_down, None, self._viewport, context.mjr)
        return np.ascontiguousarray(self._upside_down[::-1])

    def close(self) -> None:
        """Let go of the OpenGL context, which ends with the last renderer that uses it; further calls do nothing."""
        self._context = None
