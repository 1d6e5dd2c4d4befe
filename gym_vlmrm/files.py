"""Reading and writing safely: a file whole or not at all, one writer per folder, one line for whatever goes wrong."""

import contextlib
import json
import math
import os
import secrets
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gym_vlmrm.errors import RunError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydantic import BaseModel

    Model = TypeVar("Model", bound=BaseModel)

__all__ = [
    "check_writable", "free_folder", "is_free", "make_folder", "only_writer", "read_arrays", "read_json", "read_model",
    "replacing", "sync", "unwritable", "write_bytes", "write_json", "write_text",
]  # fmt: skip


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Lend an empty file to fill, and put it in the place of `path` in one move, so that nobody ever reads half of it.

    Args:
        path: the file; one that is there already stays as it was until the move, and for good if the block fails.
        durable: whether it must outlast a power failure, which costs some milliseconds.

    Raises:
        RunError: it cannot be written.
    """
    # A fresh name, made here: a link that somebody laid under a known one is never followed.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
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


def read_json(path: Path) -> Any:
    """Read JSON; raises RunError when the file is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not valid JSON ({error})") from None


def read_model(path: Path, model: "type[Model]") -> "Model":
    """Read JSON that holds a pydantic model; raises RunError with the first field that is wrong."""
    from pydantic import ValidationError

    try:
        return model.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise RunError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def read_arrays(path: Path, names: Iterable[str]) -> "dict[str, NDArray[Any]]":
    """Read the arrays of those names from an npz file, and nothing else; no pickles.

    Raises:
        RunError: the file is missing or damaged, or lacks one of them.
    """
    import numpy as np

    try:
        # Opened here: numpy leaves a damaged archive open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, EOFError, LookupError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None


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


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, and clear away what a killed one left half written there.

    A process that dies lets go of it.

    Raises:
        RunError: another process holds it.
    """
    from filelock import FileLock, Timeout

    path = folder / ".lock"
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(f"another process is training into '{folder}'; wait for it, or stop it") from None
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        for left in folder.glob(".*.part"):
            left.unlink(missing_ok=True)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is held: whoever opened it in between finds that it is gone
        lock.release()
