"""The reward of a motion: how well what a window of pictures shows fits a sentence about a motion."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.clip.devices import SMALL_TOWER
from gym_vlmrm.reward.clip.towers import Towers
from gym_vlmrm.reward.formula import average_embedding, goal_baseline_reward
from gym_vlmrm.reward.motion.head import FILM, MotionHead
from gym_vlmrm.reward.protocol import memory_of_scoring

__all__ = ["MotionReward"]


class MotionReward:
    """Judges windows of pictures by a motion head (see `gym_vlmrm.reward.parts.sight.Watcher`)."""

    film = FILM

    def __init__(
        self,
        name: str,
        towers: Towers,
        head: MotionHead,
        goal: Sequence[str],
        baseline: Sequence[str] | None = None,
        alpha: float = 0.0,
    ) -> None:
        self.name, self.towers, self.head, self.alpha = name, towers, head, alpha
        self.concurrent = towers.on_cpu
        self.small = towers.on_cpu and towers.parameters < SMALL_TOWER
        self.weights_digest = hashlib.sha256(f"{towers.weights_digest} {head.digest}".encode()).hexdigest()
        self.precision, self.device = towers.precision, towers.device
        self.frame_size = max(towers.image_size)
        self.width = head.width
        embed = head.sentences.embed
        self.goal = average_embedding(embed(goal))
        self.baseline = average_embedding(embed(baseline)) if baseline else None
        try:
            goal_baseline_reward(self.goal[None], self.goal, self.baseline, alpha)
        except ValueError as error:
            raise ModelError(str(error)) from None

    def look(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return unit embeddings (N, D) and readings (N, `width`) of frames (N, H, W, 3)."""
        with memory_of_scoring(self.name):
            told = self.towers.read_frames(frames, self.head.read)
        return told[:, : -self.width], told[:, -self.width :]

    def watch(self, pictures: Floats, spacing: int) -> float:
        """Return what a film is worth: readings (FILM, `width`), oldest first, `spacing` environment steps apart."""
        place = self.head.watch(pictures, spacing)
        return float(goal_baseline_reward(place[None], self.goal, self.baseline, self.alpha)[0])
