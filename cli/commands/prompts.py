"""`vlmrm prompts`: which words work?"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import note, print_json, print_table, say
from ..options import Alphas, Device, Json, Model, Pictures, Quiet, Seed, Task, Workers
from ..paying import MaxQueries, PricePerQuery
from ..progress import phase_bar

if TYPE_CHECKING:
    from gym_vlmrm.auditing.prompts import PromptRanking

__all__ = ["OLD_NAMES", "prompts"]

OLD_NAMES = {"frames": "pictures", "try": "goals"}

SHOWN = 15
Goals = Annotated[
    Path | None,
    typer.Option(
        "--goals", metavar="FILE",
        help="Goal prompts, one a line; `baseline: ...` is a baseline prompt, {a|b} a choice. Templates if not given.",
    ),
]  # fmt: skip


class RankBy(StrEnum):
    """Numbers to rank by."""

    epic = "epic"
    auc = "auc"
    nearness = "nearness"
    gap = "gap"


By = Annotated[RankBy, typer.Option("--by", help="The number to rank by.")]


def prompts(
    task: Task,
    goals: Goals = None,
    model: Model = None,
    alpha: Alphas = None,
    by: By = RankBy.auc,
    pictures: Pictures = None,
    device: Device = None,
    max_queries: MaxQueries = None,
    price_per_query: PricePerQuery = None,
    workers: Workers = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rank goal prompts, baseline prompts and alphas by how well they tell the goal from everything else."""
    from gym_vlmrm.auditing.prompts import rank_prompts, read_prompt_file, suggest_prompts
    from gym_vlmrm.task.catalog import load_task

    spec = load_task(task)
    trial = suggest_prompts(spec) if goals is None else read_prompt_file(goals)
    with phase_bar(shown=not quiet) as on_progress:
        ranking = rank_prompts(
            spec, trial, model=model, alphas=alpha or (0.0, 0.5, 1.0), by=by.value, frames=pictures, seed=seed,
            device=device, workers=workers, on_progress=on_progress,
        )  # fmt: skip
    unknown = sorted({word for row in ranking.rows for word in row.unknown_words})
    if unknown:
        words = ", ".join(map(repr, unknown))
        note(f"model '{ranking.model}' never saw {words} in training; such prompts are guesses, and stand last")
    cut = {text for row in ranking.rows for text in row.cut_prompts}
    if cut:
        note(f"model '{ranking.model}' has no room for the end of {len(cut)} of the prompts; those marked (!) are cut")
    if json:
        print_json(ranking.model_dump(mode="json"))
    elif not quiet:
        _print(ranking)


def _print(ranking: "PromptRanking") -> None:
    columns = ("", "EPIC", "AUC", "nearness", "gap", "alpha", "goal prompt", "baseline prompt")
    shown = [(place, row) for place, row in enumerate(ranking.rows, 1) if place <= SHOWN or row.own]
    rows = []
    for place, row in shown:
        candidate = row.candidate
        nearness = "-" if row.nearness is None else f"{row.nearness:.3f}"
        goal = (
            "; ".join(candidate.goal)
            + ("  (the task's own)" if row.own else "")
            + (" (!)" if row.unknown_words or row.cut_prompts else "")
        )
        numbers = (f"{row.epic:.3f}", f"{row.auc:.3f}", nearness, f"{row.gap:.2f}", f"{candidate.alpha:g}")
        rows.append((f"{place}", *numbers, goal, "; ".join(candidate.baseline) if candidate.alpha else "-"))
    title = (
        f"{ranking.task}, model {ranking.model}, {ranking.frames} frames, {ranking.goals} of the goal; by {ranking.by}"
    )
    print_table(columns, rows, title=title, whole=6)
    hidden = len(ranking.rows) - len(shown)
    if hidden:
        say(f"{hidden} more candidates with --json")
