"""One process's share of a run: the pool, the judge, the algorithm, and what they leave in the run folder."""

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from gym_vlmrm.errors import RunError
from gym_vlmrm.interrupts import StopRequest, stopping_on_signals
from gym_vlmrm.learning.agents import live_agent
from gym_vlmrm.learning.algorithms import find_algorithm
from gym_vlmrm.learning.buffers import RewardScale, RewardSource
from gym_vlmrm.learning.building import build_algorithm, discount
from gym_vlmrm.learning.callbacks import Progress, StopTraining, TrainingCallback
from gym_vlmrm.learning.checkpoint_replay import REPLAY_FILE, buffer_bytes, has_room
from gym_vlmrm.learning.checkpoints import check_finite, restore, save_checkpoint
from gym_vlmrm.learning.inspection import inspect_recipe, inspect_world
from gym_vlmrm.learning.late_rewards import LateRewards
from gym_vlmrm.learning.metrics_table import Events, MetricsTable, RolloutStatistics, finite_mean
from gym_vlmrm.learning.playing import play
from gym_vlmrm.learning.provenance import describe_machine
from gym_vlmrm.learning.records import Best, JudgeRecord, RunRecord
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.vec_env import ImmediateRewards, LateRewardVecEnv, PoolSteps, normalize_states
from gym_vlmrm.reward import RewardModel, load_reward_model
from gym_vlmrm.reward.threads import one_torch_thread
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.world import episode_limit, make_worlds

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["Session", "TrainingResult"]

CHECKPOINTS_PER_RUN = 20
"""At most, where the recipe does not say."""
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
    signal: int | None = None
    """Number of the signal that interrupted it, if one did."""


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
        self.stop = StopRequest()
        self._noticed: set[str] = set()

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
        self.record = self.record.model_copy(update={"judge": self._compared(JudgeRecord.of(self.reward_model))})
        self._closing.enter_context(one_torch_thread())
        pool = self._make_pool()
        late = LateRewards(self.reward_model, self.recipe.num_envs, self.every)
        self._closing.callback(late.close)
        algorithm, gamma = find_algorithm(self.recipe.algorithm), discount(self.recipe)
        self.scale = RewardScale(self.recipe.num_envs, gamma) if self.recipe.normalize_reward else None
        source = RewardSource(late, self.scale)
        base = LateRewardVecEnv(pool, late, self.task.env.id)
        self.statistics = RolloutStatistics(self.recipe.num_envs)
        base.listeners.append(self.statistics.add_step)
        base.listeners.append(self._watch_task_rewards)
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

    def _compared(self, judge: JudgeRecord) -> JudgeRecord:
        """Say so where a run goes on with other weights, or other arithmetic, than it began with."""
        before = self.record.judge
        for name, words in (("weights_digest", "weights"), ("precision", "arithmetic")):
            old, new = getattr(before, name, None), getattr(judge, name)
            if None not in (old, new) and old != new:
                self.on_notice(f"the {words} of the reward model '{judge.model}' were {old} and are {new} now")
        return judge

    def _watch_task_rewards(self, steps: PoolSteps) -> None:
        odd = steps.task_rewards[~np.isfinite(steps.task_rewards)]
        if odd.size:
            self._notice_once(
                f"the environment's own reward was {odd[0]} in step {self.model.num_timesteps:,}; means with such a "
                "reward are left out, and the agent, which the reward model rewards, learns all the same"
            )

    def _notice_once(self, sentence: str, kind: str | None = None) -> None:
        if (kind or "task reward") not in self._noticed:
            self._noticed.add(kind or "task reward")
            self.on_notice(sentence)

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
        judge = self.record.judge
        device = (judge.device if judge is not None else None) or self.task.reward.device
        machine = describe_machine(opengl="mujoco" in sys.modules, device=device)
        self.record = self.record.model_copy(update={"machine": machine})

    def restore(self, checkpoint: Path) -> None:
        """Go back to a checkpoint."""
        buffer_restored = restore(checkpoint, self.model, self.scale)
        self.resumed_at = self.model.num_timesteps
        fresh = np.random.SeedSequence([self.record.seed, self.resumed_at]).generate_state(1)[0]
        self.model.set_random_seed(int(fresh % 2**31))
        if hasattr(self.model, "learning_starts") and not buffer_restored:
            self._fill_again()

    def _fill_again(self) -> None:
        """Learn only when the buffer holds what `learning_starts` asks for; the policy, as it stands, fills it."""
        model: Any = self.model
        needed, learn, buffer = model.learning_starts, model.train, model.replay_buffer

        def learn_from_enough(*args: Any, **kwargs: Any) -> None:
            if buffer.full or buffer.size() * self.recipe.num_envs >= needed:
                learn(*args, **kwargs)

        model.train = learn_from_enough
        self.on_notice("the replay buffer was not stored; it fills again before learning goes on")

    def learn(self, run: RunFolder) -> TrainingResult:
        """Learn until the recipe's steps are made or a stop is asked for."""
        self.run = run
        with stopping_on_signals(self.stop):
            status = self._learn()
        return TrainingResult(
            run, self.model.num_timesteps, self.seconds, status == "interrupted", run.best, self.stop.signal
        )

    def _learn(self) -> str:
        """Learn; returns how it ended, as ``run.json`` says too."""
        run = self.run
        self._began, self._earlier = time.perf_counter(), self.record.seconds
        self._write_record("running")
        table = MetricsTable(run.path / "metrics.csv", self.resumed_at)
        self.model.set_logger(Logger(None, [table, Events(run.path / "tensorboard", self.resumed_at)]))
        self._closing.callback(self.model.logger.close)
        callback = TrainingCallback(
            steps=self.recipe.steps,
            statistics=self.statistics,
            checkpoint_every=self.recipe.checkpoint_every or self._checkpoint_period(),
            make_checkpoint=self._make_checkpoint,
            on_progress=self._report,
            stop_requested=lambda: bool(self.stop),
        )
        try:
            self._run_algorithm(callback)
            callback.checkpoint()
            callback.log()
            status = "finished"
        except StopTraining:
            status = "interrupted"
        except KeyboardInterrupt:
            with self.stop.shield():
                self._write_record("interrupted")
            raise KeyboardInterrupt(self._how_to_go_on()) from None
        except Exception as error:
            if not self.stop:
                self._save_what_is_whole(error)
                raise
            # What fails once a stop was asked for, such as a worker that the signal reached too, is part of stopping.
            status = "interrupted"
        with self.stop.shield():
            if status == "interrupted":
                self._write_checkpoint()
            self._write_record(status)
        return status

    def _save_what_is_whole(self, error: Exception) -> None:
        """Keep what was learned before an error: of the environments, of the judge, of a disk that was full."""
        with self.stop.shield():
            learned = self.model.num_timesteps > (self.resumed_at or 0)
            whole = all(bool(weights.isfinite().all()) for weights in self.model.policy.parameters())
            if learned and whole and not isinstance(error, RunError):
                for with_buffer in (True, False):  # the last transition may lack its reward
                    with contextlib.suppress(Exception):  # the first error is the one to tell of
                        self._write_checkpoint(with_buffer)
                        self.on_notice(self._how_to_go_on().replace("interrupted", "stopped by an error", 1))
                        break
            self._write_record("failed")

    def _how_to_go_on(self) -> str:
        last = self.run.checkpoints()
        if not last:
            return f"interrupted before the first checkpoint; nothing in '{self.run.path}' can be gone on with"
        step = f"{last[-1].step:,}"
        return f"interrupted; go on from step {step} with: vlmrm train --resume {self.run.path}"

    def _report(self, progress: Progress) -> None:
        if self.on_progress is not None and not self.stop:
            self.on_progress(progress)

    def _checkpoint_period(self) -> int:
        """Environment steps between checkpoints: judging one must not cost more than the learning before it."""
        judging = self.recipe.num_envs * (episode_limit(self.task) or 1)
        return max(self.recipe.steps // CHECKPOINTS_PER_RUN, 2 * judging)

    def _run_algorithm(self, callback: TrainingCallback) -> None:
        resumed = self.resumed_at is not None
        # Nothing where only the verdict on the last checkpoint is missing.
        remaining = max(self.recipe.steps - (self.resumed_at or 0), 0)
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
        with self.stop.shield():
            self._write_checkpoint()
            self._write_record("running")
        self._stop_if_asked()
        if self._judging_pool is None:
            self._judging_pool = self._make_pool()
        seed = self.record.seed + EVALUATION_SEED
        agent = live_agent(self.model)
        episodes = play(
            self._judging_pool, agent, self.reward_model, self.recipe.num_envs, seed=seed, every=self.every,
            on_step=self._stop_if_asked,
        )  # fmt: skip
        best = self.run.best
        verdict = Best(
            step=self.model.num_timesteps,
            vlm_reward=float(np.concatenate([episode.vlm_rewards for episode in episodes]).mean()),
            task_reward=finite_mean(np.concatenate([episode.task_rewards for episode in episodes])),
            success=_success([episode.successes for episode in episodes]),
        )
        if best is None or verdict.vlm_reward > best.vlm_reward:
            self.run.write_best(verdict)
        numbers = verdict.model_dump(exclude={"step"}, exclude_none=True)
        return {f"eval/{name}": value for name, value in numbers.items()}

    def _stop_if_asked(self, *_: Any) -> None:
        if self.stop:
            raise StopTraining

    def _write_checkpoint(self, with_buffer: bool = True) -> None:
        """Save the policy and all that going on needs; of replay buffers, which may be large, the newest is kept."""
        size = buffer_bytes(self.model) if with_buffer else 0
        fits = has_room(self.run.path, size)
        if size and not fits:
            self._notice_once(
                f"the disk has no room for the replay buffer ({size / 1e6:,.0f} MB), so it is not stored; "
                "a resumed run fills it again before learning goes on",
                "buffer",
            )

        def save(folder: Path) -> None:
            save_checkpoint(folder, self.model, self.recipe, self.scale, with_buffer=size > 0 and fits)

        written = self.run.write_checkpoint(self.model.num_timesteps, save)
        if (written.path / REPLAY_FILE).exists():
            for checkpoint in self.run.checkpoints():
                if checkpoint.path != written.path:
                    (checkpoint.path / REPLAY_FILE).unlink(missing_ok=True)

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


def _success(verdicts: list[Any]) -> float | None:
    return None if verdicts[0] is None else float(np.concatenate(verdicts).mean())
