"""The environments below the reward: one world, or many of them in worker processes, with their time limit."""

from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers import TimeLimit

from gym_vlmrm.envs import make_world
from gym_vlmrm.envs.generic import find_environment
from gym_vlmrm.envs.pool import make_pool
from gym_vlmrm.envs.verdicts import OnlyVerdicts
from gym_vlmrm.frames import FrameObservation
from gym_vlmrm.spec import TaskSpec

__all__ = ["episode_limit", "make_limited_world", "make_worlds"]


def episode_limit(task: TaskSpec) -> int | None:
    """Steps until truncation: the task's, else those of the environment's own registration.

    Raises:
        TaskError: the environment is unknown.
    """
    registered: int | None = find_environment(task.env.id).max_episode_steps
    return task.env.max_episode_steps or registered


def make_limited_world(
    task: TaskSpec, *, render_size: int, frames: bool = False, every: int = 1, verdicts: bool = False
) -> gym.Env[Any, Any]:
    """Build one world with its time limit; `frames` and `verdicts` are those of `make_worlds`."""
    world = make_world(task, render_size=render_size)
    limit = episode_limit(task)
    if limit is not None:
        world = TimeLimit(world, limit)
    if verdicts:
        world = OnlyVerdicts(world, judged=task.success is not None)
    return FrameObservation(world, render_size, every) if frames else world


def make_worlds(
    task: TaskSpec,
    num_envs: int,
    *,
    render_size: int,
    frames: bool = True,
    every: int | None = None,
    verdicts: bool = False,
    workers: int | None = None,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    timeout: float | None = None,
) -> VectorEnv[Any, Any, Any]:
    """Build a vector environment of worlds.

    Args:
        task: the task.
        num_envs: number of environments.
        render_size: side of the frames [px].
        frames: whether observations are ``{"state": ..., "frame": ...}`` (see `FrameObservation`) or plain.
        every: render every k-th frame only; ``None`` takes the task's ``reward.every``.
        verdicts: whether infos hold only what training and judging need (see `OnlyVerdicts`).
        workers: worker processes; ``None`` takes one per usable core.
        autoreset_mode: any of Gymnasium's three.
        timeout: how long to wait for a worker [s] (see `gym_vlmrm.envs.pool.make_pool`).

    Raises:
        TaskError, RenderingError: as `make_world` does.
    """
    every = every or task.reward.every
    build = partial(make_limited_world, task, render_size=render_size, frames=frames, every=every, verdicts=verdicts)
    return make_pool(build, num_envs, workers=workers, autoreset_mode=autoreset_mode, timeout=timeout)
