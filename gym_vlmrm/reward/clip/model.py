"""The reward of a CLIP-type model: how well a frame fits the goal prompt, as `goal_baseline_reward` measures it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.clip.devices import SMALL_TOWER
from gym_vlmrm.reward.clip.towers import Towers
from gym_vlmrm.reward.formula import average_embedding, goal_baseline_reward
from gym_vlmrm.reward.protocol import check_frames, check_rewards, memory_of_scoring

__all__ = ["ClipReward"]


class ClipReward:
    """Goal-baseline regularised reward of frames; the prompts are embedded once, here."""

    def __init__(
        self,
        name: str,
        towers: Towers,
        goal: Sequence[str],
        baseline: Sequence[str] | None = None,
        alpha: float = 0.0,
    ) -> None:
        self.name = name
        self.towers = towers
        self.alpha = alpha
        self.concurrent = towers.on_cpu
        """Whether calls from several threads run beside each other on several cores."""
        self.small = towers.on_cpu and towers.parameters < SMALL_TOWER
        """Whether several threads of torch only hinder each other at one frame."""
        self.weights_digest, self.precision, self.device = towers.weights_digest, towers.precision, towers.device
        self.frame_size = max(towers.image_size)
        self.goal = average_embedding(towers.embed_sentences(goal))
        self.baseline = average_embedding(towers.embed_sentences(baseline)) if baseline else None
        towers.release_text()
        try:
            goal_baseline_reward(self.goal[None], self.goal, self.baseline, alpha)
        except ValueError as error:
            raise ModelError(str(error)) from None

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 RGB frames (N, H, W, 3); raises ModelError for anything else."""
        frames = check_frames(frames)
        if len(frames) == 0:
            return np.zeros(0, np.float32)
        with memory_of_scoring(self.name):
            embeddings = self.towers.embed_frames(frames)
        rewards = goal_baseline_reward(embeddings, self.goal, self.baseline, self.alpha)
        return check_rewards(rewards.astype(np.float32), len(frames), self.name)
