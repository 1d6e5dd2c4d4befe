"""What a reward model is: frames in, floats out. A remote model would be one more implementation of it."""

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError

__all__ = [
    "MAX_RATIO",
    "MAX_SIDE",
    "RewardModel",
    "check_frames",
    "check_rewards",
    "check_sides",
    "is_concurrent",
    "is_small",
    "lacks_memory",
    "memory_of_scoring",
    "score",
    "signals_of",
]

MAX_SIDE = 8192
"""Longest side of a frame that is resized for a model [px]."""
MAX_RATIO = 32
"""Most that the longer side of such a frame may be of the shorter one: a tower's input has the shorter one's size."""


@runtime_checkable
class RewardModel(Protocol):
    """Scores frames; calls are stateless, so equal frames earn equal rewards.

    A model may have further attributes. Those of this package have all of them; one of your own needs none:

    * ``concurrent: bool``, ``False`` where it is missing (see `is_concurrent`): whether calls from several threads may
      overlap and run beside each other on several cores. Any other model is called from one thread at a time.
    * ``small: bool``, ``False`` where it is missing (see `is_small`): whether a few frames take one thread of torch
      less time than many, which wait for each other in every layer; a single environment's are then scored by one.
    * ``weights_digest: str``: SHA-256 (hex) of all weights, of the image tower and of the text tower, so that a record
      can say which weights judged; a model without weights has a constant.
    * ``precision: str``: arithmetic that is really used, ``fp32``, ``bf16``, ``fp16`` or ``int8``; never ``auto``.
    * ``device: str``: where it really runs, such as ``cpu`` or ``cuda:0``; never ``auto``.
    * ``submit(frames) -> Future``: of a model that scores elsewhere, many batches at a time; what calling it returns.
    """

    name: str
    """The name that loads this model again."""
    frame_size: int
    """Side of the square frames that need no resizing [px]."""

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 RGB frames (N, H, W, 3)."""
        ...


def is_concurrent(model: RewardModel) -> bool:
    """Whether calls of a reward model may overlap; it has to say so itself."""
    return bool(getattr(model, "concurrent", False))


def is_small(model: RewardModel) -> bool:
    """Whether a few frames are best scored by one thread of torch; a model has to say so itself."""
    return bool(getattr(model, "small", False))


def score(model: RewardModel, frames: Any) -> NDArray[np.float32]:
    """Return a model's rewards, float32 (N,), of uint8 RGB frames (N, H, W, 3): what goes in and comes out is checked.

    Raises:
        ModelError: the frames are no such pictures, there is not one finite number per frame, or memory runs out.
    """
    pictures = check_frames(frames)
    with memory_of_scoring(model.name):
        rewards = np.asarray(model(pictures), dtype=np.float32)
    return check_rewards(rewards, len(pictures), model.name)


def signals_of(model: RewardModel, pictures: Any) -> NDArray[np.float32]:
    """Return what a model tells of the pictures of N steps: rewards (N,), or of one made of parts signals (N, W).

    Raises:
        ModelError: as `score` does.
    """
    signals = getattr(model, "signals", None)
    return score(model, pictures) if signals is None else signals(pictures)


def check_frames(frames: Any) -> NDArray[np.uint8]:
    """Return frames as an array if they are pictures, uint8 (N, H, W, 3).

    Raises:
        ModelError: another type, another number of axes, colours that are not the last one, or pictures without pixels.
    """
    try:
        pictures = np.asarray(frames)
    except ValueError:
        sizes = f"{len(frames)} frames that differ in size"
        raise ModelError(f"frames must be uint8 of shape (N, H, W, 3), all of one size; got {sizes}") from None
    fits = pictures.dtype == np.uint8 and pictures.ndim == 4 and pictures.shape[3] == 3
    if not fits or 0 in pictures.shape[1:3]:
        raise ModelError(
            f"frames must be uint8 of shape (N, H, W, 3), colours from 0 to 255 in the last axis; "
            f"got {pictures.dtype} of shape {pictures.shape}"
        )
    return pictures


def check_sides(height: int, width: int) -> None:
    """Raise ModelError for a frame whose sides [px] are such that resizing it would take any amount of memory."""
    if max(height, width) > MAX_SIDE or max(height, width) > MAX_RATIO * min(height, width):
        raise ModelError(
            f"a frame of {height:,} x {width:,} pixels has too long a side; "
            f"at most {MAX_SIDE:,}, and {MAX_RATIO} times the other side, can be resized for a model"
        )


def check_rewards(rewards: NDArray[np.float32], num_frames: int, name: str) -> NDArray[np.float32]:
    """Return the rewards if there is one finite number per frame.

    Raises:
        ModelError: wrong shape, or a number that is not finite.
    """
    if rewards.shape != (num_frames,):
        raise ModelError(
            f"reward model '{name}' returned shape {rewards.shape} for {num_frames} frames, not ({num_frames},)"
        )
    if not np.isfinite(rewards).all():
        raise ModelError(f"reward model '{name}' returned a reward that is not finite; try precision='fp32'")
    return rewards


def lacks_memory(error: Exception) -> bool:
    """Whether an error says that memory does not suffice; torch's are known by their words: nothing here imports it."""
    words = ("out of memory", "can't allocate memory", "status_alloc_failed", "allocation_failed")
    return isinstance(error, MemoryError) or any(part in str(error).lower() for part in words)


@contextlib.contextmanager
def memory_of_scoring(name: str) -> Iterator[None]:
    """Turn a lack of memory in the block into a ModelError that says what to change."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        raise ModelError(
            f"the memory does not suffice for scoring frames by '{name}'; use a smaller model, a lower precision, "
            "fewer environments, or another device"
        ) from None
