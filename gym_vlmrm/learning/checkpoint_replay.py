"""A checkpoint's replay buffer, as npz; it may be large, so a run keeps the newest two alone."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import DAMAGED, read_arrays

__all__ = ["REPLAY_FILE", "buffer_bytes", "fill_before_learning", "has_room", "restore_buffer", "save_buffer"]

REPLAY_FILE = "replay.npz"
SPARE_DISK = 100_000_000
"""What storing a replay buffer leaves free at least [bytes]."""
PIECE = 1 << 22
"""Bytes read at a time."""
_BUFFER_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def save_buffer(path: Path, buffer: Any) -> None:
    """Write a replay buffer, every reward filled in."""
    buffer.fill()
    size = buffer.size()
    arrays: dict[str, Any] = {name: array[:size] for name, array in _buffer_arrays(buffer).items()}
    # Written array by array and piece by piece, not compressed: no second buffer is ever in memory.
    np.savez(path, pos=buffer.pos, full=buffer.full, **arrays)


def _buffer_arrays(buffer: Any) -> dict[str, NDArray[Any]]:
    """Arrays of a replay buffer by name; those of a Dict are called ``observations.key``."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in _BUFFER_ARRAYS:
        array = getattr(buffer, name)
        arrays |= {f"{name}.{key}": part for key, part in array.items()} if isinstance(array, dict) else {name: array}
    return arrays


def buffer_bytes(model: Any) -> int:
    """Bytes that storing the replay buffer would take; 0 without one."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None or buffer.size() == 0:
        return 0
    return sum(array[: buffer.size()].nbytes for array in _buffer_arrays(buffer).values())


def has_room(folder: Path, size: int) -> bool:
    """Whether the disk of a folder takes `size` bytes and something is left."""
    return size + SPARE_DISK <= shutil.disk_usage(folder).free


def restore_buffer(path: Path, buffer: Any) -> None:
    """Put a stored replay buffer back; raises RunError where it is damaged or of another shape."""
    place = read_arrays(path, ("pos", "full"))
    try:
        pos, full = int(place["pos"]), bool(place["full"])
        size = buffer.buffer_size if full else pos
        if not 0 <= pos < buffer.buffer_size:
            raise ValueError(f"position {pos} in a buffer of {buffer.buffer_size}")
        _read_into(path, {name: array[:size] for name, array in _buffer_arrays(buffer).items()})
        buffer.pos, buffer.full = pos, full
    except (OSError, *DAMAGED) as error:
        raise RunError(f"{path}: does not fit its run ({' '.join(str(error).split())})") from None


def _read_into(path: Path, targets: dict[str, NDArray[Any]]) -> None:
    """Read arrays of an npz file straight into their places, so that a large buffer is never held twice."""
    with zipfile.ZipFile(path) as archive:
        for name, target in targets.items():
            with archive.open(f"{name}.npy") as opened:
                file: Any = opened  # whose type hides that it reads into memory
                version = np.lib.format.read_magic(file)
                read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, fortran, dtype = read_header[version](file)
                if shape != target.shape or dtype != target.dtype or (fortran and target.ndim > 1 and target.size):
                    raise ValueError(f"{name} is {dtype} of shape {shape}, not {target.dtype} {target.shape}")
                if not target.size:
                    continue
                assert target.flags.c_contiguous  # else what is read would go into a copy
                view = memoryview(target.reshape(-1).view(np.uint8).data)
                while len(view):
                    count = file.readinto(view[:PIECE])
                    if not count:
                        raise EOFError(f"{name} is cut short")
                    view = view[count:]


def fill_before_learning(model: Any, num_envs: int) -> None:
    """Let an algorithm without its buffer learn only when that holds what `learning_starts` asks for.

    The policy, as it stands, fills it.
    """
    needed, learn, buffer = model.learning_starts, model.train, model.replay_buffer

    def learn_from_enough(*args: Any, **kwargs: Any) -> None:
        if buffer.full or buffer.size() * num_envs >= needed:
            learn(*args, **kwargs)

    model.train = learn_from_enough
