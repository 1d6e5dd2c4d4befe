"""The regularised reward equals the paper's formula, written with its projection matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gym_vlmrm.reward.formula import average_embedding, goal_baseline_reward

SEEDS = st.integers(0, 2**32 - 1)
ALPHAS = st.floats(0, 1)


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def by_projection_matrix(states: np.ndarray, goal: np.ndarray, baseline: np.ndarray, alpha: float) -> np.ndarray:
    direction = goal - baseline
    projection = np.outer(direction, direction) / (direction @ direction)
    matrix = alpha * projection + (1 - alpha) * np.eye(len(goal))
    return 1 - np.linalg.norm((states - goal) @ matrix, axis=-1) ** 2 / 2


@given(seed=SEEDS, alpha=ALPHAS, dimensions=st.integers(2, 40))
def test_it_is_the_formula_of_the_paper(seed: int, alpha: float, dimensions: int) -> None:
    rng = np.random.default_rng(seed)
    states, goal, baseline = unit(rng, 5, dimensions), unit(rng, dimensions), unit(rng, dimensions)
    expected = by_projection_matrix(states, goal, baseline, alpha)
    np.testing.assert_allclose(goal_baseline_reward(states, goal, baseline, alpha), expected, atol=1e-9)
    tensors = [torch.from_numpy(array) for array in (states, goal, baseline)]
    np.testing.assert_allclose(goal_baseline_reward(*tensors, alpha).numpy(), expected, atol=1e-9)


@given(seed=SEEDS)
def test_without_regularisation_it_is_the_cosine(seed: int) -> None:
    rng = np.random.default_rng(seed)
    states, goal = unit(rng, 7, 12), unit(rng, 12)
    np.testing.assert_allclose(goal_baseline_reward(states, goal), states @ goal, atol=1e-12)
    np.testing.assert_allclose(goal_baseline_reward(states, goal, unit(rng, 12), 0.0), states @ goal, atol=1e-12)


@given(seed=SEEDS, alpha=ALPHAS)
def test_the_goal_itself_earns_most(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    goal, baseline = unit(rng, 8), unit(rng, 8)
    assert goal_baseline_reward(goal[None], goal, baseline, alpha) == pytest.approx([1.0])
    assert (goal_baseline_reward(unit(rng, 20, 8), goal, baseline, alpha) <= 1 + 1e-12).all()


def test_full_regularisation_sees_the_line_alone() -> None:
    goal, baseline = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    aside = np.array([0.0, 0.0, 1.0])
    states = np.array([baseline, baseline + 5 * aside])
    np.testing.assert_allclose(goal_baseline_reward(states, goal, baseline, 1.0), [0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_the_interval(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        goal_baseline_reward(np.eye(2), np.eye(2)[0], np.eye(2)[1], alpha)


def test_regularising_needs_another_baseline() -> None:
    goal = np.array([1.0, 0.0])
    with pytest.raises(ValueError, match="no baseline"):
        goal_baseline_reward(np.eye(2), goal, None, 0.5)
    with pytest.raises(ValueError, match="same embedding"):
        goal_baseline_reward(np.eye(2), goal, goal, 0.5)


@given(seed=SEEDS, count=st.integers(1, 6))
def test_several_prompts_are_averaged_as_unit_vectors(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng, count, 6)
    scales = rng.uniform(0.1, 10, size=(count, 1))
    mean = vectors.mean(axis=0)
    np.testing.assert_allclose(average_embedding(vectors * scales), mean / np.linalg.norm(mean), atol=1e-9)
