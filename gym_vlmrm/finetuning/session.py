"""One process's share of a fine-tuning: it learns, measures, remembers the best weights and writes the state."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.finetuning.base import write_model
from gym_vlmrm.finetuning.card import write_card
from gym_vlmrm.finetuning.data import Indices
from gym_vlmrm.finetuning.learner import Learner
from gym_vlmrm.finetuning.settings import FinetuningProgress, Settings
from gym_vlmrm.finetuning.state import Measurement, Record, State, drop_state, read_state, write_record, write_state
from gym_vlmrm.interrupts import StopRequest, stopping_on_signals

__all__ = ["FinetuningResult", "FinetuningSession", "OnProgress", "memory_in_one_line"]

MEASUREMENTS = 20
"""Measurements of a whole training; each also writes the state to go on from."""
EARLIEST_STOP = 0.25
"""Share of the steps before which nothing stops: the learning rate still rises, running means still settle."""
OnProgress = Callable[[FinetuningProgress], None]


@dataclass(frozen=True)
class FinetuningResult:
    """How a fine-tuning ended."""

    output: Path
    step: int
    steps: int
    seconds: float
    """Wall-clock time of all sessions [s]."""
    interrupted: bool
    stopped_early: bool
    before: Measurement | None
    """Held-out figures of the base model; None where nothing is held out."""
    after: Measurement | None
    """Held-out figures of the weights that were kept."""
    signal: int | None = None
    """Number of the signal that interrupted it, if one did."""


class FinetuningSession:
    """Learns, measures, remembers the best weights and writes the state."""

    def __init__(
        self, learner: Learner, judges: Indices, record: Record, output: Path, on_progress: OnProgress | None
    ) -> None:
        self.learner, self.judges, self.record, self.output, self.on_progress = (
            learner,
            judges,
            record,
            output,
            on_progress,
        )
        self.period = max(record.steps // MEASUREMENTS, 1)
        self.best: dict[str, torch.Tensor] = {}
        self.smoothed = 0.0
        self.stop = False
        """Set it to stop after this step; signals do the same through `request`."""
        self.request = StopRequest()
        self._began, self._earlier, self._first = time.perf_counter(), record.seconds, record.step

    @property
    def _stopping(self) -> bool:
        return self.stop or bool(self.request)

    def begin(self) -> None:
        """Measure the base model."""
        with memory_in_one_line(self.record.settings):
            self._measure()
        self._write_state()

    def restore(self) -> None:
        """Take up weights and optimiser where they were."""
        state = read_state(self.output, self.record.step, self.learner.optimizer)
        try:
            self.learner.put(state.weights)
            self.learner.optimizer.load_state_dict(state.optimizer)
        except (KeyError, ValueError, RuntimeError) as error:
            raise RunError(f"the state in {self.output} does not fit its base model ({error}); start anew") from None
        self.best, self.smoothed = state.best, state.smoothed

    def run(self) -> FinetuningResult:
        """Learn until the steps are made, the held-out loss stops falling, or a stop is asked for."""
        with stopping_on_signals(self.request):
            self._learn()
            with self.request.shield():  # what is learned is written, however impatient the user
                if self.record.step < self.record.steps and not self._is_stale():
                    self.record.status = "interrupted"
                    self._write_state()
                else:
                    self._finish()
        return self._result()

    def _learn(self) -> None:
        record = self.record
        with memory_in_one_line(record.settings):
            while record.step < record.steps and not self._stopping and not self._is_stale():
                loss = self.learner.step(record.step, record.steps)
                record.step += 1
                self.smoothed += (loss - self.smoothed) / min(record.step, 50)
                if record.step % self.period == 0 or record.step == record.steps:
                    self._measure()
                    with self.request.shield():
                        self._write_state()
                self._report()

    def _measure(self) -> None:
        """Measure, and keep the weights if they are the best so far; without judges the last are the best."""
        record = self.record
        self.learner.settle()
        if len(self.judges):
            measured = self.learner.measure(record.step, self.judges)
            record.measurements.append(measured)
            if measured.loss > min(row.loss for row in record.measurements[:-1] or [measured]):
                return
        record.best_step = record.step
        self.best = self.learner.weights()

    def _is_stale(self) -> bool:
        """Return whether the last measurements, as many as the patience, brought nothing better."""
        if self.record.step < EARLIEST_STOP * self.record.steps:
            return False
        since = [row for row in self.record.measurements if row.step > self.record.best_step]
        return len(since) >= self.record.settings.patience

    def _write_state(self) -> None:
        self.record.seconds = round(self._seconds(), 3)
        optimizer = self.learner.optimizer.state_dict()
        write_state(self.output, State(self.learner.weights(), self.best, optimizer, self.smoothed), self.record)

    def _finish(self) -> None:
        learner, record = self.learner, self.record
        learner.put(self.best)
        learner.finish()
        write_model(learner.base, self.output, learner.frames.texts_of(learner.training))
        record.status, record.seconds = "finished", round(self._seconds(), 3)
        write_card(self.output, record)
        write_record(self.output, record)
        drop_state(self.output)

    def _seconds(self) -> float:
        return self._earlier + time.perf_counter() - self._began

    def _report(self) -> None:
        if self.on_progress is None or self._stopping:
            return
        record = self.record
        pace = (time.perf_counter() - self._began) / (record.step - self._first)
        latest = record.measurements[-1].loss if record.measurements else None
        self.on_progress(
            FinetuningProgress(record.step, record.steps, self.smoothed, latest, pace * (record.steps - record.step))
        )

    def _result(self) -> FinetuningResult:
        record = self.record
        by_step = {row.step: row for row in record.measurements}
        finished = record.status == "finished"
        return FinetuningResult(
            self.output, record.step, record.steps, record.seconds, not finished,
            finished and record.step < record.steps, by_step.get(0), by_step.get(record.best_step),
            None if finished else self.request.signal,
        )  # fmt: skip


@contextlib.contextmanager
def memory_in_one_line(settings: Settings) -> Iterator[None]:
    """Turn an accelerator's lack of memory in the block into a ModelError that says what to change."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise ModelError(
            f"batches of {settings.batch_size} do not fit into the memory of the device; "
            "lower --batch-size, or use --train projection or adapters"
        ) from None
