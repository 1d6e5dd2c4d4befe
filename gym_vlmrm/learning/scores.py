"""What an evaluation found, as data: the numbers of ``eval/evaluation.json``, and reading them."""

from typing import Literal

from pydantic import Field

from gym_vlmrm.files import read_model
from gym_vlmrm.learning.records import JudgeRecord, Result
from gym_vlmrm.learning.reward_check import FrameKind, RewardCheck
from gym_vlmrm.learning.run_folder import RunFolder

__all__ = [
    "MAX_FILM", "Evaluation", "FilmRecord", "FilmedEpisode", "LongScores", "Scores", "SeenScores", "read_evaluation",
]  # fmt: skip

MAX_FILM = 3000
"""Most steps of a film; an episode that is longer is cut there."""


class SeenScores(Result, extra="ignore"):
    """Success as the judge sees it (``reward.success_seen``), beside what the state says; they are never mixed."""

    success_rate: float
    """Share of the episodes in whose steps it sees success at least half of the time."""
    success_share: float
    """Share of all steps in which it sees success."""
    false_positive: float | None = None
    """Share of the steps that are no success by the task's rule in which it sees one; ``None`` without such steps."""
    false_negative: float | None = None
    """Share of the steps in success by the task's rule in which it sees none."""


class Scores(Result, extra="ignore"):
    """What one policy achieved. The success fields are ``None`` where the task defines no success."""

    episodes: int
    successful_episodes: int | None = None
    """Episodes that show the criterion in at least half of their steps (the paper's rule)."""
    success_rate: float | None = None
    success_rate_low: float | None = None
    success_rate_high: float | None = None
    """95% Wilson interval of `success_rate`."""
    success_share: float | None = None
    """Share of all steps in success."""
    hold: float | None = None
    """Share of the steps in the last half of each episode: what falls through a pose does not hold it."""
    held_rate: float | None = None
    """Share of the episodes that are in success in at least 90% of the steps of their last half."""
    vlm_reward: float
    """Mean per step."""
    task_reward: float | None
    """Mean per step; ``None`` where it is not finite."""
    episode_length: float
    """Mean number of steps."""
    seen: "SeenScores | None" = None
    """What the judge itself says of success, where the task asks it."""
    reward_parts: dict[str, float] | None = None
    """What each part of the reward was worth, mean per step; ``None`` where the reward is plain."""


class LongScores(Result, extra="ignore"):
    """The same episodes, played on beyond the task's own time limit."""

    horizon: int
    """Steps after which they were cut off."""
    policy: Scores
    random: Scores


class FilmedEpisode(Result, extra="ignore"):
    """One episode of a film, step by step."""

    vlm_rewards: list[float] = Field(max_length=MAX_FILM)
    successes: list[bool] | None = Field(default=None, max_length=MAX_FILM)
    """``None`` where the task defines no success."""


class FilmRecord(Result, extra="ignore"):
    """What the film of an evaluation shows: an episode of each policy from the same state."""

    seed: int
    fps: float
    """Frames per second of the film."""
    slowed: int
    """How many times slower than the environment says that it is."""
    trained: FilmedEpisode
    random: FilmedEpisode


class Evaluation(Result, extra="ignore"):
    """What ``eval/evaluation.json`` holds."""

    format: Literal[1] = 1
    task: str
    goal: str | list[str]
    model: str
    checkpoint: int
    """Step of the policy that was played."""
    seed: int
    policy: Scores
    random: Scores
    """The same for actions drawn uniformly."""
    longer: LongScores | None = None
    """What became of these episodes until a longer horizon, where one was asked for."""
    reward_check: RewardCheck | None = None
    """VLM reward against success, episode by episode; flagged when the reward rose and success did not."""
    video: list[str] = Field(default_factory=list)
    """Files of the run folder."""
    film: FilmRecord | None = None
    """What they show; missing where nothing was filmed, and in evaluations of version 0.1.0, as `frames` is."""
    frames: dict[FrameKind, list[float]] = Field(default_factory=dict)
    """Rewards of the trained policy's best, median and worst frames; ``eval/frames/<kind>-<number from 1>.png``."""
    judge: JudgeRecord | None = None
    """Which weights judged here, in which arithmetic and where."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the libraries; this and `judge` are missing in evaluations of version 0.1.0."""


def read_evaluation(run: RunFolder) -> Evaluation | None:
    """Return what the evaluation of a run found, or ``None`` before there was one.

    Raises:
        RunError: ``eval/evaluation.json`` is damaged.
    """
    path = run.path / "eval" / "evaluation.json"
    return read_model(path, Evaluation) if path.exists() else None
