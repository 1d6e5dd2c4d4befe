"""CMA-ES over a unit cube (Hansen and Ostermeier 2001): several searches in step, whose points share one batch."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gym_vlmrm.arrays import Floats

__all__ = ["POPULATION", "minimise_together"]
POPULATION = 16
"""Points per search and generation."""
STEP = 0.2
"""First standard deviation of a search, in edges of the unit cube."""


def minimise_together(
    starts: Sequence[Floats],
    costs: Callable[[Floats, int], Sequence[Floats]],
    generations: int,
    seed: int,
    population: int = POPULATION,
    step: float = STEP,
) -> None:
    """Run one CMA-ES per start, all of them one generation at a time.

    Args:
        starts: points (D,) of the unit cube, one per search.
        costs: given the points of all searches (searches * population, D) and the generation, returns the costs
            (population,) of each search; it remembers what it needs.
        generations: how many.
        seed: equal seeds search alike.
        population: points per search and generation.
        step: first standard deviation, in edges of the unit cube.
    """
    import cma  # type: ignore[import-untyped]

    state = np.random.get_state()  # noqa: NPY002 - cma seeds and draws from NumPy's global generator
    try:
        _minimise(cma, starts, costs, generations, seed, population, step)
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _minimise(
    cma: Any,
    starts: Sequence[Floats],
    costs: Callable[[Floats, int], Sequence[Floats]],
    generations: int,
    seed: int,
    population: int,
    step: float,
) -> None:
    searches: list[Any] = []
    for index, start in enumerate(starts):
        # CMA-ES needs two dimensions; a second one without effect does no harm.
        padded = np.append(start, 0.5) if len(start) == 1 else start
        options = {
            "bounds": [0, 1],
            "popsize": population,
            "seed": seed + index + 1,
            "verbose": -9,
            "tolflatfitness": 10**6,
        }
        searches.append(cma.CMAEvolutionStrategy(np.clip(padded, 0.02, 0.98), step, options))
    for generation in range(generations):
        asked = [np.array(search.ask()) for search in searches]
        points = np.concatenate(asked)[:, : len(starts[0])]
        for search, points_asked, answers in zip(searches, asked, costs(points, generation), strict=True):
            search.tell(list(points_asked), list(answers))
