"""Where the numbers of a training are written to: ``metrics.csv``, ``timings.csv``, event files for TensorBoard."""

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import RunError
from gym_vlmrm.files import MAX_TABLE, read_text, write_text
from gym_vlmrm.learning.video import gif_bytes

__all__ = ["Events", "MetricsTable"]

STEP_COLUMN = "step"
STRIP = 5
"""Frames of a strip."""
TIMES = "time/"
"""Beginning of the names of what no seed decides."""


class MetricsTable(KVWriter):
    """One row per log; a column appears when its first number does.

    ``metrics.csv`` holds what a run's seed decides, ``timings.csv`` what its machine does: see `of_times`.
    """

    def __init__(self, path: Path, *, of_times: bool = False, text: str | None = None) -> None:
        """Open or make the table.

        Args:
            path: the file.
            of_times: whether to write the columns ``time/...`` alone; else all others are.
            text: when going on, what the table held at the checkpoint; whatever the file holds is replaced.

        Raises:
            RunError: the text is no table of metrics, or the file cannot be written.
        """
        self.path, self.of_times = path, of_times
        self.columns: list[str] = [STEP_COLUMN]
        self.rows: list[dict[str, str]] = []
        if text is not None:
            self._read(text)
            if self.rows or path.exists():
                self._rewrite()

    def _read(self, text: str) -> None:
        try:
            reader = csv.DictReader(io.StringIO(text, newline=""))
            self.rows = [row for row in reader if int(row[STEP_COLUMN]) >= 0]
            if any(None in row or None in row.values() for row in self.rows):
                raise ValueError("a row has other columns than its heading")
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise RunError(f"{self.path}: is no table of metrics ({error})") from None
        # Columns that only later rows had appear anew, in their turn.
        names = [name for name in reader.fieldnames or [] if any(row[name] for row in self.rows)]
        self.columns = names or [STEP_COLUMN]

    @staticmethod
    def until(path: Path, step: int) -> str:
        """Return what a table on disk holds up to a step, nothing where there is none.

        Raises:
            RunError: it cannot be read.
        """
        if not path.exists():
            return ""
        try:
            lines = list(csv.reader(io.StringIO(read_text(path, MAX_TABLE), newline="")))
        except csv.Error as error:
            raise RunError(f"{path}: is no table of metrics ({error})") from None
        text, last = io.StringIO(newline=""), -1
        header, *rows = lines or [[]]
        if STEP_COLUMN not in header:
            raise RunError(f"{path}: is no table of metrics (it has no column '{STEP_COLUMN}')")
        writer, place = csv.writer(text), header.index(STEP_COLUMN)
        writer.writerow(header)
        for row in rows:
            # A row that was cut short may end within a number.
            if len(row) != len(header) or not row[place].isdecimal() or not last < int(row[place]) <= step:
                break
            last = int(row[place])
            writer.writerow(row)
        return text.getvalue()

    def text(self) -> str:
        """Return the table as it stands in the file."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Append one row, or complete the last one of the same step; called by stable-baselines3's logger."""
        numbers = {
            key: value
            for key, value in key_values.items()
            if isinstance(value, int | float | np.number) and key.startswith(TIMES) == self.of_times
        }
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
        write_text(self.path, self.text())

    def close(self) -> None:
        """Nothing is left open."""


class Events(KVWriter):
    """Event files for TensorBoard; a resumed run hides those of the steps that are made anew."""

    def __init__(self, folder: Path, from_step: int | None = None, trials_from: int | None = None) -> None:
        """Open a new file in the folder.

        Args:
            folder: pictures of trials go to its subfolder ``trials``, which TensorBoard shows as a run of its own.
            from_step: first step that a resumed run logs anew.
            trials_from: the same of trials, as one whose verdict is known is not played again.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._writer: Any = SummaryWriter(str(folder), purge_step=from_step)
        self._trials: Any = None
        self._open_trials = partial(SummaryWriter, str(folder / "trials"), purge_step=trials_from)

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write one log; called by stable-baselines3's logger."""
        with self._errors():
            for key, value in sorted(key_values.items()):
                if isinstance(value, int | float | np.number):
                    self._writer.add_scalar(key, value, step)
            self._writer.flush()

    def say(self, texts: Mapping[str, str], step: int) -> None:
        """Write texts, such as the sentence and the settings."""
        with self._errors():
            for name, text in texts.items():
                self._writer.add_text(name, text, step)
            self._writer.flush()

    def show(self, frames: Sequence[Frames], step: int) -> None:
        """Write the first episode of a trial: a strip of its frames, and its film, which TensorBoard plays as a GIF."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        chosen = np.linspace(0, len(frames) - 1, min(STRIP, len(frames))).round().astype(int)
        strip = np.concatenate([frames[index] for index in chosen], axis=1)
        height, width = frames[0].shape[:2]
        film = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif_bytes(frames))
        with self._errors():
            self._trials = self._trials or self._open_trials()
            self._trials.add_image("trial/frames", strip, step, dataformats="HWC")
            summary = Summary(value=[Summary.Value(tag="trial/film", image=film)])
            self._trials.file_writer.add_summary(summary, step)
            self._trials.flush()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"cannot write '{self._folder}' ({error.strerror or error})") from None

    def close(self) -> None:
        """Close the file; what could not be written was said when it was written."""
        with contextlib.suppress(OSError):
            self._writer.close()
            if self._trials is not None:
                self._trials.close()
