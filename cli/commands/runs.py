"""`vlmrm runs`: what has been trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..completion import complete_runs
from ..console import elapsed, note, print_json, print_table, say
from ..options import Json, Quiet
from ..progress import number

if TYPE_CHECKING:
    from gym_vlmrm.learning.runs import RunEntry

__all__ = ["runs"]

Folders = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FOLDER...", help="Run folders, or folders of runs; ./runs if none.", autocompletion=complete_runs
    ),
]


def runs(folders: Folders = None, json: Json = False, quiet: Quiet = False) -> None:
    """List runs, the newest first: task, algorithm, seed, steps, status, best reward, success, age.

    `killed` is a run that no process trains into any more; `vlmrm train --resume RUN` goes on with it.
    """
    from gym_vlmrm.learning.run_folder import ROOT
    from gym_vlmrm.learning.runs import list_runs

    found = list_runs(folders or [ROOT])
    if json:
        print_json({"runs": [entry.model_dump(mode="json") for entry in found]})
        return
    for entry in found:
        if entry.fault is not None:
            note(f"broken: {entry.fault}")
    if not quiet:
        columns = ("run", "task", "algorithm", "seed", "steps", "status", "best reward", "success", "age")
        print_table(columns, [_row(entry) for entry in found], spare=("algorithm", "task", "seed", "success"))
        say(f"{len(found)} run{'' if len(found) == 1 else 's'}; `vlmrm compare RUN...` puts some beside one another")


def _row(entry: "RunEntry") -> tuple[str, ...]:
    if entry.steps is None or entry.step is None:
        return (entry.run, "-", "-", "-", "-", entry.status, "-", "-", elapsed(entry.age))
    steps = f"{entry.step:,}" if entry.step >= entry.steps else f"{entry.step:,} of {entry.steps:,}"
    return (
        entry.run,
        entry.task or "-",
        entry.algorithm or "-",
        str(entry.seed),
        steps,
        entry.status,
        number(entry.best_reward, ".4f"),
        number(entry.success_rate, ".0%"),
        elapsed(entry.age),
    )
