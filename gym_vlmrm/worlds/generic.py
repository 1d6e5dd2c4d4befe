"""Any registered Gymnasium environment that renders ``rgb_array``, as a square picture."""

import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator
from numpy.typing import NDArray

from gym_vlmrm.errors import RenderingError, TaskError, did_you_mean
from gym_vlmrm.task.spec import Quality, SceneSpec
from gym_vlmrm.worlds.canvas import fit_square
from gym_vlmrm.worlds.gl import ensure_gl

__all__ = ["SquareFrame", "find_environment", "make_generic"]

_GRID = 2.0


class SquareFrame(gym.Wrapper[Any, Any, Any, Any]):
    """`render` returns uint8 (size, size, 3): padded to a square, then resized smoothly."""

    def __init__(self, env: gym.Env[Any, Any], size: int) -> None:
        super().__init__(env)
        self._size = size
        self._ready = False

    @property
    def spec(self) -> Any:  # type: ignore[override]
        """The specification of the environment below: this wrapper is part of what its entry point returns."""
        return self.env.unwrapped.spec

    def render(self) -> NDArray[np.uint8]:
        """Return the current state as uint8 (size, size, 3).

        Raises:
            RenderingError: the environment draws nothing, or no picture.
        """
        if not self._ready:
            _prepare_drawing(strict=hasattr(self.env.unwrapped, "mujoco_renderer"))
            self._ready = True
        viewer = self._viewer()
        if viewer is not None:
            viewer.make_context_current()  # Gymnasium leaves current whichever environment was made last
        try:
            frame = self.env.render()
        except (ImportError, gym.error.DependencyNotInstalled) as error:
            raise RenderingError(f"'{_name(self.env)}' cannot render: {error}") from error
        if not (
            isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] in (3, 4)
        ):
            got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise RenderingError(f"'{_name(self.env)}' renders {got}; a picture is uint8 (height, width, 3)")
        return fit_square(frame[..., :3], self._size)

    def _viewer(self) -> Any:
        return getattr(getattr(self.env.unwrapped, "mujoco_renderer", None), "viewer", None)

    def close(self) -> None:
        """Close the environment; MuJoCo's drawing objects are freed in their own context, which Gymnasium forgets."""
        viewer = self._viewer()
        if viewer is not None:
            viewer.make_context_current()
            viewer.con.free()
        super().close()


def _name(env: gym.Env[Any, Any]) -> str:
    return env.unwrapped.spec.id if env.unwrapped.spec else type(env.unwrapped).__name__


def make_generic(env_id: str, kwargs: dict[str, Any], scene: SceneSpec, render_size: int) -> gym.Env[Any, Any]:
    """Make a registered environment that renders square frames, without a time limit.

    Raises:
        TaskError: no such environment, or its `kwargs` or the camera do not fit.
        RenderingError: it cannot render ``rgb_array``.
    """
    spec = find_environment(env_id)
    creator = _creator(spec)
    modes = getattr(creator, "metadata", {}).get("render_modes", ["rgb_array"])
    if "rgb_array" not in modes:
        raise RenderingError(
            f"environment '{env_id}' cannot render 'rgb_array'; it renders {', '.join(modes) or 'nothing'}"
        )
    arguments = {**kwargs, **_camera_arguments(env_id, creator, scene, render_size)}
    try:
        env = gym.make(spec, render_mode="rgb_array", max_episode_steps=-1, disable_env_checker=True, **arguments)
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        raise RenderingError(f"environment '{env_id}' lacks a package: {error}") from error
    except (TypeError, ValueError, AssertionError, OSError, gym.error.Error) as error:
        raise TaskError(f"env.kwargs {kwargs} do not fit '{env_id}': {_one_line(error)}") from error
    if env.unwrapped.render_mode != "rgb_array":
        env.close()
        raise RenderingError(f"environment '{env_id}' cannot render 'rgb_array'; it ignores render_mode")
    if _is_mujoco(creator):
        _lighten(env.unwrapped.model, scene.quality, render_size)  # type: ignore[attr-defined]
    return SquareFrame(env, render_size)


def find_environment(env_id: str) -> Any:
    """Return Gymnasium's specification of an ID, which may be written ``module:ID``.

    Raises:
        TaskError: no such environment, or no such module.
    """
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gym.spec(name)
    except ImportError as error:
        raise TaskError(f"env.id '{env_id}': module '{module}' cannot be imported ({error})") from error
    except gym.error.Error:
        guess = did_you_mean(name, gym.registry)
        cure = guess if guess.startswith("; did") else "; import the module that registers it by writing 'module:ID'"
        raise TaskError(f"env.id '{env_id}' is no registered Gymnasium environment{cure}") from None


def _creator(spec: Any) -> Callable[..., Any]:
    if callable(spec.entry_point):
        creator: Callable[..., Any] = spec.entry_point
        return creator
    try:
        loaded: Callable[..., Any] = load_env_creator(spec.entry_point)
    except (ImportError, AttributeError, gym.error.Error) as error:
        raise TaskError(f"env.id '{spec.id}' cannot be loaded: {_one_line(error)}") from error
    return loaded


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _is_mujoco(creator: Any) -> bool:
    module = sys.modules.get("gymnasium.envs.mujoco.mujoco_env")
    return module is not None and isinstance(creator, type) and issubclass(creator, module.MujocoEnv)


def _camera_arguments(env_id: str, creator: Any, scene: SceneSpec, size: int) -> dict[str, Any]:
    """Return constructor arguments that make Gymnasium's MuJoCo environments draw the frame asked for."""
    if not _is_mujoco(creator):
        if scene.camera is not None:
            raise TaskError(f"scene.camera is for MuJoCo environments, and '{env_id}' is none; remove it")
        return {}
    arguments: dict[str, Any] = {"width": size, "height": size}
    if scene.camera is not None:
        if "default_camera_config" not in inspect.signature(creator).parameters:
            raise TaskError(f"'{env_id}' takes no camera; use its newest version or remove scene.camera")
        config = {**scene.camera.model_dump(), "lookat": np.array(scene.camera.lookat)}
        arguments |= {"camera_id": -1, "default_camera_config": config}
    return arguments


def _prepare_drawing(*, strict: bool) -> None:
    """Choose OpenGL (`strict` where nothing else can draw), and keep pygame from seeking a display."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if strict:
        ensure_gl()
    elif "mujoco" in sys.modules and not os.environ.get("MUJOCO_GL"):
        with contextlib.suppress(RenderingError):
            ensure_gl()


def _lighten(model: Any, quality: Quality, size: int) -> None:
    """Drop from a compiled model what costs time to draw, as `gym_vlmrm.worlds.humanoid.look.set_quality` does."""
    import mujoco

    model.vis.quality.offsamples = 0 if quality == "draft" else 4
    if quality == "draft":
        model.vis.quality.numslices = model.vis.quality.numstacks = 12
    if quality != "paper":
        model.vis.quality.shadowsize = 0
        model.mat_reflectance[:] = 0
    planes = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
    model.geom_size[planes, 2] = np.maximum(model.geom_size[planes, 2], _GRID)
    model.vis.global_.offwidth = model.vis.global_.offheight = size
