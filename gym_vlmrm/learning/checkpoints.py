"""Checkpoints: what acting and going on need, as safetensors, JSON and npz, never a pickle."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from gym_vlmrm.errors import RunError, TrainingError, VLMRMError
from gym_vlmrm.files import read_arrays, read_json, read_model, write_json
from gym_vlmrm.learning.adapter import Adapter, check_fit
from gym_vlmrm.learning.agents import TrainedAgent
from gym_vlmrm.learning.buffers import RewardScale
from gym_vlmrm.learning.building import build_algorithm
from gym_vlmrm.learning.checkpoint_replay import REPLAY_FILE, restore_buffer, save_buffer
from gym_vlmrm.learning.checkpoint_spaces import space_from_json, space_to_json
from gym_vlmrm.learning.manifest import check_files, read_manifest, write_manifest
from gym_vlmrm.learning.records import Best
from gym_vlmrm.learning.vec_env import SpacesOnly, normalize_states
from gym_vlmrm.learning.whole_state import WholeState, read_state
from gym_vlmrm.task.spec import Recipe
from gym_vlmrm.tensors import load_state, load_tensors, save_state, save_tensors

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = [
    "STATE_FILE", "VERDICT_FILE", "check_finite", "forget_state", "load_agent", "load_whole_state",
    "put_running_means", "read_verdict", "restore", "running_means", "save_checkpoint", "write_verdict",
]  # fmt: skip


STATE_FILE = "state.safetensors"
VERDICT_FILE = "verdict.json"


def save_checkpoint(
    folder: Path,
    model: "BaseAlgorithm",
    recipe: Recipe,
    scale: RewardScale | None = None,
    with_buffer: bool = False,
    state: WholeState | None = None,
) -> None:
    """Fill a folder with all that acting and going on need.

    Args:
        folder: an existing empty folder.
        model: the algorithm.
        recipe: what it was built from.
        scale: scale of its rewards, if any.
        with_buffer: whether to store the replay buffer too.
        state: all the rest that going on to the bit needs.

    Raises:
        TrainingError: the policy's parameters are not finite.
    """
    check_finite(model)
    normalizer = model.get_vec_normalize_env()
    adapter = _adapter(model)
    description = {
        "format": 1,
        "recipe": recipe.model_dump(mode="json"),
        "observation_space": space_to_json(adapter.own_observation_space),
        "action_space": space_to_json(adapter.own_action_space),
        "normalized": normalizer is not None,
        "digests": True,
    }
    write_json(folder / "policy.json", description)
    save_tensors(folder / "policy.safetensors", model.policy.state_dict())
    statistics: dict[str, Any] = {}
    if normalizer is not None:
        statistics.update(clip=normalizer.clip_obs, epsilon=normalizer.epsilon)
        for ending, rms in _running_means(normalizer).items():
            statistics |= {f"{name}{ending}": getattr(rms, name) for name in _MEANS}
    if scale is not None:
        returns = scale.statistics
        statistics |= dict(zip(_RETURNS, (returns.mean, returns.var, returns.count), strict=True))
    if statistics:
        np.savez(folder / "normalizer.npz", **statistics)
    save_state(folder / "training.safetensors", _training_state(model))
    buffer = getattr(model, "replay_buffer", None)
    if with_buffer and buffer is not None:
        save_buffer(folder / REPLAY_FILE, buffer)
    if state is not None:
        save_state(folder / STATE_FILE, state.plain())
    write_manifest(folder)


def load_whole_state(folder: Path) -> WholeState | None:
    """Read all that going on to the bit needs, or ``None`` where a checkpoint holds none (of 0.1.0, or an older one).

    Raises:
        RunError: the checkpoint is damaged.
    """
    if STATE_FILE not in check_files(folder, spare=(REPLAY_FILE,)) or not (folder / STATE_FILE).exists():
        return None
    try:
        return read_state(load_state(folder / STATE_FILE))
    except (KeyError, ValueError, TypeError) as error:
        raise RunError(f"{folder / STATE_FILE}: holds no state ({' '.join(str(error).split())})") from None


def write_verdict(folder: Path, verdict: Best) -> None:
    """Add the verdict on a checkpoint's policy to it; raises RunError."""
    names = frozenset(read_manifest(folder) or ())
    write_json(folder / VERDICT_FILE, verdict.model_dump(mode="json"))
    # Last, as a file that the manifest does not name counts for nothing.
    write_manifest(folder, {*names, VERDICT_FILE})


def read_verdict(folder: Path) -> Best | None:
    """Return the verdict on a checkpoint's policy, if it was given; raises RunError where it is damaged."""
    known = VERDICT_FILE in check_files(folder, (VERDICT_FILE,)) and (folder / VERDICT_FILE).exists()
    return read_model(folder / VERDICT_FILE, Best) if known else None


def forget_state(folder: Path) -> None:
    """Leave of a checkpoint what acting and a rough start need: without replay buffer and `WholeState`."""
    names = frozenset(read_manifest(folder) or ())
    if names:
        write_manifest(folder, names - {REPLAY_FILE, STATE_FILE})
    for name in (REPLAY_FILE, STATE_FILE):
        (folder / name).unlink(missing_ok=True)


def check_finite(model: "BaseAlgorithm") -> None:
    """Check that learning has not destroyed the policy, or what the algorithm learns beside it.

    Raises:
        TrainingError: a parameter is not finite.
    """
    learned: Any = model
    _, variables = learned._get_torch_save_params()  # SAC's entropy coefficient is no part of the policy
    alone = {name: getattr(model, name) for name in variables if getattr(model, name) is not None}
    for whose, tensors in (("policy", model.policy.state_dict()), ("algorithm", alone)):
        name = _not_finite(tensors)
        if name is not None:
            cure = "lower the learning rate, or look at the rewards and observations"
            raise TrainingError(f"'{name}' of the {whose} is not finite after {model.num_timesteps:,} steps; {cure}")


def _not_finite(tensors: dict[str, torch.Tensor]) -> str | None:
    """Name of the first tensor with a number that is not finite."""
    return next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), None)


def _adapter(model: "BaseAlgorithm") -> Adapter:
    env: Any = model.get_env()
    adapter: Adapter = env.unwrapped.adapter
    return adapter


_MEANS = ("mean", "var", "count")
_RETURNS = ("return_mean", "return_var", "return_count")


def _running_means(normalizer: Any) -> dict[str, Any]:
    """Statistics of observations by the ending of their names in a checkpoint: none, or ``.key`` for a Dict."""
    rms = normalizer.obs_rms
    return {f".{key}": part for key, part in rms.items()} if isinstance(rms, dict) else {"": rms}


def _names_of_means(normalizer: Any) -> tuple[str, ...]:
    """Names of all statistics of observations in a checkpoint; none without a normaliser."""
    endings = () if normalizer is None else _running_means(normalizer)
    return tuple(f"{name}{ending}" for ending in endings for name in _MEANS)


def running_means(model: "BaseAlgorithm") -> dict[str, Any]:
    """Return copies of the statistics by which observations are normalised; none without a normaliser."""
    normalizer = model.get_vec_normalize_env()
    if normalizer is None:
        return {}
    parts = _running_means(normalizer)
    return {f"{name}{ending}": np.copy(getattr(rms, name)) for ending, rms in parts.items() for name in _MEANS}


def put_running_means(model: "BaseAlgorithm", means: dict[str, Any]) -> None:
    """Put back what `running_means` returned."""
    if means:
        _load_means(model.get_vec_normalize_env(), means)


def _training_state(model: Any) -> dict[str, Any]:
    # Private, but the only list of what an algorithm holds besides its policy; `save` asks it too, and writes pickles.
    modules, variables = model._get_torch_save_params()
    parameters = model.get_parameters()
    return {
        "modules": {name: parameters[name] for name in modules if name != "policy"},
        "variables": {name: getattr(model, name) for name in variables if getattr(model, name) is not None},
        "counters": {name: int(getattr(model, name)) for name in _COUNTERS if hasattr(model, name)},
    }


_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls")


def restore(folder: Path, model: "BaseAlgorithm", scale: RewardScale | None = None) -> bool:
    """Put a checkpoint back into an algorithm built from the same recipe; says whether a replay buffer came back too.

    Raises:
        RunError: the checkpoint is damaged or belongs to another recipe or environment.
    """
    check_fit(_stored(folder)[1], _adapter(model), folder)
    _load_policy(folder, model)
    state = load_state(folder / "training.safetensors")
    normalizer = model.get_vec_normalize_env()
    names = _names_of_means(normalizer) + (() if scale is None else _RETURNS)
    statistics = read_arrays(folder / "normalizer.npz", names) if names else {}
    loaded: Any = model
    try:
        parameters: dict[str, Any] = {**model.get_parameters(), **state["modules"]}
        model.set_parameters(parameters, exact_match=True)
        for name, value in state["variables"].items():
            getattr(loaded, name).data = value.to(model.device)
        for name, value in state["counters"].items():
            setattr(loaded, name, value)
        if normalizer is not None:
            _load_means(normalizer, statistics)
        if scale is not None:
            returns: Any = scale.statistics
            returns.mean, returns.var, returns.count = (float(statistics[name]) for name in _RETURNS)
    except (KeyError, ValueError, RuntimeError, AttributeError) as error:
        raise RunError(f"{folder}: does not fit its run ({' '.join(str(error).split())})") from None
    if hasattr(model, "weights"):  # ARS searches over a flat copy of its policy
        loaded.weights = torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()
    stored = (folder / REPLAY_FILE).exists()
    if stored:
        restore_buffer(folder / REPLAY_FILE, loaded.replay_buffer)
        if not np.isfinite(loaded.replay_buffer.rewards[: loaded.replay_buffer.size()]).all():
            raise RunError(f"{folder / REPLAY_FILE}: a reward is not finite; choose an earlier checkpoint")
    return stored


def _load_policy(folder: Path, model: "BaseAlgorithm") -> None:
    tensors = load_tensors(folder / "policy.safetensors")
    try:
        model.policy.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"{folder}: policy does not fit policy.json ({' '.join(str(error).split())})") from None
    name = _not_finite(tensors)
    if name is not None:
        raise RunError(f"{folder / 'policy.safetensors'}: '{name}' is not finite; choose an earlier checkpoint")


def _load_means(normalizer: Any, statistics: dict[str, NDArray[Any]]) -> None:
    """Put stored statistics of observations back; raises KeyError or ValueError where they do not fit."""
    for ending, rms in _running_means(normalizer).items():
        mean, var, count = (statistics[f"{name}{ending}"] for name in _MEANS)
        if mean.shape != rms.mean.shape or var.shape != rms.var.shape:
            raise ValueError(f"statistics of shape {mean.shape} where observations have {rms.mean.shape}")
        rms.mean, rms.var, rms.count = mean, var, float(count)


def _stored(folder: Path) -> tuple[Recipe, Adapter, bool]:
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


_ACTING = ("policy.json", "policy.safetensors", "normalizer.npz")
"""What acting needs of a checkpoint."""


def load_agent(folder: Path) -> TrainedAgent:
    """Load a checkpoint's policy, ready to act in the environment that it was trained in (see `TrainedAgent.enter`).

    Raises:
        RunError: the checkpoint is missing or damaged, or its policy is not finite.
    """
    check_files(folder, _ACTING)
    recipe, adapter, normalized = _stored(folder)
    try:
        env: VecEnv = SpacesOnly(recipe.num_envs, adapter.own_observation_space, adapter.own_action_space)
        if normalized:
            env = normalize_states(env)
        model = build_algorithm(recipe, env, env_id="the stored policy", source=None)
    except _WRONG as error:
        raise _no_policy(folder, error) from None
    _load_policy(folder, model)
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        path = folder / "normalizer.npz"
        statistics = read_arrays(path, ("clip", "epsilon", *_names_of_means(normalizer)))
        try:
            _load_means(normalizer, statistics)
            normalizer.clip_obs, normalizer.epsilon = float(statistics["clip"]), float(statistics["epsilon"])
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(f"{path}: does not fit its policy ({' '.join(str(error).split())})") from None
        normalizer.training = False
    return TrainedAgent(model, adapter, folder)
