"""Checkpoints: what acting and going on need, as safetensors, JSON and npz, never a pickle."""

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from gym_vlmrm.errors import RunError, VLMRMError
from gym_vlmrm.runs import read_json, write_json
from gym_vlmrm.spec import Recipe
from gym_vlmrm.training.agents import TrainedAgent
from gym_vlmrm.training.buffers import RewardScale
from gym_vlmrm.training.building import build_algorithm
from gym_vlmrm.training.spaces import space_from_json, space_to_json
from gym_vlmrm.training.tensors import load_state, load_tensors, save_state, save_tensors
from gym_vlmrm.training.vec_env import SpacesOnly

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["REPLAY_FILE", "buffer_bytes", "load_agent", "restore", "save_checkpoint"]


REPLAY_FILE = "replay.npz"


def save_checkpoint(
    folder: Path, model: "BaseAlgorithm", recipe: Recipe, scale: RewardScale | None = None, with_buffer: bool = False
) -> None:
    """Fill a folder with all that acting and going on need.

    Args:
        folder: an existing empty folder.
        model: the algorithm.
        recipe: what it was built from.
        scale: scale of its rewards, if any.
        with_buffer: whether to store the replay buffer too.
    """
    normalizer = model.get_vec_normalize_env()
    description = {
        "format": 1,
        "recipe": recipe.model_dump(mode="json"),
        "observation_space": space_to_json(model.observation_space),
        "action_space": space_to_json(model.action_space),
        "normalized": normalizer is not None,
    }
    write_json(folder / "policy.json", description)
    save_tensors(folder / "policy.safetensors", model.policy.state_dict())
    statistics: dict[str, Any] = {}
    if normalizer is not None:
        rms: Any = normalizer.obs_rms
        limits = {"clip": normalizer.clip_obs, "epsilon": normalizer.epsilon}
        statistics.update(mean=rms.mean, var=rms.var, count=rms.count, **limits)
    if scale is not None:
        returns = scale.statistics
        statistics.update(return_mean=returns.mean, return_var=returns.var, return_count=returns.count)
    if statistics:
        np.savez(folder / "normalizer.npz", **statistics)
    save_state(folder / "training.safetensors", _training_state(model))
    buffer = getattr(model, "replay_buffer", None)
    if with_buffer and buffer is not None:
        _save_buffer(folder / REPLAY_FILE, buffer)


def _training_state(model: Any) -> dict[str, Any]:
    modules, variables = model._get_torch_save_params()
    parameters = model.get_parameters()
    return {
        "modules": {name: parameters[name] for name in modules if name != "policy"},
        "variables": {name: getattr(model, name) for name in variables if getattr(model, name) is not None},
        "counters": {name: int(getattr(model, name)) for name in _COUNTERS if hasattr(model, name)},
    }


_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls")
_BUFFER_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def _save_buffer(path: Path, buffer: Any) -> None:
    buffer.fill()
    size = buffer.size()
    np.savez(path, pos=buffer.pos, full=buffer.full, **{name: getattr(buffer, name)[:size] for name in _BUFFER_ARRAYS})


def buffer_bytes(model: Any) -> int:
    """Bytes that storing the replay buffer would take; 0 without one."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None or buffer.size() == 0:
        return 0
    return sum(getattr(buffer, name)[: buffer.size()].nbytes for name in _BUFFER_ARRAYS)


def restore(folder: Path, model: "BaseAlgorithm", scale: RewardScale | None = None) -> bool:
    """Put a checkpoint back into an algorithm built from the same recipe; says whether a replay buffer came back too.

    Raises:
        RunError: the checkpoint is damaged or belongs to another recipe.
    """
    _load_policy(folder, model)
    state = load_state(folder / "training.safetensors")
    statistics = _read_npz(folder / "normalizer.npz") if (folder / "normalizer.npz").exists() else {}
    loaded: Any = model
    try:
        parameters: dict[str, Any] = {**model.get_parameters(), **state["modules"]}
        model.set_parameters(parameters, exact_match=True)
        for name, value in state["variables"].items():
            getattr(loaded, name).data = value.to(model.device)
        for name, value in state["counters"].items():
            setattr(loaded, name, value)
        normalizer = model.get_vec_normalize_env()
        if normalizer is not None:
            rms: Any = normalizer.obs_rms
            rms.mean, rms.var, rms.count = statistics["mean"], statistics["var"], float(statistics["count"])
        if scale is not None:
            returns: Any = scale.statistics
            for name in ("mean", "var", "count"):
                setattr(returns, name, float(statistics[f"return_{name}"]))
    except (KeyError, ValueError, RuntimeError, AttributeError) as error:
        raise RunError(f"{folder}: does not fit its run ({' '.join(str(error).split())})") from None
    if hasattr(model, "weights"):  # ARS searches over a flat copy of its policy
        loaded.weights = torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()
    return (folder / REPLAY_FILE).exists() and _restore_buffer(folder / REPLAY_FILE, loaded.replay_buffer)


def _restore_buffer(path: Path, buffer: Any) -> bool:
    stored = _read_npz(path, ("pos", "full", *_BUFFER_ARRAYS))
    try:
        pos, full = int(stored["pos"]), bool(stored["full"])
        size = buffer.buffer_size if full else pos
        if not 0 <= pos < buffer.buffer_size:
            raise ValueError(f"position {pos} in a buffer of {buffer.buffer_size}")
        for name in _BUFFER_ARRAYS:
            here = getattr(buffer, name)[:size]
            if stored[name].shape != here.shape:
                raise ValueError(f"{name} of shape {stored[name].shape}, not {here.shape}")
            here[:] = stored[name]
        buffer.pos, buffer.full = pos, full
    except (KeyError, ValueError, TypeError) as error:
        raise RunError(f"{path}: does not fit its run ({error})") from None
    return True


def _read_npz(path: Path, names: tuple[str, ...] | None = None) -> dict[str, NDArray[Any]]:
    """Read the arrays of those names, or all."""
    try:
        # Opened here: numpy leaves a damaged archive open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in names or file.files}
    except (OSError, ValueError, EOFError, LookupError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None


def _load_policy(folder: Path, model: "BaseAlgorithm") -> None:
    tensors = load_tensors(folder / "policy.safetensors")
    try:
        model.policy.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"{folder}: policy does not fit policy.json ({' '.join(str(error).split())})") from None


def load_normalizer(folder: Path) -> dict[str, NDArray[Any]] | None:
    """Return a checkpoint's ``mean``, ``var``, ``clip`` and ``epsilon`` of observations; None where it has none.

    Raises:
        RunError: the checkpoint is missing or damaged.
    """
    if not read_json(folder / "policy.json").get("normalized"):
        return None
    statistics = _read_npz(folder / "normalizer.npz")
    if not {"mean", "var", "clip", "epsilon"} <= set(statistics):
        raise RunError(f"{folder / 'normalizer.npz'}: lacks the observations' mean and variance")
    return statistics


def load_agent(folder: Path) -> TrainedAgent:
    """Load a checkpoint's policy, ready to act.

    Raises:
        RunError: the checkpoint is missing or damaged.
    """
    description = read_json(folder / "policy.json")
    try:
        recipe = Recipe.model_validate(description["recipe"])
        observation_space = space_from_json(description["observation_space"])
        action_space = space_from_json(description["action_space"])
        env = SpacesOnly(recipe.num_envs, observation_space, action_space)
        model = build_algorithm(recipe, env, env_id="the stored policy", source=None)
    except (KeyError, ValueError, TypeError, AssertionError, ValidationError, VLMRMError) as error:
        raise RunError(f"{folder / 'policy.json'}: describes no policy ({' '.join(str(error).split())})") from None
    _load_policy(folder, model)
    statistics = load_normalizer(folder)
    if statistics is None:
        return TrainedAgent(model)

    def normalize(states: NDArray[Any]) -> NDArray[Any]:
        scaled = (states - statistics["mean"]) / np.sqrt(statistics["var"] + statistics["epsilon"])
        clipped: NDArray[Any] = np.clip(scaled, -statistics["clip"], statistics["clip"]).astype(np.float32)
        return clipped

    return TrainedAgent(model, normalize)
