"""What a task's reward model says of recorded frames, frame by frame."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Literal

import numpy as np

from gym_vlmrm.arrays import Floats, Frames
from gym_vlmrm.errors import RunError, TaskError
from gym_vlmrm.footage.clips import Clip, open_clips
from gym_vlmrm.learning.records import JudgeRecord, Result
from gym_vlmrm.learning.statistics import spearman
from gym_vlmrm.reward.loading import choose_frame_size, load_reward_model
from gym_vlmrm.reward.protocol import RewardModel
from gym_vlmrm.reward.scoring import ScoringTeam
from gym_vlmrm.task.spec import RewardSpec, TaskSpec
from gym_vlmrm.worlds.canvas import fit_square

__all__ = ["MAX_FRAMES", "ClipScores", "FootageScores", "check_one_view", "score_clips", "score_footage"]

BATCH = 64
MAX_FRAMES = 1_000_000
"""Most frames that are scored at once."""
FEWEST = 3
"""Fewer frames have no progress."""


class ClipScores(Result):
    """The rewards of one clip of T frames."""

    name: str
    frames: list[str]
    """Name of each frame: a picture's file, or its number."""
    times: list[float | None]
    """Since the first frame [s]; ``None`` for pictures, which have none."""
    rewards: list[float]
    progress: float | None
    """Spearman's rank correlation of reward and order; ``None`` for fewer than three frames, or equal rewards."""

    @property
    def mean(self) -> float:
        """Mean reward."""
        return float(np.mean(self.rewards))

    @property
    def best(self) -> int:
        """Index of the frame with the highest reward."""
        return int(np.argmax(self.rewards))


class FootageScores(Result):
    """The rewards of recorded frames."""

    format: Literal[1] = 1
    task: str
    goal: str | list[str]
    """The goal prompts, or the sentences of a reward's parts."""
    model: str
    clips: list[ClipScores]
    judge: JudgeRecord | None = None

    @property
    def rewards(self) -> Floats:
        """(N,) rewards of all frames, clip after clip."""
        return np.array([reward for clip in self.clips for reward in clip.rewards])


def score_footage(
    task: TaskSpec,
    sources: Sequence[Any],
    *,
    camera: str | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> FootageScores:
    """Score pictures, films, data sets or arrays of frames by a task's reward model.

    Frames are padded to squares and resized as those of environments are. A reward made of parts scores each frame
    before weight, shape and the environment's own reward, by the first weights of parts that fade; its windows look
    back over the clip, of which every frame is taken to be one environment step.

    Args:
        task: the task, overrides applied.
        sources: see `gym_vlmrm.footage.clips.open_clips`.
        camera: which pictures of a data set.
        on_progress: called with a clip's name, and how many of its frames are scored; the whole is not known.

    Raises:
        TaskError: the reward looks through several cameras. RunError: a source is missing, damaged or holds no frames.
        ModelError: as its name says.
    """
    check_one_view(task.reward)
    clips = open_clips(sources, camera)
    return score_clips(task, load_reward_model(task), clips, on_progress)


def score_clips(
    task: TaskSpec,
    model: RewardModel,
    clips: Sequence[Clip],
    on_progress: Callable[[str, int, int], None] | None = None,
) -> FootageScores:
    """Score clips that were opened already; as `score_footage` does."""
    check_one_view(task.reward)
    size = choose_frame_size(task, model)
    total = 0
    scored = []
    with closing(ScoringTeam(model)) as team:
        for clip in clips:
            names: list[str] = []
            rewards: list[float] = []
            batch: list[Frames] = []
            worth = _worth_of(model)
            for name, frame in clip.frames():
                names.append(name)
                batch.append(fit_square(frame, size))
                if total + len(names) > MAX_FRAMES:
                    raise RunError(f"more than {MAX_FRAMES:,} frames; score fewer at a time")
                if len(batch) == BATCH:
                    rewards += worth(team(np.stack(batch))).tolist()
                    batch = []
                    if on_progress is not None:
                        on_progress(clip.name, len(rewards), len(rewards))
            if batch:
                rewards += worth(team(np.stack(batch))).tolist()
            if not rewards:
                raise RunError(f"'{clip.name}' holds no frames")
            total += len(rewards)
            scored.append(_clip_scores(clip, names, rewards))
    said, judge = task.reward.goal, task.reward.model
    if said is None or not task.reward.plain:
        said, judge = task.reward.said, " + ".join(task.reward.models)
    return FootageScores(task=task.id, goal=said, model=judge, clips=scored, judge=JudgeRecord.of(model))


def check_one_view(reward: RewardSpec) -> None:
    """Raise TaskError where a reward looks through several cameras, which recorded frames have not."""
    cameras = dict.fromkeys(camera for part in reward.all_parts for camera in part.cameras)
    if len(cameras) > 1:
        seen = (
            f"the reward looks through {len(cameras)} cameras ({', '.join(cameras)}), and recorded frames show one view"
        )
        raise TaskError(f"reward.cameras: {seen}; score them by a task of one camera", field=("reward", "cameras"))


def _worth_of(model: RewardModel) -> Callable[[Any], Any]:
    """Return what makes rewards (N,) of what a model tells of the next frames of a clip."""
    made_of_parts: Any = model
    if not hasattr(model, "signals"):
        return lambda rewards: rewards
    film = made_of_parts.film(made_of_parts.spec.every)
    return lambda signals: made_of_parts.alone(film(signals)).astype(np.float32)


def _clip_scores(clip: Clip, names: list[str], rewards: list[float]) -> ClipScores:
    times = [None if clip.fps is None else index / clip.fps for index in range(len(names))]
    values = np.array(rewards)
    progress = None
    if len(values) >= FEWEST and np.ptp(values) > 0:
        progress = float(spearman(values, np.arange(len(values), dtype=float)))
    return ClipScores(name=clip.name, frames=names, times=times, rewards=rewards, progress=progress)
