"""A window that shows moments as they come, drawn by pygame."""

import os
import sys
from typing import Any

import numpy as np

from gym_vlmrm.errors import RenderingError
from gym_vlmrm.lettering import DARK, INK, LINE, LIT, PAPER, SOFT, cut, font, font_file
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.watching.episodes import SHOWN, Moment

__all__ = ["Window", "has_display"]

_HEAD, _STRIP, _EDGE = 64, 120, 12
_LARGE, _SMALL = 17, 13
KEPT = 300
"""Rewards of the curve."""


def has_display() -> bool:
    """Whether a window can be opened here."""
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


class Window:
    """One window, until it is closed."""

    def __init__(self, *, title: str, sentence: str) -> None:
        """Open it.

        Args:
            title: what is watched.
            sentence: the goal prompt.

        Raises:
            RenderingError: there is no display.
        """
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        if os.environ.get("SDL_VIDEODRIVER") == "dummy" and has_display():
            del os.environ["SDL_VIDEODRIVER"]
        if not (has_display() or "SDL_VIDEODRIVER" in os.environ):  # SDL would draw where nobody sees it
            raise RenderingError("no window can be opened here (there is no display); watch in the browser with --page")
        import pygame

        self._pygame: Any = pygame
        try:
            pygame.display.init()
            pygame.font.init()
            self._screen = pygame.display.set_mode((SHOWN, _HEAD + SHOWN + _STRIP))
        except pygame.error as error:
            raise RenderingError(f"no window can be opened here ({error}); watch in the browser with --page") from None
        pygame.display.set_caption(shorten(title, 100))
        self._sentence = cut(sentence, font(_LARGE), SHOWN - 2 * _EDGE)
        self._large, self._small = (pygame.font.Font(str(font_file()), size) for size in (_LARGE, _SMALL))
        self._rewards: list[float] = []
        self._episode = 0

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def show(self, moment: Moment) -> bool:
        """Show a moment; False once the window was closed."""
        pygame, screen = self._pygame, self._screen
        for event in pygame.event.get():
            if event.type == pygame.QUIT or (
                event.type == pygame.KEYDOWN and event.key in (pygame.K_ESCAPE, pygame.K_q)
            ):
                return False
        if moment.episode != self._episode:
            self._rewards, self._episode = [], moment.episode
        self._rewards = [*self._rewards, moment.reward][-KEPT:]
        screen.fill(PAPER)
        self._write(self._sentence, (_EDGE, 10), self._large, INK)
        words = f"episode {moment.episode}, step {moment.step}, checkpoint {moment.checkpoint:,}"
        self._write(words, (_EDGE, 38), self._small, SOFT)
        picture = pygame.surfarray.make_surface(np.ascontiguousarray(moment.frame.swapaxes(0, 1)))
        screen.blit(pygame.transform.smoothscale(picture, (SHOWN, SHOWN)), (0, _HEAD))
        self._write(f"reward {moment.reward:.3f}", (_EDGE, _HEAD + SHOWN + 8), self._large, INK)
        if moment.success is not None:
            colour = LIT if moment.success else DARK
            pygame.draw.circle(screen, colour, (SHOWN - 24, _HEAD + SHOWN + 18), 9)
            self._write(
                "success" if moment.success else "no success", (SHOWN - 120, _HEAD + SHOWN + 11), self._small, SOFT
            )
        self._draw_curve()
        pygame.display.flip()
        return True

    def _write(self, text: str, place: tuple[int, int], font: Any, colour: tuple[int, int, int]) -> None:
        self._screen.blit(font.render(text, True, colour), place)

    def _draw_curve(self) -> None:
        low = min(self._rewards)
        high = max(*self._rewards, low + 0.05)
        top, bottom = _HEAD + SHOWN + 38, _HEAD + SHOWN + _STRIP - 10
        points = [
            (
                _EDGE + index / (KEPT - 1) * (SHOWN - 2 * _EDGE),
                bottom - (value - low) / (high - low) * (bottom - top),
            )
            for index, value in enumerate(self._rewards)
        ]
        if len(points) > 1:
            self._pygame.draw.lines(self._screen, LINE, False, points, 2)

    def close(self) -> None:
        """Close it."""
        self._pygame.display.quit()
