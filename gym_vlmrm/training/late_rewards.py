"""Rewards that arrive late: a background thread scores frames in large batches while the environments go on."""

import queue
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.frames import is_scored
from gym_vlmrm.reward.protocol import RewardModel, check_rewards

__all__ = ["LateRewards", "ScoredSteps"]

BATCH_FRAMES = 64
"""Frames scored in one forward pass."""
WAITING_BATCHES = 8
"""Batches that may wait; then the environments do, so that frames never fill the memory."""


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
        batch_frames: int = BATCH_FRAMES,
    ) -> None:
        self.reward_model = reward_model
        self.num_envs = num_envs
        self.every = every
        self.batch_frames = batch_frames
        self._step = np.zeros(num_envs, dtype=np.int64)  # steps made in each environment's episode
        self._held = np.zeros(num_envs, dtype=np.float32)  # last reward in each environment's episode
        self._rows: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []  # (scored, dones) of pending steps
        self._gathered: list[NDArray[np.uint8]] = []
        self._num_gathered = 0
        self._batches: queue.Queue[NDArray[np.uint8] | None] = queue.Queue(maxsize=WAITING_BATCHES)
        self._scores: list[NDArray[np.float32]] = []
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

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
            self._gathered.append(frames[scored])
            self._num_gathered += int(scored.sum())
        while self._num_gathered >= self.batch_frames:
            self._send(self.batch_frames)

    def collect(self) -> ScoredSteps:
        """Wait until every submitted frame is scored, and return the steps since the last call.

        Raises:
            Whatever the reward model raised.
        """
        while self._num_gathered:
            self._send(min(self._num_gathered, self.batch_frames))
        self._batches.join()
        self._check()
        scores = np.concatenate(self._scores) if self._scores else np.zeros(0, np.float32)
        self._scores = []
        rows, self._rows = self._rows, []
        rewards = np.zeros((len(rows), self.num_envs), np.float32)
        used = 0
        for index, (scored, _) in enumerate(rows):
            count = int(scored.sum())
            self._held[scored] = scores[used : used + count]
            used += count
            rewards[index] = self._held
        dones = np.array([dones for _, dones in rows], dtype=np.bool_).reshape(len(rows), self.num_envs)
        return ScoredSteps(rewards, dones)

    def restart(self) -> None:
        """Forget pending steps; every environment begins a new episode."""
        self._gathered, self._num_gathered = [], 0
        self._batches.join()
        self._scores, self._rows = [], []
        self._step[:] = 0

    def close(self) -> None:
        """Stop the thread."""
        if self._thread is not None and self._thread.is_alive():
            self._batches.put(None)
            self._thread.join(timeout=60)
        self._thread = None

    def __enter__(self) -> "LateRewards":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _send(self, count: int) -> None:
        """Hand exactly `count` gathered frames to the thread."""
        self._check()
        frames = self._gathered[0] if len(self._gathered) == 1 else np.concatenate(self._gathered)
        self._gathered = [frames[count:]] if count < len(frames) else []
        self._num_gathered -= count
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="late-rewards", daemon=True)
            self._thread.start()
        self._batches.put(frames[:count])

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while True:
            frames = self._batches.get()
            try:
                if frames is None:
                    return
                if self._failure is None:
                    rewards = np.asarray(self.reward_model(frames), dtype=np.float32)
                    self._scores.append(check_rewards(rewards, len(frames), self.reward_model.name))
            except BaseException as error:  # whatever it was, the main thread raises it
                self._failure = error
            finally:
                del frames
                self._batches.task_done()
