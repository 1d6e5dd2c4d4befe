"""The whole way from captioned frames and a base model to a folder that ``local-dir:`` loads."""

import contextlib
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.files import check_writable, is_free, make_folder, only_writer
from gym_vlmrm.finetuning.adapters import require_peft
from gym_vlmrm.finetuning.base import SCRATCH_PREPROCESSING, Base, build_scratch, load_base
from gym_vlmrm.finetuning.captions import Captioned, CaptionError
from gym_vlmrm.finetuning.data import CaptionedFrames, Indices, prepare, split
from gym_vlmrm.finetuning.learner import Learner, default_rate
from gym_vlmrm.finetuning.scenes import gather
from gym_vlmrm.finetuning.session import FinetuningResult, FinetuningSession, OnProgress, memory_in_one_line
from gym_vlmrm.finetuning.settings import SCRATCH, Settings
from gym_vlmrm.finetuning.state import RECORD_FILE, Record, read_record
from gym_vlmrm.learning.provenance import library_versions
from gym_vlmrm.reward.threads import kept_torch_threads

__all__ = ["FinetuningResult", "finetune", "resume"]

DEFAULT_EPOCHS, LEAST_STEPS = 20, 200
SMALL_FRAME = 128
"""Towers for frames below this side [px] are so small that a second torch thread costs more than it helps."""


@kept_torch_threads()
def finetune(settings: Settings, output: Path, on_progress: OnProgress | None = None) -> FinetuningResult:
    """Fine-tune a model and write it to a new folder.

    Args:
        settings: data, base model and how to train.
        output: folder to make; must not hold anything.
        on_progress: called after every step.

    Raises:
        CaptionError: the captions or pictures are missing, unreadable or too few.
        ModelError: the base model cannot be loaded or trained here.
        RunError: the output folder holds something already, or cannot be written.
    """
    if not is_free(output):
        raise RunError(
            f"{output} exists already; name another --output, or go on with --resume {shlex.quote(str(output))}"
        )
    if settings.model == SCRATCH and settings.train != "all":
        raise ModelError(
            f"train='{settings.train}' keeps weights of a trained model, and scratch has none; use train='all'"
        )
    check_writable(output)
    data = gather(settings.captions, settings.frames, settings.seed)
    base = _load_base(settings)
    frames, training, judges = _prepare(data, settings, base)
    make_folder(output)
    with only_writer(output), _leaving_nothing(output):
        return _begin(settings, output, data, base, frames, training, judges, on_progress)


@contextlib.contextmanager
def _leaving_nothing(output: Path) -> Iterator[None]:
    """Clear a new folder where the block fails before there is anything to go on with; the same command then may."""
    try:
        yield
    except BaseException:
        if not (output / RECORD_FILE).exists():
            for path in output.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != ".lock":
                    path.unlink(missing_ok=True)
        raise


def _begin(
    settings: Settings, output: Path, data: Captioned, base: Base | None, frames: CaptionedFrames, training: Indices,
    judges: Indices, on_progress: OnProgress | None,
) -> FinetuningResult:  # fmt: skip
    base = base or _scratch(output, frames, training, settings, learn_words=True)
    rate = settings.learning_rate or default_rate(settings, base)
    learner = _learner(base, frames, training, settings, rate)
    steps = settings.steps or (settings.epochs or DEFAULT_EPOCHS) * learner.per_epoch
    if settings.steps is None and settings.epochs is None:
        steps = max(steps, LEAST_STEPS)
    record = Record(settings, _describe(data, frames, judges, base), library_versions(), steps, rate)
    session = FinetuningSession(learner, judges, record, output, on_progress)
    session.begin()
    return session.run()


@kept_torch_threads()
def resume(output: Path, on_progress: OnProgress | None = None, *, device: str | None = None) -> FinetuningResult:
    """Go on with an interrupted fine-tuning exactly where its last state was written.

    Args:
        output: its folder.
        on_progress: called after every step.
        device: where to compute from now on; where it did if not given.

    Raises:
        RunError: there is nothing to go on with, the captions are not those that it began with, or another process
            is training into the folder.
        CaptionError, ModelError: see `finetune`.
    """
    read_record(output)
    with only_writer(output):
        return _resume(output, on_progress, device)


def _resume(output: Path, on_progress: OnProgress | None, device: str | None) -> FinetuningResult:
    record = read_record(output)
    if device is not None:
        record.settings = replace(record.settings, device=device)
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
    session = FinetuningSession(learner, judges, record, output, on_progress)
    session.restore()
    record.data["device"] = str(base.device)
    return session.run()


def _load_base(settings: Settings) -> Base | None:
    """Load what is trained, before the pictures are read: what cannot be had is found out first."""
    if settings.train == "adapters":
        require_peft()
    return None if settings.model == SCRATCH else load_base(settings.model, settings.device)


def _prepare(data: Captioned, settings: Settings, base: Base | None) -> tuple[CaptionedFrames, Indices, Indices]:
    frames = prepare(data, base.preprocess_cfg if base else SCRATCH_PREPROCESSING)
    training, judges = split(len(frames.members), settings.held_out, settings.seed)
    if len({number for row in training for number in frames.members[row].tolist()}) < 2:
        raise CaptionError(
            f"without the {len(judges)} frames that are held out one caption is left; give more frames or --held-out 0"
        )
    return frames, training, judges


def _scratch(
    output: Path, frames: CaptionedFrames, training: Indices, settings: Settings, *, learn_words: bool
) -> Base:
    texts = frames.texts_of(training)
    return build_scratch(output, texts, settings.device, settings.seed, learn_words=learn_words)


def _learner(base: Base, frames: CaptionedFrames, training: Indices, settings: Settings, rate: float) -> Learner:
    if base.device.type == "cpu" and max(frames.pixels.shape[1:3]) < SMALL_FRAME:
        torch.set_num_threads(1)
    with memory_in_one_line(settings):
        return Learner(base, frames, training, settings, rate)


def _describe(data: Captioned, frames: CaptionedFrames, judges: Indices, base: Base) -> dict[str, object]:
    return {
        "frames": len(frames.members),
        "held_out": len(judges),
        "captions": len(frames.texts),
        "pairs": sum(len(captions) for captions in data.captions),
        "sha256": frames.fingerprint(),
        "device": str(base.device),
    }
