"""Folders to write into: free names, proof that they can be written, and one writer at a time."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gym_vlmrm.errors import RunError
from gym_vlmrm.files.reading import open_regular

__all__ = [
    "check_place",
    "check_writable",
    "free_folder",
    "is_free",
    "is_held",
    "make_folder",
    "only_writer",
    "unwritable",
]

_LOCK = ".lock"


def is_free(folder: Path) -> bool:
    """Whether nothing lies there yet; an empty folder may."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def free_folder(root: Path, stem: str) -> Path:
    """Return the first ``root/<stem>-<n>`` that does not exist, n from 1 on."""
    number = 1
    while (root / f"{stem}-{number}").exists():
        number += 1
    return root / f"{stem}-{number}"


def unwritable(folder: Path, error: OSError) -> RunError:
    """Say in one line that a folder cannot be written, and what to do."""
    return RunError(f"cannot write to '{folder}' ({error.strerror or error}); choose another folder with --output")


def make_folder(folder: Path) -> None:
    """Make a folder if need be, and prove that files can be written to it, before minutes of work are lost.

    Raises:
        RunError: it cannot be made or written.
    """
    try:
        # Permissions alone do not tell: file systems may be read-only or refuse folders.
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise unwritable(folder, error) from None


def check_writable(folder: Path) -> None:
    """Prove that a folder can be made and written, and leave nothing behind; raises RunError."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        make_folder(folder)
    finally:
        with contextlib.suppress(OSError):
            for made in missing:
                made.rmdir()


def check_place(path: Path) -> None:
    """Prove, before long work, that a file can be written by this name; raises RunError."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise RunError(f"cannot write '{path}' (there is no folder '{path.parent}')")
    if path.is_dir():
        raise RunError(f"cannot write '{path}' (it is a folder)")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RunError(f"cannot write '{path}' ({error.strerror or error})") from None


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, and clear away what a killed one left half written there.

    A process that dies lets go of it.

    Raises:
        RunError: another process holds it.
    """
    from filelock import FileLock, Timeout

    path = folder / _LOCK
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(f"another process is training into '{folder}'; wait for it, or stop it") from None
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        for left in folder.glob(".*.part*"):
            with contextlib.suppress(OSError):  # a folder of that name is nothing of ours
                left.unlink()
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is held: whoever opened it in between finds that it is gone
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process holds a folder by `only_writer` now; nothing is written to find out."""
    try:
        with open_regular(folder / _LOCK) as file:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except RunError:
        return False
    except (ImportError, BlockingIOError):  # Windows has no such lock, and there the file goes with its holder
        return True
    return False
