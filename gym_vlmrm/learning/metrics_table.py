"""Where the numbers of a training are written to: ``metrics.csv``, and event files for TensorBoard."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import MAX_TABLE, read_text, write_text

__all__ = ["Events", "MetricsTable"]

STEP_COLUMN = "step"


class MetricsTable(KVWriter):
    """``metrics.csv``: one row per log; a column appears when its first number does."""

    def __init__(self, path: Path, from_step: int | None = None) -> None:
        """Open or make the table.

        Args:
            path: the file.
            from_step: when going on from a checkpoint, its step: later rows are dropped.
        """
        self.path = path
        self.columns: list[str] = [STEP_COLUMN]
        self.rows: list[dict[str, str]] = []
        if from_step is not None and path.exists():
            self._read(from_step)

    def _read(self, last_step: int) -> None:
        try:
            reader = csv.DictReader(io.StringIO(read_text(self.path, MAX_TABLE), newline=""))
            self.rows = [row for row in reader if int(row[STEP_COLUMN]) <= last_step]
            self.columns = list(reader.fieldnames or [STEP_COLUMN])
            if any(None in row or None in row.values() for row in self.rows):
                raise ValueError("a row has other columns than its heading")
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise RunError(f"{self.path}: is no table of metrics ({error})") from None
        self._rewrite()

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Append one row, or complete the last one of the same step; called by stable-baselines3's logger."""
        numbers = {key: value for key, value in key_values.items() if isinstance(value, int | float | np.number)}
        row = {STEP_COLUMN: str(step), **{key: f"{float(value):.6g}" for key, value in sorted(numbers.items())}}
        known = len(self.columns)
        self.columns += [key for key in row if key not in self.columns]
        again = bool(self.rows) and self.rows[-1][STEP_COLUMN] == row[STEP_COLUMN]
        if again:
            self.rows[-1].update(row)
        else:
            self.rows.append(row)
        try:
            if again or len(self.columns) > known or len(self.rows) == 1:
                self._rewrite()
            else:
                with self.path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, self.columns).writerow(row)
        except OSError as error:
            raise RunError(f"cannot write '{self.path}' ({error.strerror})") from None

    def _rewrite(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())

    def close(self) -> None:
        """Nothing is left open."""


class Events(KVWriter):
    """Event files for TensorBoard; a resumed run hides those of the steps that are made anew."""

    def __init__(self, folder: Path, from_step: int | None = None) -> None:
        """Open a new file in the folder; `from_step` is that of the checkpoint that a run goes on from."""
        from torch.utils.tensorboard import SummaryWriter

        purge = None if from_step is None else from_step + 1
        self._writer: Any = SummaryWriter(str(folder), purge_step=purge)

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write one log; called by stable-baselines3's logger."""
        for key, value in sorted(key_values.items()):
            if isinstance(value, int | float | np.number):
                self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
