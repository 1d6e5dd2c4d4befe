"""Goal-baseline regularised reward (arXiv 2310.12921, section 3.2) as pure array maths."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["average_embedding", "goal_baseline_reward"]


def goal_baseline_reward(states: Any, goal: Any, baseline: Any = None, alpha: float = 0.0) -> Any:
    """Reward of frames from unit embeddings, ``R(s) = 1 - 1/2 ||alpha proj_L(s) + (1 - alpha) s - g||^2``.

    L is the line through the baseline b and the goal g. ``alpha = 0`` gives the cosine similarity of s and g. Works on
    NumPy arrays and torch tensors alike.

    Args:
        states: (N, D) unit embeddings of frames.
        goal: (D,) unit embedding g of the goal prompt.
        baseline: (D,) unit embedding b of the baseline prompt; may be ``None`` when alpha is 0.
        alpha: strength of the regularisation, in [0, 1].

    Returns:
        (N,) rewards, at most 1.

    Raises:
        ValueError: alpha is outside [0, 1], or positive with no baseline or one that equals the goal.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    if alpha == 0:
        return 1 - ((states - goal) ** 2).sum(-1) / 2
    if baseline is None:
        raise ValueError(f"alpha is {alpha} but there is no baseline embedding")
    direction = goal - baseline
    length = float((direction**2).sum())
    if length < 1e-12:
        raise ValueError("goal and baseline prompts have the same embedding; use different sentences or alpha 0")
    offset = states - goal  # (N, D); proj_L(s) - g is its part along the line, since g lies on L
    along = (offset @ direction)[:, None] * direction / length
    return 1 - ((alpha * along + (1 - alpha) * offset) ** 2).sum(-1) / 2


def average_embedding(embeddings: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Average (K, D) embeddings of several prompts as unit vectors and normalise the mean; returns (D,)."""
    unit = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    mean = unit.mean(axis=0)
    normalised: NDArray[np.floating[Any]] = mean / np.linalg.norm(mean)
    return normalised
