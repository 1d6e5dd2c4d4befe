"""What an audit found, as data: the same numbers go into ``report.json`` and ``report.html``."""

from typing import Literal, TypeAlias

from pydantic import Field

from gym_vlmrm.learning.records import JudgeRecord, Result

__all__ = [
    "AuditReport", "Candidate", "Confusion", "Control", "Exploit", "Finding", "Interval", "Landscape", "Line",
    "ModelReport", "Numbers", "PartReport", "Threshold", "Verdict", "VerdictLabel", "Winner",
]  # fmt: skip

VerdictLabel: TypeAlias = Literal["teachable", "doubtful", "not separable", "exploitable"]


class Interval(Result):
    """A number with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


class Candidate(Result):
    """What a model is asked."""

    goal: list[str]
    baseline: list[str] = Field(default_factory=list)
    alpha: float = 0.0


class Numbers(Result):
    """How a reward does on the audit set; see `gym_vlmrm.learning.statistics`."""

    auc: Interval
    epic: Interval
    pearson: Interval
    spearman: Interval
    spearman_distance: Interval | None = None
    """Rank correlation of reward and nearness to the goal over all frames; 1 is best."""
    spearman_approach: Interval | None = None
    """The same over the frames that are not the goal: is there a slope to climb?"""
    gap: Interval
    above_worst_goal: Interval
    auc_near_miss: float | None = None
    """AUC of goal frames against near misses alone."""
    climb: float | None = None
    """Rank correlation of the mean reward with progress on the way to the goal."""
    valley: float | None = None
    """Deepest fall of the mean reward on the way to the goal, as a share of its range."""
    mean_goal: float
    mean_other: float
    spread: float
    """Standard deviation of the reward over the audit set."""


class Finding(Result):
    """One row of the audit: a model, a candidate, its numbers."""

    model: str
    candidate: Candidate
    numbers: Numbers


class Line(Result):
    """One line of a landscape."""

    model: str
    candidate: Candidate
    rewards: list[float]
    """Mean reward at each x."""


class Landscape(Result):
    """Reward along one coordinate of the state."""

    axis: str
    """What x is, with its unit."""
    x: list[float]
    success: list[float]
    """Share of successes at each x."""
    lines: list[Line]


class Confusion(Result):
    """Frames of one kind that are not the goal, and how the reward ranks them."""

    name: str
    frames: int
    above_median_goal: float
    """Share of them that score above the median goal frame."""


class Control(Result):
    """Does the sentence matter? How many sentences about other things separate the goal as well (alpha 0)."""

    sentences: int
    as_good: int
    gap: float
    """Mean reward of goal frames above that of others, for the goal prompt at alpha 0."""
    best_sentence: str
    """The one among the other sentences with the largest gap."""
    best_gap: float


class Winner(Result):
    """A state that the search found."""

    reward: float
    success: bool
    distance: float
    """Shortfall of the rule of success, in standard deviations of the audit set."""
    fails: list[str]
    """Comparisons of the rule that do not hold."""
    state: list[float]
    start: str
    """Where the search began."""


class Exploit(Result):
    """What the search for the highest reward found."""

    candidate: Candidate
    evaluations: int
    """States that were scored."""
    defending: int | None = None
    """Those of them that the searches for the best success scored; earlier versions gave them two sevenths."""
    seconds: float
    best_success: float | None
    """Highest reward of any success, whoever found it."""
    best_other: float
    """Highest reward of a state that is clearly no success."""
    margin: float | None
    """`best_other` above `best_success`, in standard deviations of the reward over goal frames."""
    winners: list[Winner]
    champion: Winner | None
    """The best success found."""


class Verdict(Result):
    """What to expect from training on this reward."""

    label: VerdictLabel
    reasons: list[str]


class Threshold(Result):
    """A reward from which a frame counts as a success, and how often that is wrong on the audit set."""

    above: float
    false_positive: float
    """Share of the other frames that exceed it."""
    false_negative: float
    """Share of the goal frames that do not."""


class PartReport(Result):
    """One part of a reward, by itself and beside the others."""

    name: str
    words: str
    auc: float
    """Probability that it gives a goal frame more than another one; what it would avoid counts against."""
    decides: float
    """Share of the reward's variance that goes with it (a sum or product), or of the frames where it is the least."""
    contradicts: list[str]
    """Parts that rank frames the other way round."""
    pays_exploit: float | None = None
    """What it brings to the best wrong state above what it brings to the best success."""


class ModelReport(Result):
    """Everything about one model."""

    model: str
    parameters: int | None
    """Weights of the image tower."""
    chosen: Candidate
    """The candidate that search and verdict are about."""
    judge: JudgeRecord | None = None
    """Which weights judged, in which arithmetic and where; ``None`` in audits of version 0.1.0."""
    verdict: Verdict
    confusions: list[Confusion]
    control: Control | None = None
    exploit: Exploit | None = None
    parts: list[PartReport] = Field(default_factory=list)
    """Of a reward made of parts."""
    proposed: Threshold | None = None
    """What ``reward.success_seen`` may ask for."""
    asked: Threshold | None = None
    """What it asks for."""
    advice: list[str] = Field(default_factory=list)
    """What to try next, by what was measured."""


class AuditReport(Result):
    """What ``report.json`` holds."""

    format: Literal[1] = 1
    task: str
    environment: str
    success: str
    """The rule of success as text, or where the labels came from."""
    seed: int
    seconds: float
    frames: dict[str, int]
    """Frames by source."""
    goals: dict[str, int]
    """Goal frames by source."""
    findings: list[Finding]
    landscapes: list[Landscape]
    models: list[ModelReport]
    versions: dict[str, str]
