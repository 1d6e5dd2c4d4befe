"""The whole way from captioned frames and a base model to a folder that ``local-dir:`` loads."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.finetuning.adapters import require_peft
from gym_vlmrm.finetuning.base import SCRATCH_PREPROCESSING, Base, build_scratch, load_base, write_model
from gym_vlmrm.finetuning.captions import Captioned, CaptionError
from gym_vlmrm.finetuning.card import write_card
from gym_vlmrm.finetuning.data import Frames, Indices, prepare, split
from gym_vlmrm.finetuning.learner import Learner, default_rate
from gym_vlmrm.finetuning.scenes import gather
from gym_vlmrm.finetuning.settings import SCRATCH, Progress, Settings
from gym_vlmrm.finetuning.state import (
    Measurement,
    Record,
    State,
    drop_state,
    read_record,
    read_state,
    write_record,
    write_state,
)
from gym_vlmrm.training.provenance import library_versions

__all__ = ["FinetuningResult", "finetune", "resume"]

MEASUREMENTS = 20
"""Measurements of a whole training; each also writes the state to go on from."""
DEFAULT_EPOCHS, LEAST_STEPS = 20, 200
EARLIEST_STOP = 0.25
"""Share of the steps before which nothing stops: the learning rate still rises, running means still settle."""
SMALL_FRAME = 128
"""Towers for frames below this side [px] are so small that a second torch thread costs more than it helps."""
OnProgress = Callable[[Progress], None]


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


def finetune(settings: Settings, output: Path, on_progress: OnProgress | None = None) -> FinetuningResult:
    """Fine-tune a model and write it to a new folder.

    Args:
        settings: data, base model and how to train.
        output: folder to make; must not hold anything.
        on_progress: called after every step.

    Raises:
        CaptionError: the captions or pictures are missing, unreadable or too few.
        ModelError: the base model cannot be loaded or trained here.
        RunError: the output folder holds something already.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RunError(f"{output} exists already; name another --output, or go on with --resume {output}")
    if settings.model == SCRATCH and settings.train != "all":
        raise ModelError(
            f"train='{settings.train}' keeps weights of a trained model, and scratch has none; use train='all'"
        )
    data = gather(settings.captions, settings.frames, settings.seed)
    base = _load_base(settings)
    frames, training, judges = _prepare(data, settings, base)
    output.mkdir(parents=True, exist_ok=True)
    base = base or _scratch(output, frames, training, settings, learn_words=True)
    rate = settings.learning_rate or default_rate(settings, base)
    learner = _learner(base, frames, training, settings, rate)
    steps = settings.steps or (settings.epochs or DEFAULT_EPOCHS) * learner.per_epoch
    if settings.steps is None and settings.epochs is None:
        steps = max(steps, LEAST_STEPS)
    record = Record(settings, _describe(data, frames, judges, base), library_versions(), steps, rate)
    session = _Session(learner, judges, record, output, on_progress)
    session.begin()
    return session.run()


def resume(output: Path, on_progress: OnProgress | None = None) -> FinetuningResult:
    """Go on with an interrupted fine-tuning exactly where its last state was written.

    Args:
        output: its folder.
        on_progress: called after every step.

    Raises:
        RunError: there is nothing to go on with, or the captions are not those that it began with.
        CaptionError, ModelError: see `finetune`.
    """
    record = read_record(output)
    settings = record.settings
    if record.status == "finished":
        raise RunError(f"{output} is finished; use it as model=local-dir:{output}, or start anew with it as --model")
    data = gather(settings.captions, settings.frames, settings.seed)
    base = _load_base(settings)
    frames, training, judges = _prepare(data, settings, base)
    if record.data["sha256"] != frames.fingerprint():
        raise RunError(
            f"the frames or captions in {settings.captions} are not those that {output} began with; start anew"
        )
    base = base or _scratch(output, frames, training, settings, learn_words=False)
    learner = _learner(base, frames, training, settings, record.learning_rate)
    session = _Session(learner, judges, record, output, on_progress)
    session.restore()
    return session.run()


def _load_base(settings: Settings) -> Base | None:
    """Load what is trained, before the pictures are read: what cannot be had is found out first."""
    if settings.train == "adapters":
        require_peft()
    return None if settings.model == SCRATCH else load_base(settings.model, settings.device)


def _prepare(data: Captioned, settings: Settings, base: Base | None) -> tuple[Frames, Indices, Indices]:
    frames = prepare(data, base.preprocess_cfg if base else SCRATCH_PREPROCESSING)
    training, judges = split(len(frames.members), settings.held_out, settings.seed)
    if len({number for row in training for number in frames.members[row].tolist()}) < 2:
        raise CaptionError(
            f"without the {len(judges)} frames that are held out one caption is left; give more frames or --held-out 0"
        )
    return frames, training, judges


def _scratch(output: Path, frames: Frames, training: Indices, settings: Settings, *, learn_words: bool) -> Base:
    texts = _texts(frames, training)
    return build_scratch(output, texts, settings.device, settings.seed, learn_words=learn_words)


def _texts(frames: Frames, training: Indices) -> list[str]:
    """Return the captions of the frames that train, each once."""
    numbers = sorted({int(number) for row in training for number in frames.members[row]})
    return [frames.texts[number] for number in numbers]


def _learner(base: Base, frames: Frames, training: Indices, settings: Settings, rate: float) -> Learner:
    if base.device.type == "cpu" and max(frames.pixels.shape[1:3]) < SMALL_FRAME:
        torch.set_num_threads(1)
    with _memory_in_one_line(settings):
        return Learner(base, frames, training, settings, rate)


def _describe(data: Captioned, frames: Frames, judges: Indices, base: Base) -> dict[str, object]:
    return {
        "frames": len(frames.members),
        "held_out": len(judges),
        "captions": len(frames.texts),
        "pairs": sum(len(captions) for captions in data.captions),
        "sha256": frames.fingerprint(),
        "device": str(base.device),
    }


class _Session:
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
        self._began, self._earlier, self._first = time.perf_counter(), record.seconds, record.step

    def begin(self) -> None:
        """Measure the base model."""
        with _memory_in_one_line(self.record.settings):
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
        record = self.record
        with _memory_in_one_line(record.settings), self._stopping_on_interrupt():
            while record.step < record.steps and not self.stop and not self._is_stale():
                loss = self.learner.step(record.step, record.steps)
                record.step += 1
                self.smoothed += (loss - self.smoothed) / min(record.step, 50)
                if record.step % self.period == 0 or record.step == record.steps:
                    self._measure()
                    self._write_state()
                self._report()
        if record.step < record.steps and not self._is_stale():
            record.status = "interrupted"
            self._write_state()
        else:
            self._finish()
        return self._result()

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
        write_model(learner.base, self.output, _texts(learner.frames, learner.training))
        record.status, record.seconds = "finished", round(self._seconds(), 3)
        write_card(self.output, record)
        write_record(self.output, record)
        drop_state(self.output)

    def _seconds(self) -> float:
        return self._earlier + time.perf_counter() - self._began

    def _report(self) -> None:
        if self.on_progress is None:
            return
        record = self.record
        pace = (time.perf_counter() - self._began) / (record.step - self._first)
        latest = record.measurements[-1].loss if record.measurements else None
        self.on_progress(
            Progress(record.step, record.steps, self.smoothed, latest, pace * (record.steps - record.step))
        )

    def _result(self) -> FinetuningResult:
        record = self.record
        by_step = {row.step: row for row in record.measurements}
        finished = record.status == "finished"
        return FinetuningResult(
            self.output, record.step, record.steps, record.seconds, not finished,
            finished and record.step < record.steps, by_step.get(0), by_step.get(record.best_step),
        )  # fmt: skip

    @contextlib.contextmanager
    def _stopping_on_interrupt(self) -> Iterator[None]:
        """Turn the first Ctrl-C into a stop after this step; the second one interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.getsignal(signal.SIGINT)

        def ask(*_: object) -> None:
            self.stop = True
            signal.signal(signal.SIGINT, previous)

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def _memory_in_one_line(settings: Settings) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise ModelError(
            f"batches of {settings.batch_size} do not fit into the memory of the device; "
            "lower --batch-size, or use --train projection or adapters"
        ) from None
