"""From a recipe to an algorithm of stable-baselines3 whose buffers are filled late."""

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer, RolloutBuffer
from stable_baselines3.common.vec_env import VecEnv

from gym_vlmrm.errors import TrainingError
from gym_vlmrm.spec import Recipe
from gym_vlmrm.training.algorithms import Algorithm, check_action_space, find_algorithm
from gym_vlmrm.training.buffers import RewardSource, late_class
from gym_vlmrm.training.hyperparameters import constructor_arguments

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["build_algorithm", "discount"]


def discount(recipe: Recipe) -> float:
    """The recipe's discount factor gamma, or the algorithm's default."""
    parameters = inspect.signature(find_algorithm(recipe.algorithm).load().__init__).parameters
    default = parameters["gamma"].default if "gamma" in parameters else 1.0
    return float(recipe.hyperparameters.get("gamma", default))


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
    arguments = constructor_arguments(recipe, algorithm, num_actions)
    if algorithm.kind == "off-policy":
        arguments.update(_replay_arguments(arguments, recipe, source))
    elif source is not None and _has_rollout_hook(algorithm):
        arguments["rollout_buffer_class"] = late_class(_rollout_class(algorithm))
        arguments["rollout_buffer_kwargs"] = {"source": source}
    try:
        model: BaseAlgorithm = algorithm.load()(env=env, seed=seed, **arguments)
    except (ValueError, AssertionError, TypeError, RuntimeError, MemoryError, IndexError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TrainingError(f"{algorithm.name} refuses its hyperparameters: {reason}") from error
    if source is not None and algorithm.kind == "on-policy" and not _has_rollout_hook(algorithm):
        _replace_rollout_buffer(model, source)
    return model


def _replay_arguments(arguments: dict[str, Any], recipe: Recipe, source: RewardSource | None) -> dict[str, Any]:
    n_steps = arguments.pop("n_steps", 1)
    if source is None:
        return {"buffer_size": 1}
    if n_steps == 1:
        return {"replay_buffer_class": late_class(ReplayBuffer), "replay_buffer_kwargs": {"source": source}}
    # SB3 sets these up itself only where no buffer class is given.
    kwargs = {"source": source, "n_steps": n_steps, "gamma": discount(recipe)}
    return {"replay_buffer_class": late_class(NStepReplayBuffer), "replay_buffer_kwargs": kwargs}


def _has_rollout_hook(algorithm: Algorithm) -> bool:
    return "rollout_buffer_class" in inspect.signature(algorithm.load().__init__).parameters


def _rollout_class(algorithm: Algorithm) -> type[RolloutBuffer]:
    if algorithm.name == "MaskablePPO":
        from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer

        masked: type[RolloutBuffer] = MaskableRolloutBuffer
        return masked
    return RolloutBuffer


def _replace_rollout_buffer(model: Any, source: RewardSource) -> None:
    """Put a late buffer where RecurrentPPO, which offers no hook, has made a plain one."""
    plain = model.rollout_buffer
    model.rollout_buffer = late_class(type(plain))(
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


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Describe a Box, Discrete, MultiDiscrete or MultiBinary space in JSON."""
    if isinstance(space, spaces.Box):
        bounds = {"low": [str(x) for x in space.low.ravel()], "high": [str(x) for x in space.high.ravel()]}
        return {"type": "Box", **bounds, "shape": list(space.shape), "dtype": str(space.dtype)}
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.n)}
    raise TypeError(f"{type(space).__name__} cannot be stored")


def space_from_json(data: dict[str, Any]) -> spaces.Space[Any]:
    """Build the space that `space_to_json` described; raises KeyError, ValueError or TypeError for anything else."""
    kind = data["type"]
    if kind == "Box":
        dtype = np.dtype(data["dtype"])
        low, high = (np.array(data[key], dtype=np.float64).astype(dtype).reshape(data["shape"]) for key in ("low", "high"))
        return spaces.Box(low, high, dtype=dtype.type)  # type: ignore[arg-type]
    if kind == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(data["nvec"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(data["n"])
    raise ValueError(f"unknown space {kind!r}")
