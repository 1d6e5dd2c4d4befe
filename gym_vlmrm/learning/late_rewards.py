"""Rewards that arrive late: background threads score frames in large batches while the environments go on."""

import collections
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.learning.frame_watch import FrameWatch
from gym_vlmrm.learning.moments import Lately, Moments
from gym_vlmrm.reward.memory import VectorStep, memory_of
from gym_vlmrm.reward.protocol import RewardModel
from gym_vlmrm.reward.scoring import ScoringTeam
from gym_vlmrm.worlds.cameras import main_pictures
from gym_vlmrm.worlds.frames import is_scored

__all__ = ["Asking", "LateRewards", "ScoredSteps"]

BATCH_FRAMES = 64
"""Frames scored in one forward pass."""
BATCH_FRAMES_PER_CORE = 16
"""The same where cores share the work: larger ones are no faster there, and the last ones leave a core idle."""
WAITING_FRAMES = 512
"""Frames that may wait; then the environments do, so that frames never fill the memory."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How often the judge was asked, where ``reward.ask`` says seldom."""

    frames: int
    """Frames drawn and judged of these steps."""
    of: int
    """Frames that would have been."""
    total: int
    """Frames drawn and judged since training began."""
    error: float | None
    """What the network that answers for the others is wrong by, in standard deviations of the judge's rewards."""


@dataclass(frozen=True)
class ScoredSteps:
    """Vector steps whose rewards are known, in the order in which they were made."""

    rewards: NDArray[np.float32]
    """Rewards (T, N) of T steps of N environments; a step that was not scored holds the last reward of its episode."""
    dones: NDArray[np.bool_]
    """Whether each step ended its episode (T, N)."""
    parts: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """What each part of the reward was worth (T, N), by name; empty where the reward is plain."""
    seen: NDArray[np.bool_] | None = None
    """Whether the judge itself saw the goal reached (T, N), where it was asked."""
    asking: Asking | None = None
    """How often the judge was asked; ``None`` where always."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A vector step whose pictures are on their way."""

    scored: NDArray[np.bool_]
    dones: NDArray[np.bool_]
    terminated: NDArray[np.bool_]
    task_rewards: NDArray[np.float64]
    made: float


@dataclass(frozen=True, slots=True)
class _Beginning:
    """Environments (N,) that begin an episode; of a plain reward nobody needs to know."""

    envs: NDArray[np.bool_]
    seen: bool
    """Whether pictures of that are on their way."""
    made: float


class LateRewards:
    """Queue between environments and buffers: `submit` frames step by step, `collect` all rewards since the last time.

    Batches are cut by count, never by time, so equal steps give equal rewards to the last bit.
    """

    asks = False
    """Whether the judge is asked seldom (see `gym_vlmrm.learning.asking`)."""

    def __init__(
        self,
        reward_model: RewardModel,
        num_envs: int,
        every: int = 1,
        batch_frames: int | None = None,
        *,
        made: float = 0.0,
        remembered: int | None = None,
    ) -> None:
        """Prepare the queue; threads start with the first frames.

        Args:
            reward_model: scores frames.
            num_envs: environments N.
            every: every k-th frame of an episode is scored.
            batch_frames: frames of one forward pass; chosen by the number of threads if not given.
            made: environment steps of training made before, by which weights fade; ``inf`` takes the last weights.
            remembered: the last scored steps of an episode that `moments` looks at; one, of a plain reward, if not
                given.
        """
        self.num_envs = num_envs
        self.every = every
        self._watch = FrameWatch(num_envs)
        self._team = ScoringTeam(reward_model, yielding=True)
        self.batch_frames = batch_frames or (BATCH_FRAMES if self._team.threads == 1 else BATCH_FRAMES_PER_CORE)
        self._step = np.zeros(num_envs, dtype=np.int64)  # steps made in each environment's episode
        self.made = made
        self._memory = memory_of(reward_model, num_envs)
        self._lately = Lately(num_envs, remembered or 1)
        self._tells = remembered is not None or not self._memory.names
        self._settled: list[tuple[ScoredSteps, NDArray[np.float32]]] = []
        """Steps since the last `collect` whose rewards are known, and what the `FrameWatch` is to hear of them."""
        self._rows: list[_Step | _Beginning] = []  # pending, in order
        self.asking: Asking | None = None
        """Of the steps collected last."""
        self._gathered: list[NDArray[np.uint8]] = []
        self._num_gathered = 0
        self._batches: list[Future[NDArray[np.float32]]] = []  # since the last `collect`, in order
        self._waiting: collections.deque[Future[NDArray[np.float32]]] = collections.deque()  # maybe not done

    @property
    def pending(self) -> int:
        """Vector steps submitted since the last `collect`."""
        return sum(isinstance(row, _Step) for row in self._rows) + sum(len(steps.dones) for steps, _ in self._settled)

    @property
    def begins(self) -> bool:
        """Whether the reward needs pictures of what episodes begin with."""
        return self._memory.begins

    @property
    def ends(self) -> bool:
        """Whether the judge's verdict ends episodes; then `ended` must be asked after each step."""
        return self._memory.ends

    def begin(self, frames: NDArray[np.uint8], envs: NDArray[np.bool_] | None = None) -> None:
        """Begin episodes of a reward made of parts; a plain one needs nobody to say so.

        Args:
            frames: the pictures (K, ...) of what they begin with; ignored where the reward does not need them.
            envs: the environments (N,), all if not given, after a reset of all of them.

        Raises:
            Whatever the reward model raised on an earlier batch.
        """
        if envs is None and not self.begins:
            return
        if self._memory.names:
            everybody = np.ones(self.num_envs, np.bool_) if envs is None else envs.copy()
            self._rows.append(_Beginning(everybody, self.begins, self.made))
            if self.begins:
                self._gather(frames)
                self._submit_batches()

    def submit(
        self,
        frames: NDArray[np.uint8],
        dones: NDArray[np.bool_],
        *,
        terminated: NDArray[np.bool_] | None = None,
        task_rewards: NDArray[np.float64] | None = None,
    ) -> None:
        """Take the frames (N, H, W, 3) that one vector step led to; frames of steps that are not scored are ignored.

        Episodes of rewards made of parts are the same ones until `begin` says otherwise.

        Args:
            frames: each environment's picture of this transition, the terminal one where the episode ended. Not kept.
                Of a reward that looks through several cameras (N, C, H, W, 3).
            dones: whether each environment's episode ended (N,).
            terminated: whether it ended in a terminal state (N,); in none if not given.
            task_rewards: the environments' own rewards (N,); 0 if not given.

        Raises:
            Whatever the reward model raised on an earlier batch.
        """
        self._step += 1
        scored = np.asarray(is_scored(self._step, self.every))  # type: ignore[arg-type]
        ends = np.zeros(self.num_envs, np.bool_) if terminated is None else terminated.copy()
        own = np.zeros(self.num_envs) if task_rewards is None else task_rewards.copy()
        self._rows.append(_Step(scored, dones.copy(), ends, own, self.made))
        self.made += self.num_envs
        self._step[dones] = 0
        if scored.any():
            self._take_frames(scored, frames)
        self._watch.end_episodes(np.flatnonzero(dones))
        self._submit_batches()

    def ended(self) -> NDArray[np.bool_]:
        """Wait until every submitted frame is scored, and say whose episodes the judge ends in the last step (N,).

        Raises:
            Whatever the reward model raised.
        """
        self._settle()
        steps, _ = self._settled[-1]
        assert steps.seen is not None, "nobody asked the judge for a verdict"
        return np.array(steps.seen[-1], np.bool_)

    def end(self, envs: NDArray[np.bool_]) -> None:
        """End the episodes of some environments (N,) with the last step, which `ended` was asked about."""
        self._settled[-1][0].dones[-1] |= envs
        self._step[envs] = 0
        self._lately.end(envs)
        self._watch.end_episodes(np.flatnonzero(envs))

    def _take_frames(self, scored: NDArray[np.bool_], frames: NDArray[np.uint8]) -> None:
        """Take the frames of the environments that are scored (N,) in this step."""
        picked = frames[scored]
        self._watch.see(np.flatnonzero(scored), main_pictures(picked))
        self._gather(picked)

    def _gather(self, frames: NDArray[np.uint8]) -> None:
        self._gathered.append(frames)
        self._num_gathered += len(frames)

    def _submit_batches(self) -> None:
        while self._num_gathered >= self.batch_frames:
            self._submit(self._take(self.batch_frames))

    def collect(self) -> ScoredSteps:
        """Wait until every submitted frame is scored, and return the steps since the last call.

        Raises:
            Whatever the reward model raised.
        """
        self._settle()
        settled, self._settled = self._settled, []
        steps = settled[0][0] if len(settled) == 1 else _joined([piece for piece, _ in settled])
        self._watch.hear(np.concatenate([heard for _, heard in settled]), int(steps.dones.sum()))
        return steps

    def _settle(self) -> None:
        """Wait until every submitted frame is scored, and reward the steps that they are of."""
        signals = self._scores()
        self._batches = []
        rows, self._rows = self._rows, []
        steps = [row for row in rows if isinstance(row, _Step)]
        rewards = np.zeros((len(steps), self.num_envs), np.float32)
        values = np.zeros((len(steps), *self._memory.values.shape))
        seen = np.zeros((len(steps), self.num_envs), np.bool_)
        everybody = np.ones(self.num_envs, np.bool_)
        worths: list[NDArray[np.floating[Any]]] = []
        used = index = 0
        for row in rows:
            if isinstance(row, _Beginning):
                count = int(row.envs.sum()) if row.seen else 0
                self._memory.begin(row.envs, signals[used : used + count] if row.seen else None, row.made)
            else:
                count = int(row.scored.sum())
                told = signals[used : used + count]
                step = VectorStep(row.scored, told, everybody, row.terminated, row.task_rewards, row.made)
                rewards[index] = self._memory.step(step)
                values[index] = self._memory.values
                if self._memory.seen is not None:
                    seen[index] = self._memory.seen
                if self._tells and self._memory.names:
                    worths.append(self._memory.worth[row.scored])
                index += 1
            used += count
        dones = np.array([step.dones for step in steps], dtype=np.bool_).reshape(len(steps), self.num_envs)
        scored = np.array([step.scored for step in steps], bool).reshape(len(steps), self.num_envs)
        if self._tells:
            worth: NDArray[Any] = np.concatenate([np.zeros(0), *worths]) if self._memory.names else signals
            self._lately.add(zip(scored, dones, strict=True), worth)
        parts = {name: values[..., place] for place, name in enumerate(self._memory.names)}
        asking, self.asking = self.asking, None
        known = ScoredSteps(rewards, dones, parts, None if self._memory.seen is None else seen, asking)
        self._settled.append((known, signals if signals.ndim == 1 else rewards[scored]))

    def moments(self) -> Moments:
        """Wait until every submitted frame is scored, and say how each episode goes, by what the model says of it.

        The episode that the last step belongs to is meant, also where that step ended it. `collect` returns the same as
        without this call but for the last bits, since fewer frames may go through the model together.

        Raises:
            Whatever the reward model raised.
        """
        assert self._tells, "of a reward made of parts `remembered` must be given"
        self._settle()
        return self._lately.moments()

    def _marks(self) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Return what was scored and what ended (N,) in each step that is pending."""
        return [(row.scored, row.dones) for row in self._rows if isinstance(row, _Step)]

    def _scores(self) -> NDArray[np.float32]:
        """Wait for the scores of all frames since the last `collect`, in order."""
        if self._num_gathered:  # no core shall wait for the last ones
            for part in self._team.split(self._take(self._num_gathered)):
                self._submit(part)
        batches = [batch.result() for batch in self._batches]
        self._waiting = collections.deque()
        return np.concatenate(batches) if batches else np.zeros(0, np.float32)

    def state(self) -> dict[str, Any]:
        """Return what is remembered of each environment's episode; call it when no step is pending."""
        if self._rows or self._settled:  # beginnings
            self.collect()
        lately = self._lately.state() if self._tells else {}
        return {"step": self._step.copy(), **self._memory.state(), **lately}

    def put_state(self, state: dict[str, Any]) -> None:
        """Forget pending steps and remember what `state` returned; raises KeyError or ValueError where it is none."""
        self.restart()
        self._step[:] = state["step"]
        self._memory.put_state(state)
        if self._tells and "scores" in state:  # runs of 0.1.0 remember no more than the last
            self._lately.put_state(state)

    def restart(self) -> None:
        """Forget pending steps; every environment begins a new episode."""
        for batch in self._batches:
            batch.cancel()
        self._batches, self._waiting = [], collections.deque()
        self._gathered, self._num_gathered, self._rows, self._settled = [], 0, [], []
        self._step[:] = 0
        self._memory.begin(np.arange(self.num_envs))
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
        most = max(1, WAITING_FRAMES // self.batch_frames, self._team.places)
        while self._waiting and (self._waiting[0].done() or len(self._waiting) >= most):
            self._waiting.popleft().result()
        batch = self._team.submit(frames)
        self._batches.append(batch)
        self._waiting.append(batch)


def _joined(pieces: Sequence[ScoredSteps]) -> ScoredSteps:
    """Return the steps of several pieces as one."""
    first = pieces[0]
    return ScoredSteps(
        np.concatenate([piece.rewards for piece in pieces]),
        np.concatenate([piece.dones for piece in pieces]),
        {name: np.concatenate([piece.parts[name] for piece in pieces]) for name in first.parts},
        None if first.seen is None else np.concatenate([piece.seen for piece in pieces if piece.seen is not None]),
    )
