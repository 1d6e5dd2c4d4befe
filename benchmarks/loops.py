"""The real loops: `gymnasium.make_vec` with random actions, and the package's training without gradient steps."""

import time
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from processes import started
from speed import Loop
from stable_baselines3.common.logger import Logger

import gym_vlmrm
from gym_vlmrm.learning.callbacks import TrainingCallback
from gym_vlmrm.learning.records import RunRecord
from gym_vlmrm.learning.session import Session
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import TaskSpec

__all__ = ["TrainingLoop", "VectorLoop", "prepared"]

NEVER = 10**9


class VectorLoop(Loop):
    """What a user's loop over `gymnasium.make_vec` costs."""

    def __init__(self, task: TaskSpec, num_envs: int) -> None:
        # Under an ID of its own: a built-in task stays what it is.
        own = task.model_copy(update={"id": f"Benchmark/{task.id.rpartition('/')[2]}"})
        gym_vlmrm.register_task(own)
        self.num_envs = num_envs
        with started() as self.pids:
            self.envs = gym.make_vec(own.id, num_envs=num_envs)
        self.envs.reset(seed=0)
        self.envs.action_space.seed(0)
        self.envs.step(self.envs.action_space.sample())
        self._ended = np.zeros(num_envs, np.bool_)

    def _steps(self, end: float) -> int:
        """A step in which Gymnasium only resets an environment is none."""
        count = 0
        while count < 2 * self.num_envs or time.perf_counter() < end:
            count += self.num_envs - int(self._ended.sum())
            _, _, terminated, truncated, _ = self.envs.step(self.envs.action_space.sample())
            self._ended = terminated | truncated
        return count

    def close(self) -> None:
        """End the worker processes."""
        self.envs.close()


class TrainingLoop(Loop):
    """What a task's training costs without its gradient steps: collecting, and waiting for rewards where it would."""

    def __init__(
        self, task: TaskSpec, num_envs: int, every: int, rollout: int | None = None, *, learn: bool = False
    ) -> None:
        """Build the session of the task's default recipe.

        Args:
            task: the task.
            num_envs: number of environments.
            every: score every k-th frame.
            rollout: at most so many vector steps between updates of an on-policy algorithm.
            learn: make the gradient steps after all.
        """
        recipe = task.training["default"]
        hyperparameters = dict(recipe.hyperparameters)
        if rollout is not None and "n_steps" in hyperparameters:
            hyperparameters["n_steps"] = min(hyperparameters["n_steps"], rollout)
        if "learning_starts" in hyperparameters and not learn:
            hyperparameters["learning_starts"] = 0  # before that, nothing would wait for rewards
        changes = {"num_envs": num_envs, "reward_every": every, "steps": NEVER, "checkpoint_every": NEVER}
        recipe = recipe.model_copy(update={**changes, "hyperparameters": hyperparameters})
        record = RunRecord(task=task.id, recipe_name="default", recipe=recipe, seed=0, versions={})
        self.session = Session(task, record, None, None, lambda _: None)
        with warnings.catch_warnings(), started() as self.pids:
            warnings.simplefilter("ignore", UserWarning)  # a batch that does not divide the rollout: nothing is learned
            self.session.__enter__()
        self.model: Any = self.session.model
        self.model.set_logger(Logger(None, []))
        if not learn:
            self.model.train = self._only_wait
        frequency = getattr(self.model, "train_freq", None)
        self.per_update = num_envs * (frequency.frequency if frequency is not None else self.model.n_steps)
        if not learn:
            self._run(1)  # warms up

    def _only_wait(self, *_: Any, **__: Any) -> None:
        """Stand in for the gradient steps; replay buffers are filled as the first sample would have them."""
        if hasattr(self.model, "replay_buffer"):
            self.model.replay_buffer.fill()

    def _run(self, updates: int) -> int:
        callback = TrainingCallback(
            steps=NEVER,
            statistics=self.session.setup.statistics,
            checkpoint_every=NEVER,
            save=lambda due: None,
            judge=dict,
        )
        before = self.model.num_timesteps
        self.model.learn(updates * self.per_update, callback, log_interval=None, reset_num_timesteps=False)
        return int(self.model.num_timesteps - before)

    def _steps(self, end: float) -> int:
        count = 0
        while count == 0 or time.perf_counter() < end:
            count += self._run(1)
        return count

    def run(self, steps: int) -> None:
        """Make at least `steps` environment steps."""
        made = 0
        while made < steps:
            made += self._run(1)

    def close(self) -> None:
        """End the worker processes."""
        self.session.__exit__()


def prepared(task: str, model: str | None, **changes: Any) -> TaskSpec:
    """Load a task by name or path, with overrides."""
    return override(gym_vlmrm.load_task(task), model=model, **changes)
