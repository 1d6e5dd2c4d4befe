"""`vlmrm audit`: can this reward teach?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import print_json, print_table, say
from ..options import Alphas, Baseline, Device, Goal, Json, Output, Pictures, Quiet, Seed, Task, Workers, sentences
from ..progress import phase_bar

if TYPE_CHECKING:
    from gym_vlmrm.auditing import AuditReport
    from gym_vlmrm.auditing.results import Interval

__all__ = ["OLD_NAMES", "audit"]

OLD_NAMES = {"frames": "pictures", "prompt": "other-goal"}

Models = Annotated[
    list[str] | None, typer.Option("--model", metavar="MODEL", help="Reward model; may be repeated to compare several.")
]
OtherGoals = Annotated[
    list[str] | None, typer.Option("--other-goal", help="Another goal prompt to compare; may be repeated.")
]
Policy = Annotated[
    Path | None, typer.Option("--policy", metavar="RUN", help="A run whose policy's frames join the audit.")
]
Evaluations = Annotated[
    int, typer.Option("--evaluations", min=0, help="States that the exploit search scores per model; 0 skips it.")
]


def audit(
    task: Task,
    model: Models = None,
    alpha: Alphas = None,
    other_goal: OtherGoals = None,
    goal: Goal = None,
    baseline: Baseline = None,
    pictures: Pictures = None,
    policy: Policy = None,
    evaluations: Evaluations = 5000,
    device: Device = None,
    workers: Workers = None,
    seed: Seed = 0,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask before any training whether a reward can teach: numbers, pictures, a search for exploits, a verdict.

    Writes report.html and report.json into --output, or into audits/<task>-<n>.
    """
    from gym_vlmrm import api
    from gym_vlmrm.reports.page import default_folder
    from gym_vlmrm.task.catalog import load_task

    spec = load_task(task)
    folder = output or default_folder(spec)
    with phase_bar(shown=not quiet) as on_progress:
        result = api.audit(
            spec, model=model, alpha=alpha, prompt=other_goal or (), goal=sentences(goal), baseline=sentences(baseline),
            frames=pictures, policy=policy, evaluations=evaluations, seed=seed, device=device, workers=workers,
            output=folder, on_progress=on_progress,
        )  # fmt: skip
    path = folder / "report.html"
    if json:
        print_json({"output": str(path.parent), **result.report.model_dump(mode="json")})
    elif not quiet:
        _print(result.report, path)


def _print(report: "AuditReport", path: Path) -> None:
    columns = ("model", "alpha", "AUC", "EPIC", "nearness", "gap", "above worst goal", "goal prompt")
    rows = []
    for finding in report.findings:
        numbers, candidate = finding.numbers, finding.candidate
        cells = (numbers.auc, numbers.epic, numbers.spearman_distance, numbers.gap, numbers.above_worst_goal)
        rows.append((finding.model, f"{candidate.alpha:g}", *map(_cell, cells), "; ".join(candidate.goal)))
    print_table(
        columns,
        rows,
        title=f"{report.task}, {sum(report.frames.values())} frames, {sum(report.goals.values())} of the goal",
        whole=7,
    )
    for model in report.models:
        say(f"\n{model.model}: {model.verdict.label.upper()}")
        for reason in model.verdict.reasons:
            say(f"  - {reason}")
        for text in model.advice:
            say(f"  -> {text}")
    say(f"\nreport: {path}")


def _cell(interval: "Interval | None") -> str:
    return "-" if interval is None else f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
