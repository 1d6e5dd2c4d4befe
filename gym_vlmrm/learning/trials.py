"""Trials of the policy that learns: greedy episodes that say how good a checkpoint is."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.errors import WorkerError
from gym_vlmrm.learning.agents import live_agent
from gym_vlmrm.learning.playing import Episode, play
from gym_vlmrm.learning.records import Best
from gym_vlmrm.learning.rollout_statistics import finite_mean
from gym_vlmrm.learning.setup import Setup

__all__ = ["Trials"]

TRIAL_SEED = 10_000
"""Added to the run's seed for the episodes of trials."""
LONGER = 4
"""Where episodes go on in training, those of a trial are so many times longer, and fewer: is a pose held?"""


class Trials:
    """Plays in a pool of its own, made for the first trial and closed with the setup, always the same beginnings."""

    def __init__(self, setup: Setup, seed: int) -> None:
        """Take the setup that is learned with, and the run's seed."""
        self._setup, self._seed = setup, seed + TRIAL_SEED
        self._times = LONGER if setup.recipe.continuation is not None else 1
        self._num_envs = -(-setup.recipe.num_envs // self._times)
        self._pool: gym.vector.VectorEnv[Any, Any, Any] | None = None

    def play(self, on_step: Callable[[int], None]) -> Best:
        """Play one greedy episode per environment; `on_step` may raise to end the trial.

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
        )

    def _episodes(self, on_step: Callable[[int], None]) -> list[Episode]:
        setup = self._setup
        if self._pool is None:
            self._pool = setup.make_pool(self._num_envs, times=self._times)
        return play(
            self._pool, live_agent(setup.model), setup.reward_model, self._num_envs, seed=self._seed,
            every=setup.every, on_step=on_step,
        )  # fmt: skip
