"""Runs beside one another: those of equal task and settings are one group, whose seeds give a mean and an interval."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy.stats import t as student

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import RunError
from gym_vlmrm.learning.records import Result
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.run_summary import run_metrics
from gym_vlmrm.learning.runs import find_runs
from gym_vlmrm.learning.scores import Evaluation, read_evaluation
from gym_vlmrm.task.builtin import short_name
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["NUMBERS", "ComparedRun", "Comparison", "Curve", "Group", "Mean", "compare", "mean_over_runs"]

NUMBERS: dict[str, str] = {
    "best_reward": "VLM reward per step, best checkpoint",
    "success_rate": "episodes in success",
    "success_share": "steps in success",
    "hold": "hold: steps in success, last half",
}
"""What is compared, and what it means."""
CURVES = ("eval/vlm_reward", "eval/success", "rollout/vlm_reward", "rollout/success", "rollout/task_reward")
"""Columns of ``metrics.csv`` that are drawn."""
_SHARES = frozenset({"success_rate", "success_share", "hold", "eval/success", "rollout/success"})
"""Those of both that lie between 0 and 1, and so do the intervals of their means."""
MAX_COMPARED = 200
MAX_POINTS = 500
"""Most points of a curve."""


class Mean(Result):
    """A mean over runs with its 95% interval by Student's t, ``None`` for one run alone."""

    runs: int
    mean: float
    low: float | None
    high: float | None


class Curve(Result):
    """A number against environment steps: the mean over the runs of a group that have reached a step."""

    step: list[float]
    mean: list[float]
    low: list[float | None]
    high: list[float | None]
    runs: int


class ComparedRun(Result):
    """One run."""

    run: str
    seed: int
    status: str
    step: int
    best_reward: float | None = None
    success_rate: float | None = None
    success_share: float | None = None
    hold: float | None = None


class Group(Result):
    """Runs that differ in their seed alone."""

    name: str
    """Task and algorithm, and the settings in which the groups differ."""
    task: str
    algorithm: str
    settings: dict[str, str]
    """Those in which the groups of this task and algorithm differ."""
    runs: list[ComparedRun]
    numbers: dict[str, Mean]
    """By the names of `NUMBERS`."""
    curves: dict[str, Curve]
    """By the names of the columns of ``metrics.csv``."""


class Comparison(Result):
    """Groups of runs."""

    format: Literal[1] = 1
    groups: list[Group]


def compare(runs: Sequence[str | os.PathLike[str]]) -> Comparison:
    """Compare runs; those of equal task, reward and recipe are one group.

    Args:
        runs: run folders, or folders of such.

    Raises:
        RunError: no such run, a damaged one, or too many.
    """
    paths = find_runs(runs)
    if len(paths) > MAX_COMPARED:
        raise RunError(f"{len(paths)} runs are too many to compare; name {MAX_COMPARED} at most")
    groups: dict[str, list[RunFolder]] = {}
    settings: dict[str, dict[str, str]] = {}
    for path in paths:
        run = RunFolder.open(path)
        found = _settings(run)
        key = json.dumps(found, sort_keys=True)
        groups.setdefault(key, []).append(run)
        settings[key] = found
    kinds: dict[tuple[str, str], list[dict[str, str]]] = {}
    for found in settings.values():
        kinds.setdefault(_kind(found), []).append(found)
    return Comparison(
        groups=[_group(groups[key], found, _differing(kinds[_kind(found)])) for key, found in settings.items()]
    )


def _kind(settings: Mapping[str, str]) -> tuple[str, str]:
    """Task and algorithm: what those say, such as the rule and the hyperparameters, need not be said again."""
    return settings["id"], settings["algorithm"]


def _differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    names = dict.fromkeys(name for found in settings for name in found)
    return [name for name in names if len({found.get(name) for found in settings}) > 1]


def _settings(run: RunFolder) -> dict[str, str]:
    """All that was set for a run but its seed, and where and how it computed, as flat names and texts."""
    task = run.task.model_dump(mode="json", exclude={"training", "description", "source"})
    task["reward"].pop("device")
    recipe = run.record.recipe.model_dump(mode="json")
    return dict(_flat({**task, **recipe}))


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [pair for key, item in value.items() for pair in _flat(item, f"{name}.{key}" if name else str(key))]
    return [(name, value if isinstance(value, str) else json.dumps(value))]


def _group(runs: Sequence[RunFolder], settings: dict[str, str], differing: Sequence[str]) -> Group:
    task, algorithm = short_name(settings["id"]), settings["algorithm"]
    own = {name: settings.get(name, "-") for name in differing}
    described = [f"{name.rpartition('.')[2]} {shorten(value, 40)}" for name, value in own.items()]
    rows = [_row(run) for run in sorted(runs, key=lambda run: run.record.seed)]
    numbers = {}
    for number in NUMBERS:
        values = [value for row in rows if (value := getattr(row, number)) is not None]
        if values:
            numbers[number] = mean_over_runs(values, share=number in _SHARES)
    return Group(
        name=shorten(", ".join([f"{task} {algorithm}", *described[:3]]), 120),
        task=task,
        algorithm=algorithm,
        settings=own,
        runs=rows,
        numbers=numbers,
        curves=_curves(runs),
    )


def _row(run: RunFolder) -> ComparedRun:
    record, best = run.record, run.best
    evaluation = read_evaluation(run)
    return ComparedRun(
        run=run.name,
        seed=record.seed,
        status=record.status,
        step=record.step,
        best_reward=None if best is None else best.vlm_reward,
        **_successes(evaluation),
    )


def _successes(evaluation: Evaluation | None) -> dict[str, float | None]:
    if evaluation is None:
        return {}
    policy = evaluation.policy
    return {"success_rate": policy.success_rate, "success_share": policy.success_share, "hold": policy.hold}


def mean_over_runs(values: Sequence[float], *, share: bool = False) -> Mean:
    """Return the mean of a number over runs, at least one, with its interval, which of a `share` lies in [0, 1]."""
    array = np.asarray(values, float)
    low, high = _interval(array[:, None], share=share)
    return Mean(runs=len(values), mean=float(array.mean()), low=low[0], high=high[0])


def _interval(values: Floats, *, share: bool) -> tuple[list[float | None], list[float | None]]:
    """Return the ends of 95% intervals of the mean over the first axis, (N, T) to two lists of T; NaN is left out."""
    count = (~np.isnan(values)).sum(0)
    enough = count > 1
    spread = np.full(values.shape[1], np.nan)
    spread[enough] = np.nanstd(values[:, enough], axis=0, ddof=1)
    half = student.ppf(0.975, np.maximum(count - 1, 1)) * spread / np.sqrt(np.maximum(count, 1))
    mean = np.nansum(values, axis=0) / np.maximum(count, 1)
    low, high = mean - half, mean + half
    return (_told(np.maximum(low, 0.0)), _told(np.minimum(high, 1.0))) if share else (_told(low), _told(high))


def _told(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def _curves(runs: Sequence[RunFolder]) -> dict[str, Curve]:
    metrics = [run_metrics(run.path) for run in runs]
    drawn = {}
    for column in CURVES:
        lines = [line for found in metrics if len((line := _line(found, column))[0])]
        if lines:
            drawn[column] = _average(lines, share=column in _SHARES)
    return drawn


def _line(metrics: Mapping[str, Sequence[float | None]], column: str) -> tuple[Floats, Floats]:
    pairs = [
        (step, value)
        for step, value in zip(metrics.get("step", []), metrics.get(column, []), strict=False)
        if step is not None and value is not None
    ]
    pairs.sort(key=lambda pair: pair[0])
    return np.array([step for step, _ in pairs]), np.array([value for _, value in pairs])


def _average(lines: Sequence[tuple[Floats, Floats]], *, share: bool) -> Curve:
    """Average lines (steps, values) at the steps of all; each is straight between its own steps, and ends with them."""
    steps = np.unique(np.concatenate([steps for steps, _ in lines]))
    if len(steps) > MAX_POINTS:
        steps = steps[np.linspace(0, len(steps) - 1, MAX_POINTS).round().astype(int)]
    values = np.stack([np.interp(steps, xs, ys, left=np.nan, right=np.nan) for xs, ys in lines])
    known = (~np.isnan(values)).any(0)
    steps, values = steps[known], values[:, known]
    low, high = _interval(values, share=share)
    return Curve(step=steps.tolist(), mean=np.nanmean(values, axis=0).tolist(), low=low, high=high, runs=len(lines))
