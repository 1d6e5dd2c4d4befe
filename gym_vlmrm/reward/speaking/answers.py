"""Answers on disk: numbers by the digest of all that was asked, so that nothing is paid for twice."""

import contextlib
import logging
import math
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Answers"]

logger = logging.getLogger("gym_vlmrm")

_WAIT = 30.0
"""How long another process may hold the file [s]."""
_AT_ONCE = 500
"""Keys of one look-up; SQLite takes some thousand."""


class Answers:
    """A table of numbers in one SQLite file, which processes may share. What cannot be read is as if not there.

    Rows are a digest and a number, so that whatever stands in the file, nothing of it is ever run.
    """

    def __init__(self, folder: Path | None) -> None:
        """Open the table in a folder; ``None`` keeps nothing."""
        self._lock = threading.Lock()
        self._table: sqlite3.Connection | None = None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            table = sqlite3.connect(folder / "answers.sqlite3", timeout=_WAIT, check_same_thread=False)
            table.execute("PRAGMA synchronous = OFF")  # a power failure may cost answers, and nothing else
            with table:
                table.execute("CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value REAL) WITHOUT ROWID")
            self._table = table
        except (OSError, sqlite3.Error) as error:
            logger.warning("answers of judges are not kept in '%s' (%s)", folder, error)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """Return what is known of some keys."""
        found: dict[bytes, float] = {}
        if self._table is None:
            return found
        with self._lock, contextlib.suppress(sqlite3.Error):
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = self._table.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part)
                found |= {bytes(key): value for key, value in rows if isinstance(value, float) and math.isfinite(value)}
        return found

    def keep(self, key: bytes, value: float) -> None:
        """Keep a number at once, so that nothing is lost whatever happens next."""
        if self._table is None:
            return
        with self._lock, contextlib.suppress(sqlite3.Error), self._table:
            self._table.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, value))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._table is not None:
                self._table.close()
            self._table = None
