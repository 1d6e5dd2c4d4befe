"""Reports as one HTML file that needs no network: charts and frames are part of it."""

import base64
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.auditing.examine import Audit, AuditPictures
from gym_vlmrm.auditing.results import AuditReport, Candidate, Interval, ModelReport
from gym_vlmrm.files import free_folder, make_folder, write_json, write_text
from gym_vlmrm.reports.charts import histogram_chart, landscape_chart, size_chart
from gym_vlmrm.task.builtin import short_name
from gym_vlmrm.task.spec import TaskSpec

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["data_uri", "default_folder", "frame_uri", "render", "write_audit"]

NUMBERS: tuple[tuple[str, str, str], ...] = (
    ("auc", "AUC", "chance that a goal frame outscores another; 0.5 is guessing, 1 is best"),
    ("epic", "EPIC", "EPIC distance to the label; 0 is best, 0.71 is unrelated"),
    ("pearson", "Pearson", "correlation with the label"),
    ("spearman", "Spearman", "rank correlation with the label"),
    ("spearman_distance", "nearness", "rank correlation with nearness to the goal, all frames"),
    ("spearman_approach", "approach", "the same over frames that are not the goal: whether there is a slope"),
    ("gap", "gap", "mean reward of the goal above others, in units of noise"),
    ("above_worst_goal", "above worst", "share of other frames that beat the worst goal frame"),
)
"""Field of `Numbers`, heading, and what it means."""
THUMBNAIL = 320
"""Largest side of a frame in a report [px]."""


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, prompt=prompt, percent=lambda value: f"{value:.0%}")
    return environment


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as reports show it."""
    return "-" if value is None else f"{value:.{digits}f}"


def prompt(sentences: list[str]) -> str:
    """Return one or several sentences as text."""
    return "; ".join(sentences)


def render(template: str, **values: Any) -> str:
    """Return a filled template."""
    return _environment().get_template(template).render(**values)


def data_uri(content: bytes, kind: str) -> str:
    """Return bytes as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def frame_uri(frame: NDArray[np.uint8]) -> str:
    """Return a frame (H, W, 3) as a small JPEG in a data address."""
    from PIL import Image

    picture = Image.fromarray(frame)
    if max(picture.size) > THUMBNAIL:
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return data_uri(buffer.getvalue(), "image/jpeg")


def default_folder(task: TaskSpec, root: Path = Path("audits")) -> Path:
    """Return the first free ``audits/<task>-<n>``."""
    return free_folder(root, short_name(task.id))


def write_audit(audit: Audit, folder: Path) -> Path:
    """Write ``report.html`` and ``report.json`` with the same numbers into a folder; returns the HTML's path.

    Raises:
        RunError: the folder cannot be written.
    """
    report = audit.report
    sections = [_section(report, model, audit.pictures[model.model]) for model in report.models]
    text = render("audit.html.j2", report=report, sections=sections, columns=NUMBERS, sizes=_sizes(report))
    make_folder(folder)
    write_text(folder / "report.html", text)
    write_json(folder / "report.json", report.model_dump(mode="json"))
    return folder / "report.html"


def _section(report: AuditReport, model: ModelReport, pictures: AuditPictures) -> dict[str, Any]:
    lines = [land for land in report.landscapes if land.lines and land.lines[0].model == model.model]
    return {
        "model": model,
        "rows": [
            _row(f.candidate, f.numbers, f.candidate == model.chosen) for f in report.findings if f.model == model.model
        ],
        "chosen": next(f.numbers for f in report.findings if f.model == model.model and f.candidate == model.chosen),
        "landscapes": [landscape_chart(land) for land in lines],
        "histogram": histogram_chart(pictures.goal_rewards, pictures.other_rewards),
        "sheets": [
            ("Highest-scoring frames", [(frame_uri(frame), caption) for frame, caption in pictures.highest]),
            ("Lowest-scoring frames", [(frame_uri(frame), caption) for frame, caption in pictures.lowest]),
        ],
        "winners": _winners(model, pictures),
    }


def _row(candidate: Candidate, numbers: Any, chosen: bool) -> dict[str, Any]:
    cells: list[Interval | None] = [getattr(numbers, field) for field, _, _ in NUMBERS]
    return {"candidate": candidate, "cells": cells, "chosen": chosen}


def _winners(model: ModelReport, pictures: AuditPictures) -> dict[str, Any] | None:
    if model.exploit is None or pictures.search is None:
        return None
    frames = pictures.search.winner_frames
    champion = pictures.search.champion_frame
    return {
        "champion": None if champion is None else frame_uri(champion),
        "others": [(frame_uri(frame), winner) for frame, winner in zip(frames, model.exploit.winners, strict=True)],
    }


def _sizes(report: AuditReport) -> str | None:
    points = []
    for model in report.models:
        found = next(f for f in report.findings if f.model == model.model and f.candidate == model.chosen)
        if model.parameters:
            epic = found.numbers.epic
            points.append((model.model, model.parameters, epic.value, epic.low, epic.high))
    return size_chart(points) if len(points) > 1 else None
