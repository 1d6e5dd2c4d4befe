"""Short films of episodes: tiled frames as a GIF (pillow) and, where ffmpeg is at hand, as an MP4 (imageio)."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import replacing

__all__ = ["tile", "write_gif", "write_mp4"]

GIF_FPS = 25.0
"""GIFs are shown at this rate at most [frames/s]; players slow faster ones down."""
MAX_GIF_BYTES = 2_000_000


def tile(films: Sequence[NDArray[np.uint8]], columns: int = 2) -> NDArray[np.uint8]:
    """Put films (T_i, H, W, 3) side by side, `columns` in a row; shorter ones rest on their last frame.

    Returns:
        One film (T, rows * H, columns * W, 3); places left over are black.
    """
    length = max(len(film) for film in films)
    padded = [np.concatenate([film, np.repeat(film[-1:], length - len(film), axis=0)]) for film in films]
    columns = min(columns, len(padded))
    padded += [np.zeros_like(padded[0])] * (-len(padded) % columns)
    rows = [np.concatenate(padded[i : i + columns], axis=2) for i in range(0, len(padded), columns)]
    return np.concatenate(rows, axis=1)


def write_gif(path: Path, film: NDArray[np.uint8], fps: float, max_bytes: int = MAX_GIF_BYTES) -> None:
    """Write a film (T, H, W, 3) as a GIF that plays at its own speed, smaller and with fewer frames if need be.

    Args:
        path: the file.
        film: frames.
        fps: frames per second of the film.
        max_bytes: the picture is shrunk, then frames are dropped, until the file is no larger.
    """
    stride = max(1, round(fps / GIF_FPS))
    height, width = film.shape[1:3]
    for scale, factor, colors in ((1.0, 1, 128), (0.75, 1, 64), (0.75, 2, 64), (0.5, 2, 64), (0.5, 4, 32)):
        step = stride * factor
        size = (round(width * scale), round(height * scale))
        images = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in film[::step]]
        palette = images[len(images) // 2].quantize(colors)
        frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
        duration = max(20, 10 * round(100 * step / fps))  # GIFs count in hundredths of a second
        with replacing(path) as part:
            frames[0].save(
                part, "GIF", save_all=True, append_images=frames[1:], duration=duration, loop=0, optimize=True
            )
        if path.stat().st_size <= max_bytes:
            return


def write_mp4(path: Path, film: NDArray[np.uint8], fps: float) -> bool:
    """Write a film (T, H, W, 3) as an MP4 and say whether that worked; without ffmpeg it does not."""
    try:
        import imageio.v2 as imageio

        container = ["-f", "mp4"]  # which the name of a file that is not there yet does not tell
        with replacing(path) as part:
            writer: Any = imageio.get_writer(
                part, format="FFMPEG", fps=fps, macro_block_size=2, output_params=container
            )
            with contextlib.closing(writer):
                for frame in film:
                    writer.append_data(frame)
    except (ImportError, OSError, ValueError, RuntimeError, RunError):
        path.unlink(missing_ok=True)
        return False
    return True
