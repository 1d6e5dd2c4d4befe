"""Gymnasium's CartPole-v1 in a scene of this package, with or without early termination."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from gym_vlmrm.envs.canvas import Canvas, Point, fit_square
from gym_vlmrm.errors import RenderingError, TaskError
from gym_vlmrm.spec import Look, Quality

__all__ = ["CartPoleScene"]

_LEFT, _EXTENT, _BOTTOM = -3.0, 6.0, -2.75
_POLE_LENGTH, _POLE_WIDTH = 2.1, 0.2
_PIVOT = 0.42

_METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}


class CartPoleScene(CartPoleEnv, EzPickle):
    """`CartPoleEnv` drawn from x = -3 m to 3 m, with room below the track for a pole that hangs.

    Cart and pole are drawn about twice as large as they are, so that a small picture still shows the pole's angle.
    """

    metadata = _METADATA
    quantity_names = ("pole_angle", "pole_tilt", "cart_position", "cart_distance", "within_bounds")

    def __init__(
        self,
        *,
        terminate: bool = True,
        look: Look = "textured",
        camera: dict[str, Any] | None = None,
        quality: Quality = "draft",
        render_size: int = 224,
        render_mode: str = "rgb_array",
        **kwargs: Any,
    ) -> None:
        """Build the cart and its pole.

        Args:
            terminate: False never ends an episode: the pole swings on and the cart rolls on, so that observations
                have no bounds.
            look: ``textured`` or ``original``.
            camera: must be None, there is no camera.
            quality: without effect here.
            render_size: side of the square frame [px].
            render_mode: only ``rgb_array``.
            kwargs: those of Gymnasium's `CartPoleEnv`.

        Raises:
            TaskError: a camera was given.
        """
        if camera is not None:
            raise TaskError("CartPole is drawn flat and has no camera; remove 'camera:' from the scene")
        EzPickle.__init__(
            self,
            terminate=terminate,
            look=look,
            quality=quality,
            render_size=render_size,
            render_mode=render_mode,
            **kwargs,
        )
        super().__init__(render_mode=render_mode, **kwargs)
        self._terminate, self._look, self._size = terminate, look, render_size
        if not terminate:  # the cart rolls and the pole swings beyond Gymnasium's bounds
            self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self._canvas: Canvas | None = None

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
        x, _, theta, _ = (float(value) for value in self._current_state())
        angle = math.degrees(math.remainder(theta, 2 * math.pi))
        inside = abs(x) <= self.x_threshold and abs(math.radians(angle)) <= self.theta_threshold_radians
        return {
            "pole_angle": angle,
            "pole_tilt": abs(angle),
            "cart_position": x,
            "cart_distance": abs(x),
            "within_bounds": float(inside),
        }

    def _current_state(self) -> NDArray[np.float64]:
        if self.state is None:
            raise RenderingError("CartPole has no state yet; call reset() first")
        return self.state

    def render(self) -> NDArray[np.uint8]:
        """Return the current state as uint8 (render_size, render_size, 3)."""
        x, _, theta, _ = (float(value) for value in self._current_state())
        if self._look == "original":
            return fit_square(self._original_picture(), self._size)
        canvas = self._canvas = self._canvas or Canvas(self._size, _LEFT, _BOTTOM, _EXTENT)
        if not canvas.has_background:
            _draw_surroundings(canvas)
            canvas.keep_background()
        canvas.start_from_background()
        if abs(x) < 2 * _EXTENT:
            _draw_cart(canvas, x)
            _draw_pole(canvas, x, theta)
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
