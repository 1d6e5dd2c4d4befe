"""`vlmrm finetune`: from captioned frames to a model of one's own."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import note, say
from ..options import Device, Json, Output, Quiet, Seed
from ..progress import bar, duration, number
from ..resuming import check_resume, conclude

if TYPE_CHECKING:
    from gym_vlmrm.finetuning import FinetuningResult
    from gym_vlmrm.finetuning.settings import FinetuningProgress

__all__ = ["OLD_NAMES", "Part", "finetune"]

OLD_NAMES = {"frames": "num-frames"}

Captions = Annotated[
    str | None,
    typer.Argument(
        metavar="CAPTIONS",
        help="A folder of pictures with captions.csv or captions.jsonl (columns file, caption and, if wanted, score), "
        "or a built-in scene: humanoid, cartpole, mountain-car.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Base model: any that `vlmrm train --model` takes, or `scratch` for a small new one.",
    ),
]


class Part(StrEnum):
    """Values of ``--train``."""

    PROJECTION = "projection"
    ADAPTERS = "adapters"
    ALL = "all"


Train = Annotated[
    Part,
    typer.Option("--train", help="What to change; `projection` and `adapters` are light on memory."),
]
Steps = Annotated[int | None, typer.Option("--steps", metavar="N", min=1, help="Batches to learn from.")]
Epochs = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Passes over the frames; 20, and at least 200 steps, by default.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=2, help="Frames in a batch.")]
LearningRate = Annotated[
    float | None, typer.Option("--learning-rate", help="Peak learning rate; what suits --train by default.")
]
HeldOut = Annotated[
    float, typer.Option("--held-out", min=0, max=0.9, help="Share of the frames that judge and never train.")
]
Patience = Annotated[
    int, typer.Option("--patience", min=1, help="Stop after so many measurements without a better held-out loss.")
]
NumFrames = Annotated[int, typer.Option("--num-frames", min=2, help="Frames to draw of a built-in scene.")]
Resume = Annotated[
    Path | None, typer.Option("--resume", metavar="DIR", help="Go on with this output folder of an interrupted run.")
]


def finetune(
    context: typer.Context,
    captions: Captions = None,
    model: Model = None,
    output: Output = None,
    train: Train = Part.ALL,
    steps: Steps = None,
    epochs: Epochs = None,
    batch_size: BatchSize = 64,
    learning_rate: LearningRate = None,
    seed: Seed = 0,
    device: Device = None,
    held_out: HeldOut = 0.1,
    patience: Patience = 5,
    num_frames: NumFrames = 2000,
    resume: Resume = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a reward model on captioned frames, or train a small one.

    The result is a folder for --model local-dir:DIR. Ctrl-C, SIGTERM and a closed terminal keep the state;
    the last line says how to go on.
    """
    if resume is None:
        _check_usage(captions, model, output, train, steps, epochs, learning_rate)
    else:
        check_resume(context, "CAPTIONS", "device")
    from gym_vlmrm import finetuning

    with _bar(shown=not quiet) as on_progress:
        if resume is not None:
            result = finetuning.resume(resume, on_progress, device=device)
        else:
            settings = finetuning.Settings(
                captions=_lasting(str(captions)), model=_lasting_model(str(model)), train=train.value, steps=steps,
                epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed, device=device or "auto",
                held_out=held_out, patience=patience, frames=num_frames,
            )  # fmt: skip
            result = finetuning.finetune(settings, Path(str(output)), on_progress)
    conclude(result, _summary(result), _print_result, "finetune", result.output, json=json, quiet=quiet)


def _check_usage(
    captions: str | None, model: str | None, output: Path | None, train: str,
    steps: int | None, epochs: int | None, learning_rate: float | None,
) -> None:  # fmt: skip
    for value, hint in ((captions, "CAPTIONS"), (model, "--model"), (output, "--output")):
        if value is None:
            raise typer.BadParameter("missing; only --resume goes without it", param_hint=hint)
    if steps is not None and epochs is not None:
        raise typer.BadParameter("give --steps or --epochs, not both", param_hint="--epochs")
    if learning_rate is not None and not 0 < learning_rate < 1:
        raise typer.BadParameter(f"{learning_rate:g} is not between 0 and 1", param_hint="--learning-rate")
    if model == "scratch" and train != "all":
        raise typer.BadParameter(f"a model from scratch has nothing to keep; leave {train} out", param_hint="--train")


def _lasting(path: str) -> str:
    """Make the path of an existing file or folder absolute, so that the run can be resumed from anywhere."""
    return os.path.abspath(path) if os.path.exists(path) else path


def _lasting_model(name: str) -> str:
    scheme = "local-dir:"
    return scheme + _lasting(name.removeprefix(scheme)) if name.startswith(scheme) else name


@contextmanager
def _bar(shown: bool) -> "Iterator[Callable[[FinetuningProgress], None] | None]":
    """Show steps, losses and time left; yields what a fine-tuning calls."""
    with bar("fine-tuning", "loss {loss}  held out {held_out}  {left} left", shown=shown) as show:

        def report(progress: "FinetuningProgress") -> None:
            assert show is not None
            show(
                progress.step, progress.steps, loss=number(progress.loss, ".4f"),
                held_out=number(progress.held_out, ".4f"), left=duration(progress.seconds_left),
            )  # fmt: skip

        yield None if show is None else report


def _summary(result: "FinetuningResult") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "output": str(result.output),
        "model": f"local-dir:{result.output}",
        "status": "interrupted" if result.interrupted else "finished",
        "step": result.step,
        "steps": result.steps,
        "stopped_early": result.stopped_early,
        "seconds": result.seconds,
        "before": None if result.before is None else asdict(result.before),
        "after": None if result.after is None else asdict(result.after),
    }


def _print_result(result: "FinetuningResult") -> None:
    early = ", stopped early" if result.stopped_early else ""
    say(f"{result.step:,} steps in {result.seconds:.0f} s{early}; everything is in {result.output}")
    if result.before is not None and result.after is not None:
        auc = "" if result.after.auc is None or result.before.auc is None else (
            f", AUC {result.before.auc:.3f} -> {result.after.auc:.3f}"
        )  # fmt: skip
        say(f"held out: loss {result.before.loss:.4f} -> {result.after.loss:.4f}{auc} (step {result.after.step:,})")
        if result.after.step == 0:
            note("training never lowered the held-out loss, so the weights are the base model's; give more frames")
    say(f"next: vlmrm audit TASK --model local-dir:{result.output}")
