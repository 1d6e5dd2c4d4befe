"""One MuJoCo model drawn into memory: only what a frame needs, in a context of its own."""

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.envs.gl import ensure_gl
from gym_vlmrm.errors import RenderingError

if TYPE_CHECKING:
    import mujoco

__all__ = ["OffscreenRenderer"]


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


class OffscreenRenderer:
    """Draws the current state of ``data`` as a square uint8 picture through a free camera.

    Unlike Gymnasium's renderer it makes its own context current before every frame, so any number of environments
    can share a process, and it reads neither depth nor a buffer larger than the frame.
    """

    def __init__(self, model: "mujoco.MjModel", data: "mujoco.MjData", size: int, *, effects: bool) -> None:
        """Prepare to draw `size` x `size` pixels; `effects` are shadows and reflections.

        Raises:
            RenderingError: the OpenGL context cannot be made.
        """
        import mujoco

        self._gl: Any = None
        self._mujoco = mujoco
        self.model, self.data, self.size = model, data, size
        self.camera = mujoco.MjvCamera()
        self.camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        self._option, self._perturbation = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._gl = _make_context(ensure_gl(), size)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=200 + model.ngeom)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = effects
        self._viewport = mujoco.MjrRect(0, 0, size, size)
        self._upside_down: NDArray[np.uint8] = np.empty((size, size, 3), np.uint8)

    def render(self) -> NDArray[np.uint8]:
        """Return the current state as a new uint8 array (size, size, 3)."""
        mj = self._mujoco
        self._gl.make_current()
        categories = mj.mjtCatBit.mjCAT_STATIC | mj.mjtCatBit.mjCAT_DYNAMIC
        mj.mjv_updateScene(
            self.model, self.data, self._option, self._perturbation, self.camera, int(categories), self._scene
        )
        mj.mjr_render(self._viewport, self._scene, self._context)
        mj.mjr_readPixels(self._upside_down, None, self._viewport, self._context)
        return np.ascontiguousarray(self._upside_down[::-1])

    def close(self) -> None:
        """Free the OpenGL objects; further calls do nothing."""
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._gl = None

    def __del__(self) -> None:
        # Left to itself, MuJoCo would free these objects in whatever context is current: perhaps another environment's.
        with contextlib.suppress(Exception):
            self.close()
