"""Writing a file whole or not at all: under a fresh name, synced, and put in its place in one move."""

import contextlib
import json
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gym_vlmrm.errors import RunError

__all__ = ["replacing", "sync", "write_bytes", "write_json", "write_text"]


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True, suffix: str = "") -> Iterator[Path]:
    """Lend an empty file to fill, and put it in the place of `path` in one move, so that nobody ever reads half of it.

    Args:
        path: the file; one that is there already stays as it was until the move, and for good if the block fails.
        durable: whether it must outlast a power failure, which costs some milliseconds.
        suffix: end of the lent file's name, for writers that ask for one.

    Raises:
        RunError: it cannot be written.
    """
    # A fresh name, made here: a link that somebody laid under a known one is never followed.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part{suffix}")
    try:
        part.open("xb").close()
        try:
            yield part
            if durable:
                with part.open("rb+") as file:
                    os.fsync(file.fileno())
            part.replace(path)
            if durable:
                sync(path.parent)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot write '{path}' ({error.strerror or error})") from None


def sync(path: Path) -> None:
    """Bring a file or folder to the disk, where the system lets one."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file in one move (see `replacing`); raises RunError."""
    with replacing(path, durable=durable) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 in one move, line ends as they are (see `replacing`); raises RunError."""
    write_bytes(path, text.encode())


def write_json(path: Path, data: Any) -> None:
    """Write JSON in one move; numbers that are not finite, which JSON does not know, become ``null``.

    Raises:
        RunError: it cannot be written.
    """
    write_text(path, json.dumps(_finite(data), indent=2, allow_nan=False) + "\n")


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, list | tuple) else data
