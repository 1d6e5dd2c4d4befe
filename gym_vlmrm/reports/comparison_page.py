"""A comparison of runs as one HTML file: a table of groups, their curves, and every run."""

from pathlib import Path

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import free_folder, make_folder, read_json, write_json, write_text
from gym_vlmrm.learning.comparison import NUMBERS, Comparison, Curve
from gym_vlmrm.reports.charts import Band, band_chart, gaps
from gym_vlmrm.reports.page import render

__all__ = ["default_comparison_folder", "write_comparison"]

TITLES = {
    "eval/vlm_reward": "VLM reward per step, checkpoints",
    "eval/success": "share of steps in success, checkpoints",
    "rollout/vlm_reward": "VLM reward per step, while training",
    "rollout/success": "share of steps in success, while training",
    "rollout/task_reward": "task reward per step, while training",
}
"""Heading of a chart by its column of ``metrics.csv``."""


def default_comparison_folder(comparison: Comparison, root: Path = Path("comparisons")) -> Path:
    """Return the first free ``comparisons/<task>-<n>``."""
    tasks = list(dict.fromkeys(group.task for group in comparison.groups))
    return free_folder(root, tasks[0] if len(tasks) == 1 else "tasks")


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write ``report.html`` and ``report.json`` with the same numbers into a folder; returns the HTML's path.

    Raises:
        RunError: the folder cannot be written, or holds the report of something else.
    """
    _check_is_not_another_s(folder)
    settings = list(dict.fromkeys(name for group in comparison.groups for name in group.settings))
    text = render(
        "comparison.html.j2",
        groups=comparison.groups,
        numbers={name: words for name, words in NUMBERS.items() if any(name in g.numbers for g in comparison.groups)},
        settings=settings,
        charts=_charts(comparison),
    )
    make_folder(folder)
    write_text(folder / "report.html", text)
    write_json(folder / "report.json", comparison.model_dump(mode="json"))
    return folder / "report.html"


def _check_is_not_another_s(folder: Path) -> None:
    """Raise RunError where a run or an audit keeps its own report."""
    old = folder / "report.json"
    if (folder / "run.json").exists() or (old.exists() and "groups" not in read_json(old)):
        raise RunError(f"'{folder}' holds the report of a run or an audit; choose another folder with --output")


def _charts(comparison: Comparison) -> list[str]:
    charts = []
    for column, title in TITLES.items():
        bands = [_band(group.name, group.curves[column]) for group in comparison.groups if column in group.curves]
        if bands:
            charts.append(band_chart(title, bands))
    return charts


def _band(name: str, curve: Curve) -> Band:
    return Band(f"{name} ({curve.runs})", curve.step, curve.mean, gaps(curve.low), gaps(curve.high))
