"""Gymnasium's MountainCarContinuous-v0 in a scene of this package; its summit can hold the car."""

import itertools
import math
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.worlds.canvas import Canvas, Point, texture
from gym_vlmrm.worlds.flat import FlatScene
from gym_vlmrm.worlds.scene import Grid, Landmark, SearchSpace, box_space

__all__ = ["MountainCarScene"]

_LEFT, _EXTENT, _BOTTOM = -1.35, 2.1, -0.42

_METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}


class MountainCarScene(FlatScene, Continuous_MountainCarEnv, EzPickle):
    """`Continuous_MountainCarEnv` drawn from x = -1.35 to 0.75, a car in a valley below a yellow flag.

    A configuration is the car's position.
    """

    metadata = _METADATA
    name, title = "mountain-car", "MountainCar"
    view = (_LEFT, _BOTTOM, _EXTENT)
    quantity_names = ("car_position", "car_velocity", "car_height")
    quantity_units: ClassVar[dict[str, str]] = {"car_velocity": "per step"}
    observation_names = ("car position", "car velocity [per step]")
    action_names = ("thrust",)

    def __init__(self, *, absorbing: bool = False, **kwargs: Any) -> None:
        """Build the mountain and its car.

        Args:
            absorbing: True never ends an episode: once at the summit (x >= 0.45) the car stays there until reset.
            kwargs: those of `FlatScene` and of Gymnasium's `Continuous_MountainCarEnv`.

        Raises:
            TaskError: a camera was given.
        """
        EzPickle.__init__(self, absorbing=absorbing, **kwargs)
        super().__init__(**kwargs)
        self._absorbing = absorbing
        self.state: Any = None

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Step as Gymnasium does; an absorbing summit keeps a car that has reached it, whatever the thrust."""
        before = self.current_state()
        if self._absorbing and before[0] >= self.goal_position:
            self.state = np.array([before[0], 0.0], np.float32)
            reward = 100.0 - 0.1 * float(action[0]) ** 2
            return self.state.copy(), reward, False, False, {}
        observation, reward, terminated, truncated, info = super().step(action)
        if self._absorbing and observation[0] >= self.goal_position:
            observation = self.state = np.array([observation[0], 0.0], np.float32)
        return np.array(observation), float(reward), bool(terminated and not self._absorbing), truncated, info

    def quantities(self) -> dict[str, float]:
        """Return `car_position` (-1.2 to 0.6, the flag is at 0.45), `car_velocity` (per step) and `car_height`."""
        position, velocity = (float(value) for value in self.current_state())
        return {"car_position": position, "car_velocity": velocity, "car_height": float(_height(position))}

    def place(self, configuration: Floats) -> None:
        """Put the car somewhere, at rest."""
        self.state = np.array([configuration[0], 0.0], np.float32)

    def configuration(self) -> Floats:
        """Return the car's position, (1,)."""
        return np.array([self.current_state()[0]], np.float64)

    @classmethod
    def search_space(cls) -> SearchSpace:
        """Return every place of the track."""
        return box_space([-1.2], [0.6])

    @classmethod
    def survey(cls) -> Grid:
        """Return places along the whole track, and more of them around the flag."""
        return Grid("car position [m], flag at 0.45", _places, _cloud)

    def draw_surroundings(self, canvas: Canvas) -> None:
        """Draw sky, mountains, slope and flag."""
        _draw_surroundings(canvas, self.goal_position)

    def draw(self, canvas: Canvas) -> None:
        """Draw the car where it is."""
        _draw_car(canvas, float(self.current_state()[0]))


def _places() -> list[Landmark]:
    return [Landmark(np.array([x]), f"car at {x:.2f}", float(round(x, 6))) for x in np.linspace(-1.2, 0.6, 181)]


def _cloud(rng: np.random.Generator) -> list[Landmark]:
    return [Landmark(np.array([x]), f"car at {x:.2f}") for x in rng.uniform(0.3, 0.6, 80)]


def _height(x: float) -> float:
    return math.sin(3 * x) * 0.45 + 0.55


def _draw_surroundings(canvas: Canvas, goal: float) -> None:
    """Sky, far mountains, the slope with rock below and grass on top, and the flag."""
    canvas.backdrop("valley")
    ground = canvas.pygame.Surface((canvas.side, canvas.side), canvas.pygame.SRCALPHA)
    xs = np.linspace(_LEFT - 0.05, _LEFT + _EXTENT + 0.05, 200)
    top: list[Point] = [(float(x), _height(float(x))) for x in xs]
    outline = [canvas.pixel(point) for point in [*top, (xs[-1], _BOTTOM - 0.1), (xs[0], _BOTTOM - 0.1)]]
    canvas.pygame.draw.polygon(ground, (255, 255, 255, 255), outline)
    ground.blit(texture("rock", canvas.side, canvas.side), (0, 0), special_flags=canvas.pygame.BLEND_RGBA_MULT)
    canvas.surface.blit(ground, (0, 0))
    for depth, colour in ((0.05, (62, 104, 44)), (0.028, (96, 150, 58))):
        for start, end in itertools.pairwise(top):
            lower = [(end[0], end[1] - depth), (start[0], start[1] - depth)]
            canvas.polygon([start, end, *lower], colour)
    base = goal, _height(goal)
    canvas.line(base, (base[0], base[1] + 0.34), 0.022, (70, 60, 52))
    canvas.polygon([(goal, base[1] + 0.34), (goal + 0.15, base[1] + 0.28), (goal, base[1] + 0.21)], (255, 214, 0))
    canvas.polygon([(goal, base[1] + 0.275), (goal + 0.15, base[1] + 0.28), (goal, base[1] + 0.21)], (232, 184, 0))


def _draw_car(canvas: Canvas, position: float) -> None:
    """A red car, nose to the right, standing on the slope."""
    slope = math.atan(3 * 0.45 * math.cos(3 * position))
    cosine, sine = math.cos(slope), math.sin(slope)
    foot = position, _height(position)

    def place(forward: float, up: float) -> Point:
        return foot[0] + forward * cosine - up * sine, foot[1] + forward * sine + up * cosine

    body = [(-0.15, 0.045), (-0.15, 0.1), (-0.1, 0.115), (0.05, 0.115), (0.14, 0.095), (0.15, 0.045)]
    cabin = [(-0.105, 0.11), (-0.075, 0.17), (0.02, 0.17), (0.065, 0.11)]
    window = [(-0.08, 0.112), (-0.06, 0.155), (-0.028, 0.155), (-0.028, 0.112)]
    windscreen = [(-0.015, 0.112), (-0.015, 0.155), (0.012, 0.155), (0.042, 0.112)]
    lamp = [(0.125, 0.075), (0.125, 0.095), (0.147, 0.09), (0.149, 0.075)]
    for shape, colour in (
        (body, (206, 28, 34)),
        ([(-0.15, 0.045), (-0.15, 0.065), (0.15, 0.065), (0.15, 0.045)], (142, 14, 24)),
        (cabin, (206, 28, 34)),
        (window, (196, 228, 246)),
        (windscreen, (196, 228, 246)),
        (lamp, (255, 240, 170)),
    ):
        canvas.polygon([place(*point) for point in shape], colour)
    for wheel in (-0.085, 0.085):
        canvas.disc(place(wheel, 0.042), 0.042, (24, 24, 28))
        canvas.disc(place(wheel, 0.042), 0.018, (200, 204, 208))
