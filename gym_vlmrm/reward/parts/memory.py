"""What a reward made of parts remembers of each episode: windows of pictures, held values, last potentials."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import WorldError
from gym_vlmrm.reward.memory import VectorStep, ended_by_judge
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
        self.ends = spec.success_seen is not None and spec.success_seen.ends
        self._made = 0.0
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
        self.see(rows, signals)
        for index, part in enumerate(self.parts):
            if part.shape is not None:
                self._last[rows, index] = self._weight(made) * part.weight_at(made) * self.values[rows, index]
        if self.spec.shape is not None:
            self._last[rows, -1] = (self._weight(made) * self._joined(made))[rows]

    def step(self, step: VectorStep) -> NDArray[np.float32]:
        """Return the rewards (N,) of a step.

        Raises:
            WorldError: the environment's own reward is mixed in and is not finite.
        """
        rows = np.flatnonzero(step.scored)
        if len(rows):
            self.see(rows, step.signals)
        self._made = step.made
        if self.spec.success_seen is not None:
            enough = self.worth > self.spec.success_seen.above
            self._streak = np.where(step.moved, np.where(enough, self._streak + 1, 0), self._streak)
        if self.ends:
            step = replace(step, terminated=step.terminated | ended_by_judge(self, step.moved))
        if any(part.shape is not None for part in self.parts):
            rewards = self._paid(step)
        else:
            rewards = self._weight(step.made) * self._joined(step.made)
        if self.spec.shape is not None:
            rewards = self._shaped(self.spec.shape, rewards, -1, step)
        if self.spec.task:
            rewards = rewards + self.spec.task * self._own(step)
        return np.where(step.moved, rewards, 0.0).astype(np.float32)

    def _joined(self, made: float) -> Floats:
        """What the parts add up to (N,), centred and scaled."""
        weights = [part.weight_at(made) for part in self.parts]
        joined = combined(self.parts, list(self.values.T), weights, self.spec.combine)
        return self.spec.scale * (joined - self.spec.center)

    def _paid(self, step: VectorStep) -> Floats:
        """What a step pays for a sum (N,) of which some parts are shaped.

        All weights, that of the whole too, belong to the potentials, so that their sum over steps telescopes while
        weights fade.
        """
        whole, terms = self._weight(step.made), []
        for index, part in enumerate(self.parts):
            term = whole * part.weight_at(step.made) * self.values[:, index]
            terms.append(term if part.shape is None else self._shaped(part.shape, term, index, step))
        joined = combined(self.parts, terms, [1.0] * len(terms), self.spec.combine)
        return self.spec.scale * (joined - whole * self.spec.center)

    def see(self, rows: NDArray[Any], signals: NDArray[np.float32]) -> None:
        """Take in the signals (K, W) of the pictures of some environments."""
        for block, ring in self._rings.items():
            ring[rows, self._seen[rows] % ring.shape[1]] = signals[:, block.start : block.start + block.width]
        self._seen[rows] += 1
        for index, part in enumerate(self.parts):
            joined = join_views(self.told(index, rows, signals), part.views)
            self.values[rows, index] = part.scale * (joined - part.center)

    def told(self, index: int, rows: NDArray[Any], signals: NDArray[np.float32]) -> list[Floats]:
        """Return what each camera of a part says (K,) of the latest pictures of some environments, before it is joined.

        Args:
            index: the part's place among `parts`.
            rows: the environments (K,), of which these pictures were seen last.
            signals: of those pictures (K, W).
        """
        sight = self._sights[index]
        if sight.part.window is None:
            return [signals[:, block.start].astype(np.float64) for block in sight.blocks]
        return [self._through_window(sight, block, sight.part.window, rows) for block in sight.blocks]

    def _through_window(self, sight: Sight, block: Block, window: WindowSpec, rows: NDArray[Any]) -> Floats:
        """What a part sees through its window, (K,)."""
        ring = self._rings[block]
        told = np.zeros(len(rows))
        for place, row in enumerate(rows.tolist()):
            seen = int(self._seen[row])
            back = [offset for offset in range(0, window.length, window.stride) if offset < seen]
            pictures = [ring[row, (seen - 1 - offset) % ring.shape[1]].astype(np.float64) for offset in back]
            if window.join == "motion":
                # Before its first picture a body is taken to have stood still.
                film = [*[pictures[-1]] * (window.frames - len(pictures)), *pictures[::-1]]
                told[place] = sight.model.watch(np.stack(film), window.stride * self.spec.every)
            elif window.join == "change":
                told[place] = sight.change(pictures[-1], pictures[0])
            else:
                told[place] = sight.value(sum(pictures[1:], pictures[0]) / len(pictures))
        return told

    @property
    def worth(self) -> Floats:
        """What the parts add up to (N,) at the latest step, centred and scaled."""
        return self._joined(self._made)

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
