"""Films, read one frame at a time by ffmpeg (imageio-ffmpeg brings it). Nothing but the named file is opened."""

import contextlib
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import RunError
from gym_vlmrm.files import check_picture_size, check_regular

__all__ = ["FILMS", "frames_per_second", "read_film"]

FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".ogv")
"""Ends of the names of films; a GIF is a picture here: its first frame."""
_GUARD = ("-protocol_whitelist", "file", "-format_whitelist", "mov,matroska,avi,mpeg,mpegts,flv,asf,ogg", "-nostdin")
"""A playlist that is called a film would have ffmpeg open other files, and addresses on the net."""


def frames_per_second(path: Path) -> float | None:
    """Return how many frames a film shows per second, ``None`` where it does not say; raises RunError."""
    with _opened(path) as reader:
        fps = float(_meta(path, reader).get("fps") or 0)
    return fps if 0 < fps < 10_000 else None


def read_film(path: Path, start: float = 0.0, count: int | None = None) -> Iterator[Frames]:
    """Yield the frames (H, W, 3) of a film.

    Args:
        path: the film.
        start: time of the first frame [s].
        count: how many; all if not given.

    Raises:
        RunError: it is no film, damaged, or its pictures are too large.
    """
    params = ["-ss", f"{start:.6f}"] if start > 0 else []
    with _opened(path, *params) as reader:
        width, height = _meta(path, reader)["size"]
        number = 0
        while count is None or number < count:
            content = _next(path, reader)
            if content is None:
                break
            yield np.frombuffer(content, np.uint8).reshape(height, width, 3)
            number += 1


@contextlib.contextmanager
def _opened(path: Path, *params: str) -> Iterator[Any]:
    check_regular(path, links=True)
    try:
        from imageio_ffmpeg import read_frames
    except ImportError:
        raise RunError(f"'{path}': reading films needs the package imageio-ffmpeg; install it") from None
    # Absolute and with its scheme: a file called `-y` or `concat:a|b` is no option and no address.
    address = f"file:{path.absolute()}"
    reader = read_frames(address, input_params=[*_GUARD, *params], output_params=["-fps_mode", "passthrough", "-an"])
    try:
        yield reader
    finally:
        with _pipes_left_open():
            reader.close()


def _next(path: Path, reader: Any) -> Any:
    """Return what comes next of a film, ``None`` at its end; raises RunError."""
    with _pipes_left_open():
        try:
            return next(reader, None)
        except (OSError, RuntimeError, IndexError, ValueError, AssertionError) as error:
            fault = _unreadable(path, error)
            traceback.clear_frames(error.__traceback__)  # which hold the pipes
    raise fault


@contextlib.contextmanager
def _pipes_left_open() -> Iterator[None]:
    """Say nothing of the pipes to a finished ffmpeg, which imageio-ffmpeg leaves to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


def _meta(path: Path, reader: Any) -> Any:
    meta = _next(path, reader) or {}
    width, height = meta.get("size") or (0, 0)
    check_picture_size(path, width, height)
    return meta


def _unreadable(path: Path, error: Exception) -> RunError:
    if isinstance(error, OSError) and "ffmpeg exe" in str(error):
        return RunError(f"{path}: cannot be read (no ffmpeg is here; install imageio-ffmpeg)")
    return RunError(f"{path}: is no film that ffmpeg can read, or it is damaged")
