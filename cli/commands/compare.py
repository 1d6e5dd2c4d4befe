"""`vlmrm compare`: runs beside one another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..completion import complete_runs
from ..console import print_json, print_table, say
from ..options import Json, Output, Quiet
from ..progress import number

if TYPE_CHECKING:
    from gym_vlmrm.learning.comparison import Comparison, Mean

__all__ = ["compare"]

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Run folders, or folders of runs.", autocompletion=complete_runs),
]


def compare(runs: Runs, output: Output = None, json: Json = False, quiet: Quiet = False) -> None:
    """Put runs beside one another: a table, and one page of curves with mean and interval over seeds.

    Runs that differ in their seed alone are one group. Writes report.html and report.json into --output, or into
    comparisons/<task>-<n>.
    """
    from gym_vlmrm import api
    from gym_vlmrm.reports.comparison_page import default_comparison_folder, write_comparison

    result = api.compare(*runs)
    path = write_comparison(result, output or default_comparison_folder(result))
    if json:
        print_json({"output": str(path.parent), **result.model_dump(mode="json")})
    elif not quiet:
        print_comparison(result)
        say(f"report: {path}")


def print_comparison(result: "Comparison") -> None:
    """Print every run, and the mean of each group of several."""
    columns = ("run", "seed", "status", "steps", "best reward", "success", "steps in success", "hold")
    rows = [
        (
            run.run, str(run.seed), run.status, f"{run.step:,}", number(run.best_reward, ".4f"),
            number(run.success_rate, ".0%"), number(run.success_share, ".1%"), number(run.hold, ".1%"),
        )
        for group in result.groups
        for run in group.runs
    ]  # fmt: skip
    print_table(columns, rows, spare=("status", "steps", "seed", "hold", "steps in success"))
    if len(result.groups) > 1 or len(rows) > 1:
        say("")
        names = ("group", "runs", "best reward", "success", "steps in success", "hold")
        means = [
            (
                group.name, str(len(group.runs)), _mean(group.numbers.get("best_reward"), ".4f"),
                *(_mean(group.numbers.get(name), ".0%") for name in ("success_rate", "success_share", "hold")),
            )
            for group in result.groups
        ]  # fmt: skip
        print_table(names, means, whole=0, spare=("hold", "steps in success"))
        say("means over seeds; brackets: 95% interval of the mean (Student's t)")


def _mean(value: "Mean | None", form: str) -> str:
    if value is None:
        return "-"
    if value.low is None or value.high is None:
        return format(value.mean, form)
    return f"{value.mean:{form}} [{value.low:{form}}, {value.high:{form}}]"
