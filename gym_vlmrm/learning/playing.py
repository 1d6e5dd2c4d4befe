"""Whole episodes of an agent in a pool, with their VLM rewards."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Frames
from gym_vlmrm.learning.agents import Agent
from gym_vlmrm.learning.late_rewards import LateRewards, ScoredSteps
from gym_vlmrm.learning.vec_env import PoolSteps
from gym_vlmrm.reward.protocol import RewardModel
from gym_vlmrm.worlds.cameras import main_pictures

__all__ = ["Episode", "play"]


@dataclass(frozen=True)
class Episode:
    """What happened in one episode of T steps."""

    vlm_rewards: NDArray[np.float32]
    """(T,)"""
    task_rewards: NDArray[np.float64]
    """(T,)"""
    successes: NDArray[np.bool_] | None
    """(T,), or ``None`` where the task defines no success."""
    parts: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """What each part of the reward was worth (T,); empty where the reward is plain."""
    seen: NDArray[np.bool_] | None = None
    """Whether the judge itself saw the goal reached (T,), where it was asked."""

    def __len__(self) -> int:
        return len(self.vlm_rewards)

    def first(self, steps: int) -> "Episode":
        """Return what happened in its first steps."""
        verdicts = None if self.successes is None else self.successes[:steps]
        return Episode(self.vlm_rewards[:steps], self.task_rewards[:steps], verdicts)


def play(
    pool: gym.vector.VectorEnv[Any, Any, Any],
    agent: Agent,
    reward_model: RewardModel,
    num_episodes: int,
    *,
    seed: int,
    every: int = 1,
    on_step: Callable[[int], None] | None = None,
    on_frames: Callable[[Frames, int, bool], None] | None = None,
) -> list[Episode]:
    """Play whole episodes and score every frame of them; weights that fade over training have their last values.

    Each environment plays its fair share, so that short episodes do not count for more than long ones.

    Args:
        pool: vector environment in SAME_STEP mode whose observations carry frames, taken every `every` steps.
        agent: acts.
        reward_model: scores.
        num_episodes: number of episodes.
        seed: of the first episodes' resets; environment i gets ``seed + i``.
        every: score every k-th frame and hold the reward in between.
        on_step: called after each vector step with the number of finished episodes.
        on_frames: called with the frames (N, H, W, 3) of each vector step, its number from 1, and whether the first
            environment's first episode was over before it. They are only lent.

    Raises:
        TrainingError: an observation or an action is not finite.
        ModelError: the reward model failed.
    """
    steps = PoolSteps(pool)
    shares = np.full(pool.num_envs, num_episodes // pool.num_envs)
    shares[: num_episodes % pool.num_envs] += 1
    played = np.zeros(pool.num_envs, dtype=np.int64)
    starts = np.ones(pool.num_envs, dtype=np.bool_)
    task_rewards: list[NDArray[np.float64]] = []
    successes: list[NDArray[np.bool_] | None] = []
    agent.restart()
    observations = steps.reset(seed)
    with LateRewards(reward_model, pool.num_envs, every, made=np.inf) as late:
        late.begin(steps.frames)
        while (played < shares).any():
            observations = steps.step(agent.act(observations, starts, steps.masks))
            steps.hand_over(late)
            if on_frames is not None:
                on_frames(main_pictures(steps.frames), len(task_rewards) + 1, bool(played[0]))
            task_rewards.append(steps.task_rewards)
            successes.append(steps.successes)
            starts = steps.dones
            played += starts
            if on_step is not None:
                on_step(int(np.minimum(played, shares).sum()))
        scored = late.collect()
    judged = successes[0] is not None
    columns = (scored.rewards, np.array(task_rewards), np.array(successes) if judged else None)
    return _cut(scored.dones, shares, *columns, scored)


def _cut(
    dones: NDArray[np.bool_],
    shares: NDArray[np.int64],
    vlm_rewards: NDArray[np.float32],
    task_rewards: NDArray[np.float64],
    successes: NDArray[np.bool_] | None,
    scored: ScoredSteps,
) -> list[Episode]:
    """Cut the steps (T, N) of each environment into its share of episodes."""
    episodes = []
    for env, share in enumerate(shares):
        begin = 0
        for end in np.flatnonzero(dones[:, env])[:share] + 1:
            part = slice(begin, int(end))
            verdicts = None if successes is None else successes[part, env]
            worth = {name: values[part, env] for name, values in scored.parts.items()}
            seen = None if scored.seen is None else scored.seen[part, env]
            episodes.append(Episode(vlm_rewards[part, env], task_rewards[part, env], verdicts, worth, seen))
            begin = int(end)
    return episodes
