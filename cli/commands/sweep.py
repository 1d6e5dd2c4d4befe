"""`vlmrm sweep`: many trainings as one experiment, on a cluster."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import note, print_json, print_table, say
from ..options import Json, Output, Quiet
from ..progress import number
from .compare import print_comparison

if TYPE_CHECKING:
    from gym_vlmrm.sweeping.sweep import SweepResult

__all__ = ["sweep"]

File = Annotated[Path | None, typer.Argument(metavar="SWEEP", help="A YAML file that says what is varied.")]
Address = Annotated[
    str, typer.Option("--cluster", metavar="ADDRESS", help="A Ray cluster: HOST:PORT, or auto for this machine's own.")
]
Resume = Annotated[Path | None, typer.Option("--resume", metavar="DIR", help="Go on with this sweep's folder.")]


def sweep(
    file: File = None,
    cluster: Address = "auto",
    output: Output = None,
    resume: Resume = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train tasks x models x alphas x goals x seeds x hyper-parameters on a Ray cluster, and compare what came of it.

    Writes run folders, report.html and report.json into --output, or sweeps/<file>-<n>. What was interrupted goes on
    with --resume; finished trainings are not made again.
    """
    if (file is None) == (resume is None):
        raise typer.BadParameter("name a sweep file, or a sweep's folder by --resume", param_hint="SWEEP")
    if resume is not None and output is not None:
        raise typer.BadParameter("a resumed sweep keeps its folder; leave it out", param_hint="--output")
    from gym_vlmrm.cluster.connecting import check_address, import_ray
    from gym_vlmrm.files import free_folder
    from gym_vlmrm.sweeping.plan import read_sweep
    from gym_vlmrm.sweeping.sweep import begin_sweep, run_sweep

    def ready() -> None:
        import_ray()
        check_address(cluster)

    folder = resume or output or free_folder(Path("sweeps"), (file or Path()).stem)
    if file is not None:
        trials = begin_sweep(read_sweep(file), folder, file.parent, ready=ready)
        if not quiet:
            note(f"{len(trials)} trainings; if it is interrupted: vlmrm sweep --resume {shlex.quote(str(folder))}")
    try:
        result = run_sweep(folder, cluster, on_notice=note)
    except KeyboardInterrupt as stopped:
        stopped.advice = f"go on with: vlmrm sweep --resume {shlex.quote(str(folder))}"  # type: ignore[attr-defined]
        raise
    if json:
        trials_told = [trial.model_dump(mode="json") for trial in result.trials]
        report = None if result.page is None else str(result.page)
        print_json({"output": str(folder), "trials": trials_told, "report": report})
    elif not quiet:
        _print_result(result)


def _print_result(result: "SweepResult") -> None:
    columns = ("training", "status", "steps", "best reward")
    rows = [(one.name, one.status, f"{one.step:,}", number(one.reward, ".4f")) for one in result.trials]
    print_table(columns, rows, spare=("steps",))
    if result.comparison is not None:
        say("")
        print_comparison(result.comparison)
    if result.page is not None:
        say(f"report: {result.page}")
