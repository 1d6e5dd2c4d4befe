"""One process's share of a run: learning, stopping, and what both leave in the run folder."""

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.logger import Logger

from gym_vlmrm.errors import RunError
from gym_vlmrm.interrupts import StopRequest, stopping_on_signals
from gym_vlmrm.learning.callbacks import Progress, StopTraining, TrainingCallback
from gym_vlmrm.learning.checkpoint_replay import REPLAY_FILE, buffer_bytes, fill_before_learning, has_room
from gym_vlmrm.learning.checkpoints import check_finite, restore, save_checkpoint
from gym_vlmrm.learning.metrics_table import Events, MetricsTable
from gym_vlmrm.learning.provenance import describe_machine
from gym_vlmrm.learning.records import Best, JudgeRecord, RunRecord
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.setup import Notices, Setup
from gym_vlmrm.learning.trials import Trials
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.world import episode_limit

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["Session", "TrainingResult"]

CHECKPOINTS_PER_RUN = 20
"""At most, where the recipe does not say."""


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
    """Learns with a setup, stops when asked to, and leaves in the run folder what going on needs."""

    def __init__(
        self,
        task: TaskSpec,
        record: RunRecord,
        workers: int | None,
        on_progress: Callable[[Progress], None] | None,
        on_notice: Callable[[str], None],
    ) -> None:
        self.task, self.record, self.recipe = task, record, record.recipe
        self.on_progress, self.notices = on_progress, Notices(on_notice)
        self.setup = Setup(task, record, workers, self.notices)
        self.resumed_at: int | None = None
        self.stop = StopRequest()
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> "Session":
        with contextlib.ExitStack() as opened:
            self._heeding = opened.enter_context(contextlib.ExitStack())  # the last to close
            opened.enter_context(self.setup)
            judge = self._compared(JudgeRecord.of(self.setup.reward_model))
            self.record = self.record.model_copy(update={"judge": judge})
            self.trials = Trials(self.setup, self.record.seed)
            self._closing = opened.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._closing.close()

    @property
    def model(self) -> "BaseAlgorithm":
        """The algorithm."""
        return self.setup.model

    def _compared(self, judge: JudgeRecord) -> JudgeRecord:
        """Say so where a run goes on with other weights, or other arithmetic, than it began with."""
        before = self.record.judge
        for name, words in (("weights_digest", "weights"), ("precision", "arithmetic")):
            old, new = getattr(before, name, None), getattr(judge, name)
            if None not in (old, new) and old != new:
                self.notices(f"the {words} of the reward model '{judge.model}' were {old} and are {new} now")
        return judge

    def heed_signals(self) -> None:
        """From now on signals ask for a clean stop, until everything is closed."""
        self._heeding.enter_context(stopping_on_signals(self.stop))

    def describe_machine(self) -> None:
        """Note in the record what draws and computes."""
        judge = self.record.judge
        device = (judge.device if judge is not None else None) or self.task.reward.device
        machine = describe_machine(opengl="mujoco" in sys.modules, device=device)
        self.record = self.record.model_copy(update={"machine": machine})

    def restore(self, checkpoint: Path) -> None:
        """Go back to a checkpoint."""
        buffer_restored = restore(checkpoint, self.model, self.setup.scale)
        self.resumed_at = self.model.num_timesteps
        fresh = np.random.SeedSequence([self.record.seed, self.resumed_at]).generate_state(1)[0]
        self.model.set_random_seed(int(fresh % 2**31))
        if hasattr(self.model, "learning_starts") and not buffer_restored:
            fill_before_learning(self.model, self.recipe.num_envs)
            self.notices("the replay buffer was not stored; it fills again before learning goes on")

    def learn(self, run: RunFolder) -> TrainingResult:
        """Learn until the recipe's steps are made or a stop is asked for."""
        self.run = run
        status = self._learn()
        self._heeding.enter_context(self.stop.shield())  # what is left is quick, and there is a line to say
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
            statistics=self.setup.statistics,
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
                        self.notices(self._stopped_by_error())
                        break
            elif isinstance(error, RunError) and self.run.checkpoints():
                self.notices(self._stopped_by_error())
            self._write_record("failed")

    def _stopped_by_error(self) -> str:
        return self._how_to_go_on().replace("interrupted", "stopped by an error", 1)

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
            options["use_masking"] = self.setup.world.masked
        try:
            self.model.learn(remaining, callback, **options)
        except (ValueError, RuntimeError):
            check_finite(self.model)  # what torch says of numbers that are none does not tell where they came from
            raise

    def _make_checkpoint(self) -> dict[str, float]:
        """Save the policy, try it, and remember the best by VLM reward."""
        with self.stop.shield():
            self._write_checkpoint()
            self._write_record("running")
        self._stop_if_asked()
        verdict, best = self.trials.play(self._stop_if_asked), self.run.best
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
            self.notices.once(
                "buffer",
                f"the disk has no room for the replay buffer ({size / 1e6:,.0f} MB), so it is not stored; "
                "a resumed run fills it again before learning goes on",
            )

        def save(folder: Path) -> None:
            save_checkpoint(folder, self.model, self.recipe, self.setup.scale, with_buffer=size > 0 and fits)

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
        changes = {"status": status, "step": self.model.num_timesteps, "seconds": round(self.seconds, 3)}
        self.run.write_record(self.record.model_copy(update=changes))
