"""Clips: frames that belong together, in their order, read one at a time from whatever holds them."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import RunError, did_you_mean
from gym_vlmrm.files import PICTURE_FORMATS, open_picture
from gym_vlmrm.footage import films, lerobot, minari
from gym_vlmrm.reward.protocol import check_frames

__all__ = ["PICTURES", "Clip", "open_clips"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
"""Ends of the names of pictures in a folder."""
MAX_FILES = 200_000
"""Most files of a folder."""


@dataclass(frozen=True)
class Clip:
    """Frames in their order. They are read anew each time that `frames` is called."""

    name: str
    frames: Callable[[], Iterator[tuple[str, Frames]]]
    """Yields the name of each frame and its RGB picture (H, W, 3)."""
    fps: float | None = None
    """Frames per second, where they have a time."""


def open_clips(sources: Sequence[Any], camera: str | None = None) -> list[Clip]:
    """Find the clips of sources.

    Args:
        sources: paths of pictures, films, folders of such, Minari data sets (a folder or a file ``.hdf5``) and LeRobot
            data sets (a folder), or arrays of frames, uint8 (N, H, W, 3). Single pictures are one clip together.
        camera: which pictures of a data set; its first if not given.

    Raises:
        RunError: a path is missing or holds no pictures. ModelError: an array is no frames.
    """
    clips: list[Clip] = []
    single: list[Path] = []
    for source in sources:
        if isinstance(source, str | Path):
            path = Path(source)
            if path.is_dir():
                clips += _in_folder(path, camera)
            elif path.suffix.lower() in minari.FILES:
                clips += _episodes(minari.open_episodes(path, camera))
            elif path.suffix.lower() in films.FILMS:
                clips.append(_film(path))
            else:
                _check_there(path)
                single.append(path)
        else:
            clips.append(_array(source, f"frames {len(clips) + 1}"))
    if single:
        clips.insert(0, _pictures(single, "pictures" if len(single) > 1 else str(single[0])))
    if not clips:
        raise RunError("nothing to score; name pictures, films or data sets")
    return clips


def _check_there(path: Path) -> None:
    if not path.exists():
        near = [str(other) for other in path.parent.glob("*")] if path.parent.is_dir() else []
        close = did_you_mean(str(path), near) if near else ""
        raise RunError(f"'{path}' does not exist" + (close if "did you mean" in close else ""))


def _in_folder(folder: Path, camera: str | None) -> list[Clip]:
    if lerobot.is_dataset(folder):
        return _episodes(lerobot.open_episodes(folder, camera))
    if (data := minari.data_file(folder)) is not None:
        return _episodes(minari.open_episodes(data, camera))
    paths = sorted((path for path in folder.iterdir() if path.is_file()), key=_in_order)
    if len(paths) > MAX_FILES:
        raise RunError(f"'{folder}' holds {len(paths):,} files; the limit is {MAX_FILES:,}")
    clips = [_film(path) for path in paths if path.suffix.lower() in films.FILMS]
    pictures = [path for path in paths if path.suffix.lower() in PICTURES]
    if pictures:
        clips.insert(0, _pictures(pictures, str(folder)))
    if not clips:
        kinds = ", ".join(PICTURE_FORMATS[:3])
        raise RunError(f"'{folder}' holds no picture ({kinds}, ...), no film and no data set of Minari or LeRobot")
    return clips


def _in_order(path: Path) -> list[Any]:
    """Sort ``frame_10`` behind ``frame_9``."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d{1,18})", path.name)]


def _pictures(paths: Sequence[Path], name: str) -> Clip:
    def frames() -> Iterator[tuple[str, Frames]]:
        for path in paths:
            yield str(path), open_picture(path)

    return Clip(name, frames)


def _film(path: Path) -> Clip:
    _check_there(path)
    fps = films.frames_per_second(path)
    return Clip(str(path), lambda: _numbered(films.read_film(path)), fps)


def _episodes(episodes: Any) -> list[Clip]:
    return [Clip(name, lambda read=read: _numbered(read()), fps) for name, read, fps in episodes]  # type: ignore[misc]


def _array(source: Any, name: str) -> Clip:
    pictures = check_frames(source)
    return Clip(name, lambda: _numbered(iter(pictures)))


def _numbered(frames: Iterator[Any]) -> Iterator[tuple[str, Frames]]:
    for number, frame in enumerate(frames):
        yield str(number), np.asarray(frame)
