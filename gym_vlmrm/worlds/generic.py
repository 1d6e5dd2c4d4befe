"""Any registered Gymnasium environment that renders ``rgb_array``, as a square picture."""

import contextlib
import importlib
import os
import sys
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator
from numpy.typing import NDArray

from gym_vlmrm.errors import RenderingError, TaskError, VLMRMError, did_you_mean
from gym_vlmrm.interrupts import is_for_the_caller
from gym_vlmrm.task.spec import Backdrop, CameraSpec, SceneSpec
from gym_vlmrm.worlds.backdrop import put_behind
from gym_vlmrm.worlds.canvas import fit_square
from gym_vlmrm.worlds.contexts import keep_viewers_apart, leave_inherited
from gym_vlmrm.worlds.gl import ensure_gl
from gym_vlmrm.worlds.guard import describe, guard_construction
from gym_vlmrm.worlds.hidden import HiddenWrapper
from gym_vlmrm.worlds.quality import FLOOR_SQUARE, QUALITIES, Drawn, set_drawing
from gym_vlmrm.worlds.steady import SteadyInfo
from gym_vlmrm.worlds.viewers import Viewers, find_renderers

__all__ = ["SquareFrame", "find_environment", "make_generic"]

_ID = ("env", "id")
_EXTRAS = {"gymnasium_robotics": "robotics", "metaworld": "metaworld"}
"""Extra of this package by the module that it brings."""
MAX_SIDE = 8192
"""Largest side of a frame that an environment may draw [px]."""


class SquareFrame(HiddenWrapper):
    """`render` returns uint8 (size, size, 3): padded to a square, then resized smoothly."""

    counters = ("cameras",)
    has_own_camera = False
    """Whether it is known what the camera sees where a task says nothing."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        env_id: str,
        size: int,
        camera: CameraSpec | None = None,
        backdrop: Backdrop | None = None,
    ) -> None:
        """Wrap an environment; where MuJoCo draws it, `camera` moves the camera; `backdrop` is put behind it.

        Raises:
            TaskError: the camera does not fit.
        """
        super().__init__(env)
        keep_viewers_apart()
        self._env_id, self._size, self._backdrop = env_id, size, backdrop
        self._viewers = Viewers(env, env_id, camera)
        self._pid = os.getpid()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment, and see what draws it now."""
        if self._viewers.renderers:
            _prepare_drawing(strict=False)  # some draw what they observe
        self._mind_forks()
        result = self.env.reset(seed=seed, options=options)
        keep_viewers_apart()
        self._viewers.look_anew()
        return result

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step the environment; some draw for the first time here."""
        result = self.env.step(action)
        keep_viewers_apart()
        return result

    def render(self) -> NDArray[np.uint8]:
        """Return the current state as uint8 (size, size, 3).

        Raises:
            RenderingError: the environment draws nothing, or no picture.
        """
        _prepare_drawing(strict=bool(self._viewers.renderers))
        self._mind_forks()
        try:
            frame = self.env.render()
        except (ImportError, gym.error.DependencyNotInstalled) as error:
            raise RenderingError(f"'{self._env_id}' cannot render: {describe(error)}") from error
        keep_viewers_apart()
        self._viewers.after_drawing()
        frame = self._checked(frame)
        if self._backdrop is not None:  # before it is resized, as that mixes the colours of ground and edges
            frame = put_behind(fit_square(frame, max(frame.shape)), self._backdrop)
        return fit_square(frame, self._size)

    def look_through(self, camera: CameraSpec) -> None:
        """Look through another camera from now on.

        Raises:
            TaskError: the environment's model lacks it.
        """
        self._viewers.turn_to(camera)

    @property
    def cameras(self) -> list[dict[str, dict[str, Any]]]:
        """Where what draws it looks from (see `Viewers.cameras`)."""
        return self._viewers.cameras

    @cameras.setter
    def cameras(self, cameras: list[dict[str, dict[str, Any]]]) -> None:
        self._viewers.put_cameras(cameras, self.render)

    def _mind_forks(self) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            leave_inherited(find_renderers(self.env))

    def _checked(self, frame: Any) -> NDArray[np.uint8]:
        if not (
            isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] in (3, 4)
        ):
            got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise RenderingError(f"'{self._env_id}' renders {got}; a picture is uint8 (height, width, 3)")
        if not 0 < min(frame.shape) <= max(frame.shape) <= MAX_SIDE:
            sides = f"{frame.shape[0]} x {frame.shape[1]}"
            raise RenderingError(f"'{self._env_id}' renders {sides} pixels; each side has 1 to {MAX_SIDE:,}")
        return frame[..., :3]


def make_generic(
    env_id: str, kwargs: dict[str, Any], scene: SceneSpec, render_size: int, *, film: bool = False
) -> gym.Env[Any, Any]:
    """Make a registered environment that renders square frames, without a time limit; `film` as in `make_world`.

    Raises:
        TaskError: no such environment, it cannot be made (with these `kwargs`), or the camera does not fit.
        RenderingError: it cannot render ``rgb_array``, or a package is missing.
    """
    spec = find_environment(env_id)
    with guard_construction(env_id, {}):
        creator = spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point)
        modes = _render_modes(creator)
    keep_viewers_apart()
    if modes is not None and "rgb_array" not in modes:
        raise RenderingError(
            f"environment '{env_id}' cannot render 'rgb_array'; it renders {', '.join(modes) or 'nothing'}", field=_ID
        )
    with guard_construction(env_id, kwargs):
        env = gym.make(spec, render_mode="rgb_array", max_episode_steps=-1, disable_env_checker=True, **kwargs)
        mode = env.unwrapped.render_mode
    try:
        if mode != "rgb_array":
            raise RenderingError(f"environment '{env_id}' cannot render 'rgb_array'; it ignores render_mode", field=_ID)
        if _is_mujoco(env.unwrapped):
            _fit(env.unwrapped, "film" if film else scene.quality, render_size)
            if type(env.unwrapped).__module__.startswith("gymnasium."):
                env = SteadyInfo(env)
        return SquareFrame(env, env_id, render_size, scene.camera, scene.backdrop)
    except VLMRMError:
        env.close()
        raise


def _render_modes(creator: Any) -> list[str] | None:
    """Return what an environment's class says that it renders, or ``None`` where it says nothing."""
    metadata = getattr(creator, "metadata", None)
    modes = metadata.get("render_modes") if isinstance(metadata, dict) else None
    return None if modes is None else [str(mode) for mode in modes]


def find_environment(env_id: str) -> Any:
    """Return Gymnasium's specification of an ID, which may be written ``module:ID``.

    Raises:
        TaskError: no such environment, or no such module.
    """
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
    except BaseException as error:  # whatever the code of a stranger's module does
        if is_for_the_caller(error):
            raise
        raise TaskError(
            f"env.id '{env_id}': module '{module}' cannot be imported ({describe(error)}){_extra(module)}", field=_ID
        ) from error
    try:
        return gym.spec(name)
    except gym.error.Error:
        guess = did_you_mean(name, gym.registry)
        cure = guess if guess.startswith("; did") else "; import the module that registers it by writing 'module:ID'"
        raise TaskError(f"env.id '{env_id}' is no registered Gymnasium environment{cure}", field=_ID) from None


def _extra(module: str) -> str:
    extra = _EXTRAS.get(module.partition(".")[0])
    return f"; pip install 'gym-vlmrm[{extra}]', in a virtual environment of its own" if extra else ""


def _is_mujoco(env: Any) -> bool:
    """Whether Gymnasium's renderer draws it: Gymnasium's own worlds, and those of packages that build on it."""
    module = sys.modules.get("gymnasium.envs.mujoco.mujoco_rendering")
    return module is not None and isinstance(getattr(env, "mujoco_renderer", None), module.MujocoRenderer)


def _prepare_drawing(*, strict: bool) -> None:
    """Choose OpenGL (`strict` where nothing else can draw), and keep pygame from seeking a display."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if strict:
        ensure_gl()
    elif "mujoco" in sys.modules and not os.environ.get("MUJOCO_GL"):
        with contextlib.suppress(RenderingError):
            ensure_gl()


def _fit(env: Any, quality: Drawn, size: int) -> None:
    """Draw at the size of the frame, without what costs time."""
    import mujoco

    model, renderer = env.model, env.mujoco_renderer
    env.width = env.height = renderer.width = renderer.height = size
    set_drawing(model.vis, quality, size)
    if not QUALITIES[quality].effects or quality == "film":  # no floor of a film is a mirror
        model.mat_reflectance[:] = 0
    planes = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
    model.geom_size[planes, 2] = np.maximum(model.geom_size[planes, 2], FLOOR_SQUARE)
