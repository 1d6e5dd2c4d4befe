"""Configurations of a scene, drawn at random: from anywhere, and from what an audit of it looks at."""

from collections.abc import Iterator

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.worlds.scene import BodySurvey, Grid, Scene

__all__ = ["configurations"]

BLIND_SHARE = 0.25
"""Share of the states that come from anywhere in the search space."""


def configurations(scene: Scene, rng: np.random.Generator, blind: float = BLIND_SHARE) -> Iterator[Floats]:
    """Yield configurations: a share of them from anywhere, the others from what an audit of the scene looks at."""
    space, survey = scene.search_space(), scene.survey()
    telling = _from_grid(survey, rng) if isinstance(survey, Grid) else _from_bodies(survey, rng)
    while True:
        yield space.decode(rng.random((1, space.dimension)))[0] if rng.random() < blind else next(telling)


def _from_grid(grid: Grid, rng: np.random.Generator) -> Iterator[Floats]:
    places = grid.places()
    while True:
        cloud = grid.cloud(rng)
        for landmark in cloud:
            yield landmark.state
            yield places[rng.integers(len(places))].state


def _from_bodies(survey: BodySurvey, rng: np.random.Generator) -> Iterator[Floats]:
    poses = survey.poses()
    names = list(poses)
    while True:
        name = names[rng.integers(len(names))]
        pose = survey.variant(name, rng.choice([0.5, 1.0, 1.5]), rng)
        yield survey.disturb(pose, rng) if rng.random() < 0.2 else pose
