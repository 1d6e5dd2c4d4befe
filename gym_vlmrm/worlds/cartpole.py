"""Gymnasium's CartPole-v1 in a scene of this package, with or without early termination."""

import math
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.worlds.canvas import Canvas, Point
from gym_vlmrm.worlds.flat import FlatScene
from gym_vlmrm.worlds.scene import Grid, Landmark, SearchSpace, box_space

__all__ = ["CartPoleScene"]

_LEFT, _EXTENT, _BOTTOM = -3.0, 6.0, -2.75
_POLE_LENGTH, _POLE_WIDTH = 2.1, 0.2
_PIVOT = 0.42

_METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}


class CartPoleScene(FlatScene, CartPoleEnv, EzPickle):
    """`CartPoleEnv` drawn from x = -3 m to 3 m, with room below the track for a pole that hangs.

    Cart and pole are drawn about twice as large as they are, so that a small picture still shows the pole's angle.
    A configuration is the cart's position [m] and the pole's angle [rad].
    """

    metadata = _METADATA
    name, title = "cartpole", "CartPole"
    view = (_LEFT, _BOTTOM, _EXTENT)
    quantity_names = ("pole_angle", "pole_tilt", "cart_position", "cart_distance", "within_bounds")
    quantity_units: ClassVar[dict[str, str]] = {
        "pole_angle": "deg", "pole_tilt": "deg", "cart_position": "m", "cart_distance": "m", "within_bounds": "0 or 1",
    }  # fmt: skip
    observation_names = ("cart position [m]", "cart velocity [m/s]", "pole angle [rad]", "pole velocity [rad/s]")
    action_names = ("push to the left", "push to the right")

    def __init__(self, *, terminate: bool = True, **kwargs: Any) -> None:
        """Build the cart and its pole.

        Args:
            terminate: False never ends an episode: the pole swings on and the cart rolls on, so that observations
                have no bounds.
            kwargs: those of `FlatScene` and of Gymnasium's `CartPoleEnv`.

        Raises:
            TaskError: a camera was given.
        """
        EzPickle.__init__(self, terminate=terminate, **kwargs)
        super().__init__(**kwargs)
        self._terminate = terminate
        if not terminate:  # the cart rolls and the pole swings beyond Gymnasium's bounds
            self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Step as Gymnasium does; `terminated` stays False unless `terminate` is set."""
        if not self._terminate:
            self.steps_beyond_terminated = None  # else Gymnasium warns about steps after the end
        observation, reward, terminated, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        if not self._terminate:
            reward = float(not terminated) if not self._sutton_barto_reward else -float(terminated)
        return observation, float(reward), bool(terminated and self._terminate), truncated, info

    def quantities(self) -> dict[str, float]:
        """Return the named quantities of the current state.

        `pole_angle` [deg] in [-180, 180], 0 upright, positive leans to the right; `pole_tilt` its size; `cart_position`
        [m]; `cart_distance` its size; `within_bounds` is 1 while Gymnasium's own episode would go on.
        """
        x, _, theta, _ = (float(value) for value in self.current_state())
        angle = math.degrees(math.remainder(theta, 2 * math.pi))
        inside = abs(x) <= self.x_threshold and abs(math.radians(angle)) <= self.theta_threshold_radians
        return {
            "pole_angle": angle,
            "pole_tilt": abs(angle),
            "cart_position": x,
            "cart_distance": abs(x),
            "within_bounds": float(inside),
        }

    def place(self, configuration: Floats) -> None:
        """Put cart [m] and pole [rad] somewhere, at rest."""
        self.state = np.array([configuration[0], 0.0, configuration[1], 0.0])

    def configuration(self) -> Floats:
        """Return the cart's position [m] and the pole's angle [rad]."""
        state = self.current_state()
        return np.array([state[0], state[2]])

    @classmethod
    def search_space(cls) -> SearchSpace:
        """Return every place and angle that a search looks at."""
        return box_space([-4.5, -math.pi], [4.5, math.pi])

    @classmethod
    def survey(cls) -> Grid:
        """Return angles all around at several places of the cart, and poles that are nearly upright."""
        return Grid("pole angle [deg], cart in the middle", _places, _cloud)

    def draw_surroundings(self, canvas: Canvas) -> None:
        """Draw meadow, posts and track."""
        _draw_surroundings(canvas)

    def draw(self, canvas: Canvas) -> None:
        """Draw cart and pole where they are."""
        x, _, theta, _ = (float(value) for value in self.current_state())
        if abs(x) < 2 * _EXTENT:
            _draw_cart(canvas, x)
            _draw_pole(canvas, x, theta)


def _places() -> list[Landmark]:
    angles = sorted({*range(-180, 181, 6), *range(-30, 31, 2)})
    return [
        Landmark(
            np.array([cart, np.radians(angle)]),
            f"pole at {angle} deg, cart at {cart:g} m",
            float(angle) if cart == 0 else math.nan,
        )
        for cart in (-2.7, -2.0, -1.0, 0.0, 1.0, 2.0, 2.7)
        for angle in angles
    ]


def _cloud(rng: np.random.Generator) -> list[Landmark]:
    drawn = [(rng.uniform(-2.3, 2.3), rng.uniform(-25, 25)) for _ in range(120)]
    return [
        Landmark(np.array([cart, np.radians(angle)]), f"pole at {angle:.0f} deg, cart at {cart:.1f} m")
        for cart, angle in drawn
    ]


def _draw_surroundings(canvas: Canvas) -> None:
    canvas.backdrop("meadow")
    for post in (-2.5, -0.83, 0.83, 2.5):
        canvas.line((post, -0.16), (post, _BOTTOM + 0.7), 0.12, (122, 126, 134))
        canvas.line((post - 0.03, -0.16), (post - 0.03, _BOTTOM + 0.7), 0.04, (160, 164, 170))
    canvas.line((_LEFT, -0.14), (-_LEFT, -0.14), 0.16, (92, 96, 106))
    canvas.line((_LEFT, -0.08), (-_LEFT, -0.08), 0.06, (186, 190, 196))


def _draw_cart(canvas: Canvas, x: float) -> None:
    canvas.line((x - 0.58, 0.36), (x + 0.58, 0.36), 0.52, (30, 40, 66))
    canvas.patch("planks", (x - 0.54, 0.58), 1.08, 0.44)
    for wheel in (x - 0.34, x + 0.34):
        canvas.disc((wheel, 0.1), 0.17, (24, 26, 34))
        canvas.disc((wheel, 0.1), 0.08, (196, 200, 206))


def _draw_pole(canvas: Canvas, x: float, theta: float) -> None:
    direction = math.sin(theta), math.cos(theta)

    def along(share: float, aside: float = 0.0) -> Point:
        return (
            x + direction[0] * _POLE_LENGTH * share + direction[1] * aside,
            _PIVOT + direction[1] * _POLE_LENGTH * share - direction[0] * aside,
        )

    canvas.line(along(0), along(1), _POLE_WIDTH, (150, 20, 28))
    canvas.line(along(0, -0.02), along(1, -0.02), _POLE_WIDTH * 0.55, (214, 40, 44))
    canvas.line(along(0, -0.045), along(1, -0.045), _POLE_WIDTH * 0.15, (246, 128, 120))
    canvas.disc(along(1), _POLE_WIDTH * 0.5, (150, 20, 28))
    canvas.disc(along(0), 0.15, (236, 238, 240))
    canvas.disc(along(0), 0.08, (70, 76, 90))
