"""CMA-ES over states (Hansen and Ostermeier 2001), several searches in step so that their frames share a batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.stage import StagePool
from gym_vlmrm.task.rules import Rule, shortfalls
from gym_vlmrm.worlds.scene import SearchSpace

__all__ = ["minimise_together", "search_success"]
POPULATION = 16
STEP = 0.2
"""Points per search and generation, and the first standard deviation of a search, in edges of the unit cube."""


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


def search_success(
    pool: StagePool, space: SearchSpace, rule: Rule, scales: Mapping[str, float], seed: int, searches: int = 6
) -> Floats:
    """Search for successes (N, C) by walking down the rule's shortfall, without drawing anything; N may be 0."""
    rng = np.random.default_rng(seed)
    found: list[Floats] = []

    def costs(points: Floats, generation: int) -> list[Floats]:
        seen = pool.show(space.decode(points), draw=False)
        found.extend(seen.states[seen.success])
        return np.split(shortfalls(rule, seen.quantities, scales), searches)

    minimise_together([rng.random(space.dimension) for _ in range(searches)], costs, 60, seed)
    return np.array([found[i] for i in rng.permutation(len(found))])
