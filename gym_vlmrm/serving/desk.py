"""What a reward server does, whatever the transport: prompts in, then frames in and rewards out, for many askers."""

import contextlib
import threading
import time
import warnings
from collections import OrderedDict, deque
from collections.abc import Hashable
from concurrent.futures import Future, InvalidStateError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import VLMRMError
from gym_vlmrm.reward.loading import load_judge
from gym_vlmrm.reward.protocol import RewardModel, is_concurrent, score
from gym_vlmrm.reward.threads import take_torch_threads
from gym_vlmrm.serving.turns import Turns
from gym_vlmrm.task.spec import RewardSpec
from gym_vlmrm.worlds.pools.cores import usable_cores

__all__ = ["MAX_JUDGES", "BusyError", "Desk", "Ticket"]

MAX_JUDGES = 256
"""Sentences, or averages of several, that are kept embedded; older ones are embedded again when they are needed."""
MAX_TOGETHER = 1024
"""Most frames that are scored as one batch, of one request or of several."""
TURN_TOGETHER = 256
"""Most frames of a turn where requests are scored together."""
TURN = 16
"""Most frames of a turn on a CPU. It is what a tower there takes at a time, so turns change no bit of a reward."""
MAX_TICKETS = 512
"""Most requests that wait, each of them with frames."""
MAX_WAITING_FRAMES = 65_536
"""Most frames that wait."""
_FIRST_RATE = 100.0
_LONGEST_WAIT = 30


class BusyError(VLMRMError):
    """Too much waits already. `seconds` is when to come again [s]."""

    def __init__(self, words: str, seconds: int) -> None:
        super().__init__(words)
        self.seconds = seconds


class Ticket:
    """What one request waits for; made by `Desk.ask`."""

    def __init__(
        self, asker: Hashable, judge: RewardModel | RewardSpec, frames: NDArray[np.uint8], turns: deque[slice]
    ) -> None:
        self.asker, self.judge, self.frames = asker, judge, frames
        self.notes: list[str] = []
        """What there is to warn of the prompts; known with the answer."""
        self.answer: Future[NDArray[np.float32]] = Future()
        """Rewards (N,), or what went wrong."""
        self.turns, self.left = turns, len(frames)
        self._rewards = np.zeros(len(frames), np.float32)

    def take(self, rows: slice, rewards: NDArray[np.float32]) -> bool:
        """Take the rewards of some frames; whether those were the last."""
        self._rewards[rows] = rewards
        self.left -= rows.stop - rows.start
        if not self.left:
            self.end(self._rewards)
        return not self.left

    def end(self, outcome: "NDArray[np.float32] | BaseException") -> None:
        """Answer, unless that was done."""
        with contextlib.suppress(InvalidStateError):
            if isinstance(outcome, BaseException):
                self.answer.set_exception(outcome)
            else:
                self.answer.set_result(outcome)


class Desk:
    """One model, held once, that scores by the prompts of whoever asks.

    Requests are cut into turns of few frames, and askers take turns: nobody waits until somebody else's large request
    is through. What nobody waits for any more is not scored. Prompts that are new are embedded by a thread of their
    own, in turns too, so that they hold up nobody whose prompts are known.

    Frames that wait together are scored as one batch, where that is faster: on an accelerator. On a CPU they are
    scored beside each other, one core each, as each would be alone: there, a batch takes as long as its frames, and
    would make the last bits of a reward depend on who else asks at that moment.
    """

    def __init__(self, judge: RewardSpec) -> None:
        """Load the model of a task's section ``reward:``; raises ModelError as `load_reward_model` does."""
        self._spec = judge
        self._judges: OrderedDict[str, tuple[RewardModel, list[str]]] = OrderedDict()
        self._knowing, self._loading = threading.Lock(), threading.Lock()
        self.model = self.judge_by(judge)[0]
        """Holds the weights."""
        self.together = not is_concurrent(self.model)
        self._news = threading.Condition()
        self._waiting: Turns[Ticket] = Turns()
        self._unread: Turns[Ticket] = Turns()
        self._open: dict[Ticket, None] = {}
        self._rate = _FIRST_RATE
        self.requests = self.batches = 0
        self._count = 1 if self.together else usable_cores()
        self._threads = [threading.Thread(target=self._read, name="reading prompts", daemon=True)]
        for number in range(self._count):
            self._threads.append(threading.Thread(target=self._work, name=f"scoring-{number}", daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether its threads work."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def waiting(self) -> tuple[int, int]:
        """Requests that are not answered yet, and those of their frames that are not scored yet."""
        with self._news:
            return len(self._open), sum(ticket.left for ticket in self._open)

    def judge_by(self, judge: RewardSpec) -> tuple[RewardModel, list[str]]:
        """Return the model with other prompts or alpha, and what there is to warn of them.

        Raises:
            ModelError: the prompts do not suit the formula.
        """
        key = _key(judge)
        with self._loading:
            known = self._known(key)
            if known is None:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    model = load_judge(judge)
                known = model, [f"{type(one.message).__name__}: {one.message}" for one in caught]
                with self._knowing:
                    self._judges[key] = known
                    if len(self._judges) > MAX_JUDGES:
                        self._judges.popitem(last=False)
            return known

    def _known(self, key: str) -> tuple[RewardModel, list[str]] | None:
        with self._knowing:
            if key in self._judges:
                self._judges.move_to_end(key)
            return self._judges.get(key)

    def spec_for(self, goal: Any, baseline: Any, alpha: Any) -> RewardSpec:
        """Return this desk's section ``reward:`` with other prompts; raises pydantic's ValidationError."""
        told = self._spec.model_dump()
        return RewardSpec.model_validate({**told, "goal": goal, "baseline": baseline, "alpha": alpha})

    def ask(
        self,
        judge: RewardModel | RewardSpec,
        frames: NDArray[np.uint8],
        asker: Hashable = None,
        *,
        bounded: bool = False,
    ) -> Ticket:
        """Let frames (N, H, W, 3), at least one, wait for their turn.

        Args:
            judge: what `judge_by` returned, or what it would be asked.
            frames: uint8.
            asker: whose requests take turns with each other, and all together with those of other askers.
            bounded: whether it is refused where too much waits.

        Raises:
            BusyError: it is `bounded`, and too much waits, or this asker has half of what may wait already.
        """
        ticket = Ticket(asker, judge, frames, self._turns(len(frames)))
        if isinstance(judge, RewardSpec):
            known = self._known(_key(judge))
            if known is not None:
                ticket.judge, ticket.notes = known
        with self._news:
            if bounded:
                self._check_room(ticket)
            self._open[ticket] = None
            self.requests += 1
            (self._unread if isinstance(ticket.judge, RewardSpec) else self._waiting).put(asker, ticket)
            self._news.notify_all()
        return ticket

    def _turns(self, count: int) -> deque[slice]:
        """Cut N frames: on a CPU first among its cores, as `ScoringTeam` does, so that a lone asker has all of them."""
        size, parts = (TURN_TOGETHER, 1) if self.together else (TURN, min(self._count, count))
        whole, more = divmod(count, parts)
        turns, start = deque[slice](), 0
        for part in range(parts):
            stop = start + whole + (part < more)
            turns.extend(slice(at, min(at + size, stop)) for at in range(start, stop, size))
            start = stop
        return turns

    def _check_room(self, ticket: Ticket) -> None:
        of_asker = [one for one in self._open if one.asker == ticket.asker]
        for waiting, share in ((list(self._open), 1.0), (of_asker, 0.5)):
            frames = sum(one.left for one in waiting)
            if len(waiting) >= share * MAX_TICKETS or frames + ticket.left > share * MAX_WAITING_FRAMES:
                seconds = min(_LONGEST_WAIT, 1 + int(frames / self._rate))
                whose = "wait" if share == 1 else "of yours wait"
                raise BusyError(
                    f"{len(waiting)} requests of {frames:,} frames {whose} already; come again in {seconds} s", seconds
                )

    def drop(self, ticket: Ticket) -> None:
        """Score nothing more for a request that nobody waits for; the turn that is under way ends."""
        with self._news:
            self._open.pop(ticket, None)
            self._unread.drop(ticket.asker, ticket)
            self._waiting.drop(ticket.asker, ticket)
        ticket.answer.cancel()

    def score(self, judge: RewardModel, frames: NDArray[np.uint8], asker: Hashable = None) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 frames (N, H, W, 3), once it was their turn.

        Raises:
            Whatever `gym_vlmrm.reward.protocol.score` raises.
        """
        return self.ask(judge, frames, asker).answer.result()

    def _read(self) -> None:
        """Embed prompts that are new."""
        while True:
            with self._news:
                while (ticket := self._unread.take()) is None:
                    self._news.wait()
            assert isinstance(ticket.judge, RewardSpec)
            try:
                judge, ticket.notes = self.judge_by(ticket.judge)
            except BaseException as error:  # a thread that ended would leave its askers waiting
                self._end(ticket, error)
                continue
            with self._news:
                ticket.judge = judge
                if ticket in self._open:
                    self._waiting.put(ticket.asker, ticket)
                    self._news.notify_all()

    def _work(self) -> None:
        if self._count > 1:
            take_torch_threads(1)
        while True:
            with self._news:
                while not (batch := self._next()):
                    self._news.wait()
                self.batches += 1
            began = time.monotonic()
            try:
                self._score(batch)
            except BaseException as error:
                if len(batch) == 1:
                    self._end(batch[0][0], error)
                else:  # what is wrong with one of them is nothing to the others
                    for one in batch:
                        try:
                            self._score([one])
                        except BaseException as own:
                            self._end(one[0], own)
            count = sum(rows.stop - rows.start for _, rows in batch)
            seconds = max(time.monotonic() - began, 1e-6)
            self._rate += 0.1 * (self._count * count / seconds - self._rate)

    def _score(self, batch: list[tuple[Ticket, slice]]) -> None:
        parts = [ticket.frames[rows] for ticket, rows in batch]
        judge: Any = batch[0][0].judge
        rewards, start = score(judge, parts[0] if len(parts) == 1 else np.concatenate(parts)), 0
        with self._news:
            for (ticket, rows), part in zip(batch, parts, strict=True):
                if ticket.take(rows, rewards[start : start + len(part)]):
                    self._open.pop(ticket, None)
                start += len(part)

    def _end(self, ticket: Ticket, error: BaseException) -> None:
        with self._news:
            self._open.pop(ticket, None)
            self._waiting.drop(ticket.asker, ticket)
        ticket.end(error)

    def _next(self) -> list[tuple[Ticket, slice]]:
        """Take the next turn and, where that is faster, further ones that fit into one batch with it."""
        first = self._take(None)
        if first is None:
            return []
        batch, count = [first], first[1].stop - first[1].start

        def suits(one: Ticket) -> bool:
            fits = one.judge is first[0].judge and one.frames.shape[1:] == first[0].frames.shape[1:]
            return fits and count + one.turns[0].stop - one.turns[0].start <= MAX_TOGETHER

        while self.together and (further := self._take(suits)) is not None:
            batch.append(further)
            count += further[1].stop - further[1].start
        return batch

    def _take(self, suits: Any) -> tuple[Ticket, slice] | None:
        ticket = self._waiting.take(suits)
        if ticket is None:
            return None
        rows = ticket.turns.popleft()
        if ticket.turns:
            self._waiting.put(ticket.asker, ticket)
        return ticket, rows


def _key(judge: RewardSpec) -> str:
    return repr((judge.goals, judge.baselines, judge.alpha))
