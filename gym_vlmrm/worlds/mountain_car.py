"""Gymnasium's MountainCarContinuous-v0 in a scene of this package; its summit can hold the car."""

import itertools
import math
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from gym_vlmrm.errors import RenderingError, TaskError
from gym_vlmrm.task.spec import Look, Quality
from gym_vlmrm.worlds.canvas import Canvas, Point, fit_square, texture

__all__ = ["MountainCarScene"]

_LEFT, _EXTENT, _BOTTOM = -1.35, 2.1, -0.42

_METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}


class MountainCarScene(Continuous_MountainCarEnv, EzPickle):
    """`Continuous_MountainCarEnv` drawn from x = -1.35 to 0.75, a car in a valley below a yellow flag."""

    metadata = _METADATA
    quantity_names = ("car_position", "car_velocity", "car_height")

    def __init__(
        self,
        *,
        absorbing: bool = False,
        look: Look = "textured",
        camera: dict[str, Any] | None = None,
        quality: Quality = "draft",
        render_size: int = 224,
        render_mode: str = "rgb_array",
        **kwargs: Any,
    ) -> None:
        """Build the mountain and its car.

        Args:
            absorbing: True never ends an episode: once at the summit (x >= 0.45) the car stays there until reset.
            look: ``textured`` or ``original``.
            camera: must be None, there is no camera.
            quality: without effect here.
            render_size: side of the square frame [px].
            render_mode: only ``rgb_array``.
            kwargs: those of Gymnasium's `Continuous_MountainCarEnv`.

        Raises:
            TaskError: a camera was given.
        """
        if camera is not None:
            raise TaskError("MountainCar is drawn flat and has no camera; remove 'camera:' from the scene")
        EzPickle.__init__(
            self,
            absorbing=absorbing,
            look=look,
            quality=quality,
            render_size=render_size,
            render_mode=render_mode,
            **kwargs,
        )
        super().__init__(render_mode=render_mode, **kwargs)
        self._absorbing, self._look, self._size = absorbing, look, render_size
        self.state: Any = None
        self._canvas: Canvas | None = None

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Step as Gymnasium does; an absorbing summit keeps a car that has reached it, whatever the thrust."""
        before = self._current_state()
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
        position, velocity = (float(value) for value in self._current_state())
        return {"car_position": position, "car_velocity": velocity, "car_height": float(_height(position))}

    def _current_state(self) -> NDArray[np.float32]:
        if self.state is None:
            raise RenderingError("MountainCar has no state yet; call reset() first")
        state: NDArray[np.float32] = self.state
        return state

    def render(self) -> NDArray[np.uint8]:
        """Return the current state as uint8 (render_size, render_size, 3)."""
        position = float(self._current_state()[0])
        if self._look == "original":
            return fit_square(self._original_picture(), self._size)
        canvas = self._canvas = self._canvas or Canvas(self._size, _LEFT, _BOTTOM, _EXTENT)
        if not canvas.has_background:
            _draw_surroundings(canvas, self.goal_position)
            canvas.keep_background()
        canvas.start_from_background()
        _draw_car(canvas, position)
        return canvas.picture()

    def _original_picture(self) -> NDArray[np.uint8]:
        """Draw as Gymnasium does, but on a surface of ours, so that no display is opened or shut."""
        import pygame

        self.screen: Any = pygame.Surface((self.screen_width, self.screen_height))
        self.clock: Any = pygame.time.Clock()
        try:
            return np.array(super().render(), np.uint8)  # type: ignore[no-untyped-call]
        finally:
            self.screen = self.clock = None


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
