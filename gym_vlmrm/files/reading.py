"""Opening files that may come from anybody: regular ones of bounded size, no pipe, no device, no link where told so."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from gym_vlmrm.errors import RunError

__all__ = ["check_links", "check_regular", "open_regular", "read_bytes", "read_text", "unreadable"]

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def open_regular(path: Path, limit: int | None = None, *, links: bool = False) -> Iterator[IO[bytes]]:
    """Open a regular file for reading; a pipe without a writer does not block, and no device is ever read.

    Args:
        path: the file.
        limit: largest size [bytes]; any if not given.
        links: whether `path` may be a link, as for files that the user names.

    Raises:
        RunError: it cannot be read, is a link, no regular file, or too large.
    """
    flags = os.O_RDONLY | _AT_ONCE | (0 if links else _NO_LINK)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        if not links and isinstance(error, OSError) and error.errno == errno.ELOOP:
            raise RunError(f"{path}: is a link, and links are not followed here; put the file itself there") from None
        raise unreadable(path, error) from None
    state = os.fstat(descriptor)
    regular = stat.S_ISREG(state.st_mode)
    if not regular or (limit is not None and state.st_size > limit):
        os.close(descriptor)
        fault = f"has {state.st_size:,} bytes; the limit is {limit:,}" if regular else "is no regular file"
        raise RunError(f"{path}: {fault}")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def unreadable(path: Path, error: Exception) -> RunError:
    """Say in one line that a file cannot be read, and why."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return RunError(f"{path}: cannot be read ({' '.join(str(reason).split())})")


def check_regular(path: Path, limit: int | None = None, *, links: bool = False) -> None:
    """Check that `open_regular` would open a file, for libraries that open paths themselves; raises RunError."""
    with open_regular(path, limit, links=links):
        pass


def check_links(folder: Path, names: Iterable[str]) -> None:
    """Check that some entries of a folder that somebody else may have made, and all below them, are files and folders.

    Whatever is written there then stays in the folder, and whatever is read comes from it.

    Args:
        folder: it may itself be reached by links.
        names: its entries, where they exist.

    Raises:
        RunError: one is a link, a pipe or a device; the message names it.
    """
    for name in names:
        path = folder / name
        try:
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                check_links(path, os.listdir(path))
                continue
        except FileNotFoundError:
            continue
        except (OSError, RecursionError) as error:
            raise unreadable(path, error) from None
        if not stat.S_ISREG(mode):
            kind = "link" if stat.S_ISLNK(mode) else "pipe or device"
            raise RunError(f"{path}: is a {kind}, and '{folder}' may only hold files and folders; remove it")


def read_bytes(path: Path, limit: int, *, links: bool = False) -> bytes:
    """Read a file as `open_regular` opens it; raises RunError."""
    with open_regular(path, limit, links=links) as file:
        try:
            content = file.read(limit + 1)
        except (OSError, MemoryError) as error:
            raise unreadable(path, error) from None
    if len(content) > limit:  # it grew
        raise RunError(f"{path}: has more than {limit:,} bytes")
    return content


def read_text(path: Path, limit: int, *, links: bool = False, encoding: str = "utf-8") -> str:
    """Read UTF-8 text as `open_regular` opens it, line ends as they are; raises RunError."""
    try:
        return read_bytes(path, limit, links=links).decode(encoding)
    except UnicodeDecodeError:
        raise RunError(f"{path}: is not UTF-8 text") from None
