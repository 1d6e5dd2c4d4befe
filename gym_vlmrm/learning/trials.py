"""Trials of the policy that learns: greedy episodes that say how good a checkpoint is."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import WorkerError
from gym_vlmrm.learning.agents import live_agent
from gym_vlmrm.learning.playing import Episode, play
from gym_vlmrm.learning.records import Best
from gym_vlmrm.learning.rollout_statistics import finite_mean
from gym_vlmrm.learning.setup import Setup
from gym_vlmrm.task.spec import Recipe
from gym_vlmrm.worlds.frames import is_scored

__all__ = ["Trials", "trial_episodes", "trial_times"]

TRIAL_SEED = 10_000
"""Added to the run's seed for the episodes of trials."""
LEAST_EPISODES = 8
"""A mean over fewer moves by chance from one checkpoint to the next."""
LONGER = 4
"""Where episodes go on in training, those of a trial are so many times longer, and fewer: is a pose held?"""
MAX_SHOWN = 100
"""Most frames that are kept of a trial to be shown."""


def trial_times(recipe: Recipe) -> int:
    """Return how many times as long as the task says the episodes are that judge a checkpoint."""
    return 1 if recipe.continuation is None else LONGER


def trial_episodes(recipe: Recipe) -> int:
    """Return how many episodes judge a checkpoint, all side by side: at least eight.

    There is one in each environment; longer ones are as many times fewer.
    """
    return max(-(-recipe.num_envs // trial_times(recipe)), LEAST_EPISODES)


class Trials:
    """Plays in a pool of its own, made for the first trial and closed with the setup, always the same beginnings."""

    def __init__(self, setup: Setup, seed: int) -> None:
        """Take the setup that is learned with, and the run's seed."""
        self._setup, self._seed = setup, seed + TRIAL_SEED
        self._pool: gym.vector.VectorEnv[Any, Any, Any] | None = None
        self.shown: list[Frames] = []
        """The frames (H, W, 3) of the last trial's first episode that the reward saw."""

    def play(self, on_step: Callable[[int], None]) -> Best:
        """Play as many greedy episodes as `trial_episodes` says; `on_step` may raise to end the trial.

        Returns:
            Means per step, as they stand in ``best.json`` if no other checkpoint is better.
        """
        setup = self._setup
        try:
            episodes = self._episodes(on_step)
        except WorkerError as error:
            setup.restarts.make_good(self._pool, error)
            episodes = self._episodes(on_step)  # the same ones
        verdicts: list[Any] = [episode.successes for episode in episodes]
        return Best(
            step=setup.model.num_timesteps,
            vlm_reward=float(np.concatenate([episode.vlm_rewards for episode in episodes]).mean()),
            task_reward=finite_mean(np.concatenate([episode.task_rewards for episode in episodes])),
            success=None if verdicts[0] is None else float(np.concatenate(verdicts).mean()),
            episodes=len(episodes),
        )

    def _episodes(self, on_step: Callable[[int], None]) -> list[Episode]:
        setup, number = self._setup, trial_episodes(self._setup.recipe)
        if self._pool is None:
            own = setup.world.max_episode_steps
            limit = None if own is None else own * trial_times(setup.recipe)
            self._pool = setup.make_pool(number, every=setup.trial_every, limit=limit)
        self.shown = []
        return play(
            self._pool, live_agent(setup.model), setup.reward_model, number, seed=self._seed,
            every=setup.trial_every, on_step=on_step, on_frames=self._show,
        )  # fmt: skip

    def _show(self, frames: Frames, step: int, over: bool) -> None:
        if not over and is_scored(step, self._setup.trial_every) and len(self.shown) < MAX_SHOWN:
            self.shown.append(frames[0].copy())
