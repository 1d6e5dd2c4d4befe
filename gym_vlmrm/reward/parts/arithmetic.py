"""How the values of parts become one number: pure functions of arrays, one row per environment or picture."""

from collections.abc import Sequence

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.task.parts import Combine, Part, Views

__all__ = ["combined", "join_views", "terms_of"]


def join_views(values: Sequence[Floats], views: Views) -> Floats:
    """Join the values (N,) of several cameras; those that take turns are one already."""
    joined = values[0]
    for other in values[1:]:
        if views == "max":
            joined = np.maximum(joined, other)
        elif views == "min":
            joined = np.minimum(joined, other)
        else:
            joined = joined + other
    return joined / len(values) if views == "mean" and len(values) > 1 else joined


def terms_of(
    parts: Sequence[Part], values: Sequence[Floats], weights: Sequence[float], combine: Combine
) -> list[Floats]:
    """Return what parts are worth (N,) each as it enters the sum, product or minimum.

    ``product`` and ``min`` are the "and" of fuzzy logic (Zadeh 1965): values count from 0 to 1, "not" is 1 - value, and
    weights of a product are exponents.
    """
    terms = []
    for part, value, weight in zip(parts, values, weights, strict=True):
        if combine == "sum":
            terms.append(-weight * value if part.avoid else weight * value)
            continue
        truth = np.clip(value, 0.0, 1.0)
        truth = 1.0 - truth if part.avoid else truth
        if weight != 1.0:  # number by number: vectors of other lengths may take other roundings
            truth = np.array([number**weight for number in truth.tolist()])
        terms.append(truth)
    return terms


def combined(parts: Sequence[Part], values: Sequence[Floats], weights: Sequence[float], combine: Combine) -> Floats:
    """Join what parts are worth (N,) each."""
    joined, *others = terms_of(parts, values, weights, combine)
    for term in others:
        if combine == "sum":
            joined = joined + term
        else:
            joined = joined * term if combine == "product" else np.minimum(joined, term)
    return joined
