"""After training: did the reward that rose mean success? And which frames earned most?"""

import struct
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.files import make_folder, replacing
from gym_vlmrm.learning import statistics
from gym_vlmrm.learning.records import Result
from gym_vlmrm.reward import RewardModel
from gym_vlmrm.worlds.cameras import main_pictures

__all__ = [
    "FRAME_KINDS", "EpisodeRow", "FrameKind", "KeptFrames", "RatedFrame", "RewardCheck", "check_rewards_of_episodes",
    "write_contact_sheet", "write_frames",
]  # fmt: skip

RISE = 3.0
"""Standard errors by which the trained policy's reward must exceed the random one's to count as risen."""
SUCCESS_RISE = 0.05
"""Share of steps in success that the trained policy must gain over the random one to count as better."""
OTHER_LENGTH = 1.5
"""From this ratio of mean lengths on a comparison of episodes says what they are."""
FrameKind: TypeAlias = Literal["best", "median", "worst"]
FRAME_KINDS: tuple[FrameKind, ...] = get_args(FrameKind)
RatedFrame: TypeAlias = tuple[float, NDArray[np.uint8]]
"""A reward, and the frame (H, W, 3) that earned it."""
SHOWN = 4
"""Frames of each kind."""
SAMPLE = 64
"""Frames of the sample in which the ordinary ones are sought."""


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
    earned = float(np.mean(ours) - np.mean(theirs))
    reward_rose = earned > max(RISE * float(error), 1e-9)
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
        message=_message(reward_rose, success_rose, gained, earned) + _lengths(trained, random),
        step_auc=float(statistics.auc(rewards, labels)) if both else None,
        episode_spearman=float(statistics.spearman(np.array([row.vlm_reward for row in rows]), np.array(shares))),
    )


def _row(policy: Literal["trained", "random"], episode: Played) -> EpisodeRow:
    share = None if episode.successes is None else float(episode.successes.mean())
    return EpisodeRow(policy=policy, vlm_reward=float(episode.vlm_rewards.mean(dtype=np.float64)), success_share=share)


def _message(reward_rose: bool, success_rose: bool, gained: float, earned: float) -> str:
    points = f"{100 * gained:+.0f} points in the mean episode's share of steps"
    if reward_rose and not success_rose:
        return (
            f"the reward rose above the random policy's and success did not ({points}):"
            " look at the frames that earned most"
        )
    if reward_rose:
        return f"the reward rose, and success with it ({points})"
    if success_rose:
        return f"success rose ({points}); the reward, {earned:+.3f} per step, did not rise beyond chance"
    return "neither reward nor success rose above the random policy's: it has not learnt yet"


def _lengths(trained: Sequence[Played], random: Sequence[Played]) -> str:
    """Say where episodes of very different length are compared: who ends soon needs few steps for half of them."""
    ours, theirs = (float(np.mean([len(episode.vlm_rewards) for episode in played])) for played in (trained, random))
    if max(ours, theirs) < OTHER_LENGTH * min(ours, theirs):
        return ""
    return f"; its episodes last {ours:.0f} steps, the random policy's {theirs:.0f}, each judged by its own steps"


class KeptFrames:
    """A reward model that keeps frames which another one judged: best, worst and a sample; wraps it for one evaluation.

    What is kept depends on frames and rewards alone, never on the order in which threads finish.
    """

    def __init__(self, reward_model: RewardModel, keep: int = 12) -> None:
        """Wrap `reward_model` and keep the `keep` best frames, no two of them equal in reward, and fewer others."""
        self.model, self.keep = reward_model, keep
        self.name, self.frame_size = reward_model.name, reward_model.frame_size
        self.concurrent = bool(getattr(reward_model, "concurrent", False))
        """As the model below: it is scored by as many threads as without this wrapper."""
        self._shelves = (
            _Shelf(keep, lambda reward: -reward),
            _Shelf(SHOWN, lambda reward: reward),
            _Shelf(SAMPLE, lambda reward: zlib.crc32(struct.pack("<d", reward))),
        )
        self._rewards: list[NDArray[np.float32]] = []
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
        self._keep(alone, main_pictures(pictures))
        return signals

    def _keep(self, rewards: NDArray[np.float32], frames: NDArray[np.uint8]) -> None:
        with self._lock:
            self._rewards.append(np.array(rewards))
            for shelf in self._shelves:
                shelf.take(rewards, frames)

    def best(self) -> list[RatedFrame]:
        """Return the rewards and frames kept, the best first."""
        return self._shelves[0].frames()

    def kinds(self) -> dict[FrameKind, list[RatedFrame]]:
        """Return the best, some of the most ordinary, and the worst of all frames, each the best first.

        The ordinary ones are those of a sample whose rewards are nearest to the median of all.
        """
        best, worst, sample = (shelf.frames() for shelf in self._shelves)
        middle = float(np.median(np.concatenate(self._rewards))) if self._rewards else 0.0
        ordinary = sorted(sample, key=lambda rated: abs(rated[0] - middle))[:SHOWN]
        return {
            "best": best[:SHOWN],
            "median": sorted(ordinary, key=lambda rated: -rated[0]),
            "worst": worst[::-1],
        }


class _Shelf:
    """Keeps one frame of each of those rewards that come first by a key."""

    def __init__(self, room: int, key: Callable[[float], float]) -> None:
        self._room, self._key = room, key
        self._kept: dict[float, NDArray[np.uint8]] = {}

    def take(self, rewards: NDArray[np.float32], frames: NDArray[np.uint8]) -> None:
        for reward in sorted(np.unique(rewards).tolist(), key=self._key)[: self._room]:
            if len(self._kept) == self._room and self._key(reward) > max(map(self._key, self._kept)):
                break
            # Of frames that earn the same one is kept that does not depend on the order in which they came.
            equal = [frame for frame in (self._kept.get(reward), *frames[rewards == reward]) if frame is not None]
            self._kept[reward] = min(equal, key=lambda frame: frame.tobytes()).copy()
            if len(self._kept) > self._room:
                del self._kept[max(self._kept, key=self._key)]

    def frames(self) -> list[RatedFrame]:
        """Return what is kept by its key."""
        return sorted(self._kept.items(), key=lambda entry: self._key(entry[0]))


def write_frames(folder: Path, kinds: Mapping[FrameKind, Sequence[RatedFrame]]) -> None:
    """Write each frame as a PNG of its own, ``<kind>-<number from 1>.png``; raises RunError."""
    from PIL import Image

    make_folder(folder)
    for kind, rated in kinds.items():
        for number, (_, frame) in enumerate(rated, 1):
            with replacing(folder / f"{kind}-{number}.png", durable=False) as part:
                Image.fromarray(frame).save(part, format="PNG")


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
