"""Were the verdicts right? Audits beside the trainings that used the same rewards.

A verdict is right when the reward was called teachable and was learned, or was called anything else and was not.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pydantic import ValidationError

from gym_vlmrm.auditing.results import AuditReport, Finding, Interval, ModelReport, VerdictLabel
from gym_vlmrm.errors import RunError
from gym_vlmrm.files import read_json
from gym_vlmrm.learning.records import JudgeRecord, Result
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.run_summary import read_metrics
from gym_vlmrm.learning.scores import read_evaluation
from gym_vlmrm.task.spec import RewardSpec

__all__ = ["LEARNED", "Calibration", "Outcome", "calibrate"]

LEARNED = 0.5
"""Least share of successful episodes with which a task counts as learned."""

Fate: TypeAlias = Literal["learned", "not learned"]
_Key: TypeAlias = tuple[Any, ...]
_Entry: TypeAlias = tuple[Path, ModelReport, Finding]


class Outcome(Result):
    """One run beside the audit of its reward."""

    task: str
    model: str
    goal: list[str]
    audit: str
    """Folder of the audit."""
    run: str
    """Folder of the run."""
    weights_digest: str | None = None
    """Of the weights that judged, where audit or run names it."""
    verdict: VerdictLabel
    auc: Interval
    seed: int
    steps: int
    """Environment steps made."""
    episodes: int
    """Episodes played by the trained policy, and as many by a random one."""
    success_rate: Interval
    """Share of the trained policy's episodes with success in at least half of their steps; 95% Wilson interval."""
    success_share: float
    """Share of the trained policy's steps in success."""
    random_success_rate: float
    random_success_share: float
    reward_start: float | None
    reward_end: float | None
    """Mean VLM reward per step in the first and the last row of ``metrics.csv`` that has one."""
    learned: bool
    agrees: bool


class Calibration(Result):
    """Verdicts against trainings."""

    format: Literal[1] = 1
    outcomes: list[Outcome]
    counts: dict[VerdictLabel, dict[Fate, int]]
    agreeing: int
    """Outcomes whose verdict was right."""
    left_out: list[str]
    """What could not be compared, and why."""


def calibrate(folders: Sequence[str | os.PathLike[str]]) -> Calibration:
    """Compare verdicts with what training did.

    An audit belongs to a run where task ID, model, goal, alpha and (unless alpha is 0) baseline are equal, and the
    digests of the model's weights too where both name one.

    Args:
        folders: audits, evaluated runs, or folders that hold such, at any depth.

    Raises:
        RunError: no such folder, a damaged file, two audits of one reward that disagree, or nothing to compare.
    """
    found = list(dict.fromkeys(path for folder in folders for path in _find(Path(folder))))
    left_out: list[str] = []
    verdicts: dict[_Key, list[_Entry]] = {}
    for path in found:
        for key, entry in _verdicts_of(path):
            _add_verdict(verdicts.setdefault(key, []), entry)
    outcomes: list[Outcome] = []
    used: set[tuple[Path, str]] = set()
    for path in (path for path in found if _is_run(path)):
        run = RunFolder.open(path)
        fitting = _verdicts_on(run, verdicts.get(_reward_key(run.task.id, run.task.reward), []))
        if isinstance(fitting, str):
            left_out.append(f"{path}: {fitting}")
            continue
        used |= {(audited, model.model) for audited, model, _ in fitting}
        outcome = _compare(run, *fitting[0])
        if isinstance(outcome, str):
            left_out.append(f"{path}: {outcome}")
        else:
            outcomes.append(outcome)
    left_out += [
        f"{path}: no run with the reward of {model.model}"
        for entries in verdicts.values()
        for path, model, _ in entries
        if (path, model.model) not in used
    ]
    if not outcomes:
        why = "; ".join(left_out[:3]) or "no audits and no runs there"
        raise RunError(f"nothing to compare in {', '.join(str(folder) for folder in folders)} ({why})")
    counts: dict[VerdictLabel, dict[Fate, int]] = {
        label: {
            "learned": sum(row.learned for row in outcomes if row.verdict == label),
            "not learned": sum(not row.learned for row in outcomes if row.verdict == label),
        }
        for label in get_args(VerdictLabel)
    }
    outcomes.sort(key=lambda row: (row.task, row.model, row.goal, row.seed, row.run))
    return Calibration(
        outcomes=outcomes, counts=counts, agreeing=sum(row.agrees for row in outcomes), left_out=left_out
    )


def _is_run(path: Path) -> bool:
    return (path / "run.json").is_file()


def _find(folder: Path) -> Iterator[Path]:
    """Yield folders of runs and reports, none of which lies in another."""
    if not folder.is_dir():
        raise RunError(f"no folder '{folder}'; name folders that hold audits and runs")
    if _is_run(folder) or (folder / "report.json").is_file():
        yield folder
        return
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
            yield from _find(child)


def _verdicts_of(path: Path) -> Iterator[tuple[_Key, _Entry]]:
    """Yield each model's verdict in an audit; a run's own report holds none."""
    raw = {} if _is_run(path) else read_json(path / "report.json")
    if not isinstance(raw, dict) or "findings" not in raw:
        return
    try:
        report = AuditReport.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(f"{path / 'report.json'}: {where}: {first['msg']}") from None
    for model in report.models:
        finding = next((f for f in report.findings if (f.model, f.candidate) == (model.model, model.chosen)), None)
        if finding is None:
            raise RunError(f"{path / 'report.json'}: no numbers for the verdict on {model.model}")
        chosen = model.chosen
        yield _key(report.task, model.model, chosen.goal, chosen.baseline, chosen.alpha), (path, model, finding)


def _add_verdict(known: list[_Entry], entry: _Entry) -> None:
    """Note a verdict on a reward, once for all audits of equal weights; raises RunError where two of them differ."""
    path, model, _ = entry
    for other, audited, _ in known:
        if _fit(_digest(audited.judge), _digest(model.judge)) and audited.verdict.label != model.verdict.label:
            raise RunError(f"{other} and {path} give one reward different verdicts; leave one of them out")
    if all(_digest(audited.judge) != _digest(model.judge) for _, audited, _ in known):
        known.append(entry)


def _verdicts_on(run: RunFolder, entries: list[_Entry]) -> list[_Entry] | str:
    """Return the equal verdicts on what judged a run, that on the very same weights first; or why there is none."""
    digest = _digest(run.record.judge)
    fitting = [entry for entry in entries if _fit(digest, _digest(entry[1].judge))]
    if not entries:
        return "no audit of its reward"
    if not fitting:
        audited = ", ".join(_short(_digest(model.judge)) for _, model, _ in entries)
        return f"the weights that judged it ({_short(digest)}) are not those that were audited ({audited})"
    if len({model.verdict.label for _, model, _ in fitting}) > 1:
        return "it does not say which weights judged it, and audits of different weights give different verdicts"
    return sorted(fitting, key=lambda entry: _digest(entry[1].judge) != digest)


def _digest(judge: JudgeRecord | None) -> str | None:
    return None if judge is None else judge.weights_digest


def _fit(left: str | None, right: str | None) -> bool:
    """Whether two digests may be of the same weights: records of version 0.1.0 name none."""
    return left is None or right is None or left == right


def _short(digest: str | None) -> str:
    return str(digest)[:12]


def _reward_key(task: str, reward: RewardSpec) -> _Key:
    if not reward.plain:
        return _key(task, " + ".join(reward.models), reward.at_once.words, [], 0.0)
    return _key(task, reward.model, reward.goals, reward.baselines, reward.alpha)


def _key(task: str, model: str, goals: list[str], baselines: list[str], alpha: float) -> _Key:
    return task, model, tuple(goals), tuple(baselines) if alpha else (), alpha


def _compare(run: RunFolder, audit: Path, model: ModelReport, finding: Finding) -> Outcome | str:
    """Return what came of a run, or why nothing can be said."""
    evaluation = read_evaluation(run)
    if evaluation is None:
        return f"not evaluated; vlmrm eval {shlex.quote(str(run.path))}"
    trained, random = evaluation.policy, evaluation.random
    if (
        trained.success_rate is None
        or trained.success_rate_low is None
        or trained.success_rate_high is None
        or trained.success_share is None
        or random.success_rate is None
        or random.success_share is None
    ):
        return "its task defines no success"
    rewards = [
        value for value in read_metrics(run.path / "metrics.csv").get("rollout/vlm_reward", []) if value is not None
    ]
    learned = trained.success_rate >= LEARNED
    verdict = model.verdict.label
    return Outcome(
        task=run.record.task,
        model=model.model,
        goal=model.chosen.goal,
        audit=str(audit),
        run=str(run.path),
        weights_digest=_digest(run.record.judge) or _digest(model.judge),
        verdict=verdict,
        auc=finding.numbers.auc,
        seed=run.record.seed,
        steps=run.record.step,
        episodes=trained.episodes,
        success_rate=Interval(value=trained.success_rate, low=trained.success_rate_low, high=trained.success_rate_high),
        success_share=trained.success_share,
        random_success_rate=random.success_rate,
        random_success_share=random.success_share,
        reward_start=rewards[0] if rewards else None,
        reward_end=rewards[-1] if rewards else None,
        learned=learned,
        agrees=(verdict == "teachable") == learned,
    )
