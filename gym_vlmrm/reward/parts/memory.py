"""What a reward made of parts remembers of each episode: windows of pictures, held values, last potentials."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import WorldError
from gym_vlmrm.reward.memory import VectorStep
from gym_vlmrm.reward.parts.arithmetic import combined, join_views
from gym_vlmrm.reward.parts.sight import Block, Sight
from gym_vlmrm.task.parts import ShapeSpec, WindowSpec, weight_at
from gym_vlmrm.task.spec import RewardSpec

__all__ = ["PartsMemory"]


class PartsMemory:
    """A `RewardMemory` of N environments; everything is computed row by row, so N changes no bit of a reward."""

    def __init__(self, spec: RewardSpec, sights: Sequence[Sight], num_envs: int) -> None:
        """Prepare for `num_envs` environments; `sights` say how the parts read signals."""
        self.spec, self._sights = spec, tuple(sights)
        self.parts = spec.all_parts
        self.names = tuple(part.name for part in self.parts)
        self.begins = spec.shots.begins
        self.num_envs = num_envs
        self.values = np.zeros((num_envs, len(self.parts)))
        self._seen = np.zeros(num_envs, np.int64)
        self._last = np.zeros((num_envs, len(self.parts) + 1))
        """What the parts that are shaped, and in the last column their sum, were worth at the step before."""
        self._streak = np.zeros(num_envs, np.int64)
        """Steps in a row that were worth enough for ``success_seen``."""
        lengths: dict[Block, int] = {}
        for sight in self._sights:
            if sight.part.window is not None:
                for block in sight.blocks:
                    lengths[block] = max(lengths.get(block, 0), sight.part.window.length)
        self._rings = {
            block: np.zeros((num_envs, length, block.width), np.float32) for block, length in lengths.items()
        }

    def begin(self, envs: NDArray[Any], signals: NDArray[np.float32] | None = None, made: float = 0.0) -> None:
        """Begin new episodes in some environments, with the signals (K, W) of what they begin with if there are any."""
        rows = np.flatnonzero(envs) if envs.dtype == np.bool_ else envs
        self.values[rows], self._last[rows], self._seen[rows], self._streak[rows] = 0.0, 0.0, 0, 0
        if signals is None or not len(rows):
            return
        self._see(rows, signals)
        for index, part in enumerate(self.parts):
            if part.shape is not None:
                self._last[rows, index] = part.weight_at(made) * self.values[rows, index]
        if self.spec.shape is not None:
            self._last[rows, -1] = (self._weight(made) * self._joined(made))[rows]

    def step(self, step: VectorStep) -> NDArray[np.float32]:
        """Return the rewards (N,) of a step.

        Raises:
            WorldError: the environment's own reward is mixed in and is not finite.
        """
        rows = np.flatnonzero(step.scored)
        if len(rows):
            self._see(rows, step.signals)
        if self.spec.success_seen is not None:
            enough = self._joined(step.made) > self.spec.success_seen.above
            self._streak = np.where(step.moved, np.where(enough, self._streak + 1, 0), self._streak)
        rewards = self._weight(step.made) * self._joined(step.made, step)
        if self.spec.shape is not None:
            rewards = self._shaped(self.spec.shape, rewards, -1, step)
        if self.spec.task:
            rewards = rewards + self.spec.task * self._own(step)
        return np.where(step.moved, rewards, 0.0).astype(np.float32)

    def _joined(self, made: float, step: VectorStep | None = None) -> Floats:
        """What the parts add up to (N,), centred and scaled; of a `step` those that have a shape pay by that."""
        terms, weights = [], []
        for index, part in enumerate(self.parts):
            term, weight = self.values[:, index], part.weight_at(made)
            if part.shape is not None and step is not None:
                # The weight belongs to the potential, so that a sum over steps telescopes while it fades.
                term, weight = self._shaped(part.shape, weight * term, index, step), 1.0
            terms.append(term)
            weights.append(weight)
        return self.spec.scale * (combined(self.parts, terms, weights, self.spec.combine) - self.spec.center)

    def _see(self, rows: NDArray[Any], signals: NDArray[np.float32]) -> None:
        """Take in the signals (K, W) of the pictures of some environments."""
        for block, ring in self._rings.items():
            ring[rows, self._seen[rows] % ring.shape[1]] = signals[:, block.start : block.start + block.width]
        self._seen[rows] += 1
        for index, sight in enumerate(self._sights):
            part = sight.part
            if part.window is None:
                told = [signals[:, block.start].astype(np.float64) for block in sight.blocks]
            else:
                told = [self._through_window(sight, block, part.window, rows) for block in sight.blocks]
            self.values[rows, index] = part.scale * (join_views(told, part.views) - part.center)

    def _through_window(self, sight: Sight, block: Block, window: WindowSpec, rows: NDArray[Any]) -> Floats:
        """What a part sees through its window, (K,)."""
        ring = self._rings[block]
        told = np.zeros(len(rows))
        for place, row in enumerate(rows.tolist()):
            seen = int(self._seen[row])
            back = [offset for offset in range(0, window.length, window.stride) if offset < seen]
            pictures = [ring[row, (seen - 1 - offset) % ring.shape[1]].astype(np.float64) for offset in back]
            if window.join == "change":
                told[place] = sight.change(pictures[-1], pictures[0])
            else:
                told[place] = sight.value(sum(pictures[1:], pictures[0]) / len(pictures))
        return told

    @property
    def seen(self) -> NDArray[np.bool_] | None:
        """Whether the judge itself says that the goal is reached (N,)."""
        asked = self.spec.success_seen
        return None if asked is None else self._streak >= asked.hold

    def _own(self, step: VectorStep) -> Floats:
        odd = step.task_rewards[step.moved & ~np.isfinite(step.task_rewards)]
        if odd.size:
            message = f"the environment's own reward is {odd[0]}, and 'reward.task' mixes it in; it must be finite"
            raise WorldError(message, field=("reward", "task"))
        return np.where(step.moved, step.task_rewards, 0.0)

    def _weight(self, made: float) -> float:
        return weight_at(self.spec.weight, self.spec.fade, made)

    def _shaped(self, shape: ShapeSpec, worth: Floats, column: int, step: VectorStep) -> Floats:
        """Pay for a change of worth (N,); a terminal state has a potential of 0, one that time ended has its own."""
        gamma = 1.0
        if shape.kind == "potential":
            assert shape.gamma is not None
            gamma, worth = shape.gamma, np.where(step.terminated, 0.0, worth)
        paid = gamma * worth - self._last[:, column]
        self._last[step.moved, column] = worth[step.moved]
        return paid

    def state(self) -> dict[str, NDArray[Any]]:
        """Return values, last potentials, streaks of success and what the windows hold."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def put_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Remember what `state` returned."""
        for name, array in self._arrays().items():
            if np.shape(state[name]) != array.shape:
                raise ValueError(f"{name} of shape {np.shape(state[name])}, not {array.shape}")
            array[...] = state[name]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """All that is remembered."""
        windows = {f"window{index}": ring for index, ring in enumerate(self._rings.values())}
        return {"values": self.values, "last": self._last, "seen": self._seen, "streak": self._streak, **windows}
