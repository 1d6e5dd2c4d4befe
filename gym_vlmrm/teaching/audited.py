"""The last step of a teaching: the audit of each task with the model that was made for it."""

from collections.abc import Callable
from pathlib import Path

from gym_vlmrm.auditing import audit
from gym_vlmrm.auditing.frames import TooFewFramesError
from gym_vlmrm.errors import VLMRMError
from gym_vlmrm.files import make_folder
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.reports.page import write_audit
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.teaching.figures import Verdict
from gym_vlmrm.teaching.settings import TeachingSettings

__all__ = ["audit_taught", "runs_of"]

AUDITED = 1500
"""States that the audit's search for exploits scores."""


def runs_of(task: TaskSpec, settings: TeachingSettings) -> list[RunFolder]:
    """Return those of the given runs that play a task's environment."""
    runs = [RunFolder.open(path) for path in settings.policies]
    return [run for run in runs if run.task.env.id == task.env.id]


def audit_taught(
    task: TaskSpec, output: Path, settings: TeachingSettings, report: Callable[[str, int, int], None]
) -> Verdict:
    """Audit a task with the model that was made for it, into a folder beside its weights."""
    folder = output / "audit" / task.id.replace("/", "-")
    runs = runs_of(task, settings)
    try:
        make_folder(folder)
        result = audit(
            override(task, model=f"local-dir:{output}"), alphas=sorted({0.0, task.reward.alpha}),
            policy=runs[0].path if runs else None, evaluations=AUDITED, seed=settings.seed + 1,
            workers=settings.workers, on_progress=report,
        )  # fmt: skip
        write_audit(result, folder)
    except VLMRMError as error:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        reason = _too_few(error) if isinstance(error, TooFewFramesError) else str(error)
        return Verdict(task=task.id, label="not audited", reasons=[reason])
    verdict = result.report.models[0].verdict
    return Verdict(task=task.id, label=verdict.label, reasons=verdict.reasons)


def _too_few(error: TooFewFramesError) -> str:
    """Say what helps here, where no pictures can be given."""
    own = f"an audit draws frames of its own, not those that were taught: of {error.frames:,} only {error.count}"
    if error.kind == "goal":
        cure = "train an agent, and where it reaches the goal: vlmrm audit TASK --model MODEL --policy RUN"
        return f"{own} show the goal by the rule of success, and it needs {error.least}; {cure}"
    return f"{own} do not show the goal by the rule of success, and it needs {error.least}; make the rule narrower"
