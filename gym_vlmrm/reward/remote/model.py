"""The reward of a judge behind HTTP: frames go there, several requests at a time, and rewards come back."""

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.notices import first_to_say
from gym_vlmrm.reward.protocol import check_frames, check_rewards, check_sides
from gym_vlmrm.reward.remote.connection import Connection
from gym_vlmrm.reward.remote.schema import MAX_BYTES, Asked, Facts, SchemaError, frames_at_once

__all__ = ["RemoteReward"]

AT_ONCE = 8
"""Requests that are under way at a time, so that the server's replicas all have something to do."""


class RemoteReward:
    """A `RewardModel` whose weights are elsewhere.

    What the server says of itself is pinned at the first contact: an answer of other weights, or in other arithmetic,
    is an error, so that one run is never judged by two.
    """

    concurrent = False  # batches are cut as for an accelerator; `submit` sends several at a time
    small = False

    def __init__(self, model: str, goal: Sequence[str], baseline: Sequence[str] | None = None, alpha: float = 0.0):
        """Ask the server what it is; raises ModelError where none answers, or not as one of this version."""
        self.name, self.alpha = model, alpha
        self._goal, self._baseline = list(goal), list(baseline or [])
        self._connection, self._pid = Connection(model), os.getpid()
        self._team: ThreadPoolExecutor | None = None
        self.facts: Facts = self._connection.model()
        self.frame_size, self.weights_digest = self.facts.frame_size, self.facts.weights_digest
        self.precision, self.device = self.facts.precision, f"{self.facts.device} of {model}"
        # So that prompts that it cannot take are refused now, and notes of them are read now.
        self(np.full((1, 16, 16, 3), 127, np.uint8))

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 RGB frames (N, H, W, 3).

        Raises:
            ModelError: they are no such frames, have too long a side, the server refuses them, answers with other
                weights than before, or is gone for longer than ``GYM_VLMRM_TIMEOUT``.
        """
        frames = check_frames(frames)
        check_sides(*frames.shape[1:3])
        if not len(frames):
            return np.zeros(0, np.float32)
        most = frames_at_once(frames)
        if not most:
            raise ModelError(f"a frame of shape {frames.shape[1:]} is more than the {MAX_BYTES:,} bytes of a request")
        parts = [self._ask(frames[start : start + most]) for start in range(0, len(frames), most)]
        return check_rewards(np.concatenate(parts), len(frames), self.name)

    def submit(self, frames: NDArray[np.uint8]) -> "Future[NDArray[np.float32]]":
        """Score frames beside others; the result is what calling with them returns or raises."""
        if self._team is None or self._pid != os.getpid():  # a fork copies no threads
            self._pid = os.getpid()
            self._team = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="asking")
        return self._team.submit(self, frames)

    def _ask(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            asked = Asked(self._goal, self._baseline, self.alpha, frames)
            facts, rewards, notes = self._connection.rewards(asked)
        except SchemaError as error:
            raise ModelError(f"'{self.name}' cannot be asked: {error}") from None
        for name in ("weights_digest", "precision", "model"):
            before, now = getattr(self.facts, name), getattr(facts, name)
            if now != before:
                raise ModelError(
                    f"'{self.name}' answers with another {name.replace('_', ' ')} ({now:.16}) than before "
                    f"({before:.16}); two judges are never mixed in one run: start that server with the first model"
                )
        for note in notes:
            if first_to_say(f"{self.name}: {note}"):
                warnings.warn(f"'{self.name}' says: {note}", UserWarning, stacklevel=4)
        return check_rewards(rewards, len(frames), self.name)

    def close(self) -> None:
        """End the threads and connections."""
        if self._team is not None and self._pid == os.getpid():
            self._team.shutdown(wait=False, cancel_futures=True)
        self._team = None
        self._connection.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteReward, (self.name, self._goal, self._baseline, self.alpha)
