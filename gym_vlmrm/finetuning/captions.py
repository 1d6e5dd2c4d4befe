"""Captioned frames from a folder: pictures beside a table of file names and captions."""

import csv
import io
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import RunError, VLMRMError
from gym_vlmrm.files import MAX_TABLE, open_picture, read_text
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["CAPTION_FILES", "CaptionError", "Captioned", "read_captions", "read_picture"]

CAPTION_FILES = ("captions.csv", "captions.jsonl")
COLUMNS = ("file", "caption")
SCORE = "score"
"""Column that may stand beside those: how true the caption is of the picture, from 0 to 1; 1 where it is empty."""
MAX_ROWS = 1_000_000
"""Most rows of a table."""
MAX_CAPTION = 1000
"""Longest caption [characters], as for the prompts of a task."""
MAX_CAPTIONS = 100
"""Most different captions of one picture; each says how it relates to each of the others."""
Row: TypeAlias = tuple[str, str, str, float]
"""Place in the table, file, caption, score."""


class CaptionError(VLMRMError):
    """Captions or their pictures are missing, unreadable or of no use for training."""


@dataclass(frozen=True)
class Captioned:
    """Frames and the sentences that are true of each."""

    pictures: list[Path] | NDArray[np.uint8]
    """Picture files, or frames (N, H, W, 3)."""
    captions: list[list[str]]
    """One or more different sentences for each of the N pictures."""
    complete: bool = False
    """Every sentence that is true of a picture is among its own, so all others are false of it."""
    scores: list[list[float]] | None = None
    """How true each caption is of its picture, in [0, 1]; ``None``: all are true."""


def read_captions(path: Path) -> Captioned:
    """Read a caption table and check that its pictures exist.

    Args:
        path: a folder with ``captions.csv`` or ``captions.jsonl``, or such a file; columns ``file`` (relative to the
            table), ``caption`` and perhaps ``score`` (how true it is, from 0 to 1); a file may have several rows.

    Raises:
        CaptionError: no table, a wrong column, an empty caption, or a picture that does not exist; names the line.
    """
    table = _table(path)
    by_file: dict[Path, dict[str, float]] = {}
    for number, (place, file, caption, score) in enumerate(_rows(table)):
        if number >= MAX_ROWS:
            raise CaptionError(f"{place}: more than {MAX_ROWS:,} rows")
        picture, text = Path(os.path.normpath(table.parent / file)), " ".join(caption.split())
        if not file or (picture not in by_file and not _is_file(picture)):
            raise CaptionError(
                f"{place}: no picture '{shorten(file)}' in {table.parent}; files are named relative to it"
            )
        if not text:
            raise CaptionError(f"{place}: the caption of '{file}' is empty; write what the picture shows")
        if len(text) > MAX_CAPTION:
            raise CaptionError(f"{place}: a caption of {len(text):,} characters; the limit is {MAX_CAPTION:,}")
        captions = by_file.setdefault(picture, {})
        if captions.get(text, score) != score:
            both = f"{captions[text]:g} and {score:g}"
            raise CaptionError(f"{place}: '{shorten(text)}' has two scores for '{file}', {both}; leave one")
        captions[text] = score
        if len(captions) > MAX_CAPTIONS:
            raise CaptionError(f"{place}: '{file}' has more than {MAX_CAPTIONS} different captions")
    if not by_file:
        raise CaptionError(f"{table} holds no captions; write one row (file, caption) for each picture")
    graded = any(score < 1 for captions in by_file.values() for score in captions.values())
    scores = [list(captions.values()) for captions in by_file.values()] if graded else None
    return Captioned(list(by_file), [list(texts) for texts in by_file.values()], scores=scores)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture as RGB (H, W, 3).

    Raises:
        CaptionError: not a picture that can be decoded; names it.
    """
    try:
        return open_picture(path)
    except RunError as error:
        raise CaptionError(f"cannot read picture {error}; use PNG or JPEG") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _table(path: Path) -> Path:
    if path.is_file():
        if path.suffix not in (".csv", ".jsonl"):
            raise CaptionError(f"{path} is no caption table; name a folder, or a .csv or .jsonl file")
        return path
    found = [path / name for name in CAPTION_FILES if (path / name).is_file()]
    if len(found) != 1:
        what = "holds both" if found else "holds neither"
        raise CaptionError(
            f"{path} {what} captions.csv {'and' if found else 'nor'} captions.jsonl; it needs one of them"
        )
    return found[0]


def _rows(table: Path) -> Iterator[Row]:
    try:
        text = read_text(table, MAX_TABLE, links=True, encoding="utf-8-sig")
    except RunError as error:
        raise CaptionError(f"{error}; captions are a UTF-8 table") from None
    return _csv_rows(table, text) if table.suffix == ".csv" else _json_rows(table, text)


def _csv_rows(table: Path, text: str) -> Iterator[Row]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        names = list(reader.fieldnames or [])
        _check_columns(f"{table}:1", names)
        if len(set(names)) < len(names):
            raise CaptionError(f"{table}:1: a column comes twice; the columns are file and caption, perhaps score")
        for row in reader:
            place = f"{table}:{reader.line_num}"
            if None in row:
                count = "three" if SCORE in (reader.fieldnames or []) else "two"
                raise CaptionError(f"{place}: more than {count} columns; put captions with commas in double quotes")
            yield place, (row["file"] or "").strip(), row["caption"] or "", _score(place, row.get(SCORE) or "1")
    except csv.Error as error:
        raise CaptionError(f"cannot read {table} ({error}); it must be a UTF-8 table") from None


def _json_rows(table: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{table}:{number}"
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CaptionError(f"{place}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise CaptionError(f'{place}: not an object; write {{"file": ..., "caption": ...}}')
        _check_columns(place, list(row))
        if not all(isinstance(row[column], str) for column in COLUMNS):
            raise CaptionError(f"{place}: file and caption must both be strings")
        if any("\ud800" <= letter <= "\udfff" for letter in row["caption"]):
            raise CaptionError(f"{place}: the caption holds half a character, which cannot be written")
        yield place, row["file"].strip(), row["caption"], _score(place, row.get(SCORE, 1))


def _score(place: str, written: Any) -> float:
    try:
        score = math.nan if isinstance(written, bool) or "_" in str(written) else float(written)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not 0 <= score <= 1:
        raise CaptionError(f"{place}: score {shorten(repr(written))}; it says from 0 to 1 how true the caption is")
    return score


def _check_columns(place: str, names: Any) -> None:
    hint = "the columns are file and caption, perhaps score"
    for name in names:
        if name not in (*COLUMNS, SCORE):
            raise CaptionError(f"{place}: unknown column '{shorten(name)}'; {hint}")
    for column in COLUMNS:
        if column not in names:
            raise CaptionError(f"{place}: no column '{column}'; {hint}")
