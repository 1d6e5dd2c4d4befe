"""What cannot be combined with ``reward.ask``, said before anything is trained."""

from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

from gym_vlmrm.errors import TrainingError
from gym_vlmrm.learning.adapter import Adapter
from gym_vlmrm.learning.algorithms import find_algorithm
from gym_vlmrm.learning.hyperparameters import update_arguments
from gym_vlmrm.learning.inspection import WorldFacts
from gym_vlmrm.task.spec import Recipe, TaskSpec

__all__ = ["LEAST", "cannot_be_drawn_later", "check_asking"]

LEAST = 1.25
"""Frames of a rollout that must be asked on the average: the most promising one, and now and then another."""


def check_asking(task: TaskSpec, recipe: Recipe, world: WorldFacts) -> None:
    """Check that a recipe, itself in order, can train a task whose reward is asked seldom.

    Raises:
        TrainingError: it cannot.
    """
    spec = task.reward.ask
    if spec is None:
        return
    field = ("reward", "ask")
    if world.storable is False:
        raise cannot_be_drawn_later(task.env.id)
    states = Adapter(world.observation_space, world.action_space, world.env_id).observation_space
    parts = states.values() if isinstance(states, spaces.Dict) else [states]
    if any(isinstance(part, spaces.Box) and is_image_space(part) for part in parts):
        message = (
            f"reward.ask: observations of '{task.env.id}' are pictures, and the network reads numbers; leave it out"
        )
        raise TrainingError(message, field=field)
    steps = _rollout_steps(recipe, world.max_episode_steps or 1)
    frames = steps * recipe.num_envs / (recipe.reward_every or task.reward.every)
    if spec.share * frames < LEAST:
        how = f"{steps:,} steps of {recipe.num_envs} environments, {frames:g} scored frames"
        raise TrainingError(
            f"reward.ask: {recipe.algorithm} wants rewards every {how}, of which a share of {spec.share:g} is "
            f"{spec.share * frames:.2g}, and the most promising one is always asked; at least {LEAST} are needed: "
            "take a larger share, more environments, or rarer updates (train_freq)",
            field=field,
        )


def _rollout_steps(recipe: Recipe, episode: int) -> int:
    """Vector steps after which an algorithm wants their rewards, where episodes have so many at most."""
    algorithm = find_algorithm(recipe.algorithm)
    if algorithm.kind == "episodic":
        return 1
    name = "train_freq" if algorithm.kind == "off-policy" else "n_steps"
    written = {**recipe.hyperparameters, **update_arguments(recipe, algorithm)}
    given = written.get(name, algorithm.parameters()[name].default)
    count, unit = given if isinstance(given, list | tuple) else (given, "step")
    return int(count) * (episode if unit == "episode" else 1)


def cannot_be_drawn_later(env_id: str) -> TrainingError:
    """What to raise of an environment that tells no state."""
    message = (
        f"reward.ask: the state of '{env_id}' cannot be stored, so its frames cannot be drawn later; "
        "leave 'ask' out, or give the environment get_state() and set_state()"
    )
    return TrainingError(message, field=("reward", "ask"))
