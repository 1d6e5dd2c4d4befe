"""The audit's numbers against scikit-learn and scipy, and the distance to success."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from gym_vlmrm.learning import statistics as metrics
from gym_vlmrm.task.rules import parse_rule
from gym_vlmrm.task.shortfall import quantity_scales, shortfall, unmet


def _sample(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(300) < 0.3
    rewards = rng.normal(size=300) + labels
    return (np.round(rewards, 1) if ties else rewards), labels


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_numbers_agree_with_scikit_learn_and_scipy(seed: int, ties: bool) -> None:
    rewards, labels = _sample(seed, ties)
    assert metrics.auc(rewards, labels) == pytest.approx(roc_auc_score(labels, rewards), abs=1e-9)
    r = stats.pearsonr(rewards, labels.astype(float)).statistic
    assert metrics.pearson(rewards, labels.astype(float)) == pytest.approx(r, abs=1e-9)
    assert metrics.epic_distance(rewards, labels) == pytest.approx(np.sqrt((1 - r) / 2), abs=1e-9)
    rho = stats.spearmanr(rewards, labels).statistic
    assert metrics.spearman(rewards, labels.astype(float)) == pytest.approx(rho, abs=1e-9)
    goal, other = rewards[labels], rewards[~labels]
    noise = np.sqrt((np.var(goal) + np.var(other)) / 2)
    assert metrics.gap(rewards, labels) == pytest.approx((goal.mean() - other.mean()) / noise, abs=1e-9)
    assert metrics.above_worst_goal(rewards, labels) == pytest.approx(np.mean([value > goal.min() for value in other]))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.auc, lambda goal, other: roc_auc_score([1] * len(goal) + [0] * len(other), [*goal, *other])),
        (
            metrics.epic_distance,
            lambda goal, other: np.sqrt(
                (1 - np.corrcoef([*goal, *other], [1] * len(goal) + [0] * len(other))[0, 1]) / 2
            ),
        ),
    ],
    ids=["auc", "epic"],
)
def test_intervals_agree_with_scipy(ours, theirs) -> None:  # type: ignore[no-untyped-def]
    rewards, labels = _sample(7, ties=True)
    rows, order = metrics.bootstrap_rows(labels, 200, seed=5)
    low, high = metrics.bootstrap_interval(lambda chosen: ours(rewards[chosen], order), rows)
    expected = stats.bootstrap(
        (rewards[labels], rewards[~labels]), theirs, n_resamples=200, method="percentile", vectorized=False,
        rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_a_reward_that_does_not_vary_says_nothing() -> None:
    labels = np.array([True, False, False])
    flat = np.ones(3)
    assert metrics.auc(flat, labels) == 0.5
    assert metrics.pearson(flat, labels.astype(float)) == 0
    assert metrics.epic_distance(flat, labels) == pytest.approx(np.sqrt(0.5))
    assert metrics.gap(flat, labels) == 0


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
