"""The world of a task: one environment that draws square frames and reports its own verdicts, or a pool of them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers import TimeLimit

from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.parts import PLAIN_SHOTS
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.cameras import with_cameras
from gym_vlmrm.worlds.endless import Endless
from gym_vlmrm.worlds.frames import FrameObservation
from gym_vlmrm.worlds.generic import find_environment, make_generic
from gym_vlmrm.worlds.guard import Guarded
from gym_vlmrm.worlds.past import remembering
from gym_vlmrm.worlds.pools.pool import make_pool
from gym_vlmrm.worlds.scene import SCENES, make_scene
from gym_vlmrm.worlds.task_info import TaskInfo
from gym_vlmrm.worlds.verdicts import OnlyVerdicts

__all__ = ["episode_limit", "make_world", "make_worlds"]

_SET_BY_SCENE = {
    "look", "camera", "quality", "render_size", "render_mode", "width", "height", "camera_id", "camera_name",
}  # fmt: skip


def episode_limit(task: TaskSpec) -> int | None:
    """Steps until truncation: the task's, else those of the environment's own registration.

    Raises:
        TaskError: the environment is unknown.
    """
    registered: int | None = find_environment(task.env.id).max_episode_steps
    return task.env.max_episode_steps or registered


def make_world(
    task: TaskSpec,
    *,
    render_size: int,
    limited: bool = False,
    frames: bool = False,
    every: int = 1,
    verdicts: bool = False,
    wrap: Callable[[Any], Any] | None = None,
    film: bool = False,
    later: bool = False,
) -> gym.Env[Any, Any]:
    """Build a task's environment: its own reward, frames of its scene, and verdicts in ``info``.

    ``render()`` returns the current state as uint8 (`render_size`, `render_size`, 3). Every step's ``info`` has
    ``task_reward`` (float) and, where the task has a rule, ``success`` (bool). Whatever the environment raises later
    is one line as well (see `Guarded`).

    Args:
        task: the task.
        render_size: side of the frames [px].
        limited: whether episodes are truncated after `episode_limit` steps; `gymnasium.make` does that itself.
        frames: whether observations are ``{"state": ..., "frame": ...}`` (see `FrameObservation`) or plain.
        every: where there are frames, draw every k-th of an episode only.
        verdicts: whether infos hold only what training and judging need (see `OnlyVerdicts`).
        wrap: a user's own wrapper, applied before frames are added.
        film: whether frames are drawn for people and not for a reward: with shadows, from where a film looks.
        later: where there are frames, keep states instead and draw when asked (see `gym_vlmrm.worlds.kept`).

    Raises:
        TaskError: the environment is unknown or fails, or its kwargs, camera or rule of success do not fit it.
        RenderingError: the environment or this machine cannot draw.
    """
    world: gym.Env[Any, Any] = _bare_world(task, render_size, film)
    limit = episode_limit(task) if limited else None
    if limit is not None:
        world = TimeLimit(world, limit)
    if verdicts:
        world = OnlyVerdicts(world, judged=task.success is not None)
    if wrap is not None:
        world = wrap(world)
    shots = PLAIN_SHOTS if film else task.reward.shots
    return FrameObservation(world, render_size, every, shots, later=later) if frames else world


def _bare_world(task: TaskSpec, render_size: int, film: bool) -> TaskInfo:
    env_id, kwargs = task.env.id, dict(task.env.kwargs)
    reserved = sorted(_SET_BY_SCENE & kwargs.keys())
    if reserved:
        message = f"task '{task.id}': env.kwargs has '{reserved[0]}', which the section 'scene:' sets"
        raise TaskError(message, field=("env", "kwargs", reserved[0]))
    make = make_scene if env_id in SCENES else make_generic
    env = make(env_id, kwargs, task.scene, render_size, film=film)
    try:
        seen = env if film else with_cameras(env, task.scene, env_id)
        if not task.env.terminate:
            seen = Endless(seen)
        known = remembering(Guarded(seen, env_id), task)
        return TaskInfo(known, task, partial(_bare_world, task, render_size, film))
    except TaskError:
        env.close()
        raise


def make_worlds(
    task: TaskSpec,
    num_envs: int,
    *,
    render_size: int,
    frames: bool = True,
    every: int | None = None,
    verdicts: bool = False,
    wrap: Callable[[Any], Any] | None = None,
    film: bool = False,
    later: bool = False,
    workers: int | None = None,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    timeout: float | None = None,
    make: Callable[..., VectorEnv[Any, Any, Any]] = make_pool,
) -> VectorEnv[Any, Any, Any]:
    """Build a vector environment of `num_envs` worlds with their time limit.

    Args:
        task: the task.
        num_envs: number of environments.
        render_size: side of the frames [px].
        frames: as `make_world`, but on where nothing is said.
        every: as `make_world`; ``None`` takes the task's ``reward.every``.
        verdicts: as `make_world`.
        wrap: as `make_world`.
        film: as `make_world`.
        later: as `make_world`.
        workers: worker processes; ``None`` takes one per usable core.
        autoreset_mode: any of Gymnasium's three.
        timeout: how long to wait for a worker [s] (see `gym_vlmrm.worlds.pools.pool.make_pool`).
        make: what builds the pool, with the arguments of `make_pool`.

    Raises:
        TaskError, RenderingError: as `make_world` does.
    """
    build = partial(
        make_world,
        task,
        render_size=render_size,
        limited=True,
        frames=frames,
        every=every or task.reward.every,
        verdicts=verdicts,
        wrap=wrap,
        film=film,
        later=later,
    )
    return make(build, num_envs, workers=workers, autoreset_mode=autoreset_mode, timeout=timeout)
