"""A stand-in reward model for tests and demonstrations of everything around the reward: brighter is better."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.reward.protocol import check_frames

__all__ = ["BrightnessReward"]


class BrightnessReward:
    """Mean brightness of a frame in [0, 1]; ignores the prompts and needs neither weights nor torch."""

    name = "brightness"
    concurrent = False
    small = True
    weights_digest = hashlib.sha256(b"brightness").hexdigest()
    precision = "fp32"
    device = "cpu"

    def __init__(self, frame_size: int = 32) -> None:
        self.frame_size = frame_size

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 RGB frames (N, H, W, 3); raises ModelError for anything else."""
        frames = check_frames(frames)
        brightness: Floats = frames.mean(axis=(1, 2, 3)) / 255
        return brightness.astype(np.float32)
