"""Short films of episodes: frames as a GIF (pillow) and, where ffmpeg is at hand, as an MP4 (imageio).

Frames stream through one at a time, and a `Reel` keeps no more than a GIF can use, so memory does not grow with a film.
"""

import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gym_vlmrm.files import replacing

__all__ = ["Film", "Reel", "gif_bytes", "write_gif", "write_mp4"]

GIF_FPS = 25.0
"""GIFs are shown at this rate at most [frames/s]; players slow faster ones down."""
MAX_GIF_BYTES = 2_000_000
MAX_REEL = 300
"""Most frames that a reel keeps."""

Frame = NDArray[np.uint8]


class Film(Protocol):
    """Frames (H, W, 3), all of one size: a reel, or an array (T, H, W, 3)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Frame: ...


class Reel:
    """A film that thins itself out while it grows: of a long one every 2nd, 4th, ... frame is kept, compressed."""

    def __init__(self, fps: float, limit: int = MAX_REEL) -> None:
        """Begin a film that is shot with `fps` frames per second; at most `limit` frames, an even number, are kept."""
        self._fps, self._limit = fps, limit
        self._seen, self._every = 0, 1
        self._shape: tuple[int, ...] = ()
        self._kept: list[bytes] = []

    def add(self, frame: Frame) -> None:
        """Add the next frame."""
        if self._seen % self._every == 0:
            if len(self._kept) == self._limit:
                self._kept, self._every = self._kept[::2], 2 * self._every
            self._shape = frame.shape
            self._kept.append(zlib.compress(frame.tobytes(), 1))
        self._seen += 1

    def keeping(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Pass frames on and add each of them."""
        for frame in frames:
            self.add(frame)
            yield frame

    @property
    def fps(self) -> float:
        """Frames per second at which those that are kept play as fast as all would have."""
        return self._fps / self._every

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Frame:
        return np.frombuffer(zlib.decompress(self._kept[index]), np.uint8).reshape(self._shape)


def write_gif(path: Path, film: Film, fps: float, max_bytes: int = MAX_GIF_BYTES) -> None:
    """Write a film as a GIF that plays at its own speed, smaller and with fewer frames if need be.

    Args:
        path: the file.
        film: its frames.
        fps: frames per second of the film.
        max_bytes: the picture is shrunk, then frames are dropped, until the file is no larger.

    Raises:
        RunError: it cannot be written.
    """
    stride = max(1, round(fps / GIF_FPS))
    height, width = film[0].shape[:2]
    with replacing(path, durable=False) as part:
        for scale, factor, colors in ((1.0, 1, 128), (0.75, 1, 64), (0.75, 2, 64), (0.5, 2, 64), (0.5, 4, 32)):
            step = stride * factor
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            shown = range(0, len(film), step)
            palette = _palette([_resized(film[shown[place]], size) for place in (0, len(shown) // 2, -1)], colors)
            frames = _quantized(film, shown, size, palette)
            duration = max(20, 10 * round(100 * step / fps))  # GIFs count in hundredths of a second
            options = {"duration": duration, "loop": 0, "optimize": True}
            next(frames).save(part, format="GIF", save_all=True, append_images=frames, **options)
            if part.stat().st_size <= max_bytes:
                return


def gif_bytes(frames: Sequence[Frame], fps: float = 10.0, side: int = 128) -> bytes:
    """Return a few frames (H, W, 3) as a small GIF, for loggers; at least one."""
    scale = min(1.0, side / max(frames[0].shape[:2]))
    height, width = (max(1, round(length * scale)) for length in frames[0].shape[:2])
    pictures = [_resized(frame, (width, height)) for frame in frames]
    buffer = io.BytesIO()
    options = {"duration": max(20, round(1000 / fps)), "loop": 0}
    pictures[0].save(buffer, format="GIF", save_all=True, append_images=pictures[1:], **options)
    return buffer.getvalue()


def _resized(frame: Frame, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)


def _palette(pictures: Sequence[Image.Image], colors: int) -> Image.Image:
    """Choose colours of several pictures of one size; an octree keeps those of small things, such as a light."""
    strip = Image.new("RGB", (pictures[0].width, pictures[0].height * len(pictures)))
    for number, picture in enumerate(pictures):
        strip.paste(picture, (0, number * picture.height))
    return strip.quantize(colors, method=Image.Quantize.FASTOCTREE)


def _quantized(film: Film, shown: range, size: tuple[int, int], palette: Image.Image) -> Iterator[Image.Image]:
    for index in shown:
        yield _resized(film[index], size).quantize(palette=palette, dither=Image.Dither.NONE)


def write_mp4(path: Path, frames: Iterable[Frame], fps: float) -> bool:
    """Write frames as an MP4 while they come, and say whether that worked; without ffmpeg it does not.

    Raises:
        RunError: the folder cannot be written. Whatever `frames` raises is raised on.
    """
    try:
        with replacing(path, durable=False, suffix=path.suffix) as part, closing(_Encoder(part, fps)) as encoder:
            for frame in frames:
                encoder.add(frame)
            encoder.close()
    except _EncoderError:
        path.unlink(missing_ok=True)
        return False
    return True


class _EncoderError(Exception):
    """There is no ffmpeg, or it failed."""


class _Encoder:
    """What ffmpeg does, with one kind of error."""

    def __init__(self, path: Path, fps: float) -> None:
        with self._errors():
            import imageio.v2 as imageio

            self._writer: Any = imageio.get_writer(path, format="FFMPEG", fps=fps, macro_block_size=2)

    def add(self, frame: Frame) -> None:
        with self._errors():
            self._writer.append_data(frame)

    def close(self) -> None:
        with self._errors():
            self._writer.close()

    @staticmethod
    @contextmanager
    def _errors() -> Iterator[None]:
        try:
            yield
        except (ImportError, OSError, ValueError, RuntimeError) as error:
            raise _EncoderError from error
