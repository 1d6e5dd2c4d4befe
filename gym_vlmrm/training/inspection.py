"""Checks of a task that need its environment, but neither a reward model nor training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from gym_vlmrm.errors import TrainingError
from gym_vlmrm.spec import Recipe, TaskSpec
from gym_vlmrm.training.algorithms import check_action_space, find_algorithm
from gym_vlmrm.training.frame_watch import only_colour
from gym_vlmrm.training.hyperparameters import check_recipe
from gym_vlmrm.worlds import episode_limit, make_limited_world

__all__ = ["World", "inspect_recipe", "inspect_world"]

TRIAL_FRAME = 64
"""Side of the frame that a trial step renders [px]."""


@dataclass(frozen=True)
class World:
    """What training must know about a task's environment."""

    env_id: str
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    max_episode_steps: int | None
    only_colour: tuple[int, ...] | None = None
    """The colour of the frame that was drawn, if it has but one."""


def inspect_world(task: TaskSpec, *, draw: bool) -> World:
    """Build the task's environment and say what it is like; with `draw`, make one step and draw one frame.

    Raises:
        TaskError, RenderingError: the environment, its scene or the rule of success is wrong.
        WorldError: the environment fails when it is reset or stepped.
    """
    env = make_limited_world(task, render_size=TRIAL_FRAME)
    colour = None
    try:
        if draw:
            env.reset(seed=0)
            env.action_space.seed(0)
            env.step(env.action_space.sample())
            colour = only_colour(np.asarray(env.render()))
        return World(task.env.id, env.observation_space, env.action_space, episode_limit(task), only_colour=colour)
    finally:
        env.close()


def inspect_recipe(recipe: Recipe, world: World) -> None:
    """Check a recipe against an environment.

    Raises:
        TrainingError: unknown algorithm or hyper-parameter, or one that does not fit the environment.
    """
    check_action_space(find_algorithm(recipe.algorithm), world.action_space, world.env_id)
    algorithm = check_recipe(recipe)
    if recipe.normalize_reward and algorithm.kind != "on-policy":
        message = f"normalize_reward is for on-policy algorithms, not {algorithm.name}"
        raise TrainingError(message, field=("normalize_reward",))
    if recipe.normalize_observation and not isinstance(world.observation_space, spaces.Box):
        kind = type(world.observation_space).__name__
        message = f"normalize_observation needs Box observations, but {world.env_id} has {kind}"
        raise TrainingError(message, field=("normalize_observation",))
    if world.max_episode_steps is None:
        raise TrainingError(f"episodes of {world.env_id} never end; set env.max_episode_steps in the task")
