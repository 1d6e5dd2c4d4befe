"""Reading and writing safely: a file whole or not at all, one writer per folder, one line for whatever goes wrong.

Files may come from anybody. What is opened here is a regular file of bounded size, never a pipe, a device or (in
folders that people pass around) a link. JSON holds finite numbers; arrays are no pickles and no larger than their file.
"""

import contextlib
import errno
import io
import json
import math
import os
import secrets
import stat
import tempfile
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from gym_vlmrm.errors import RunError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel

    Model = TypeVar("Model", bound=BaseModel)

__all__ = [
    "MAX_JSON", "MAX_PIXELS", "MAX_TABLE", "PICTURE_FORMATS", "check_links", "check_regular", "check_writable",
    "decode_picture", "free_folder", "is_free", "is_held", "make_folder", "only_writer", "open_picture",
    "open_regular", "read_arrays", "read_bytes", "read_json", "read_model", "read_text", "replacing", "sync",
    "unwritable", "write_bytes", "write_json", "write_text",
]  # fmt: skip

MAX_JSON = 16_000_000
"""Largest JSON file that is read [bytes]; an evaluation of 10,000 episodes has 4 million."""
MAX_TABLE = 64_000_000
"""Largest table or list of words that is read [bytes]."""
MAX_PICTURE_BYTES = 100_000_000
MAX_PIXELS = 50_000_000
"""Largest picture [px], which takes three bytes for each."""
MAX_RATIO = 20
"""Longest side of a picture in units of its shorter one: pictures are padded to squares."""
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats that are tried; Pillow knows others, some of which start programs such as Ghostscript."""
_LOCK = ".lock"
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
        raise _unreadable(path, error) from None
    state = os.fstat(descriptor)
    regular = stat.S_ISREG(state.st_mode)
    if not regular or (limit is not None and state.st_size > limit):
        os.close(descriptor)
        fault = f"has {state.st_size:,} bytes; the limit is {limit:,}" if regular else "is no regular file"
        raise RunError(f"{path}: {fault}")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _unreadable(path: Path, error: Exception) -> RunError:
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
            raise _unreadable(path, error) from None
        if not stat.S_ISREG(mode):
            kind = "link" if stat.S_ISLNK(mode) else "pipe or device"
            raise RunError(f"{path}: is a {kind}, and '{folder}' may only hold files and folders; remove it")


def read_bytes(path: Path, limit: int, *, links: bool = False) -> bytes:
    """Read a file as `open_regular` opens it; raises RunError."""
    with open_regular(path, limit, links=links) as file:
        try:
            content = file.read(limit + 1)
        except (OSError, MemoryError) as error:
            raise _unreadable(path, error) from None
    if len(content) > limit:  # it grew
        raise RunError(f"{path}: has more than {limit:,} bytes")
    return content


def read_text(path: Path, limit: int, *, links: bool = False, encoding: str = "utf-8") -> str:
    """Read UTF-8 text as `open_regular` opens it, line ends as they are; raises RunError."""
    try:
        return read_bytes(path, limit, links=links).decode(encoding)
    except UnicodeDecodeError:
        raise RunError(f"{path}: is not UTF-8 text") from None


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


def read_json(path: Path, limit: int = MAX_JSON, *, links: bool = False) -> Any:
    """Read JSON as `open_regular` opens it.

    Raises:
        RunError: the file is missing, too large, no JSON, or holds a number that is not finite or half a character.
    """
    text = read_text(path, limit, links=links)
    try:
        data = json.loads(text, parse_float=_finite_float, parse_constant=_finite_float, parse_int=_short_int)
        if "\\ud" in text.lower():  # half a character, which can be neither printed nor written
            json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError, MemoryError) as error:
        raise RunError(f"{path}: not valid JSON ({' '.join(str(error).split())})") from None
    return data


def _short_int(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"{text[:20]}... has too many digits")
    return int(text)


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def read_model(path: Path, model: "type[Model]") -> "Model":
    """Read JSON that holds a pydantic model; raises RunError with the first field that is wrong."""
    from pydantic import ValidationError

    try:
        return model.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise RunError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def read_arrays(path: Path, names: Iterable[str], *, links: bool = False) -> "dict[str, NDArray[Any]]":
    """Read the arrays of those names from an npz file, and nothing else; no pickles, nothing compressed.

    Since nothing is compressed, arrays take no more memory than the file takes on the disk.

    Raises:
        RunError: the file is missing or damaged, or lacks one of them.
    """
    try:
        with open_regular(path, links=links) as opened, zipfile.ZipFile(opened) as archive:
            return {name: _read_array(archive, f"{name}.npy") for name in names}
    except (OSError, *_DAMAGED) as error:
        raise _unreadable(path, error) from None


_DAMAGED = (
    ValueError, EOFError, LookupError, NotImplementedError, OverflowError, TypeError, SyntaxError, MemoryError,
    RuntimeError, AttributeError, zipfile.BadZipFile, zlib.error, tokenize.TokenError,
)  # fmt: skip
"""What damaged archives and headers raise somewhere in zipfile, zlib, ast and numpy."""


def _read_array(archive: zipfile.ZipFile, name: str) -> "NDArray[Any]":
    import numpy as np
    from numpy.lib import format as npy

    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise ValueError(f"{name} is compressed")
    with archive.open(entry) as file:
        version = npy.read_magic(file)
        header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if header is None:
            raise ValueError(f"{name} has an unknown format")
        shape, column_order, dtype = header(file)
        if dtype.hasobject:
            raise ValueError(f"{name} is a pickle")
        size = dtype.itemsize * math.prod(shape)
        if min(shape, default=0) < 0 or size + file.tell() != entry.file_size:
            raise ValueError(f"{name} has {entry.file_size:,} bytes, not those of its shape {shape}")
        content = bytearray(file.read(size))
        if len(content) != size or file.read(1):
            raise EOFError(f"{name} is cut short")
    return np.ndarray(shape, dtype, content, order="F" if column_order else "C")


def open_picture(path: Path) -> "NDArray[np.uint8]":
    """Read a picture as RGB (H, W, 3); links are followed, since the user names pictures.

    Raises:
        RunError: no picture that can be decoded, or one of absurd size or shape.
    """
    with open_regular(path, MAX_PICTURE_BYTES, links=True) as file:
        return _decoded(file, str(path))


def decode_picture(content: bytes, name: str) -> "NDArray[np.uint8]":
    """Return the picture of a file's content as RGB (H, W, 3); raises RunError as `open_picture` does."""
    if len(content) > MAX_PICTURE_BYTES:
        raise RunError(f"{name}: has {len(content):,} bytes; the limit is {MAX_PICTURE_BYTES:,}")
    return _decoded(io.BytesIO(content), name)


def _decoded(file: IO[bytes], name: str) -> "NDArray[np.uint8]":
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about sizes that are checked here
        try:
            with Image.open(file, formats=PICTURE_FORMATS) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS or max(width, height) > MAX_RATIO * min(width, height):
                    raise RunError(f"{name}: cannot be read ({width} x {height} pixels)")
                return np.asarray(picture.convert("RGB"))
        except RunError:
            raise
        except (OSError, *_DAMAGED, Image.DecompressionBombError) as error:
            reason = "not a picture" if isinstance(error, UnidentifiedImageError) else error
            raise _unreadable(Path(name), ValueError(reason)) from None


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
            left.unlink(missing_ok=True)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is held: whoever opened it in between finds that it is gone
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process holds a folder by `only_writer` now; nothing is written to find out."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDONLY | _AT_ONCE | _NO_LINK)
    except OSError:
        return False
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (ImportError, BlockingIOError):  # Windows has no such lock, and there the file goes with its holder
        return True
    finally:
        os.close(descriptor)
    return False
