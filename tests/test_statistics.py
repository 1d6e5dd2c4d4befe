"""The audit's numbers against scikit-learn and scipy, and the distance to success."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from gym_vlmrm.auditing.frames import AuditSet
from gym_vlmrm.auditing.numbers import measure
from gym_vlmrm.auditing.plan import GRID, ROLLOUT
from gym_vlmrm.auditing.stage import Seen
from gym_vlmrm.learning import statistics
from gym_vlmrm.task.rules import parse_rule, quantity_scales, shortfall, unmet


def _sample(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(300) < 0.3
    rewards = rng.normal(size=300) + labels
    return (np.round(rewards, 1) if ties else rewards), labels


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_numbers_agree_with_scikit_learn_and_scipy(seed: int, ties: bool) -> None:
    rewards, labels = _sample(seed, ties)
    assert statistics.auc(rewards, labels) == pytest.approx(roc_auc_score(labels, rewards), abs=1e-9)
    r = stats.pearsonr(rewards, labels.astype(float)).statistic
    assert statistics.pearson(rewards, labels.astype(float)) == pytest.approx(r, abs=1e-9)
    assert statistics.epic_distance(rewards, labels) == pytest.approx(np.sqrt((1 - r) / 2), abs=1e-9)
    rho = stats.spearmanr(rewards, labels).statistic
    assert statistics.spearman(rewards, labels.astype(float)) == pytest.approx(rho, abs=1e-9)
    goal, other = rewards[labels], rewards[~labels]
    noise = np.sqrt((np.var(goal) + np.var(other)) / 2)
    assert statistics.gap(rewards, labels) == pytest.approx((goal.mean() - other.mean()) / noise, abs=1e-9)
    assert statistics.above_worst_goal(rewards, labels) == pytest.approx(
        np.mean([value > goal.min() for value in other])
    )


def _frames(labels: np.ndarray, distance: np.ndarray | None = None, episodes: np.ndarray | None = None) -> AuditSet:
    """Return an audit set without pictures: of single states, or of random episodes."""
    count = len(labels)
    seen = Seen(np.zeros((count, 1, 1, 3), np.uint8), labels, [{}] * count, np.zeros((count, 0)))
    sources = np.array([GRID if episodes is None else ROLLOUT] * count)
    names = np.array(["state"] * count) if episodes is None else episodes
    return AuditSet(seen, sources, names, np.full(count, np.nan), "", distance, {})


def _flags(goal: Any, other: Any) -> list[int]:
    return [1] * len(goal) + [0] * len(other)


@pytest.mark.parametrize(
    ("field", "theirs"),
    [
        ("auc", lambda goal, other: roc_auc_score(_flags(goal, other), [*goal, *other])),
        ("epic", lambda goal, other: np.sqrt((1 - np.corrcoef([*goal, *other], _flags(goal, other))[0, 1]) / 2)),
        ("pearson", lambda goal, other: np.corrcoef([*goal, *other], _flags(goal, other))[0, 1]),
        ("spearman", lambda goal, other: stats.spearmanr([*goal, *other], _flags(goal, other)).statistic),
        ("above_worst_goal", lambda goal, other: np.mean(np.array(other) > np.min(goal))),
    ],
)
def test_the_intervals_of_an_audit_agree_with_scipy(field: str, theirs: Any) -> None:
    rewards, labels = _sample(7, ties=True)
    ours = getattr(measure(_frames(labels), rewards, resamples=200, seed=5), field)
    expected = stats.bootstrap(
        (rewards[labels], rewards[~labels]), theirs, n_resamples=200, method="percentile", vectorized=False,
        rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert ours.value == pytest.approx(theirs(rewards[labels], rewards[~labels]), abs=1e-9)


def test_the_intervals_of_nearness_agree_with_scipy() -> None:
    rewards, labels = _sample(8, ties=False)
    distance = np.where(labels, 0.0, np.abs(rewards - 1) + np.arange(300) / 300)
    found = measure(_frames(labels, distance), rewards, resamples=200, seed=3)
    rows, order = statistics.bootstrap_rows(labels, 200, seed=3)
    for interval, drawn, of in (
        (found.spearman_distance, rows, np.arange(300)),
        (found.spearman_approach, rows[:, ~order], np.flatnonzero(~labels)),
    ):
        assert interval is not None
        assert interval.value == pytest.approx(stats.spearmanr(rewards[of], -distance[of]).statistic, abs=1e-9)
        values = [stats.spearmanr(rewards[chosen], -distance[chosen]).statistic for chosen in drawn]
        assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), abs=1e-9)


def test_frames_of_episodes_are_drawn_by_episodes() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(20) < 6, 15)
    level = np.repeat(rng.normal(size=15), 20)  # what an episode's frames share
    rewards = level + labels + 0.01 * rng.normal(size=300)
    episodes = np.repeat([f"random episode {i + 1}" for i in range(15)], 20)
    together = measure(_frames(labels, episodes=episodes), rewards, seed=0)
    alone = measure(_frames(labels), rewards, seed=0)
    assert together.auc.value == alone.auc.value
    assert together.auc.low <= together.auc.value <= together.auc.high
    assert together == measure(_frames(labels, episodes=episodes), rewards, seed=0)
    # A goal frame and another of one episode move together, so whole episodes say more of the gap than single frames.
    values = [_gap_of(rewards, labels, episodes, np.random.default_rng(seed)) for seed in range(400)]
    assert (together.gap.low, together.gap.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), rel=0.15)


def _gap_of(rewards: np.ndarray, labels: np.ndarray, episodes: np.ndarray, rng: np.random.Generator) -> float:
    names = np.unique(episodes)
    rows = np.concatenate([np.flatnonzero(episodes == name) for name in rng.choice(names, len(names))])
    return float(statistics.gap(rewards[rows], labels[rows]))


def test_a_goal_that_one_episode_alone_shows_is_in_every_draw() -> None:
    episodes, labels = np.repeat([0, 1, 2, 3], 5), np.arange(20) < 3
    draws = statistics.bootstrap_episodes(episodes, labels, 50, seed=1)
    assert len(draws) == 50
    assert all(labels[rows].any() and not labels[rows].all() and len(rows) == 20 for rows in draws)


def test_a_reward_that_does_not_vary_says_nothing() -> None:
    labels = np.array([True, False, False])
    flat = np.ones(3)
    assert statistics.auc(flat, labels) == 0.5
    assert statistics.pearson(flat, labels.astype(float)) == 0
    assert statistics.epic_distance(flat, labels) == pytest.approx(np.sqrt(0.5))
    assert statistics.gap(flat, labels) == 0


@pytest.mark.parametrize(
    ("rule", "state", "distance"),
    [
        ("x > 1", 3.0, 0.0),
        ("x > 1", 0.0, 0.5),
        ({"all": ["x > 1", "x < 5"]}, 9.0, 2.0),
        ({"any": ["x > 5", "x < -1"]}, 1.0, 1.0),
        ({"not": "x > 1"}, 5.0, 2.0),
        ({"not": {"any": ["x > 1", "x < 0"]}}, 3.0, 1.0),
        ({"not": {"all": ["x > 1", "x < 9"]}}, 3.0, 1.0),
        ("x == 4", 2.0, 1.0),
    ],
)
def test_shortfall(rule: object, state: float, distance: float) -> None:
    assert shortfall(parse_rule(rule), {"x": state}, {"x": 2.0}) == pytest.approx(distance)


@pytest.mark.parametrize("value", [0.0, 1.0, 1.0 + 1e-12, 2.0])
def test_only_success_has_no_shortfall(value: float) -> None:
    rule = parse_rule({"all": ["x > 1", {"not": "x >= 1.5"}]})
    state = {"x": value}
    assert (shortfall(rule, state, {"x": 1.0}) == 0) == rule.holds(state)
    assert (unmet(rule, state) == []) == rule.holds(state)


def test_unmet_comparisons_are_named_with_their_value() -> None:
    rule = parse_rule({"all": ["x > 1", "y < 2", {"any": ["x > 5", "y < 9"]}]})
    assert unmet(rule, {"x": 0.5, "y": 1.0}) == ["x > 1 (is 0.5)"]
    assert unmet(parse_rule({"not": "x > 1"}), {"x": 3.0}) == ["x <= 1 (is 3)"]


def test_scales_are_spreads() -> None:
    scales = quantity_scales(parse_rule({"all": ["x > 1", "y > 1"]}), [{"x": 0.0, "y": 3.0}, {"x": 4.0, "y": 3.0}])
    assert scales == {"x": 2.0, "y": 1.0}
