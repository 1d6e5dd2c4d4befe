"""One process's share of a run: the pool, the judge, the algorithm, and what they leave in the run folder."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from stable_baselines3.common.vec_env import VecEnv

from gym_vlmrm.reward import RewardModel, load_reward_model
from gym_vlmrm.runs import Best, RunFolder, RunRecord
from gym_vlmrm.spec import TaskSpec
from gym_vlmrm.training.agents import live_agent
from gym_vlmrm.training.algorithms import find_algorithm
from gym_vlmrm.training.buffers import RewardScale, RewardSource
from gym_vlmrm.training.building import build_algorithm, discount
from gym_vlmrm.training.callbacks import Progress, StopTraining, TrainingCallback
from gym_vlmrm.training.checkpoints import REPLAY_FILE, buffer_bytes, check_finite, restore, save_checkpoint
from gym_vlmrm.training.inspection import inspect_recipe, inspect_world
from gym_vlmrm.training.late_rewards import LateRewards
from gym_vlmrm.training.metrics import MetricsTable, RolloutStatistics
from gym_vlmrm.training.play import play
from gym_vlmrm.training.provenance import describe_machine
from gym_vlmrm.training.vec_env import ImmediateRewards, LateRewardVecEnv, normalize_states
from gym_vlmrm.worlds import episode_limit, make_worlds

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["Session", "TrainingResult"]

CHECKPOINTS_PER_RUN = 20
"""At most, where the recipe does not say."""
BUFFER_LIMIT = 256_000_000
"""Largest replay buffer that the last checkpoint holds [bytes]."""
EVALUATION_SEED = 10_000
"""Added to the run's seed for the episodes that judge checkpoints."""


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended."""

    run: RunFolder
    step: int
    """Environment steps made, those of earlier sessions included."""
    seconds: float
    """Wall-clock time of all sessions [s]."""
    interrupted: bool
    best: Best | None


class Session:
    """Builds everything that a training needs on entering, and closes it on leaving."""

    def __init__(
        self,
        task: TaskSpec,
        record: RunRecord,
        workers: int | None,
        on_progress: Callable[[Progress], None] | None,
        on_notice: Callable[[str], None],
    ) -> None:
        self.task, self.record, self.recipe = task, record, record.recipe
        self.workers, self.on_progress, self.on_notice = workers, on_progress, on_notice
        self.every = self.recipe.reward_every or task.reward.every
        self._closing = contextlib.ExitStack()
        self._judging_pool: gym.vector.VectorEnv[Any, Any, Any] | None = None
        self.resumed_at: int | None = None
        self.stop = False

    def __enter__(self) -> "Session":
        try:
            self._open()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        self._closing.close()

    def _open(self) -> None:
        # Cheap checks first; nothing is drawn here, as drawing is for the workers.
        self.world = inspect_world(self.task, draw=False)
        inspect_recipe(self.recipe, self.world, resumed=self.record.step > 0)
        self.reward_model: RewardModel = load_reward_model(self.task)
        self._choose_threads()
        pool = self._make_pool()
        late = LateRewards(self.reward_model, self.recipe.num_envs, self.every)
        self._closing.callback(late.close)
        algorithm, gamma = find_algorithm(self.recipe.algorithm), discount(self.recipe)
        self.scale = RewardScale(self.recipe.num_envs, gamma) if self.recipe.normalize_reward else None
        source = RewardSource(late, self.scale)
        base = LateRewardVecEnv(pool, late, self.task.env.id)
        self.statistics = RolloutStatistics(self.recipe.num_envs)
        base.listeners.append(self.statistics.add_step)
        source.listeners.append(self.statistics.add_rewards)
        env: VecEnv = ImmediateRewards(base, source) if algorithm.kind == "episodic" else base
        if self.recipe.normalize_observation:
            env = normalize_states(env, gamma)
        self.model: BaseAlgorithm = build_algorithm(
            self.recipe, env, env_id=self.task.env.id, source=source, seed=self.record.seed
        )
        self._warn_of_idle_runs()

    def _warn_of_idle_runs(self) -> None:
        steps, starts = self.recipe.steps, getattr(self.model, "learning_starts", 0)
        if starts >= steps:
            self.on_notice(f"nothing will be learned: learning_starts is {starts:,} but the run has {steps:,} steps")
        buffer = getattr(self.model, "rollout_buffer", None)
        rollout = 0 if buffer is None else buffer.buffer_size * self.recipe.num_envs
        if rollout > steps:
            self.on_notice(f"one rollout of {self.recipe.algorithm} is {rollout:,} steps, so that many will be made")

    def _choose_threads(self) -> None:
        # Policies are small, and beside busy environments a second thread slows small networks down many times; frames
        # on the CPU are scored by threads of their own (see `ScoringTeam`).
        if getattr(self.reward_model, "concurrent", True):
            torch.set_num_threads(1)

    def _make_pool(self) -> gym.vector.VectorEnv[Any, Any, Any]:
        pool = make_worlds(
            self.task,
            self.recipe.num_envs,
            render_size=self.task.scene.render_size or self.reward_model.frame_size,
            every=self.every,
            verdicts=True,
            workers=self.workers,
            autoreset_mode=AutoresetMode.SAME_STEP,
        )
        self._closing.callback(pool.close)
        return pool

    def describe_machine(self) -> None:
        """Note in the record what draws and computes."""
        machine = describe_machine(opengl="mujoco" in sys.modules)
        self.record = self.record.model_copy(update={"machine": machine})

    def restore(self, checkpoint: Path) -> None:
        """Go back to a checkpoint."""
        buffer_restored = restore(checkpoint, self.model, self.scale)
        self.resumed_at = self.model.num_timesteps
        fresh = np.random.SeedSequence([self.record.seed, self.resumed_at]).generate_state(1)[0]
        self.model.set_random_seed(int(fresh % 2**31))
        if hasattr(self.model, "learning_starts") and not buffer_restored:
            self.model.learning_starts += self.resumed_at
            self.on_notice("the replay buffer was not stored; it fills again before learning goes on")

    def learn(self, run: RunFolder) -> TrainingResult:
        """Learn until the recipe's steps are made or a stop is asked for."""
        self.run = run
        self._write_record("running")
        table = MetricsTable(run.path / "metrics.csv", self.resumed_at)
        self.model.set_logger(Logger(None, [table, TensorBoardOutputFormat(str(run.path / "tensorboard"))]))
        self._closing.callback(self.model.logger.close)
        self._began, self._earlier = time.perf_counter(), self.record.seconds
        callback = TrainingCallback(
            steps=self.recipe.steps,
            statistics=self.statistics,
            checkpoint_every=self.recipe.checkpoint_every or self._checkpoint_period(),
            make_checkpoint=self._make_checkpoint,
            on_progress=self.on_progress,
            stop_requested=lambda: self.stop,
        )
        try:
            with self._stopping_on_interrupt():
                self._run_algorithm(callback)
                callback.checkpoint()
                callback.log()
        except StopTraining:
            run.write_checkpoint(self.model.num_timesteps, self._save)
            self._write_record("interrupted")
        except KeyboardInterrupt:
            self._write_record("interrupted")
            raise
        except BaseException:
            self._write_record("failed")
            raise
        else:
            self._write_record("finished")
        return TrainingResult(run, self.model.num_timesteps, self.seconds, self.stop, run.best)

    def _checkpoint_period(self) -> int:
        """Environment steps between checkpoints: judging one must not cost more than the learning before it."""
        judging = self.recipe.num_envs * (episode_limit(self.task) or 1)
        return max(self.recipe.steps // CHECKPOINTS_PER_RUN, 2 * judging)

    def _run_algorithm(self, callback: TrainingCallback) -> None:
        resumed = self.resumed_at is not None
        remaining = self.recipe.steps - (self.resumed_at or 0)
        # Logs are dumped by the callback, so that all of a row's numbers belong to the same steps.
        options: dict[str, Any] = {"log_interval": None, "reset_num_timesteps": not resumed}
        if self.model.__class__.__name__ == "MaskablePPO":
            options["use_masking"] = self.world.masked
        try:
            self.model.learn(remaining, callback, **options)
        except (ValueError, RuntimeError):
            check_finite(self.model)  # what torch says of numbers that are none does not tell where they came from
            raise

    def _make_checkpoint(self) -> dict[str, float]:
        """Save the policy, play one greedy episode per environment, and remember the best by VLM reward."""
        self.run.write_checkpoint(self.model.num_timesteps, self._save)
        self._write_record("running")
        if self._judging_pool is None:
            self._judging_pool = self._make_pool()
        seed = self.record.seed + EVALUATION_SEED
        agent = live_agent(self.model)
        episodes = play(self._judging_pool, agent, self.reward_model, self.recipe.num_envs, seed=seed, every=self.every)
        best = self.run.best
        verdict = Best(
            step=self.model.num_timesteps,
            vlm_reward=float(np.concatenate([episode.vlm_rewards for episode in episodes]).mean()),
            task_reward=float(np.concatenate([episode.task_rewards for episode in episodes]).mean()),
            success=_success([episode.successes for episode in episodes]),
        )
        if best is None or verdict.vlm_reward > best.vlm_reward:
            self.run.write_best(verdict)
        numbers = verdict.model_dump(exclude={"step"}, exclude_none=True)
        return {f"eval/{name}": value for name, value in numbers.items()}

    def _save(self, folder: Path) -> None:
        last = self.stop or self.model.num_timesteps >= self.recipe.steps
        with_buffer = last and 0 < buffer_bytes(self.model) <= BUFFER_LIMIT
        if with_buffer:  # one is enough
            for checkpoint in self.run.checkpoints():
                (checkpoint.path / REPLAY_FILE).unlink(missing_ok=True)
        save_checkpoint(folder, self.model, self.recipe, self.scale, with_buffer)

    @property
    def seconds(self) -> float:
        """Wall-clock time of all sessions so far [s]."""
        return self._earlier + time.perf_counter() - self._began

    def _write_record(self, status: str) -> None:
        began = hasattr(self, "_began")
        changes = {"status": status, "step": self.model.num_timesteps}
        if began:
            changes["seconds"] = round(self.seconds, 3)
        self.run.write_record(self.record.model_copy(update=changes))

    @contextlib.contextmanager
    def _stopping_on_interrupt(self) -> Iterator[None]:
        """Turn the first Ctrl-C into a clean stop; the second one interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask_to_stop(*_: Any) -> None:
            self.stop = True
            signal.signal(signal.SIGINT, previous)

        previous = signal.signal(signal.SIGINT, ask_to_stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)


def _success(verdicts: list[Any]) -> float | None:
    return None if verdicts[0] is None else float(np.concatenate(verdicts).mean())
