"""What happens beside the learning: logs, progress, checkpoints, and a clean stop."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from stable_baselines3.common.callbacks import BaseCallback

from gym_vlmrm.learning.episodic import is_episodic
from gym_vlmrm.learning.finite import check_finite
from gym_vlmrm.learning.rollout_statistics import RolloutStatistics
from gym_vlmrm.learning.whole_state import Due, learn_from_rollout

__all__ = ["Progress", "StopTraining", "TrainingCallback"]

LOGS_PER_RUN = 200
PROGRESS_PERIOD = 0.2
"""Seconds between progress reports."""


class StopTraining(Exception):
    """Raised inside `learn` to leave it at a clean point."""


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    step: int
    """Environment steps made."""
    steps: int
    """Environment steps to make."""
    steps_per_second: float
    metrics: dict[str, float]
    """Latest numbers, named as in ``metrics.csv``."""

    @property
    def seconds_left(self) -> float | None:
        """Time left at the present speed [s]; none once a last rollout went beyond the last step."""
        return max(self.steps - self.step, 0) / self.steps_per_second if self.steps_per_second > 0 else None


class TrainingCallback(BaseCallback):
    """Counts, logs, reports progress, makes checkpoints, and stops where the buffers are whole."""

    def __init__(
        self,
        *,
        steps: int,
        statistics: RolloutStatistics,
        checkpoint_every: int,
        save: Callable[[Due], None],
        judge: Callable[[], dict[str, float]],
        go_on: Callable[[], Due | None] = lambda: None,
        keep: Callable[[], None] = lambda: None,
        on_progress: Callable[[Progress], None] | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare the callback.

        Args:
            steps: environment steps of the whole run.
            statistics: of the latest steps; environment and buffers keep them up to date.
            checkpoint_every: environment steps between checkpoints.
            save: makes a checkpoint that owes what it is told.
            judge: tries the policy of the last checkpoint; returns numbers to log.
            go_on: puts the state of a checkpoint back, if a run goes on from one, and returns what that owes.
            keep: told where no rollout is under way, so that a stop within one can go back there.
            on_progress: called a few times per second.
            stop_requested: asked after every step.
        """
        super().__init__()
        self.steps = steps
        self.statistics = statistics
        self.checkpoint_every = checkpoint_every
        self.save, self.judge, self.go_on, self.keep = save, judge, go_on, keep
        self.on_progress = on_progress
        self.stop_requested = stop_requested
        self.latest: dict[str, float] = {}
        self.unlearned: int | None = None
        """Steps of the rollout that is made and not learned from, if there is one."""
        self.within_rollout = False
        self.ended = False
        """Whether the checkpoint after the last step is there and judged."""
        self._last_log = self._last_checkpoint = 0
        self.paused = 0.0  # time spent on checkpoints [s], not part of the speed

    def _on_training_start(self) -> None:
        now = time.perf_counter()
        self._log_every = max(1, self.steps // LOGS_PER_RUN)
        self._began, self._first_step = now, self.model.num_timesteps
        self._last_log, self._last_checkpoint, self._reported = (self.model.num_timesteps,) * 2 + (0.0,)
        due = self.go_on()
        if due is not None:
            self._make_good(due)

    def _make_good(self, due: Due) -> None:
        """Do what a run did between a checkpoint and the next rollout."""
        self._last_log, self._last_checkpoint, self.unlearned = due.last_log, due.last_checkpoint, due.update
        if due.verdict:
            self._judge()
            self._last_log = self.model.num_timesteps
            self.log()
            self.ended = due.kind == "end" and self.model.num_timesteps >= self.steps
        if self.stop_requested():
            raise StopTraining
        if self.unlearned is not None:
            learn_from_rollout(self.model, self.unlearned, self.steps)

    def between_rollouts(self) -> None:
        """Take note that all that was made is learned from; called before a rollout draws its first random number."""
        self.unlearned, self.within_rollout = None, True
        self.keep()

    def _on_step(self) -> bool:
        self._report()
        if self._buffer is None and self.stop_requested():
            raise StopTraining
        return True

    def _on_rollout_end(self) -> None:
        if not is_episodic(self.model):
            made = self.locals.get("num_collected_steps", 0) * self.model.n_envs
            self.after_rollout(made)

    def after_rollout(self, unlearned: int | None) -> None:
        """Log and make a checkpoint where they are due; `unlearned` steps are yet to be learned from."""
        self.unlearned, self.within_rollout = unlearned, False
        step = self.model.num_timesteps
        log_due = step - self._last_log >= self._log_every
        checkpoint_due = step - self._last_checkpoint >= self.checkpoint_every and step < self.steps
        if checkpoint_due:
            self._last_checkpoint = step
            self.checkpoint("rollout")
        if log_due or checkpoint_due:
            self._last_log = step
            self.log()
        if self.stop_requested():
            raise StopTraining

    @property
    def _buffer(self) -> Any:
        return getattr(self.model, "replay_buffer", None)

    @property
    def steps_per_second(self) -> float:
        """Mean speed of this call, checkpoints left out."""
        seconds = time.perf_counter() - self._began - self.paused
        return (self.model.num_timesteps - self._first_step) / max(seconds, 1e-9)

    def due(self, kind: Literal["rollout", "end", "stop"]) -> Due:
        """What a checkpoint that is made now owes."""
        return Due(
            kind=kind,
            verdict=kind != "stop",
            update=self.unlearned,
            last_log=self._last_log,
            last_checkpoint=self._last_checkpoint,
        )

    def checkpoint(self, kind: Literal["rollout", "end"]) -> None:
        """Save and judge the policy, and note the verdict for the next log."""
        began = time.perf_counter()
        self.save(self.due(kind))
        self.paused += time.perf_counter() - began
        self._judge()

    def _judge(self) -> None:
        began = time.perf_counter()
        for name, value in self.judge().items():
            self.logger.record(name, value)
            self.latest[name] = value
        self.paused += time.perf_counter() - began

    def log(self) -> None:
        """Write one row of metrics; raises TrainingError where what was learned is no number any more."""
        check_finite(self.model)
        if self._buffer is not None:
            self._buffer.fill()
        means = self.statistics.take()
        self.latest.update(means)
        for name, value in means.items():
            self.logger.record(name, value)
        self.logger.record("time/steps_per_second", self.steps_per_second)
        self.logger.dump(self.model.num_timesteps)

    def _report(self) -> None:
        now = time.perf_counter()
        if self.on_progress is not None and now - self._reported >= PROGRESS_PERIOD:
            self._reported = now
            metrics = {**self.latest, **self.statistics.means()}
            self.on_progress(Progress(self.model.num_timesteps, self.steps, self.steps_per_second, metrics))
