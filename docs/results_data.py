"""What ``docs/results/results.json`` holds: a row for each training, and what the audit of each task said."""

from pathlib import Path

from gym_vlmrm.auditing.results import AuditReport
from gym_vlmrm.files import read_model
from gym_vlmrm.learning.records import Result
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.runs import find_runs
from gym_vlmrm.learning.scores import LongScores, Scores, read_evaluation
from gym_vlmrm.task.builtin import short_name

__all__ = ["AuditOutcome", "Results", "Row", "read_audit", "read_row", "shown_runs", "with_earlier"]


class Row(Result):
    """One training and what its best checkpoint does."""

    task: str
    recipe_name: str
    algorithm: str
    seed: int
    steps: int
    """Environment steps made."""
    of_steps: int
    """Those that the recipe asks for; a run that was stopped has made fewer."""
    best_step: int
    """Step of the checkpoint that was judged: the one that earned most by the reward model."""
    best_reward: float
    minutes: float
    """Wall-clock time of the training."""
    machine: str
    judge: str
    """Digest of the weights that rewarded it, and of those that judged it: the same."""
    policy: Scores
    """At the task's own limit."""
    random: Scores
    longer: LongScores | None


class AuditOutcome(Result):
    """What ``vlmrm audit`` said of a task before any training."""

    task: str
    verdict: str
    judge: str


class Results(Result):
    """All that the pages say."""

    format: int = 1
    weights_digest: str
    """Of the weights that the package held when this was written."""
    rows: list[Row]
    audits: list[AuditOutcome]


def with_earlier(results: Results, earlier: Results) -> Results:
    """Return results with those of earlier runs, which lie elsewhere by now, if the same weights judged them."""
    if earlier.weights_digest != results.weights_digest:
        return results
    known = {(row.task, row.recipe_name, row.seed) for row in results.rows}
    audited = {audit.task for audit in results.audits}
    return results.model_copy(
        update={
            "rows": [*results.rows, *(r for r in earlier.rows if (r.task, r.recipe_name, r.seed) not in known)],
            "audits": [*results.audits, *(audit for audit in earlier.audits if audit.task not in audited)],
        }
    )


def read_row(run: RunFolder, digest: str) -> Row | str:
    """Return the row of a run, or why it has none."""
    record, evaluation, best = run.record, read_evaluation(run), run.best
    if best is None or evaluation is None:
        return "it was not evaluated"
    if evaluation.checkpoint != best.step:
        return f"its evaluation is of step {evaluation.checkpoint:,}, and its best checkpoint is {best.step:,}"
    for judge in (record.judge, evaluation.judge):
        if judge is None or judge.weights_digest != digest:
            return "other weights than the package's judged it"
    cores, processor = record.machine.get("cores", "?"), record.machine.get("processor", "an unknown processor")
    return Row(
        task=short_name(record.task),
        recipe_name=record.recipe_name,
        algorithm=record.recipe.algorithm,
        seed=record.seed,
        steps=record.step,
        of_steps=record.recipe.steps,
        best_step=best.step,
        best_reward=best.vlm_reward,
        minutes=round(record.seconds / 60, 1),
        machine=f"{cores} cores of {processor}",
        judge=digest,
        policy=evaluation.policy,
        random=evaluation.random,
        longer=evaluation.longer,
    )


def shown_runs(runs: Path, results: Results) -> list[RunFolder]:
    """Return the runs below a folder of which the results have a row."""
    shown = {(row.task, row.recipe_name, row.seed, row.steps) for row in results.rows}
    return [
        run
        for run in map(RunFolder.open, find_runs([runs]))
        if (short_name(run.record.task), run.record.recipe_name, run.record.seed, run.record.step) in shown
    ]


def read_audit(folder: Path, digest: str) -> AuditOutcome | None:
    """Return what an audit in a folder said, ``None`` where there is none by the weights with this digest."""
    path = folder / "report.json"
    if not path.is_file():
        return None
    report = read_model(path, AuditReport)
    for model in report.models:
        if model.judge is not None and model.judge.weights_digest == digest:
            return AuditOutcome(task=short_name(report.task), verdict=model.verdict.label, judge=digest)
    return None
