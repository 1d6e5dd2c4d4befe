"""What a reward server does, whatever the transport: prompts in, then frames in and rewards out, for many askers."""

import threading
import warnings
from collections import OrderedDict, deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.reward.loading import load_judge
from gym_vlmrm.reward.protocol import RewardModel, is_concurrent, score
from gym_vlmrm.reward.threads import take_torch_threads
from gym_vlmrm.task.spec import RewardSpec
from gym_vlmrm.worlds.pools.cores import usable_cores

__all__ = ["MAX_JUDGES", "Desk"]

MAX_JUDGES = 256
"""Sentences, or averages of several, that are kept embedded; older ones are embedded again when they are needed."""
MAX_TOGETHER = 1024
"""Most frames of requests that are scored as one batch."""


@dataclass
class _Request:
    judge: RewardModel
    frames: NDArray[np.uint8]
    rewards: "Future[NDArray[np.float32]]"


class Desk:
    """One model, held once, that scores by the prompts of whoever asks.

    Requests that wait together are scored as one batch, where that is faster: on an accelerator. On a CPU they are
    scored beside each other, one core each, as each would be alone: there, a batch takes as long as its frames, and
    would make the last bits of a reward depend on who else asks at that moment.
    """

    def __init__(self, judge: RewardSpec) -> None:
        """Load the model of a task's section ``reward:``; raises ModelError as `load_reward_model` does."""
        self._spec = judge
        self._judges: OrderedDict[str, tuple[RewardModel, list[str]]] = OrderedDict()
        self._loading = threading.Lock()
        self.model = self.judge_by(judge)[0]
        """Holds the weights."""
        self.together = not is_concurrent(self.model)
        self._waiting: deque[_Request] = deque()
        self._news = threading.Condition()
        self.requests = self.batches = 0
        self._count = 1 if self.together else usable_cores()
        self._threads: list[threading.Thread] = []
        for number in range(self._count):
            self._threads.append(threading.Thread(target=self._work, name=f"scoring-{number}", daemon=True))
            self._threads[-1].start()

    @property
    def alive(self) -> bool:
        """Whether its threads work."""
        return all(thread.is_alive() for thread in self._threads)

    def judge_by(self, judge: RewardSpec) -> tuple[RewardModel, list[str]]:
        """Return the model with other prompts or alpha, and what there is to warn of them.

        Raises:
            ModelError: the prompts do not suit the formula.
        """
        key = repr((judge.goals, judge.baselines, judge.alpha))
        with self._loading:
            if key not in self._judges:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    model = load_judge(judge)
                said = [f"{type(one.message).__name__}: {one.message}" for one in caught]
                self._judges[key] = model, said
                if len(self._judges) > MAX_JUDGES:
                    self._judges.popitem(last=False)
            self._judges.move_to_end(key)
            return self._judges[key]

    def spec_for(self, goal: Any, baseline: Any, alpha: Any) -> RewardSpec:
        """Return this desk's section ``reward:`` with other prompts; raises pydantic's ValidationError."""
        told = self._spec.model_dump()
        return RewardSpec.model_validate({**told, "goal": goal, "baseline": baseline, "alpha": alpha})

    def score(self, judge: RewardModel, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 frames (N, H, W, 3), once it is their turn.

        On a CPU several frames are split among the cores, as `ScoringTeam` does.

        Raises:
            Whatever `gym_vlmrm.reward.protocol.score` raises.
        """
        parts = [frames] if self.together else np.array_split(frames, min(self._count, len(frames)))
        requests = [_Request(judge, part, Future()) for part in parts]
        with self._news:
            self._waiting.extend(requests)
            self._news.notify(len(requests))
        return np.concatenate([request.rewards.result() for request in requests])

    def _work(self) -> None:
        if self._count > 1:
            take_torch_threads(1)
        while True:
            with self._news:
                while not self._waiting:
                    self._news.wait()
                batch = self._next()
                self.requests += len(batch)
                self.batches += 1
            try:
                frames = batch[0].frames if len(batch) == 1 else np.concatenate([one.frames for one in batch])
                rewards = score(batch[0].judge, frames)
            except BaseException as error:  # a thread that ended would leave its askers waiting
                for one in batch:
                    one.rewards.set_exception(error)
                continue
            start = 0
            for one in batch:
                one.rewards.set_result(rewards[start : start + len(one.frames)])
                start += len(one.frames)

    def _next(self) -> list[_Request]:
        """Take the oldest request and, where that is faster, those that wait and fit into one batch with it."""
        first = self._waiting.popleft()
        batch, count = [first], len(first.frames)
        for one in list(self._waiting) if self.together else ():
            fits = one.judge is first.judge and one.frames.shape[1:] == first.frames.shape[1:]
            if fits and count + len(one.frames) <= MAX_TOGETHER:
                self._waiting.remove(one)
                batch.append(one)
                count += len(one.frames)
        return batch
