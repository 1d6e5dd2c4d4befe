"""What training holds besides policy, optimisers and replay buffer: all that the next step, update or log depends on.

Put back into a training that was built from the same recipe, it goes on as if it had never stopped.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from gym_vlmrm.errors import WorkerError, WorldError
from gym_vlmrm.learning.random_states import put_random_states, random_states
from gym_vlmrm.learning.records import Best

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from gym_vlmrm.learning.setup import Setup

__all__ = [
    "Due", "WholeState", "begin_worlds_anew", "fresh_seed", "learn_from_rollout", "put_state", "read_state",
    "take_state",
]  # fmt: skip


class Due(BaseModel):
    """What a checkpoint still owes: it is made good where a run goes on from there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["rollout", "end", "stop"]
    """Whether it was made after a rollout, after the last step, or because of a stop."""
    verdict: bool = False
    """Whether the policy is to be tried and a row of metrics to be written."""
    update: int | None = None
    """Steps of a rollout that the algorithm has made and not learned from."""
    last_log: int = 0
    last_checkpoint: int = 0


@dataclass(frozen=True)
class WholeState:
    """A state as it lies in a checkpoint."""

    due: Due
    metrics: str
    """``metrics.csv`` until then."""
    best: Best | None
    """``best.json`` until then."""
    worlds: list[Any] | None
    """Of each world; ``None`` where worlds cannot tell theirs and begin anew instead."""
    training: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        best = None if self.best is None else self.best.model_dump(mode="json")
        parts = {"metrics": self.metrics, "best": best, "worlds": self.worlds, "training": self.training}
        return {"format": 1, "due": self.due.model_dump(), **parts}


def read_state(plain: Any) -> WholeState:
    """Return the state of plain data; raises ValueError, KeyError or TypeError where that is none."""
    if plain["format"] != 1:
        raise ValueError("of a later version")
    best = None if plain["best"] is None else Best.model_validate(plain["best"])
    worlds, training = plain["worlds"], plain["training"]
    if not (isinstance(plain["metrics"], str) and isinstance(training, dict) and isinstance(worlds, list | None)):
        raise TypeError("malformed")
    if not (training.keys() >= _PARTS and isinstance(training["last"], dict) and set(_LAST) == training["last"].keys()):
        raise ValueError("a part is missing")
    return WholeState(Due.model_validate(plain["due"]), plain["metrics"], best, worlds, training)


def fresh_seed(seed: int, step: int) -> int:
    """Seed of what begins anew at a step of a run."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0] % 2**31)


_PLAIN = ("_current_progress_remaining", "exploration_rate", "num_timesteps")
_LAST = ("_last_obs", "_last_episode_starts", "_last_original_obs")


_PARTS = {
    "numbers", "last", "memory", "rollout", "noise", "log", "returns", "scale", "late", "statistics", "masks", "random",
}  # fmt: skip


def take_state(setup: "Setup", *, update: bool) -> tuple[dict[str, Any], list[Any] | None]:
    """Return what training holds now, copied, and the state of each world or ``None`` where one cannot tell its own.

    Every reward must have been collected.

    Args:
        setup: what is trained.
        update: whether a rollout is to be learned from that is still in its buffer.

    Raises:
        WorldError: a world fails to tell.
    """
    model: Any = setup.model
    rollout = getattr(model, "rollout_buffer", None) if update else None
    normalizer = model.get_vec_normalize_env()
    lstm = getattr(model, "_last_lstm_states", None)
    training = {
        "numbers": {name: getattr(model, name) for name in _PLAIN if hasattr(model, name)},
        "last": _copied({name: getattr(model, name) for name in _LAST}),
        "memory": None if lstm is None else [[part.clone() for part in pair] for pair in lstm],
        "rollout": None if rollout is None else _copied(_arrays(rollout)),
        "noise": _noise(model),
        "log": {name: float(value) for name, value in model.logger.name_to_value.items() if _is_number(value)},
        "returns": None if normalizer is None else normalizer.returns.copy(),
        "scale": None if setup.scale is None else setup.scale.returns.copy(),
        "late": setup.late.state(),
        "continuation": None if setup.continuation is None else setup.continuation.state(),
        "statistics": setup.statistics.state(),
        "masks": _copied(setup.steps.masks),
        "random": random_states(model.action_space),
    }
    pool: Any = setup.pool
    try:
        worlds = list(pool.get_attr("world_state"))
    except WorkerError:  # what died cannot tell; the policy need not be lost with it
        worlds = [None]
    return training, None if any(world is None for world in worlds) else worlds


def put_state(setup: "Setup", state: WholeState) -> None:
    """Put a state back, all but worlds that must begin anew.

    Raises:
        KeyError, ValueError, TypeError, AttributeError, RuntimeError, WorldError: it does not fit.
    """
    model: Any = setup.model
    pool: Any = setup.pool
    training, steps = state.training, model.num_timesteps
    if state.worlds is not None:
        if len(state.worlds) != pool.num_envs:
            raise WorldError(f"{len(state.worlds)} worlds where there are {pool.num_envs}")
        pool.set_attr("world_state", state.worlds)
        model.env.unwrapped._reset_seeds()  # those of a first reset, which was long ago: ARS resets between episodes
    for name in _PLAIN:
        if name in training["numbers"]:
            setattr(model, name, _like(getattr(model, name), training["numbers"][name]))
    if model.num_timesteps != steps:
        raise ValueError(f"of step {model.num_timesteps:,}, not {steps:,}")
    for name in _LAST:
        setattr(model, name, training["last"][name])
    if training["memory"] is not None:
        pairs = [tuple(part.to(model.device) for part in pair) for pair in training["memory"]]
        model._last_lstm_states = type(model._last_lstm_states)(*pairs)
    if training["rollout"] is not None:
        _put_arrays(model.rollout_buffer, training["rollout"])
    _put_noise(model, training["noise"])
    model.logger.name_to_value.update(training["log"])
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        normalizer.returns = training["returns"]
    if setup.scale is not None:
        setup.scale.returns = training["scale"]
    setup.late.put_state(training["late"])
    if setup.continuation is not None and training.get("continuation") is not None:
        setup.continuation.put_state(training["continuation"])
    setup.statistics.put_state(training["statistics"])
    setup.steps.masks = training["masks"]
    put_random_states(training["random"], model.action_space)


def begin_worlds_anew(setup: "Setup", seed: int) -> None:
    """Reset every world by a seed, as if its episode had been cut off by a time limit just now."""
    model: Any = setup.model
    model.env.seed(seed)
    model._last_obs = model.env.reset()
    model._last_episode_starts = np.ones((setup.pool.num_envs,), dtype=bool)
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        model._last_original_obs = normalizer.get_original_obs()
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None and buffer.size():
        buffer.dones[buffer.pos - 1], buffer.timeouts[buffer.pos - 1] = 1, 1
    if setup.scale is not None:
        setup.scale.returns[:] = 0.0
    setup.statistics.begin_episodes()
    if getattr(model, "action_noise", None) is not None:
        model.action_noise.reset()


def learn_from_rollout(model: "BaseAlgorithm", steps: int, total: int) -> None:
    """Make the update that stable-baselines3 makes after a rollout of so many steps, of `total` in the whole run."""
    learner: Any = model
    if not hasattr(learner, "replay_buffer"):
        learner._update_current_progress_remaining(learner.num_timesteps, total)
        learner.train()
    elif learner.num_timesteps > learner.learning_starts:
        updates = learner.gradient_steps if learner.gradient_steps >= 0 else steps
        if updates > 0:
            learner.train(batch_size=learner.batch_size, gradient_steps=updates)


def _like(old: Any, new: Any) -> Any:
    """A number that comes in the place of another."""
    if not _is_number(new) or not math.isfinite(new) or (type(old) is int and type(new) is not int):
        raise ValueError(f"{new!r:.50} where a number was")
    return new


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value


def _arrays(buffer: Any) -> dict[str, Any]:
    """The arrays of a rollout buffer by attribute, dictionaries of arrays among them, and its position."""
    found: dict[str, Any] = {"pos": buffer.pos, "full": buffer.full}
    for name, value in vars(buffer).items():
        parts = list(value.values()) if isinstance(value, dict) else [value]
        if parts and all(isinstance(part, np.ndarray) for part in parts):
            found[name] = value
    return found


def _put_arrays(buffer: Any, arrays: dict[str, Any]) -> None:
    here = _arrays(buffer)
    for name in here:  # there may be more: what updates have left behind
        if _shapes(here[name]) != _shapes(arrays[name]):
            raise ValueError(f"{name} of another shape")
        setattr(buffer, name, arrays[name])
    buffer.generator_ready = False


def _shapes(value: Any) -> Any:
    return {key: part.shape for key, part in value.items()} if isinstance(value, dict) else np.shape(value)


def _noises(model: Any) -> list[Any]:
    noise = getattr(model, "action_noise", None)
    return list(getattr(noise, "noises", [noise]))


def _noise(model: Any) -> list[Any]:
    """What each source of action noise remembers of its last draw."""
    return [_copied(getattr(noise, "noise_prev", None)) for noise in _noises(model)]


def _put_noise(model: Any, remembered: list[Any]) -> None:
    for noise, last in zip(_noises(model), remembered, strict=True):
        if last is not None:
            noise.noise_prev = last
