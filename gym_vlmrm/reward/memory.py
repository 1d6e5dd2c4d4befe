"""What a reward remembers of each environment's episode: the one place where steps become rewards, in order.

One environment, a vector of them and late rewards in training all ask the same memory, so they pay the same.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.reward.protocol import RewardModel

__all__ = ["HeldReward", "RewardMemory", "VectorStep", "memory_of"]


@dataclass(frozen=True, slots=True)
class VectorStep:
    """One step of N environments, once its pictures are scored."""

    scored: NDArray[np.bool_]
    """Whose pictures were scored (N,); what others are worth is held."""
    signals: NDArray[np.float32]
    """What the model told of them (K,) or (K, W), in order."""
    moved: NDArray[np.bool_]
    """Who made a transition (N,): all but those that an automatic reset took the step of."""
    terminated: NDArray[np.bool_]
    """Whose episode reached a terminal state (N,); one that only time ended did not."""
    task_rewards: NDArray[np.float64]
    """The environments' own rewards (N,)."""
    made: float = 0.0
    """Environment steps of training made before this one; ``inf`` at the end of all."""


class RewardMemory(Protocol):
    """State over the episodes of N environments."""

    names: tuple[str, ...]
    """Of the parts; empty where the reward is plain."""
    begins: bool
    """Whether `begin` needs signals of what episodes begin with."""
    values: NDArray[np.float64]
    """What each part is worth at the latest step (N, P)."""
    seen: NDArray[np.bool_] | None
    """Whether the judge itself says that the goal is reached (N,); ``None`` where nobody asked it."""

    def begin(self, envs: NDArray[Any], signals: NDArray[np.float32] | None = None, made: float = 0.0) -> None:
        """Begin new episodes in some environments, given by index or mask."""
        ...

    def step(self, step: VectorStep) -> NDArray[np.float32]:
        """Return the rewards (N,) of a step; 0 where there was no transition."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that is remembered, copied."""
        ...

    def put_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Remember what `state` returned; raises KeyError or ValueError where it is none of such a reward."""
        ...


class HeldReward:
    """Memory of a plain reward: what the model says is held until it says something else."""

    names: tuple[str, ...] = ()
    begins = False
    seen: NDArray[np.bool_] | None = None

    def __init__(self, num_envs: int) -> None:
        self._held = np.zeros(num_envs, np.float32)
        self.values = np.zeros((num_envs, 0))

    def begin(self, envs: NDArray[Any], signals: NDArray[np.float32] | None = None, made: float = 0.0) -> None:
        """Forget the rewards of some environments."""
        self._held[envs] = 0.0

    def step(self, step: VectorStep) -> NDArray[np.float32]:
        """Return the rewards (N,)."""
        self._held[step.scored] = step.signals
        return self._held.copy()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the rewards that are held."""
        return {"held": self._held.copy()}

    def put_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Hold what `state` returned."""
        self._held[:] = state["held"]


def memory_of(model: RewardModel, num_envs: int) -> RewardMemory:
    """Return a memory for the rewards of a model.

    Raises:
        TaskError: the model's potential shaping was never told the algorithm's gamma.
    """
    make = getattr(model, "memory", None)
    made: RewardMemory = HeldReward(num_envs) if make is None else make(num_envs)
    return made
