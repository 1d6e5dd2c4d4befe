"""Late rewards of which the judge gives few: their frames are drawn when it is asked, from states that worlds keep."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gym_vlmrm.errors import TrainingError
from gym_vlmrm.learning.adapter import Space, States
from gym_vlmrm.learning.asking.answers import Answers
from gym_vlmrm.learning.asking.ensemble import Floats32
from gym_vlmrm.learning.asking.watch import FRAMES
from gym_vlmrm.learning.late_rewards import Asking, LateRewards
from gym_vlmrm.learning.moments import Moments
from gym_vlmrm.reward.protocol import RewardModel
from gym_vlmrm.task.asking import AskSpec
from gym_vlmrm.worlds.kept import draw_kept, forget_kept

__all__ = ["AskedRewards", "AskingFailedError", "flat_states"]


class AskingFailedError(TrainingError):
    """The network that answers for the judge stays too wrong; all else is whole."""


def flat_states(space: Space, states: States) -> Floats32:
    """Return N states that a policy reads as rows of numbers (N, D); what counts becomes one number per choice."""
    if isinstance(space, spaces.Dict):
        assert isinstance(states, dict)
        return np.concatenate([flat_states(part, states[key]) for key, part in space.items()], axis=1)
    assert isinstance(states, np.ndarray)
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return states.reshape(len(states), -1).astype(np.float32)
    return np.stack([np.asarray(spaces.flatten(space, state), np.float32) for state in states])


class AskedRewards(LateRewards):
    """`LateRewards` whose frames are never handed over: `see` takes the states, `collect` draws what is asked."""

    asks = True

    def __init__(
        self,
        reward_model: RewardModel,
        pool: gym.vector.VectorEnv[Any, Any, Any],
        space: Space,
        spec: AskSpec,
        *,
        every: int = 1,
        made: float = 0.0,
        remembered: int | None = None,
        seed: int = 0,
    ) -> None:
        """Prepare.

        Args:
            reward_model: the judge, of a plain reward.
            pool: whose worlds keep their states (``make_worlds(..., later=True)``).
            space: of the states that the policy reads.
            spec: how much is asked.
            every: every k-th frame of an episode would be scored.
            made, remembered: as in `LateRewards`.
            seed: that of the run.
        """
        super().__init__(reward_model, pool.num_envs, every, made=made, remembered=remembered)
        self._pool: Any = pool
        self._space = space
        width = int(spaces.flatdim(space))
        self.answers = Answers(spec, width, seed)
        self._reached, self._lost = np.zeros((self.num_envs, width), np.float32), False
        self._kept = np.zeros(self.num_envs, np.int64)
        """States that each world keeps."""
        self._begin_rollout()

    def _begin_rollout(self) -> None:
        self._states: list[Floats32] = []
        self._envs: list[NDArray[np.intp]] = []
        self._places: list[NDArray[np.int64]] = []

    def see(self, reached: States, *, lost: bool) -> None:
        """Take the states (N, ...) that the next `submit` led to, as a policy reads them; they are copied.

        Args:
            reached: of each environment, the terminal one where the episode ended.
            lost: whether workers were started anew, so that nothing that was kept until now can be drawn.
        """
        self._reached, self._lost = flat_states(self._space, reached), lost
        if lost:
            self._kept[:] = 0
            self._places = [np.full_like(places, -1) for places in self._places]

    def _take_frames(self, scored: NDArray[np.bool_], frames: NDArray[np.uint8]) -> None:
        envs = np.flatnonzero(scored)
        self._states.append(self._reached[envs])
        self._envs.append(envs)
        self._places.append(np.full(len(envs), -1) if self._lost else self._kept[envs])
        if not self._lost:
            self._kept[envs] += 1

    def _scores(self) -> NDArray[np.float32]:
        if not self._states:
            return np.zeros(0, np.float32)
        envs, places = np.concatenate(self._envs), np.concatenate(self._places)

        def judge(chosen: NDArray[np.intp]) -> Floats32:
            return self._judge(envs[chosen], places[chosen])

        rewards, asked = self.answers(np.concatenate(self._states), places >= 0, judge)
        self.asking = Asking(len(asked), len(rewards), self.answers.asked, self.answers.watch.error)
        self._begin_rollout()
        self._forget()
        return rewards

    def moments(self) -> Moments:
        """Say how each episode goes by what the network alone says, without a question; NaN before it has learned."""
        lately = self._lately.copy()
        if self._states:
            lately.add(self._marks(), self.answers.guess(np.concatenate(self._states)))
        return lately.moments()

    def _judge(self, envs: NDArray[np.intp], places: NDArray[np.int64]) -> Floats32:
        """Draw states that worlds keep, and judge them."""
        if not len(envs):
            return np.zeros(0, np.float32)
        rows = np.unique(envs)
        pictures = self._pool.apply(draw_kept, rows.tolist(), [places[envs == row].tolist() for row in rows])
        frames = np.zeros((len(envs), *pictures[0].shape[1:]), np.uint8)
        for row, drawn in zip(rows, pictures, strict=True):
            frames[envs == row] = drawn
        self._watch.see(envs, frames)
        batches = [frames[begin : begin + self.batch_frames] for begin in range(0, len(frames), self.batch_frames)]
        return np.concatenate([self._team(batch) for batch in batches])

    def _forget(self) -> None:
        if self._kept.any():
            self._pool.apply(forget_kept, range(self.num_envs), [None] * self.num_envs)
            self._kept[:] = 0

    def check(self) -> None:
        """Raise AskingFailedError where the network stays too wrong; call it where all is whole."""
        watch = self.answers.watch
        if watch.lasts:
            raise AskingFailedError(
                f"reward.ask: the network's error on frames asked at random is {watch.error or 0:.2f} standard "
                f"deviations of the judge's rewards, above {watch.limit:g} at {FRAMES} frames in a row; ask a larger "
                "share, or leave 'ask' out: perhaps the state does not tell what the picture shows",
                field=("reward", "ask"),
            )

    def state(self) -> dict[str, Any]:
        """Return what is remembered of each environment's episode, and all that answers depend on."""
        return {**super().state(), "answers": self.answers.state()}

    def put_state(self, state: dict[str, Any]) -> None:
        """Forget pending steps and remember what `state` returned; raises as `LateRewards.put_state` does."""
        super().put_state(state)
        self.answers.put_state(state["answers"])

    def restart(self) -> None:
        """Forget pending steps; every environment begins a new episode."""
        super().restart()
        self._begin_rollout()
        self._forget()
