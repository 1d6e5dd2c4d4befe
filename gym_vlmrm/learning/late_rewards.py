"""Rewards that arrive late: background threads score frames in large batches while the environments go on."""

import collections
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.learning.frame_watch import FrameWatch
from gym_vlmrm.learning.moments import Lately, Moments
from gym_vlmrm.reward.protocol import RewardModel
from gym_vlmrm.reward.scoring import ScoringTeam
from gym_vlmrm.worlds.frames import is_scored

__all__ = ["LateRewards", "ScoredSteps"]

BATCH_FRAMES = 64
"""Frames scored in one forward pass."""
BATCH_FRAMES_PER_CORE = 16
"""The same where cores share the work: larger ones are no faster there, and the last ones leave a core idle."""
WAITING_FRAMES = 512
"""Frames that may wait; then the environments do, so that frames never fill the memory."""


@dataclass(frozen=True)
class ScoredSteps:
    """Vector steps whose rewards are known, in the order in which they were made."""

    rewards: NDArray[np.float32]
    """Rewards (T, N) of T steps of N environments; a step that was not scored holds the last reward of its episode."""
    dones: NDArray[np.bool_]
    """Whether each step ended its episode (T, N)."""


class LateRewards:
    """Queue between environments and buffers: `submit` frames step by step, `collect` all rewards since the last time.

    Batches are cut by count, never by time, so equal steps give equal rewards to the last bit.
    """

    def __init__(
        self,
        reward_model: RewardModel,
        num_envs: int,
        every: int = 1,
        batch_frames: int | None = None,
        remembered: int = 1,
    ) -> None:
        """Prepare the queue.

        Args:
            reward_model: scores frames.
            num_envs: number of environments.
            every: every k-th frame of an episode is scored.
            batch_frames: frames of one forward pass; chosen by the number of threads if not given.
            remembered: the last frames of an episode that `moments` looks at.
        """
        self.num_envs = num_envs
        self.every = every
        self._watch = FrameWatch(num_envs)
        self._team = ScoringTeam(reward_model, yielding=True)
        self.batch_frames = batch_frames or (BATCH_FRAMES if self._team.threads == 1 else BATCH_FRAMES_PER_CORE)
        self._step = np.zeros(num_envs, dtype=np.int64)  # steps made in each environment's episode
        self._held = np.zeros(num_envs, dtype=np.float32)  # last reward in each environment's episode
        self._lately = Lately(num_envs, remembered)
        self._rows: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []  # (scored, dones) of pending steps
        self._gathered: list[NDArray[np.uint8]] = []
        self._num_gathered = 0
        self._batches: list[Future[NDArray[np.float32]]] = []  # since the last `collect`, in order
        self._waiting: collections.deque[Future[NDArray[np.float32]]] = collections.deque()  # maybe not done

    @property
    def pending(self) -> int:
        """Vector steps submitted since the last `collect`."""
        return len(self._rows)

    def submit(self, frames: NDArray[np.uint8], dones: NDArray[np.bool_]) -> None:
        """Take the frames (N, H, W, 3) that one vector step led to; frames of steps that are not scored are ignored.

        Args:
            frames: each environment's picture of this transition, the terminal one where the episode ended. Not kept.
            dones: whether each environment's episode ended (N,).

        Raises:
            Whatever the reward model raised on an earlier batch.
        """
        self._step += 1
        scored = np.asarray(is_scored(self._step, self.every))  # type: ignore[arg-type]
        self._rows.append((scored, dones.copy()))
        self._step[dones] = 0
        if scored.any():
            picked = frames[scored]
            self._watch.see(np.flatnonzero(scored), picked)
            self._gathered.append(picked)
            self._num_gathered += int(scored.sum())
        self._watch.end_episodes(np.flatnonzero(dones))
        while self._num_gathered >= self.batch_frames:
            self._submit(self._take(self.batch_frames))

    def collect(self) -> ScoredSteps:
        """Wait until every submitted frame is scored, and return the steps since the last call.

        Raises:
            Whatever the reward model raised.
        """
        scores = self._scores()
        self._batches = []
        rows, self._rows = self._rows, []
        self._watch.hear(scores, sum(int(dones.sum()) for _, dones in rows))
        rewards = np.zeros((len(rows), self.num_envs), np.float32)
        used = 0
        for index, (scored, _) in enumerate(rows):
            count = int(scored.sum())
            self._held[scored] = scores[used : used + count]
            used += count
            rewards[index] = self._held
        self._lately.add(rows, scores)
        dones = np.array([dones for _, dones in rows], dtype=np.bool_).reshape(len(rows), self.num_envs)
        return ScoredSteps(rewards, dones)

    def moments(self) -> Moments:
        """Wait until every submitted frame is scored, and say how each episode goes that the last step belongs to.

        That is said also of an episode which that step ended. `collect` returns the same as without this call but for
        the last bits, since fewer frames may go through the model together.

        Raises:
            Whatever the reward model raised.
        """
        lately = self._lately.copy()
        lately.add(self._rows, self._scores())
        return lately.moments()

    def _scores(self) -> NDArray[np.float32]:
        """Wait for the scores of all frames since the last `collect`, in order."""
        if self._num_gathered:  # no core shall wait for the last ones
            for part in self._team.split(self._take(self._num_gathered)):
                self._submit(part)
        batches = [batch.result() for batch in self._batches]
        self._waiting = collections.deque()
        return np.concatenate(batches) if batches else np.zeros(0, np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what is remembered of each environment's episode; call it when nothing is pending."""
        return {"step": self._step.copy(), "held": self._held.copy(), **self._lately.state()}

    def put_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Forget pending steps and remember what `state` returned; raises KeyError or ValueError where it is none."""
        self.restart()
        self._step[:], self._held[:] = state["step"], state["held"]
        if "scores" in state:  # runs of 0.1.0 remember no more than the last
            self._lately.put_state(state)

    def restart(self) -> None:
        """Forget pending steps; every environment begins a new episode."""
        for batch in self._batches:
            batch.cancel()
        self._batches, self._waiting = [], collections.deque()
        self._gathered, self._num_gathered, self._rows = [], 0, []
        self._step[:] = 0
        self._lately.forget()
        self._watch.begin_episodes()

    def close(self) -> None:
        """Stop the threads."""
        self._team.close()

    def __enter__(self) -> "LateRewards":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _take(self, count: int) -> NDArray[np.uint8]:
        """Return exactly `count` of the gathered frames."""
        frames = self._gathered[0] if len(self._gathered) == 1 else np.concatenate(self._gathered)
        self._gathered = [frames[count:]] if count < len(frames) else []
        self._num_gathered -= count
        return frames[:count]

    def _submit(self, frames: NDArray[np.uint8]) -> None:
        """Hand frames to the team; wait while too many wait already, and raise what an earlier batch raised."""
        most = max(1, WAITING_FRAMES // self.batch_frames)
        while self._waiting and (self._waiting[0].done() or len(self._waiting) >= most):
            self._waiting.popleft().result()
        batch = self._team.submit(frames)
        self._batches.append(batch)
        self._waiting.append(batch)
