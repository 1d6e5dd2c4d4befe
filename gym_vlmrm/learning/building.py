"""From a recipe to an algorithm of stable-baselines3 whose buffers are filled late."""

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import (
    DictReplayBuffer,
    DictRolloutBuffer,
    NStepReplayBuffer,
    ReplayBuffer,
    RolloutBuffer,
)
from stable_baselines3.common.vec_env import VecEnv

from gym_vlmrm.errors import TrainingError
from gym_vlmrm.learning.algorithms import Algorithm, check_action_space, find_algorithm
from gym_vlmrm.learning.buffers import RewardSource, late_class
from gym_vlmrm.learning.hyperparameters import constructor_arguments
from gym_vlmrm.task.spec import Recipe, TaskSpec
from gym_vlmrm.worlds.triton import load_triton_apart

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["build_algorithm", "discount", "with_gamma"]


def discount(recipe: Recipe) -> float:
    """The recipe's discount factor gamma, or the algorithm's default."""
    parameters = find_algorithm(recipe.algorithm).parameters()
    default = parameters["gamma"].default if "gamma" in parameters else 1.0
    return float(recipe.hyperparameters.get("gamma", default))


def with_gamma(task: TaskSpec, recipe: Recipe) -> TaskSpec:
    """Return the task with the recipe's discount factor wherever potential shaping needs it.

    Raises:
        TaskError: the task names another gamma.
    """
    return task.model_copy(
        update={"reward": task.reward.discounted(discount(recipe), f"{recipe.algorithm} trains here with")}
    )


def build_algorithm(
    recipe: Recipe, env: VecEnv, *, env_id: str, source: RewardSource | None, seed: int | None = None
) -> "BaseAlgorithm":
    """Build the recipe's algorithm on an environment.

    Args:
        recipe: what to build.
        env: the environment; with a `source` its rewards are ignored wherever the algorithm keeps a buffer.
        env_id: name for error messages.
        source: where buffers get their rewards; ``None`` builds an algorithm that only predicts, with the least memory.
        seed: of every random number generator.

    Raises:
        TrainingError: the algorithm cannot act here, or its constructor refused a value.
    """
    algorithm = find_algorithm(recipe.algorithm)
    check_action_space(algorithm, env.action_space, env_id)
    num_actions = int(np.prod(env.action_space.shape or (1,)))
    mapping = isinstance(env.observation_space, spaces.Dict)
    arguments = constructor_arguments(recipe, algorithm, num_actions, mapping=mapping)
    if algorithm.kind == "off-policy":
        arguments.update(_replay_arguments(arguments, recipe, source, mapping))
    elif source is not None and _has_rollout_hook(algorithm):
        arguments["rollout_buffer_class"] = late_class(_rollout_class(algorithm, mapping))
        arguments["rollout_buffer_kwargs"] = {"source": source}
    load_triton_apart()  # the optimiser imports it, and this process may draw
    try:
        model: BaseAlgorithm = algorithm.load()(env=env, seed=seed, **arguments)
    except (ValueError, AssertionError, TypeError, RuntimeError, MemoryError, LookupError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, MemoryError) and algorithm.kind == "off-policy":
            cure = "give hyperparameters.buffer_size fewer transitions"
            raise TrainingError(f"{algorithm.name} has no room for its replay buffer ({reason}); {cure}") from error
        raise TrainingError(f"{algorithm.name} refuses its hyperparameters: {reason}") from error
    if source is not None and algorithm.kind == "on-policy" and not _has_rollout_hook(algorithm):
        _replace_rollout_buffer(model, source)
    return model


def _replay_arguments(
    arguments: dict[str, Any], recipe: Recipe, source: RewardSource | None, mapping: bool
) -> dict[str, Any]:
    n_steps = arguments.pop("n_steps", 1)
    if mapping and n_steps != 1:
        raise TrainingError(f"n_steps is {n_steps}, but for Dict observations {recipe.algorithm} takes 1 alone")
    if source is None:
        return {"buffer_size": 1}
    if n_steps == 1:
        plain = DictReplayBuffer if mapping else ReplayBuffer
        return {"replay_buffer_class": late_class(plain), "replay_buffer_kwargs": {"source": source}}
    # SB3 sets these up itself only where no buffer class is given.
    kwargs = {"source": source, "n_steps": n_steps, "gamma": discount(recipe)}
    return {"replay_buffer_class": late_class(NStepReplayBuffer), "replay_buffer_kwargs": kwargs}


def _has_rollout_hook(algorithm: Algorithm) -> bool:
    return "rollout_buffer_class" in algorithm.parameters()


def _rollout_class(algorithm: Algorithm, mapping: bool) -> type[RolloutBuffer]:
    if algorithm.name == "MaskablePPO":
        from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer

        masked: type[RolloutBuffer] = MaskableDictRolloutBuffer if mapping else MaskableRolloutBuffer
        return masked
    return DictRolloutBuffer if mapping else RolloutBuffer


def _replace_rollout_buffer(model: Any, source: RewardSource) -> None:
    """Put a late buffer where RecurrentPPO, which offers no hook, has made a plain one."""
    plain = model.rollout_buffer
    buffer_class: Any = type(plain)
    model.rollout_buffer = late_class(buffer_class)(
        plain.buffer_size,
        plain.observation_space,
        plain.action_space,
        plain.hidden_state_shape,
        plain.device,
        gae_lambda=plain.gae_lambda,
        gamma=plain.gamma,
        n_envs=plain.n_envs,
        source=source,
    )
