"""LeRobot's data sets (versions 2 and 3), read from their files: films by ffmpeg, Parquet by pyarrow."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import RunError, did_you_mean
from gym_vlmrm.files import check_regular, decode_picture, read_json
from gym_vlmrm.footage.films import read_film
from gym_vlmrm.footage.minari import Episode

__all__ = ["is_dataset", "open_episodes"]

MAX_EPISODES = 100_000
MAX_PARQUET = 2_000_000_000
"""Largest Parquet file that is opened [bytes]."""


def is_dataset(folder: Path) -> bool:
    """Whether a folder says that it is a data set of LeRobot."""
    return (folder / "meta" / "info.json").is_file()


def open_episodes(folder: Path, camera: str | None = None) -> list[Episode]:
    """Return the episodes of a data set.

    Args:
        folder: its folder.
        camera: which of its features, such as ``observation.images.top``; the first with pictures if not given.

    Raises:
        RunError: it cannot be read, or has no pictures.
    """
    info = read_json(_inside(folder, folder / "meta" / "info.json"), links=True)
    features = info.get("features") if isinstance(info, dict) else None
    if not isinstance(features, dict):
        raise RunError(f"{folder / 'meta' / 'info.json'}: has no 'features'")
    kinds = {str(name): feature.get("dtype") for name, feature in features.items() if isinstance(feature, dict)}
    pictures = [name for name, kind in kinds.items() if kind in ("video", "image")]
    if not pictures:
        raise RunError(f"'{folder}' has no pictures; its features are {', '.join(list(kinds)[:10])}")
    if camera is not None and camera not in pictures:
        raise RunError(f"'{folder}' has no pictures '{camera}'{did_you_mean(camera, pictures)}")
    key = camera or pictures[0]
    fps = info.get("fps")
    rate = float(fps) if isinstance(fps, int | float) and 0 < fps < 10_000 else None
    if kinds[key] == "image":
        episodes = _of_tables(folder, key)
    elif (folder / "meta" / "episodes").is_dir():
        episodes = _of_joined_films(folder, key, rate)
    else:
        episodes = _of_films(folder, key)
    if not episodes:
        raise RunError(f"'{folder}' holds no episode with pictures '{key}'")
    if len(episodes) > MAX_EPISODES:
        raise RunError(f"'{folder}' holds more than {MAX_EPISODES:,} episodes")
    return [(f"{folder}, episode {number}", read, rate) for number, read in sorted(episodes.items())]


_Episodes = dict[int, Callable[[], Iterator[Frames]]]


def _of_films(folder: Path, key: str) -> _Episodes:
    """One film per episode, as version 2 has it. Paths are looked for, not made by a stranger's pattern."""
    found: _Episodes = {}
    for path in sorted((folder / "videos").glob("chunk-*/*/episode_*.mp4")):
        number = re.fullmatch(r"episode_(\d{1,9})", path.stem)
        if path.parent.name == key and number:
            found[int(number[1])] = lambda path=path: read_film(_inside(folder, path))  # type: ignore[misc]
    return found


def _of_joined_films(folder: Path, key: str, fps: float | None) -> _Episodes:
    """Several episodes in one film, as version 3 has it."""
    columns = ("episode_index", "length", *(f"videos/{key}/{name}" for name in ("chunk_index", "file_index")))
    start = f"videos/{key}/from_timestamp"
    found: _Episodes = {}
    for row in _rows(folder, sorted((folder / "meta" / "episodes").glob("chunk-*/*.parquet")), (*columns, start)):
        try:
            number, length, chunk, file = (int(row[name]) for name in columns)
            begin = float(row[start])
        except (TypeError, ValueError) as error:
            raise RunError(f"'{folder}': its table of episodes is damaged ({error})") from None
        path = folder / "videos" / _one_part(key) / f"chunk-{chunk:03d}" / f"file-{file:03d}.mp4"
        # Half a frame earlier: times are rounded.
        offset = max(0.0, begin - (0.5 / fps if fps else 0.0))
        found[number] = lambda path=path, offset=offset, length=length: read_film(  # type: ignore[misc]
            _inside(folder, path), offset, length
        )
    return found


def _of_tables(folder: Path, key: str) -> _Episodes:
    """Pictures inside the tables of numbers."""
    found: _Episodes = {}
    paths = sorted((folder / "data").glob("chunk-*/*.parquet"))
    numbers: dict[int, list[Path]] = {}
    for path in paths:
        for row in _rows(folder, [path], ("episode_index",)):
            if path not in (kept := numbers.setdefault(int(row["episode_index"]), [])):
                kept.append(path)
    for number, places in numbers.items():
        found[number] = lambda number=number, places=places: _pictures(folder, places, key, number)  # type: ignore[misc]
    return found


def _pictures(folder: Path, paths: list[Path], key: str, number: int) -> Iterator[Frames]:
    for row in _rows(folder, paths, ("episode_index", key)):
        if row["episode_index"] != number:
            continue
        value = row[key]
        content = value.get("bytes") if isinstance(value, Mapping) else None
        if not isinstance(content, bytes):
            raise RunError(f"'{folder}': a picture of '{key}' is not inside the table")
        yield decode_picture(content, f"{paths[0]}, {key}")


def _inside(folder: Path, path: Path) -> Path:
    """Return a path that stays in its data set, or leads into the blobs beside it, as in the Hub's cache.

    Raises:
        RunError: it is a link that leads elsewhere.
    """
    home, target = folder.resolve(), path.resolve()
    if not any(target.is_relative_to(place) for place in (home, home.parent.parent / "blobs")):
        raise RunError(f"{path}: is a link that leads out of its folder; put the file itself there")
    return path


def _one_part(name: str) -> str:
    """A feature's name as part of a path; raises RunError where it would lead elsewhere."""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise RunError(f"'{name}' is no name of a feature")
    return name


def _rows(folder: Path, paths: list[Path], columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the rows of Parquet files, a batch at a time."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise RunError("reading LeRobot's data sets needs the package pyarrow; install it") from None
    for path in paths:
        check_regular(_inside(folder, path), MAX_PARQUET, links=True)
        try:
            with parquet.ParquetFile(path) as file:
                missing = [name for name in columns if name not in file.schema_arrow.names]
                if missing:
                    raise RunError(f"{path}: has no column '{missing[0]}'")
                for batch in file.iter_batches(batch_size=64, columns=list(columns)):
                    yield from batch.to_pylist()
        except (ArrowException, OSError, ValueError) as error:
            raise RunError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())})") from None
