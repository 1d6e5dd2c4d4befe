"""What each named concept means in the embedding space.

A concept with a definition over measured state (see `definitions`) gets the direction along which frames score best as
the definition does: ridge regression of its graded score on the features. Any other gets the mean features of its
reference poses.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from embedded_model.definitions import DEFINITIONS, graded_scores, measure_bodies
from embedded_model.descriptors import humanoid_descriptors
from embedded_model.space import Space
from gym_vlmrm.arrays import Floats
from gym_vlmrm.worlds.poses.poses import ARM_POSES, LEG_POSES, can_combine, reference_pose

__all__ = ["ANGLES", "CARS", "CARTS", "GENERIC", "Concepts", "cartpole_descriptors", "mountain_car_descriptors"]
GENERIC: dict[str, tuple[str, ...]] = {
    "one_leg": ("one_leg_left", "one_leg_right"),
    "sitting": ("sitting_legs_forward", "sitting_knees_up", "lotus"),
    "lying": ("lying_back", "lying_front", "lying_side"),
    "one_raised": ("left_raised", "right_raised"),
    "one_hand_on_hip": ("left_hand_on_hip", "right_hand_on_hip"),
}
"""Concepts that are the mean of others."""
ANGLES = {
    "upright": [(-3, 3)],
    "leaning_slightly_left": [(-25, -10)],
    "leaning_slightly_right": [(10, 25)],
    "tilted_left": [(-60, -30)],
    "tilted_right": [(30, 60)],
    "horizontal_left": [(-100, -80)],
    "horizontal_right": [(80, 100)],
    "hanging": [(175, 185)],
    "falling": [(-75, -20), (20, 75)],
}
"""Pole angles [deg], positive to the right."""
_SIDES = ("leaning_slightly", "tilted", "horizontal")
CARTS = {
    "far_left": (-2.9, -1.9),
    "left": (-1.8, -0.7),
    "center": (-0.4, 0.4),
    "right": (0.7, 1.8),
    "far_right": (1.9, 2.9),
}
"""Cart positions [m]."""
CARS = {
    "left_top": (-1.2, -1.05),
    "left_slope": (-0.95, -0.75),
    "valley": (-0.6, -0.45),
    "right_slope": (-0.2, 0.1),
    "near_summit": (0.2, 0.38),
    "summit": (0.47, 0.6),
}
"""Car positions [m]."""
_IN_VIEW, _OUT_OF_VIEW = np.linspace(-2, 2, 96), np.concatenate([np.linspace(-3, -2.5, 48), np.linspace(2.5, 3, 48)])
SAMPLES = 96
RIDGE = 3.0


def cartpole_descriptors(states: Floats) -> dict[str, Floats]:
    """Return the descriptors by block of states (N, 2): the pole's direction, and the cart's position [m]."""
    angle = states[:, 1]
    return {"angle": np.stack([np.cos(angle), np.sin(angle)], axis=1), "cart": states[:, :1]}


def mountain_car_descriptors(states: Floats) -> dict[str, Floats]:
    """Return the descriptors by block of states (N, 1): the car's position [m]."""
    return {"car": states}


class Concepts:
    """Directions (not normalised) of every concept in its block of the space: ``directions[block][name]``."""

    def __init__(self, space: Space, bodies: Floats, seed: int = 0) -> None:
        """Place every concept.

        Args:
            space: the embedding space.
            bodies: (N, 24) humanoid configurations of all kinds, on which definitions are fitted.
            seed: draws the variants of reference poses.
        """
        rng = np.random.default_rng(seed)
        descriptors = dict(zip(("legs", "arms"), humanoid_descriptors(bodies), strict=True))
        measured = measure_bodies(bodies)
        self.directions: dict[str, dict[str, Floats]] = {
            **{
                block: self._humanoid(space, rng, block) | _fitted(space, block, descriptors[block], measured)
                for block in ("legs", "arms")
            },
            "angle": self._angles(space),
            "cart": {
                f"cart_{name}": _mean(space, "cart", np.linspace(*ends, SAMPLES)[:, None])
                for name, ends in CARTS.items()
            },
            "car": {name: _mean(space, "car", np.linspace(*ends, SAMPLES)[:, None]) for name, ends in CARS.items()},
        }

        inside, outside = (_mean(space, "cart", np.array(places)[:, None]) for places in (_IN_VIEW, _OUT_OF_VIEW))
        self.cart_in_view: Floats = inside - outside
        """Direction in the block ``cart`` from carts at the edge of the picture to those well inside."""

    @staticmethod
    def _humanoid(space: Space, rng: np.random.Generator, block: str) -> dict[str, Floats]:
        names, others = (LEG_POSES, ARM_POSES) if block == "legs" else (ARM_POSES, LEG_POSES)
        means: dict[str, Floats] = {}
        for name in names:
            pairs = [(name, other) if block == "legs" else (other, name) for other in others]
            pairs = [pair for pair in pairs if can_combine(*pair)]
            poses = [reference_pose(*pairs[rng.integers(len(pairs))], rng=rng, variation=0.7) for _ in range(SAMPLES)]
            means[name] = _mean(space, block, humanoid_descriptors(np.stack(poses))[block == "arms"])
        return means | _generic(means, GENERIC)

    @staticmethod
    def _angles(space: Space) -> dict[str, Floats]:
        means = {}
        for name, spans in ANGLES.items():
            angles = np.radians(np.concatenate([np.linspace(*span, SAMPLES) for span in spans]))
            means[name] = _mean(space, "angle", np.stack([np.cos(angles), np.sin(angles)], axis=1))
        return means | _generic(means, {side: (f"{side}_left", f"{side}_right") for side in _SIDES})


def _fitted(space: Space, block: str, descriptors: Floats, measured: Mapping[str, Floats]) -> dict[str, Floats]:
    features = space.maps[block](descriptors)
    return {
        name: _ridge(features, *graded_scores(definition, measured))
        for name, definition in DEFINITIONS.items()
        if definition.block == block
    }


def _ridge(features: Floats, scores: Floats, fits: NDArray[np.bool_]) -> Floats:
    """Return the direction along which features (N, d) predict scores (N,); fits and misfits weigh by their rarity."""
    weight = np.sqrt(np.where(fits, 0.5 / max(fits.sum(), 1), 0.5 / (~fits).sum()) * len(scores))[:, None]
    design = np.column_stack([features, np.ones(len(features))])
    penalty = np.diag([RIDGE] * features.shape[1] + [0.0])
    solution = np.linalg.solve((design * weight).T @ design + penalty, (design * weight).T @ scores)
    return np.asarray(solution[:-1])


def _mean(space: Space, block: str, descriptors: Floats) -> Floats:
    return np.asarray(space.maps[block](descriptors).mean(axis=0))


def _generic(means: Mapping[str, Floats], parts: Mapping[str, tuple[str, ...]]) -> dict[str, Floats]:
    return {
        name: np.mean([means[part] for part in members], axis=0)
        for name, members in parts.items()
        if all(part in means for part in members)
    }
