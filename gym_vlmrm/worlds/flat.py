"""What the scenes that are drawn flat with pygame have in common: how they are built, and when they are drawn."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import RenderingError, TaskError
from gym_vlmrm.task.spec import Look
from gym_vlmrm.worlds.canvas import Canvas, fit_square
from gym_vlmrm.worlds.quality import Drawn

__all__ = ["FlatScene"]


class FlatScene:
    """Stands before a classic-control environment of Gymnasium in a scene's bases, and replaces its picture.

    A scene says what it shows: `view`, `draw_surroundings` (once, kept as a background) and `draw` (every frame).
    """

    title: ClassVar[str]
    """Name for messages."""
    view: ClassVar[tuple[float, float, float]]
    """Left and lower edge of the picture, and its width and height, in the world's units."""
    state: Any
    screen_width: int
    screen_height: int

    def __init__(
        self,
        *,
        look: Look = "textured",
        camera: dict[str, Any] | None = None,
        quality: Drawn = "draft",
        render_size: int = 224,
        render_mode: str = "rgb_array",
        **kwargs: Any,
    ) -> None:
        """Build the environment.

        Args:
            look: ``textured`` or ``original``.
            camera: must be None, there is no camera.
            quality: without effect here.
            render_size: side of the square frame [px].
            render_mode: only ``rgb_array``.
            kwargs: those of Gymnasium's environment.

        Raises:
            TaskError: a camera was given.
        """
        if camera is not None:
            raise TaskError(f"{self.title} is drawn flat and has no camera; remove 'camera:' from the scene")
        super().__init__(render_mode=render_mode, **kwargs)  # type: ignore[call-arg]
        self._look, self._size = look, render_size
        self._canvas: Canvas | None = None

    def current_state(self) -> Any:
        """Return Gymnasium's state; raises RenderingError before the first reset."""
        if self.state is None:
            raise RenderingError(f"{self.title} has no state yet; call reset() first")
        return self.state

    def draw_surroundings(self, canvas: Canvas) -> None:
        """Draw everything that never moves."""
        raise NotImplementedError

    def draw(self, canvas: Canvas) -> None:
        """Draw the current state over the surroundings."""
        raise NotImplementedError

    def render(self) -> NDArray[np.uint8]:
        """Return the current state as uint8 (render_size, render_size, 3)."""
        self.current_state()
        if self._look == "original":
            return fit_square(self._original_picture(), self._size)
        canvas = self._canvas = self._canvas or Canvas(self._size, *self.view)
        if not canvas.has_background:
            self.draw_surroundings(canvas)
            canvas.keep_background()
        canvas.start_from_background()
        self.draw(canvas)
        return canvas.picture()

    def _original_picture(self) -> NDArray[np.uint8]:
        """Draw as Gymnasium does, but on a surface of ours, so that no display is opened or shut."""
        import pygame

        self.screen: Any = pygame.Surface((self.screen_width, self.screen_height))
        self.clock: Any = pygame.time.Clock()
        try:
            return np.array(super().render(), np.uint8)  # type: ignore[misc]
        finally:
            self.screen = self.clock = None
