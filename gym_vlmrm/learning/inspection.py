"""Whether a recipe can train in a world: what training asks before it begins, and `vlmrm check` by itself."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from gym_vlmrm.errors import TrainingError
from gym_vlmrm.learning.algorithms import check_action_space, find_algorithm
from gym_vlmrm.learning.building import build_algorithm
from gym_vlmrm.learning.frame_watch import only_colour
from gym_vlmrm.learning.hyperparameters import check_recipe
from gym_vlmrm.learning.vec_env import SpacesOnly, normalize_states
from gym_vlmrm.task.spec import Recipe, TaskSpec
from gym_vlmrm.worlds.state import state_of
from gym_vlmrm.worlds.world import episode_limit, make_world

__all__ = ["WorldFacts", "inspect_recipe", "inspect_world"]

TRIAL_FRAME = 64
"""Side of the frame that a trial step renders [px]."""


@dataclass(frozen=True)
class WorldFacts:
    """What training must know about a task's environment."""

    env_id: str
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    max_episode_steps: int | None
    masked: bool = False
    """Whether the environment says which actions are allowed (``action_masks()``)."""
    only_colour: tuple[int, ...] | None = None
    """The colour of the frame that was drawn, if it has but one."""
    storable: bool | None = None
    """Whether the environment's state can be stored; ``None`` where nothing was drawn."""


def inspect_world(task: TaskSpec, *, draw: bool) -> WorldFacts:
    """Build the task's environment and say what it is like; with `draw`, make one step and draw one frame.

    Raises:
        TaskError, RenderingError: the environment, its scene or the rule of success is wrong.
        WorldError: the environment fails when it is reset or stepped.
    """
    env = make_world(task, render_size=TRIAL_FRAME, verdicts=True, limited=True)
    colour, storable = None, None
    try:
        if draw:
            env.reset(seed=0)
            env.action_space.seed(0)
            env.step(env.action_space.sample())
            colour, storable = only_colour(np.asarray(env.render())), state_of(env) is not None
        return WorldFacts(
            task.env.id, env.observation_space, env.action_space, episode_limit(task),
            masked=env.get_wrapper_attr("masked"), only_colour=colour, storable=storable,
        )  # fmt: skip
    finally:
        env.close()


def inspect_recipe(recipe: Recipe, world: WorldFacts, *, resumed: bool = False) -> None:
    """Check a recipe against an environment: what `check`, training and resuming all ask.

    Args:
        recipe: how to train.
        world: what the environment is like.
        resumed: whether the recipe has trained already; 0.1.0 let MaskablePPO train without masks.

    Raises:
        TrainingError: unknown algorithm or hyper-parameter, or one that does not fit the environment, or spaces that
            no algorithm here knows.
    """
    algorithm = find_algorithm(recipe.algorithm)
    env: VecEnv = SpacesOnly(recipe.num_envs, world.observation_space, world.action_space, world.env_id)
    check_action_space(algorithm, env.action_space, world.env_id)
    check_recipe(recipe)
    if recipe.normalize_reward and algorithm.kind != "on-policy":
        message = f"normalize_reward is for on-policy algorithms, not {algorithm.name}"
        raise TrainingError(message, field=("normalize_reward",))
    if algorithm.name == "MaskablePPO" and not (world.masked or resumed):
        cure = "PPO is the same without masks"
        raise TrainingError(f"MaskablePPO asks action_masks() of an environment, and {world.env_id} has none; {cure}")
    if algorithm.kind == "off-policy" and isinstance(env.action_space, spaces.Box):
        equal = np.flatnonzero(env.action_space.low >= env.action_space.high)
        if equal.size:
            where = f"action {equal[0]} of {world.env_id} has no room between its bounds"
            raise TrainingError(f"{where}, which {algorithm.name} scales by; PPO can do without")
    if recipe.normalize_observation:
        env = normalize_states(env)
    if world.max_episode_steps is None:
        raise TrainingError(
            f"episodes of {world.env_id} have no limit that Gymnasium knows; set env.max_episode_steps in the task"
        )
    if recipe.continuation is not None and world.masked:
        message = f"continuation: {world.env_id} has action masks, and those of an episode that goes on are not known"
        raise TrainingError(message, field=("continuation",))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training builds it once more, and warns then
        build_algorithm(recipe, env, env_id=world.env_id, source=None)
