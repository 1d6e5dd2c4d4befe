"""Replay and rollout buffers of stable-baselines3 whose rewards are filled in late."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.running_mean_std import RunningMeanStd

from gym_vlmrm.learning.late_rewards import LateRewards, ScoredSteps

__all__ = ["RewardScale", "RewardSource", "late_class"]


class RewardScale:
    """Scales rewards by the running standard deviation of the discounted return."""

    def __init__(self, num_envs: int, gamma: float, clip: float = 10.0) -> None:
        self.gamma = gamma
        self.clip = clip
        self.statistics = RunningMeanStd(shape=())
        self.returns = np.zeros(num_envs)
        """Discounted return of each environment's episode so far (N,)."""

    def __call__(self, steps: ScoredSteps) -> NDArray[np.float32]:
        """Take in the steps and return their scaled rewards (T, N)."""
        for rewards, dones in zip(steps.rewards, steps.dones, strict=True):
            self.returns = self.returns * self.gamma + rewards
            self.statistics.update(self.returns)
            self.returns[dones] = 0.0
        scaled = steps.rewards / np.sqrt(self.statistics.var + 1e-8)
        return np.clip(scaled, -self.clip, self.clip).astype(np.float32)


class RewardSource:
    """What a buffer asks for rewards: late rewards, their optional scale, and whoever listens (the statistics)."""

    def __init__(self, late: LateRewards, scale: RewardScale | None = None) -> None:
        self.late = late
        self.scale = scale
        self.listeners: list[Callable[[ScoredSteps], None]] = []

    def collect(self) -> NDArray[np.float32]:
        """Return the rewards (T, N) of all steps since the last call, as the algorithm shall see them."""
        steps = self.late.collect()
        for listener in self.listeners:
            listener(steps)
        return self.scale(steps) if self.scale is not None else steps.rewards


class _LateReplay:
    """Mixin for replay buffers: rewards are filled in before the first sample that could need them."""

    def __init__(self, *args: Any, source: RewardSource, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.source = source
        self._unfilled: list[int] = []

    def add(self: Any, *args: Any, **kwargs: Any) -> None:
        self._unfilled.append(self.pos)
        super().add(*args, **kwargs)  # type: ignore[misc]

    def sample(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.fill()
        return super().sample(*args, **kwargs)  # type: ignore[misc]

    def fill(self: Any) -> None:
        """Write the rewards of all transitions added since the last call."""
        rewards = self.source.collect()
        positions, self._unfilled = self._unfilled, []
        if len(rewards) != len(positions):
            raise RuntimeError(f"{len(rewards)} rewards for {len(positions)} transitions")
        # A ring that wrapped around keeps the newest transition of each position.
        newest = slice(max(0, len(positions) - self.buffer_size), None)
        self.rewards[positions[newest]] = rewards[newest]


class _LateRollout:
    """Mixin for rollout buffers: rewards are filled in before the advantages are computed."""

    source: RewardSource

    def __init__(self, *args: Any, source: RewardSource, **kwargs: Any) -> None:
        self.source = source
        super().__init__(*args, **kwargs)

    def compute_returns_and_advantage(self: Any, *args: Any, **kwargs: Any) -> None:
        # Added, not written: SB3 has already put the bootstrap value of truncated steps there.
        self.rewards += self.source.collect()
        super().compute_returns_and_advantage(*args, **kwargs)  # type: ignore[misc]


@cache
def late_class(buffer_class: Any) -> type[Any]:
    """Return the subclass of a buffer class that takes ``source=RewardSource`` and fills its rewards late."""
    mixin = _LateReplay if issubclass(buffer_class, ReplayBuffer) else _LateRollout
    assert issubclass(buffer_class, ReplayBuffer | RolloutBuffer)
    return type(f"Late{buffer_class.__name__}", (mixin, buffer_class), {})
