"""After training: did the reward that rose mean success? And which frames earned most?"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.files import replacing
from gym_vlmrm.learning import statistics
from gym_vlmrm.learning.records import Result
from gym_vlmrm.reward import RewardModel

__all__ = ["BestFrames", "EpisodeRow", "RewardCheck", "check_rewards_of_episodes", "write_contact_sheet"]

RISE = 3.0
"""Standard errors by which the trained policy's reward must exceed the random one's to count as risen."""
SUCCESS_RISE = 0.05
"""Share of steps in success that the trained policy must gain over the random one to count as better."""


class Played(Protocol):
    """An episode as `gym_vlmrm.learning.playing` returns it."""

    @property
    def vlm_rewards(self) -> NDArray[np.float32]: ...
    @property
    def successes(self) -> NDArray[np.bool_] | None: ...


class EpisodeRow(Result, extra="ignore"):
    """One episode."""

    policy: Literal["trained", "random"]
    vlm_reward: float
    """Mean per step."""
    success_share: float | None


class RewardCheck(Result, extra="ignore"):
    """VLM reward against success."""

    episodes: list[EpisodeRow]
    reward_rose: bool
    success_rose: bool | None
    flag: bool
    """The reward rose and success did not: the agent found what the reward likes, and it is not the goal."""
    message: str
    step_auc: float | None = None
    """Chance that a step in success earns more than another, over all steps of both policies."""
    episode_spearman: float | None = None
    """Rank correlation of reward and success over episodes of both policies."""


def check_rewards_of_episodes(trained: Sequence[Played], random: Sequence[Played]) -> RewardCheck:
    """Compare the rewards and successes of a trained policy's episodes with a random policy's."""
    rows = [_row("trained", episode) for episode in trained] + [_row("random", episode) for episode in random]
    ours, theirs = ([row.vlm_reward for row in rows if row.policy == name] for name in ("trained", "random"))
    error = np.sqrt(np.var(ours) / len(ours) + np.var(theirs) / len(theirs))
    reward_rose = bool(np.mean(ours) - np.mean(theirs) > max(RISE * error, 1e-9))
    shares = [row.success_share for row in rows if row.success_share is not None]
    if len(shares) < len(rows):
        message = "the task defines no success, so nothing can be said about what the reward means"
        return RewardCheck(episodes=rows, reward_rose=reward_rose, success_rose=None, flag=False, message=message)
    gained = float(np.mean(shares[: len(ours)]) - np.mean(shares[len(ours) :]))
    success_rose = gained > SUCCESS_RISE
    rewards = np.concatenate([episode.vlm_rewards for episode in (*trained, *random)]).astype(float)
    labels = np.concatenate([episode.successes for episode in (*trained, *random) if episode.successes is not None])
    both = bool(labels.any() and not labels.all())
    return RewardCheck(
        episodes=rows,
        reward_rose=reward_rose,
        success_rose=success_rose,
        flag=reward_rose and not success_rose,
        message=_message(reward_rose, success_rose, gained),
        step_auc=float(statistics.auc(rewards, labels)) if both else None,
        episode_spearman=float(statistics.spearman(np.array([row.vlm_reward for row in rows]), np.array(shares))),
    )


def _row(policy: Literal["trained", "random"], episode: Played) -> EpisodeRow:
    share = None if episode.successes is None else float(episode.successes.mean())
    return EpisodeRow(policy=policy, vlm_reward=float(episode.vlm_rewards.mean(dtype=np.float64)), success_share=share)


def _message(reward_rose: bool, success_rose: bool, gained: float) -> str:
    if reward_rose and not success_rose:
        return (
            f"the reward rose above the random policy's and success did not ({gained:+.0%} of steps):"
            " look at the frames that earned most"
        )
    if reward_rose:
        return f"the reward rose, and success with it ({gained:+.0%} of steps)"
    if success_rose:
        return f"success rose ({gained:+.0%} of steps) although the reward hardly did"
    return "neither reward nor success rose above the random policy's: it has not learnt yet"


class BestFrames:
    """A reward model that keeps the frames to which another one gave most; wraps it for one evaluation."""

    def __init__(self, reward_model: RewardModel, keep: int = 12) -> None:
        """Wrap `reward_model` and keep the `keep` best frames, no two of them equal in reward."""
        self.model, self.keep = reward_model, keep
        self.name, self.frame_size = reward_model.name, reward_model.frame_size
        self.concurrent = bool(getattr(reward_model, "concurrent", False))
        """As the model below: it is scored by as many threads as without this wrapper."""
        self._best: dict[float, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()
        if hasattr(reward_model, "signals"):  # made of parts
            made_of_parts: Any = reward_model
            self.signals, self.memory = self._signals, made_of_parts.memory

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards of the model below."""
        rewards = self.model(frames)
        self._keep(rewards, frames)
        return rewards

    def _signals(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the signals of the model below, and keep those whose first picture is worth most by itself."""
        model: Any = self.model
        signals: NDArray[np.float32] = model.signals(pictures)
        alone = model.alone(model.parts_alone(signals)).astype(np.float32)
        self._keep(alone, pictures if pictures.ndim == 4 else pictures[:, 0])
        return signals

    def _keep(self, rewards: NDArray[np.float32], frames: NDArray[np.uint8]) -> None:
        with self._lock:
            for reward in np.unique(rewards)[::-1][: self.keep].tolist():
                if len(self._best) == self.keep and reward < min(self._best):
                    break
                self._note(reward, frames[rewards == reward])

    def _note(self, reward: float, frames: NDArray[np.uint8]) -> None:
        # Threads finish in any order: of frames that earn the same one is kept that does not depend on it.
        equal = [frame for frame in (self._best.get(reward), *frames) if frame is not None]
        self._best[reward] = min(equal, key=lambda frame: frame.tobytes()).copy()
        if len(self._best) > self.keep:
            del self._best[min(self._best)]

    def best(self) -> list[tuple[float, NDArray[np.uint8]]]:
        """Return the rewards and frames kept, the best first."""
        return sorted(self._best.items(), key=lambda entry: -entry[0])


def write_contact_sheet(
    path: Path, frames: Sequence[tuple[float, NDArray[np.uint8]]], columns: int = 4, side: int = 160
) -> None:
    """Write frames (reward, (H, W, 3)) as one PNG, each with its reward below; raises RunError."""
    from PIL import Image, ImageDraw

    band, gap = 16, 4
    rows = -(-len(frames) // columns)
    size = (columns * (side + gap) - gap, rows * (side + band + gap) - gap)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for index, (reward, frame) in enumerate(frames):
        left, top = index % columns * (side + gap), index // columns * (side + band + gap)
        sheet.paste(Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS), (left, top))
        draw.text((left + 4, top + side + 2), f"{reward:.4f}", fill="black")
    with replacing(path, durable=False) as part:
        sheet.save(part, format="PNG")
