"""What happens beside the learning: logs, progress, checkpoints, and a clean stop."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from gym_vlmrm.learning.checkpoints import check_finite
from gym_vlmrm.learning.rollout_statistics import RolloutStatistics

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
        make_checkpoint: Callable[[], dict[str, float]],
        on_progress: Callable[[Progress], None] | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare the callback.

        Args:
            steps: environment steps of the whole run.
            statistics: of the latest steps; environment and buffers keep them up to date.
            checkpoint_every: environment steps between checkpoints.
            make_checkpoint: saves and judges the policy; returns numbers to log.
            on_progress: called a few times per second.
            stop_requested: asked after every step.
        """
        super().__init__()
        self.steps = steps
        self.statistics = statistics
        self.checkpoint_every = checkpoint_every
        self.make_checkpoint = make_checkpoint
        self.on_progress = on_progress
        self.stop_requested = stop_requested
        self.latest: dict[str, float] = {}
        self.paused = 0.0  # time spent on checkpoints [s], not part of the speed

    def _on_training_start(self) -> None:
        now = time.perf_counter()
        self._log_every = max(1, self.steps // LOGS_PER_RUN)
        self._began, self._first_step = now, self.model.num_timesteps
        self._last_log, self._last_checkpoint, self._reported = (self.model.num_timesteps,) * 2 + (0.0,)

    def _on_step(self) -> bool:
        self._report()
        if self._buffer is None and self.stop_requested():
            raise StopTraining
        return True

    def _on_rollout_end(self) -> None:
        step = self.model.num_timesteps
        log_due = step - self._last_log >= self._log_every
        checkpoint_due = step - self._last_checkpoint >= self.checkpoint_every and step < self.steps
        if checkpoint_due:
            self._last_checkpoint = step
            self.checkpoint()
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

    def checkpoint(self) -> None:
        """Save and judge the policy, and note the verdict for the next log."""
        began = time.perf_counter()
        for name, value in self.make_checkpoint().items():
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
