"""The card of a taught model: what it was taught, how well it knows it, what the audit says."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from gym_vlmrm.errors import VLMRMError
from gym_vlmrm.files import read_model, write_text
from gym_vlmrm.finetuning.settings import SCRATCH
from gym_vlmrm.learning.provenance import library_versions
from gym_vlmrm.reward.loading import model_location
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.teaching.figures import FEWEST, CaptionFigures, RoundFigures, Verdict, WorldFigures
from gym_vlmrm.teaching.lessons import FEWEST_TRUE
from gym_vlmrm.teaching.settings import TeachingSettings

__all__ = ["RECORD_FILE", "TeachingRecord", "hardly_taught", "write_card"]

RECORD_FILE = "teaching.json"
_CARD = """# {title}

Made by `vlmrm teach`. Use it with `--model local-dir:THIS-FOLDER`, or as `model: local-dir:THIS-FOLDER` of a task.

| | |
|---|---|
| Worlds | {worlds} |
| Tasks | {tasks} |
| Base model | {base} |
| Data | {frames:,} frames, {captions} captions |
| Explored | {explored} |
| Minutes asked for | {minutes:g} |
| Seed | {seed} |

## Held out

Frames that another exploration of the same worlds found. AUC: how often a frame of which the caption is true scores
above one of which it is less than half true; `-`: fewer than {fewest} of them show it, or fewer than {fewest} do not.
"True in" counts those of the {frames:,} frames it learned from that show it; a goal needs {fewest_true} at the least.

| world | caption | true in | AUC | AUC of its worst sentence | rank correlation with truth |
|---|---|---|---|---|---|
{figures}

## Hunted

States with the highest reward were searched, and what the model overrated was taught. "Fooled" is the share of the
states seen in a hunt of which a goal seemed true and was less than half true.

| round | states seen | frames taught | fooled | excess of the worst tenth |
|---|---|---|---|---|
{rounds}

## Audit

{verdicts}

## Versions

{versions}

## Limits

It knows the sentences of its captions, as frames of these worlds show them: other words, cameras, looks and
environments are guesses, and `vlmrm train` refuses worlds that it never saw. What its captions do not tell apart it
does not see. An agent may find what the hunts did not: judge agents by the rule of success (`vlmrm eval`), and teach
again with `--policy` and the run of an agent that fooled it.
"""


class TeachingRecord(BaseModel):
    """What stands in ``teaching.json``."""

    model_config = ConfigDict(frozen=True)

    tasks: list[dict[str, Any]]
    settings: dict[str, Any]
    frames: int
    worlds: list[WorldFigures]
    captions: list[CaptionFigures]
    rounds: list[RoundFigures]
    verdicts: list[Verdict] = []
    seconds: float | None = None
    versions: dict[str, str]

    @classmethod
    def of(
        cls,
        tasks: Sequence[TaskSpec],
        settings: TeachingSettings,
        worlds: list[WorldFigures],
        captions: list[CaptionFigures],
        rounds: list[RoundFigures],
    ) -> "TeachingRecord":
        """Make a record before the audit."""
        return cls(
            tasks=[task.model_dump(mode="json", exclude={"training"}) for task in tasks],
            settings=asdict(settings), frames=sum(world.frames for world in worlds), worlds=worlds, captions=captions,
            rounds=rounds, versions=library_versions(),
        )  # fmt: skip


def hardly_taught(task: TaskSpec) -> list[str]:
    """Say of which goals of a task its models were shown too few states to know them; empty where none was."""
    said = []
    for model in dict.fromkeys(part.model for part in task.reward.all_parts):
        location = model_location(model)
        record = Path(location.removeprefix("local-dir:")) / RECORD_FILE
        if not location.startswith("local-dir:") or not record.is_file():
            continue
        try:
            captions = read_model(record, TeachingRecord).captions
        except VLMRMError:  # the weights are what judges
            continue
        said += [
            f"model '{model}' hardly knows '{row.sentence}': only {row.true_in} of the frames it was taught show it"
            for row in captions
            if row.hardly_seen and row.world == task.env.id
        ]
    return said


def write_card(folder: Path, record: TeachingRecord) -> None:
    """Write ``README.md``, and the same for machines; raises RunError."""
    model = record.settings["model"]
    ids = list(dict.fromkeys(task["env"]["id"] for task in record.tasks))
    text = _CARD.format(
        title=f"A reward model that knows {', '.join(ids)}",
        worlds=", ".join(f"`{name}`" for name in ids),
        tasks=", ".join(f"`{task['id']}`" for task in record.tasks),
        base="none, from scratch" if model == SCRATCH else f"`{model}`",
        frames=record.frames,
        captions=len(record.captions),
        explored="; ".join(f"`{world.world}` {world.explored}" for world in record.worlds),
        fewest=FEWEST,
        fewest_true=FEWEST_TRUE,
        minutes=record.settings["minutes"],
        seed=record.settings["seed"],
        figures="\n".join(_caption_row(row) for row in record.captions),
        rounds="\n".join(
            f"| {number} | {row.seen:,} | {row.kept:,} | {row.fooled:.1%} | {row.excess:.2f} |"
            for number, row in enumerate(record.rounds, 1)
        ),
        verdicts="\n".join(_verdict(verdict) for verdict in record.verdicts) or "Not finished.",
        versions=", ".join(f"{name} {version}" for name, version in record.versions.items()),
    )
    write_text(folder / "README.md", text)
    write_text(folder / RECORD_FILE, record.model_dump_json(indent=2) + "\n")


def _caption_row(row: CaptionFigures) -> str:
    figures = " | ".join("-" if value is None else f"{value:.3f}" for value in (row.auc, row.worst_auc, row.spearman))
    sentence = row.sentence.replace("|", "\\|")
    return f"| {row.world} | {f'**{sentence}**' if row.goal else sentence} | {row.true_in:,} | {figures} |"


def _verdict(verdict: Verdict) -> str:
    return "\n".join([f"* `{verdict.task}`: **{verdict.label}**", *(f"  * {reason}" for reason in verdict.reasons)])
