"""A checkpoint's policy: what it was built as (``policy.json``), its weights, and an agent that acts by it."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from stable_baselines3.common.vec_env import VecEnv
from torch.overrides import TorchFunctionMode

from gym_vlmrm.errors import RunError, VLMRMError
from gym_vlmrm.files import read_arrays, read_json, write_json
from gym_vlmrm.learning.adapter import Adapter
from gym_vlmrm.learning.agents import TrainedAgent
from gym_vlmrm.learning.building import build_algorithm
from gym_vlmrm.learning.checkpoint_spaces import space_from_json, space_to_json
from gym_vlmrm.learning.finite import name_of_not_finite
from gym_vlmrm.learning.manifest import check_files
from gym_vlmrm.learning.running_means import load_means, names_of_means
from gym_vlmrm.learning.vec_env import SpacesOnly, normalize_states
from gym_vlmrm.task.spec import Recipe
from gym_vlmrm.tensors import load_tensors, save_tensors

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["load_agent", "load_policy_weights", "read_description", "write_policy"]


def write_policy(folder: Path, model: "BaseAlgorithm", recipe: Recipe, adapter: Adapter) -> None:
    """Write what a policy was built as, and its weights."""
    description = {
        "format": 1,
        "recipe": recipe.model_dump(mode="json"),
        "observation_space": space_to_json(adapter.own_observation_space),
        "action_space": space_to_json(adapter.own_action_space),
        "normalized": model.get_vec_normalize_env() is not None,
        "digests": True,
    }
    write_json(folder / "policy.json", description)
    save_tensors(folder / "policy.safetensors", model.policy.state_dict())


def read_description(folder: Path) -> tuple[Recipe, Adapter, bool]:
    """Return the recipe, the spaces, and whether observations were normalised, as ``policy.json`` says."""
    description = read_json(folder / "policy.json")
    try:
        recipe = Recipe.model_validate(description["recipe"])
        observation_space = space_from_json(description["observation_space"])
        action_space = space_from_json(description["action_space"])
        return recipe, Adapter(observation_space, action_space), bool(description.get("normalized"))
    except _WRONG as error:
        raise _no_policy(folder, error) from None


_WRONG = (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, AssertionError, VLMRMError)
"""What a damaged description raises somewhere; pydantic's ValidationError is a ValueError."""


def _no_policy(folder: Path, error: Exception) -> RunError:
    return RunError(f"{folder / 'policy.json'}: describes no policy ({' '.join(str(error).split())})")


def load_policy_weights(folder: Path, model: "BaseAlgorithm") -> None:
    """Put a checkpoint's weights into a policy; raises RunError where they are damaged or of another one."""
    tensors = load_tensors(folder / "policy.safetensors")
    try:
        model.policy.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"{folder}: policy does not fit policy.json ({' '.join(str(error).split())})") from None
    name = name_of_not_finite(tensors)
    if name is not None:
        raise RunError(f"{folder / 'policy.safetensors'}: '{name}' is not finite; choose an earlier checkpoint")


class _no_larger_than(TorchFunctionMode):
    """Refuse to make tensors that a file of so many bytes cannot fill: a description may ask for any network."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._left = 4 * size + 1_000_000

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what is made before it is."""
        if function is torch.empty:
            self._left -= 4 * math.prod(_shape(args, kwargs or {}))
            if self._left < 0:
                raise ValueError("a network far larger than its weights")
        return function(*args, **(kwargs or {}))


def _shape(args: Any, kwargs: Any) -> Any:
    shape = kwargs.get("size", args)
    return shape[0] if len(shape) == 1 and isinstance(shape[0], list | tuple) else shape


_ACTING = ("policy.json", "policy.safetensors", "normalizer.npz")
"""What acting needs of a checkpoint."""


def load_agent(folder: Path) -> TrainedAgent:
    """Load a checkpoint's policy, ready to act in the environment that it was trained in (see `TrainedAgent.enter`).

    Raises:
        RunError: the checkpoint is missing or damaged, or its policy is not finite.
    """
    check_files(folder, _ACTING)
    recipe, adapter, normalized = read_description(folder)
    try:
        env: VecEnv = SpacesOnly(recipe.num_envs, adapter.own_observation_space, adapter.own_action_space)
        if normalized:
            env = normalize_states(env)
        with _no_larger_than((folder / "policy.safetensors").stat().st_size):
            model = build_algorithm(recipe, env, env_id="the stored policy", source=None)
    except OSError as error:
        raise RunError(f"{folder / 'policy.safetensors'}: cannot be read ({error.strerror})") from None
    except _WRONG as error:
        raise _no_policy(folder, error) from None
    load_policy_weights(folder, model)
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        path = folder / "normalizer.npz"
        statistics = read_arrays(path, ("clip", "epsilon", *names_of_means(normalizer)))
        try:
            load_means(normalizer, statistics)
            normalizer.clip_obs, normalizer.epsilon = float(statistics["clip"]), float(statistics["epsilon"])
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(f"{path}: does not fit its policy ({' '.join(str(error).split())})") from None
        normalizer.training = False
    return TrainedAgent(model, adapter, folder)
