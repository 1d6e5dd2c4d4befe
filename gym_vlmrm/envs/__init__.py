"""The world of a task: an environment in its scene, which draws square frames and reports its own verdicts."""

import functools
import importlib
import inspect
from typing import Any

import gymnasium as gym

from gym_vlmrm.envs.generic import make_generic
from gym_vlmrm.envs.guard import Guarded, guard_construction
from gym_vlmrm.envs.task_info import TaskInfo
from gym_vlmrm.errors import TaskError, did_you_mean
from gym_vlmrm.spec import SceneSpec, TaskSpec

__all__ = ["SCENES", "make_world"]

SCENES: dict[str, str] = {
    "Humanoid-v5": "gym_vlmrm.envs.humanoid.env:HumanoidScene",
    "CartPole-v1": "gym_vlmrm.envs.cartpole:CartPoleScene",
    "MountainCarContinuous-v0": "gym_vlmrm.envs.mountain_car:MountainCarScene",
}
"""Gymnasium ID to "module:Class" of the environment's scene; other environments are drawn as they draw themselves."""
_SET_BY_SCENE = {
    "look",
    "camera",
    "quality",
    "render_size",
    "render_mode",
    "width",
    "height",
    "camera_id",
    "camera_name",
}


def make_world(task: TaskSpec, *, render_size: int) -> gym.Env[Any, Any]:
    """Build a task's environment: its own reward, frames of its scene, and verdicts in ``info``.

    ``render()`` returns the current state as uint8 (`render_size`, `render_size`, 3). Every step's ``info`` has
    ``task_reward`` (float) and, where the task has a rule, ``success`` (bool). No time limit is applied. Whatever the
    environment raises later is one line as well (see `Guarded`).

    Raises:
        TaskError: the environment is unknown or fails, or its kwargs, camera or rule of success do not fit it.
        RenderingError: the environment or this machine cannot draw.
    """
    env_id, kwargs = task.env.id, dict(task.env.kwargs)
    reserved = sorted(_SET_BY_SCENE & kwargs.keys())
    if reserved:
        message = f"task '{task.id}': env.kwargs has '{reserved[0]}', which the section 'scene:' sets"
        raise TaskError(message, field=("env", "kwargs", reserved[0]))
    if env_id in SCENES:
        env = _make_scene(env_id, kwargs, task.scene, render_size)
    else:
        env = make_generic(env_id, kwargs, task.scene, render_size)
    try:
        guarded = Guarded(env, env_id)
        return TaskInfo(guarded, task, functools.partial(make_world, task, render_size=render_size))
    except TaskError:
        env.close()
        raise


def _make_scene(env_id: str, kwargs: dict[str, Any], scene: SceneSpec, render_size: int) -> gym.Env[Any, Any]:
    module, _, name = SCENES[env_id].partition(":")
    scene_class = getattr(importlib.import_module(module), name)
    _check_kwargs(env_id, kwargs, _parameters(scene_class))
    if scene.camera is not None and not hasattr(scene_class, "set_camera"):
        message = f"scene.camera is for environments that MuJoCo draws, and '{env_id}' is drawn flat; remove it"
        raise TaskError(message, field=("scene", "camera"))
    camera = None if scene.camera is None else scene.camera.model_dump()
    with guard_construction(env_id, kwargs):
        env: gym.Env[Any, Any] = scene_class(
            look=scene.look, camera=camera, quality=scene.quality, render_size=render_size, **kwargs
        )
    return env


def _parameters(scene_class: type) -> dict[str, inspect.Parameter]:
    """Return the named constructor arguments of a scene class and of the Gymnasium class below it."""
    found: dict[str, inspect.Parameter] = {}
    for ancestor in (scene_class, scene_class.__mro__[1]):
        found |= inspect.signature(ancestor.__init__).parameters  # type: ignore[misc]
    return {name: parameter for name, parameter in found.items() if parameter.kind not in (2, 4) and name != "self"}


def _check_kwargs(env_id: str, kwargs: dict[str, Any], known: dict[str, inspect.Parameter]) -> None:
    for name, value in kwargs.items():
        if name not in known:
            message = f"env.kwargs has '{name}', which '{env_id}' does not take{did_you_mean(name, known)}"
            raise TaskError(message, field=("env", "kwargs", name))
        if isinstance(known[name].default, bool) and not isinstance(value, bool):
            message = f"env.kwargs.{name} of '{env_id}' is {value!r}; write true or false"
            raise TaskError(message, field=("env", "kwargs", name))
