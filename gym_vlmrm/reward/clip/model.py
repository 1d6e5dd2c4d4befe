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
        return check_rewards(self.value(self.embed(frames)), len(frames), self.name)

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the unit embeddings (N, D) of frames; raises ModelError where memory does not suffice."""
        with memory_of_scoring(self.name):
            return self.towers.embed_frames(frames)

    def value(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the rewards (N,) of unit embeddings (N, D)."""
        rewards = goal_baseline_reward(embeddings, self.goal, self.baseline, self.alpha)
        return np.asarray(rewards.astype(np.float32))

    def change(self, first: NDArray[np.float32], last: NDArray[np.float32]) -> float:
        """Return how far an embedding (D,) moved along the line from the baseline prompt to the goal prompt.

        It is the direction of Gal et al. (arXiv 2108.00946), but the move is not normalised: of two frames that are
        nearly equal a direction would be noise.
        """
        assert self.baseline is not None, "the task file was checked for it"
        line = self.goal - self.baseline
        length = float(np.sqrt((line * line).sum()))
        return float(((last - first) * line).sum()) / length if length > 0 else 0.0
