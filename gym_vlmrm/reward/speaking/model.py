"""The reward of a judge that speaks: its answer about the goal prompt, less alpha times that about the baseline."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.protocol import check_frames, check_rewards
from gym_vlmrm.reward.speaking.speaker import Picture, Speaker

__all__ = ["FRAME_SIZE", "SpeakingReward", "contrast"]

FRAME_SIZE = 224
"""Side of frames [px], where the scene says nothing; the server scales what it gets."""


def contrast(answers: Floats, goals: int, alpha: float) -> Floats:
    """Return the rewards (N,) of answers (N, S) about goal prompts, the first `goals`, and baseline prompts.

    The mean answer about the goal, less `alpha` times that about the baseline: at alpha 1 a log-likelihood ratio (or a
    difference of grades), to which whatever the frame shows of both adds nothing.
    """
    rewards: Floats = answers[:, :goals].mean(axis=1)
    return rewards - alpha * answers[:, goals:].mean(axis=1) if alpha else rewards


class SpeakingReward:
    """A `RewardModel` whose frames go to a server; see `contrast` for what goal, baseline and alpha mean.

    Nobody knows which weights answer there, so there is no digest. Equal questions have equal answers as long as the
    cache is kept; a server is asked at temperature 0, which makes most of them nearly so.
    """

    concurrent = False  # one call asks about its frames beside each other
    small = True

    def __init__(self, name: str, goal: Sequence[str], baseline: Sequence[str] | None = None, alpha: float = 0.0):
        """Ask one question about a grey picture, so that a wrong address, key or model is known at once.

        Raises:
            ModelError: it is not answered usably.
        """
        if alpha and not baseline:
            raise ModelError(f"alpha is {alpha} but there is no baseline prompt to ask '{name}' about")
        self.name, self.alpha, self.frame_size = name, alpha, FRAME_SIZE
        self.goals, self.baselines = list(goal), list(baseline or []) if alpha else []
        self.speaker = Speaker(name)
        if self.speaker.account.max_queries != 0:  # nothing but the cache is asked
            self.ask(np.full((1, 64, 64, 3), 127, np.uint8), self.goals[:1])

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 RGB frames (N, H, W, 3).

        Raises:
            ModelError: they are no such frames, the server does not answer usably, or the budget is spent.
        """
        frames = check_frames(frames)
        if len(frames) == 0:
            return np.zeros(0, np.float32)
        answers = self.ask(frames, [*self.goals, *self.baselines])
        rewards = contrast(answers, len(self.goals), self.alpha).astype(np.float32)
        return check_rewards(rewards, len(frames), self.name)

    def ask(self, frames: NDArray[np.uint8], sentences: Sequence[str]) -> Floats:
        """Return the answers (N, S) about frames (N, H, W, 3) and sentences; raises ModelError as calling does."""
        return self.speaker.ask([Picture.of(frame) for frame in frames], sentences)
