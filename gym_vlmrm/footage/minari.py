"""Minari's data sets (Farama), read from their HDF5 file by h5py: episodes whose observations are pictures."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import RunError, did_you_mean
from gym_vlmrm.files import check_picture_size, check_regular

__all__ = ["FILES", "Episode", "data_file", "open_episodes"]

FILES = (".hdf5", ".h5")
Episode = tuple[str, Callable[[], Iterator[Frames]], float | None]
"""Name, what reads its frames, frames per second."""
MAX_EPISODES = 100_000


def data_file(folder: Path) -> Path | None:
    """Return the HDF5 file of a data set's folder, ``None`` where it is none."""
    places = (folder / "data" / "main_data.hdf5", folder / "main_data.hdf5")
    return next((path for path in places if path.exists()), None)


def open_episodes(path: Path, camera: str | None = None) -> list[Episode]:
    """Return the episodes of a data set.

    Args:
        path: its HDF5 file.
        camera: which of several observations, such as ``pixels``; the first that is a picture if not given.

    Raises:
        RunError: it cannot be read, or its observations are no pictures.
    """
    with _opened(path) as file:
        names = [name for name in file if name.startswith("episode_") and name[8:].isdecimal()][: MAX_EPISODES + 1]
        if not names or len(names) > MAX_EPISODES:
            raise RunError(f"{path}: holds {'too many' if names else 'no'} episodes of Minari's kind (episode_0, ...)")
        key = _picture_key(path, file, names[0], camera)
    names.sort(key=lambda name: int(name[8:]))
    return [(f"{path}, {name.replace('_', ' ')}", _reader(path, name, key), None) for name in names]


def _opened(path: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise RunError(f"'{path}': reading Minari's data sets needs the package h5py; install it") from None
    check_regular(path, links=True)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise RunError(f"{path}: cannot be read as HDF5 ({' '.join(str(error).split())})") from None


def _picture_key(path: Path, file: Any, episode: str, camera: str | None) -> str:
    found = dict(_arrays(path, file, f"{episode}/observations"))
    shapes = {name: f"{array.dtype} {array.shape}" for name, array in found.items()}
    pictures = [name for name, array in found.items() if _is_picture(array)]
    if camera is not None:
        if camera not in pictures:
            raise RunError(f"{path}: has no pictures '{camera}'{did_you_mean(camera, pictures)}")
        return camera
    if not pictures:
        told = ", ".join(f"{name or 'observations'} {shape}" for name, shape in list(shapes.items())[:5])
        raise RunError(f"{path}: its observations are no pictures, uint8 (T, H, W, 3), but {told or 'nothing'}")
    return pictures[0]


def _is_picture(array: Any) -> bool:
    return array.ndim == 4 and array.shape[3] == 3 and str(array.dtype) == "uint8" and 0 not in array.shape[1:3]


def _arrays(path: Path, file: Any, place: str, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    node = _node(path, file, place)
    if hasattr(node, "keys"):
        if depth < 8:
            for key in list(node)[:100]:
                yield from _arrays(path, file, f"{place}/{key}", f"{name}/{key}".lstrip("/"), depth + 1)
    elif node is not None:
        yield name, node


def _node(path: Path, file: Any, place: str) -> Any:
    """Return what lies at a place of the file, and nothing that leads to another file."""
    import h5py

    node = file
    for key in place.split("/"):
        if not hasattr(node, "keys") or key not in node:
            return None
        if not isinstance(node.get(key, getlink=True), h5py.HardLink):
            raise RunError(f"{path}: {place} is a link, and links are not followed here")
        node = node[key]
    if isinstance(node, h5py.Dataset) and (node.external or node.is_virtual):
        raise RunError(f"{path}: {place} lies in another file, which is not followed here")
    return node


def _reader(path: Path, episode: str, key: str) -> Callable[[], Iterator[Frames]]:
    def read() -> Iterator[Frames]:
        place = f"{episode}/observations" + (f"/{key}" if key else "")
        with _opened(path) as file:
            array = _node(path, file, place)
            if array is None or not _is_picture(array):
                raise RunError(f"{path}: {place} holds no pictures, uint8 (T, H, W, 3)")
            check_picture_size(path, array.shape[2], array.shape[1])
            for index in range(array.shape[0]):
                try:
                    yield array[index]
                except OSError as error:
                    raise RunError(f"{path}: {place} is damaged ({' '.join(str(error).split())})") from None

    return read
