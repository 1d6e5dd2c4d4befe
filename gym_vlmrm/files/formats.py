"""JSON, arrays and pictures of anybody's: finite numbers, no pickles, nothing larger than its file or than a limit."""

import io
import json
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from gym_vlmrm.errors import RunError
from gym_vlmrm.files.reading import open_regular, read_text, unreadable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel

    Model = TypeVar("Model", bound=BaseModel)

__all__ = [
    "DAMAGED", "MAX_JSON", "MAX_PIXELS", "MAX_TABLE", "PICTURE_FORMATS", "check_picture_size", "decode_picture",
    "open_picture", "read_arrays", "read_json", "read_model",
]  # fmt: skip

MAX_JSON = 16_000_000
"""Largest JSON file that is read [bytes]; an evaluation of 10,000 episodes has 4 million."""
MAX_TABLE = 64_000_000
"""Largest table or list of words that is read [bytes]."""
MAX_DIRECTORY = 1_000_000
"""Longest list of the arrays in an npz file that is read [bytes]."""
MAX_PICTURE_BYTES = 100_000_000
MAX_PIXELS = 50_000_000
"""Largest picture [px], which takes three bytes for each."""
MAX_RATIO = 20
"""Longest side of a picture in units of its shorter one: pictures are padded to squares."""
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats that are tried; Pillow knows others, some of which start programs such as Ghostscript."""


def read_json(path: Path, limit: int = MAX_JSON, *, links: bool = False, digits: int = 20) -> Any:
    """Read JSON as `open_regular` opens it; whole numbers have at most so many `digits`.

    Raises:
        RunError: the file is missing, too large, no JSON, or holds a number that is not finite or half a character.
    """
    text = read_text(path, limit, links=links)
    try:
        whole = partial(_short_int, digits=digits)
        data = json.loads(text, parse_float=_finite_float, parse_constant=_finite_float, parse_int=whole)
        if "\\ud" in text.lower():  # half a character, which can be neither printed nor written
            json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError, MemoryError) as error:
        raise RunError(f"{path}: not valid JSON ({' '.join(str(error).split())})") from None
    return data


def _short_int(text: str, digits: int) -> int:
    if len(text) > digits:
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
        where = " ".join(".".join(map(str, first["loc"]))[:200].split())
        raise RunError(f"{path}: {where}: {first['msg']}") from None


def read_arrays(path: Path, names: Iterable[str], *, links: bool = False) -> "dict[str, NDArray[Any]]":
    """Read the arrays of those names from an npz file, and nothing else; no pickles, nothing compressed.

    Since nothing is compressed, arrays take no more memory than the file takes on the disk.

    Raises:
        RunError: the file is missing or damaged, or lacks one of them.
    """
    try:
        with open_regular(path, links=links) as opened, _archive(opened) as archive:
            return {name: _read_array(archive, f"{name}.npy") for name in names}
    except (OSError, *DAMAGED) as error:
        raise unreadable(path, error) from None


class _ShortDirectory:
    """A file of which no long piece is read: an archive's directory comes in one, and could list millions of names."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.limit = file, float(MAX_DIRECTORY)

    def read(self, count: int = -1) -> bytes:
        """Read as a file does."""
        if count > self.limit:
            raise ValueError(f"a directory of {count:,} bytes")
        return self._file.read(count)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _archive(file: IO[bytes]) -> zipfile.ZipFile:
    short: Any = _ShortDirectory(file)
    archive = zipfile.ZipFile(short)
    short.limit = math.inf  # arrays may be of any length
    return archive


DAMAGED = (
    ValueError, EOFError, LookupError, NotImplementedError, OverflowError, TypeError, SyntaxError, MemoryError,
    RuntimeError, AttributeError, struct.error, zipfile.BadZipFile, zlib.error, tokenize.TokenError,
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
    """Read a picture as RGB (H, W, 3), turned as its camera says; links are followed, since the user names pictures.

    Raises:
        RunError: no picture that can be decoded, or one of absurd size or shape.
    """
    with open_regular(path, MAX_PICTURE_BYTES, links=True) as file:
        return _decoded(file, path)


def decode_picture(content: bytes, name: str) -> "NDArray[np.uint8]":
    """Return the picture of a file's content as RGB (H, W, 3); raises RunError as `open_picture` does."""
    if len(content) > MAX_PICTURE_BYTES:
        raise RunError(f"{name}: has {len(content):,} bytes; the limit is {MAX_PICTURE_BYTES:,}")
    return _decoded(io.BytesIO(content), Path(name))


def check_picture_size(name: object, width: int, height: int) -> None:
    """Raise RunError for a picture or film that is empty, too large, or too narrow to be padded to a square."""
    size = f"{name}: cannot be read ({width} x {height} pixels"
    if not 0 < width * height <= MAX_PIXELS:
        raise RunError(f"{size}; the limit is {MAX_PIXELS:,} in all)")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise RunError(f"{size}; one side is more than {MAX_RATIO} times the other)")


def _decoded(file: IO[bytes], path: Path) -> "NDArray[np.uint8]":
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about sizes that are checked here
        try:
            with Image.open(file, formats=PICTURE_FORMATS) as picture:
                check_picture_size(path, *picture.size)
                if picture.mode.startswith("I;16"):  # which Pillow would cut off at 255 instead
                    return np.repeat((np.asarray(picture) >> 8).astype(np.uint8)[..., None], 3, axis=2)
                if picture.mode in ("I", "F"):
                    raise RunError(f"{path}: cannot be read (numbers of 32 bits; save it with 8 or 16)")
                return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        except RunError:
            raise
        except Image.DecompressionBombError:
            raise RunError(f"{path}: cannot be read (the limit is {MAX_PIXELS:,} pixels)") from None
        except (OSError, *DAMAGED) as error:
            reason = "not a picture" if isinstance(error, UnidentifiedImageError) else error
            raise unreadable(path, ValueError(reason)) from None
