"""All that a run folder says, read at once: for reports and comparisons."""

import csv
import math
from pathlib import Path
from typing import Any

from gym_vlmrm.errors import RunError
from gym_vlmrm.learning.run_folder import RunFolder, read_json

__all__ = ["run_summary"]


def run_summary(run: RunFolder) -> dict[str, Any]:
    """Return all that the report of a run says, as plain data.

    Raises:
        RunError: the run is damaged.
    """
    evaluation = run.path / "eval" / "evaluation.json"
    return {
        "format": 1,
        "record": run.record.model_dump(mode="json"),
        "task": run.task.model_dump(mode="json", exclude_none=True),
        "best": None if run.best is None else run.best.model_dump(mode="json"),
        "evaluation": read_json(evaluation) if evaluation.exists() else None,
        "metrics": _read_metrics(run.path / "metrics.csv"),
    }


def _read_metrics(path: Path) -> dict[str, list[float | None]]:
    """Columns of the table; a cell that is empty or no number is ``None``."""
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            return {str(name): [_number(row.get(name)) for row in rows] for name in reader.fieldnames or []}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path}: is no table of metrics ({error})") from None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
