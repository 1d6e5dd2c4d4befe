"""The model card beside fine-tuned weights."""

from pathlib import Path

from gym_vlmrm.files import write_text
from gym_vlmrm.finetuning.settings import SCRATCH
from gym_vlmrm.finetuning.state import Measurement, Record

__all__ = ["write_card"]

_PARTS = {
    "projection": "the last projections of both towers",
    "adapters": "low-rank adapters of attention, linear and convolutional layers, merged into the weights",
    "all": "all weights",
}
_CARD = """# {title}

Made by `vlmrm finetune`. Use it with `model="local-dir:THIS-FOLDER"`, or `--model local-dir:THIS-FOLDER`.

| | |
|---|---|
| Base model | `{base}` |
| Trained | {part} |
| Captions | `{captions}` |
| Data | {frames:,} frames ({held_out:,} of them held out), {texts:,} different captions, {pairs:,} pairs |
| Data hash | `{hash}` |
| Steps | {step:,} of {steps:,}, in batches of {batch}; weights of step {best:,} |
| Peak learning rate | {rate:g} |
| Seed | {seed} |
| Time | {seconds:.0f} s on `{device}` |

## Held out

{measurements}

## Versions

{versions}

## Limits

It knows what its captions name, seen as its frames show it: other prompts, cameras or scenes are guesses. The figures
above are of frames drawn from the same source as those that trained it, captions included; check the reward on
your own task with `vlmrm audit` before training an agent. The base model's licence and limits stay in force.
"""


def write_card(folder: Path, record: Record) -> None:
    """Write ``README.md``: data, recipe, held-out figures before and after, limits."""
    settings, data = record.settings, record.data
    base = "none, from scratch" if settings.model == SCRATCH else settings.model
    text = _CARD.format(
        title="A small CLIP model from scratch" if settings.model == SCRATCH else f"{settings.model}, fine-tuned",
        base=base,
        part=_PARTS[settings.train],
        captions=settings.captions,
        frames=data["frames"],
        held_out=data["held_out"],
        texts=data["captions"],
        pairs=data["pairs"],
        hash=data["sha256"],
        step=record.step,
        steps=record.steps,
        batch=settings.batch_size,
        best=record.best_step,
        rate=record.learning_rate,
        seed=settings.seed,
        seconds=record.seconds,
        device=data["device"],
        measurements=_figures(record),
        versions=", ".join(f"{name} {version}" for name, version in record.versions.items()),
    )
    write_text(folder / "README.md", text)


def _figures(record: Record) -> str:
    by_step = {row.step: row for row in record.measurements}
    if 0 not in by_step:
        return "Nothing was held out, so nothing is known about frames that were not trained on."
    rows = [_row("before", by_step[0]), _row("after", by_step[record.best_step])]
    return "\n".join(["| | step | loss | AUC of a frame's own captions against others |", "|---|---|---|---|", *rows])


def _row(name: str, measured: Measurement) -> str:
    auc = "-" if measured.auc is None else f"{measured.auc:.3f}"
    return f"| {name} | {measured.step:,} | {measured.loss:.4f} | {auc} |"
