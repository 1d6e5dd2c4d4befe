"""A run as one HTML file: learning curves, success, film, settings, versions."""

import math
import os
from pathlib import Path
from typing import Any

from gym_vlmrm.files import make_folder, read_bytes, write_json, write_text
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.run_summary import run_summary
from gym_vlmrm.reports.charts import curve_chart, scatter_chart
from gym_vlmrm.reports.page import data_uri, render
from gym_vlmrm.task.yaml_file import yaml_text

__all__ = ["report_run"]

CURVES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("VLM reward per step", (("rollout/vlm_reward", "while training"), ("eval/vlm_reward", "checkpoints, greedy"))),
    ("share of steps in success", (("rollout/success", "while training"), ("eval/success", "checkpoints, greedy"))),
    ("task reward per step", (("rollout/task_reward", "while training"), ("eval/task_reward", "checkpoints, greedy"))),
    ("steps per episode", (("rollout/episode_length", "while training"),)),
    ("steps per second", (("time/steps_per_second", "while training"),)),
)
"""Title of a chart, and the columns of ``metrics.csv`` that it draws with their names."""
PLAYED = (("trained", "policy"), ("random", "random"))
MAX_FILM_BYTES = 6_000_000
SCORES = (
    ("success_rate", "episodes in success (at least half of the steps)"),
    ("success_share", "share of steps in success"),
    ("hold", "the same over the last half"),
    ("held_rate", "episodes held (90% of the last half)"),
    ("vlm_reward", "VLM reward per step"),
    ("task_reward", "task reward per step"),
    ("episode_length", "steps per episode"),
)


def report_run(run: RunFolder | str | os.PathLike[str], output: Path | None = None) -> Path:
    """Write ``report.html`` and ``report.json`` of a run into its folder, or into `output`; returns the HTML's path.

    Raises:
        RunError: no such run, or it is damaged, or the report cannot be written.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    summary = run_summary(folder)
    place = output or folder.path
    text = render(
        "run.html.j2",
        run=summary,
        name=folder.path.resolve().name,
        charts=_charts(summary["metrics"]),
        scatter=_check_chart(summary["evaluation"]),
        scores=SCORES,
        columns=_columns(summary["evaluation"]),
        film=_film(folder.path),
        recipe=yaml_text(folder.record.recipe.model_dump()),
        task=yaml_text(folder.task.model_dump(exclude_none=True), width=90),
    )
    make_folder(place)
    write_text(place / "report.html", text)
    write_json(place / "report.json", summary)
    return place / "report.html"


def _columns(evaluation: dict[str, Any] | None) -> list[tuple[str, dict[str, Any]]]:
    """What was played, with its scores; also until a longer horizon, where one was asked for."""
    if evaluation is None:
        return []
    columns, longer = [(name, evaluation[key]) for name, key in PLAYED], evaluation.get("longer")
    if longer:
        columns += [(f"{name}, {longer['horizon']} steps", longer[key]) for name, key in PLAYED]
    return columns


def _charts(metrics: dict[str, list[float | None]]) -> list[str]:
    steps = [math.nan if step is None else step for step in metrics.get("step", [])]
    charts = []
    for title, columns in CURVES:
        curves = []
        for column, name in columns:
            values = metrics.get(column, [])
            if sum(value is not None for value in values) >= 1:
                curves.append((name, steps, [math.nan if value is None else value for value in values]))
        if curves:
            charts.append(curve_chart(title, curves))
    return charts


def _check_chart(evaluation: dict[str, Any] | None) -> str | None:
    """Draw reward against success per episode, where the evaluation noted them."""
    check = (evaluation or {}).get("reward_check")
    if not check or any(row["success_share"] is None for row in check["episodes"]):
        return None
    groups = []
    for policy in ("random", "trained"):
        rows = [row for row in check["episodes"] if row["policy"] == policy]
        groups.append((policy, [row["vlm_reward"] for row in rows], [row["success_share"] for row in rows]))
    return scatter_chart(
        "Reward against success by episode", groups, "VLM reward per step", "share of steps in success"
    )


def _film(folder: Path) -> dict[str, str] | None:
    """The film as a data address: the GIF plays everywhere and needs no script."""
    for name, kind in (("video.gif", "image/gif"), ("video.mp4", "video/mp4")):
        path = folder / name
        if path.exists() and path.stat().st_size <= MAX_FILM_BYTES:
            return {"uri": data_uri(read_bytes(path, MAX_FILM_BYTES), kind), "kind": kind.partition("/")[0]}
    return None
