"""Pictures drawn with pygame in memory: a square view of a flat world, supersampled, never a window."""

import math
import os
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pygame

__all__ = ["Canvas", "Point", "fit_square", "texture"]

Point = tuple[float, float]
Colour = tuple[int, int, int]
_DRAWN_SIDE = 384


def fit_square(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a frame (H, W, 3) as (size, size, 3): padded to a square with its corner's colour, resized smoothly."""
    from PIL import Image

    height, width = frame.shape[:2]
    side = max(height, width)
    if height != width:
        square = np.empty((side, side, 3), np.uint8)
        square[:] = frame[0, 0]
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = frame
        frame = square
    if side == size:
        return np.array(frame)
    resized = Image.fromarray(np.ascontiguousarray(frame)).resize((size, size), Image.Resampling.BICUBIC)
    return np.array(resized)


@lru_cache(maxsize=16)
def texture(name: str, width: int, height: int) -> "pygame.Surface":
    """Return one of this package's textures at a size in pixels; do not draw on it."""
    module = _pygame()
    with files("gym_vlmrm.worlds.textures").joinpath(f"{name}.png").open("rb") as file:
        picture = module.image.load(file, f"{name}.png")
    scaled: pygame.Surface = module.transform.smoothscale(picture, (width, height))
    return scaled


def _pygame() -> Any:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import pygame

    return pygame


class Canvas:
    """A square picture of the world rectangle that starts at (`left`, `bottom`) and is `extent` wide and high."""

    def __init__(self, size: int, left: float, bottom: float, extent: float) -> None:
        """Prepare to draw `size` x `size` pixels; everything is drawn larger and scaled down smoothly."""
        self.pygame = _pygame()
        self.size, self.left, self.bottom, self.extent = size, left, bottom, extent
        self._factor = max(2, -(-_DRAWN_SIDE // size))
        self.side = size * self._factor
        self.scale = self.side / extent
        self.surface: pygame.Surface = self.pygame.Surface((self.side, self.side))
        self._background: tuple[pygame.Surface, NDArray[np.uint8]] | None = None
        self._drawn: pygame.Rect = self.surface.get_rect()

    def pixel(self, point: Point) -> Point:
        """Return the place of a point of the world on the surface."""
        return (point[0] - self.left) * self.scale, self.side - (point[1] - self.bottom) * self.scale

    def backdrop(self, name: str) -> None:
        """Cover everything with a texture."""
        self._note(self.surface.blit(texture(name, self.side, self.side), (0, 0)))

    @property
    def has_background(self) -> bool:
        """Whether `keep_background` was called."""
        return self._background is not None

    def keep_background(self) -> None:
        """Let every later picture start from what is drawn now."""
        self._background = self.surface.copy(), self._scaled(self.surface)
        self._drawn = self.pygame.Rect(0, 0, 0, 0)

    def start_from_background(self) -> None:
        """Wipe out what was drawn since `keep_background`."""
        assert self._background is not None
        self.surface.blit(self._background[0], self._drawn, self._drawn)
        self._drawn = self.pygame.Rect(0, 0, 0, 0)

    def polygon(self, points: list[Point], colour: Colour) -> None:
        """Fill a polygon given in the world's coordinates."""
        self._note(self.pygame.draw.polygon(self.surface, colour, [self.pixel(point) for point in points]))

    def line(self, start: Point, end: Point, width: float, colour: Colour) -> None:
        """Draw a straight bar with square ends, `width` in the world's units."""
        (x0, y0), (x1, y1) = start, end
        length = max(math.hypot(x1 - x0, y1 - y0), 1e-9)
        nx, ny = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
        self.polygon([(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)], colour)

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        x, y = self.pixel(centre)
        pixels = max(1, round(radius * self.scale))
        self._note(self.pygame.draw.circle(self.surface, colour, (round(x), round(y)), pixels))

    def patch(self, name: str, corner: Point, width: float, height: float) -> None:
        """Cover an upright rectangle, given by its upper left corner, with a texture."""
        pixels = max(1, round(width * self.scale)), max(1, round(height * self.scale))
        self._note(self.surface.blit(texture(name, *pixels), self.pixel(corner)))

    def picture(self) -> NDArray[np.uint8]:
        """Return what was drawn as uint8 (size, size, 3)."""
        if self._background is None:
            return self._scaled(self.surface)
        frame = self._background[1].copy()
        factor = self._factor
        left, top = self._drawn.left // factor, self._drawn.top // factor
        right, bottom = -(-self._drawn.right // factor), -(-self._drawn.bottom // factor)
        if right > left and bottom > top:
            # Each pixel is the mean of its own block, so only blocks that were drawn on are scaled again.
            area = (left * factor, top * factor, (right - left) * factor, (bottom - top) * factor)
            frame[top:bottom, left:right] = self._scaled(self.surface.subsurface(area))
        return frame

    def _note(self, changed: "pygame.Rect") -> None:
        inside = changed.clip(self.surface.get_rect())
        if inside.width and inside.height:
            self._drawn = self._drawn.union(inside) if self._drawn.width else inside

    def _scaled(self, surface: "pygame.Surface") -> NDArray[np.uint8]:
        """Return a surface (h * factor, w * factor) as an array (h, w, 3) of its own."""
        width, height = surface.get_width() // self._factor, surface.get_height() // self._factor
        small = self.pygame.transform.smoothscale(surface, (width, height))
        pixels = np.frombuffer(bytearray(self.pygame.image.tobytes(small, "RGB")), np.uint8)
        return pixels.reshape(height, width, 3)
