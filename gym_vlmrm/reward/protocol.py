"""What a reward model is: frames in, floats out. A remote model would be one more implementation of it."""

import contextlib
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError

__all__ = ["RewardModel", "check_rewards", "memory_of_scoring"]


@runtime_checkable
class RewardModel(Protocol):
    """Scores frames; calls are stateless, so equal frames earn equal rewards."""

    name: str
    """The name that loads this model again."""
    frame_size: int
    """Side of the square frames that need no resizing [px]."""

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 RGB frames (N, H, W, 3)."""
        ...


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


@contextlib.contextmanager
def memory_of_scoring(name: str) -> Iterator[None]:
    """Turn a lack of memory in the block into a ModelError that says what to change.

    Torch's errors are known by their words, as nothing here may import torch.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        words = ("out of memory", "can't allocate memory")
        if not isinstance(error, MemoryError) and not any(part in str(error).lower() for part in words):
            raise
        raise ModelError(
            f"the memory does not suffice for scoring frames by '{name}'; use a smaller model, a lower precision, "
            "fewer environments, or another device"
        ) from None
