"""All that a run folder says, read at once: for reports and comparisons."""

import csv
import io
from pathlib import Path
from typing import Any

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import MAX_TABLE, read_text
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.scores import read_evaluation

__all__ = ["read_metrics", "run_metrics", "run_summary"]

LARGEST = 1e100
"""From here on, and where it is no number at all, a cell counts as empty: no chart has an axis for it."""


MAX_COLUMNS = 1000


def run_summary(run: RunFolder) -> dict[str, Any]:
    """Return all that the report of a run says, as plain data.

    Raises:
        RunError: the run is damaged.
    """
    evaluation = read_evaluation(run)
    return {
        "format": 1,
        "record": run.record.model_dump(mode="json"),
        "task": run.task.model_dump(mode="json", exclude_none=True),
        "best": None if run.best is None else run.best.model_dump(mode="json"),
        "evaluation": None if evaluation is None else evaluation.model_dump(mode="json"),
        "metrics": run_metrics(run.path),
    }


def run_metrics(folder: Path) -> dict[str, list[float | None]]:
    """Return the columns of ``metrics.csv`` and, for the same steps, of ``timings.csv``, if that is there.

    Raises:
        RunError: one of the files is no table.
    """
    metrics, times = read_metrics(folder / "metrics.csv"), read_metrics(folder / "timings.csv")
    rows = {step: row for row, step in enumerate(times.get("step", []))}
    for name, values in times.items():
        if name == "step":
            continue
        known = metrics.get(name, [None] * len(metrics.get("step", [])))  # of before 0.2, in the same table
        found = [values[rows[step]] if step in rows else None for step in metrics.get("step", [])]
        metrics[name] = [new if new is not None else old for new, old in zip(found, known, strict=True)]
    return metrics


def read_metrics(path: Path) -> dict[str, list[float | None]]:
    """Return the columns of ``metrics.csv``, none without a file; a cell that is empty or no number is ``None``.

    Raises:
        RunError: the file is no table.
    """
    if not path.exists():
        return {}
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, MAX_TABLE), newline=""))
        names = list(reader.fieldnames or [])
        if len(names) > MAX_COLUMNS:
            raise RunError(f"{path}: has {len(names):,} columns; the limit is {MAX_COLUMNS}")
        rows = list(reader)
        return {str(name): [_number(row.get(name)) for row in rows] for name in names}
    except csv.Error as error:
        raise RunError(f"{path}: is no table of metrics ({error})") from None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < LARGEST else None
