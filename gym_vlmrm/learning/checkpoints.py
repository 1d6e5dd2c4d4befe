"""Checkpoints: what acting and going on need, as safetensors, JSON and npz, never a pickle."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import read_arrays, read_model, write_json
from gym_vlmrm.learning.adapter import Adapter, check_fit
from gym_vlmrm.learning.buffers import RewardScale
from gym_vlmrm.learning.checkpoint_replay import REPLAY_FILE, restore_buffer, save_buffer
from gym_vlmrm.learning.finite import check_finite
from gym_vlmrm.learning.manifest import check_files, read_manifest, write_manifest
from gym_vlmrm.learning.records import Best
from gym_vlmrm.learning.running_means import load_means, means_to_store, names_of_means
from gym_vlmrm.learning.stored_policy import load_policy_weights, read_description, write_policy
from gym_vlmrm.learning.whole_state import WholeState, read_state
from gym_vlmrm.task.spec import Recipe
from gym_vlmrm.tensors import load_state, save_state

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = [
    "STATE_FILE", "VERDICT_FILE", "forget_state", "load_whole_state", "read_verdict", "restore", "save_checkpoint",
    "write_verdict",
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
    write_policy(folder, model, recipe, _adapter(model))
    statistics: dict[str, Any] = {} if normalizer is None else means_to_store(normalizer)
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
    if not (folder / "policy.json").exists():  # of any version
        raise RunError(f"{folder / 'policy.json'}: is missing")
    if STATE_FILE not in check_files(folder, spare=(REPLAY_FILE,)) or not (folder / STATE_FILE).exists():
        return None
    try:
        return read_state(load_state(folder / STATE_FILE))
    except _MISFIT as error:
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


def _adapter(model: "BaseAlgorithm") -> Adapter:
    env: Any = model.get_env()
    adapter: Adapter = env.unwrapped.adapter
    return adapter


_RETURNS = ("return_mean", "return_var", "return_count")


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
_MISFIT = (KeyError, ValueError, RuntimeError, AttributeError, TypeError, IndexError, OverflowError)


def _put_training_state(model: Any, state: Any) -> None:
    """Put back what `_training_state` returned; raises one of `_MISFIT`. No other attribute is ever set."""
    modules, variables = model._get_torch_save_params()
    if not (state["modules"].keys() == set(modules) - {"policy"} and state["variables"].keys() <= set(variables)):
        raise ValueError("optimisers or variables of another algorithm")
    model.set_parameters({**model.get_parameters(), **state["modules"]}, exact_match=True)
    for name, value in state["variables"].items():
        if value.shape != getattr(model, name).shape:
            raise ValueError(f"{name} of another shape")
        getattr(model, name).data = value.to(model.device)
    for name, value in state["counters"].items():
        if name not in _COUNTERS or type(value) is not int or not 0 <= value < 2**62:
            raise ValueError(f"no counter: {name} = {value!r:.50}")
        setattr(model, name, value)


def restore(folder: Path, model: "BaseAlgorithm", scale: RewardScale | None = None) -> bool:
    """Put a checkpoint back into an algorithm built from the same recipe; says whether a replay buffer came back too.

    Raises:
        RunError: the checkpoint is damaged or belongs to another recipe or environment.
    """
    check_fit(read_description(folder)[1], _adapter(model), folder)
    load_policy_weights(folder, model)
    state = load_state(folder / "training.safetensors")
    normalizer = model.get_vec_normalize_env()
    names = names_of_means(normalizer) + (() if scale is None else _RETURNS)
    statistics = read_arrays(folder / "normalizer.npz", names) if names else {}
    loaded: Any = model
    try:
        _put_training_state(model, state)
        if normalizer is not None:
            load_means(normalizer, statistics)
        if scale is not None:
            returns: Any = scale.statistics
            returns.mean, returns.var, returns.count = (float(statistics[name]) for name in _RETURNS)
    except _MISFIT as error:
        raise RunError(f"{folder}: does not fit its run ({' '.join(str(error).split())})") from None
    if hasattr(model, "weights"):  # ARS searches over a flat copy of its policy
        loaded.weights = torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()
    stored = (folder / REPLAY_FILE).exists() and hasattr(model, "replay_buffer")
    if stored:
        restore_buffer(folder / REPLAY_FILE, loaded.replay_buffer)
        if not np.isfinite(loaded.replay_buffer.rewards[: loaded.replay_buffer.size()]).all():
            raise RunError(f"{folder / REPLAY_FILE}: a reward is not finite; choose an earlier checkpoint")
    return stored
