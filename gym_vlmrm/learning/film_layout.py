"""How a film looks: the sentence, the trained policy large, a random one beside it, and the rewards as they come."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gym_vlmrm.arrays import Frames
from gym_vlmrm.learning.filming import Shot, Take
from gym_vlmrm.lettering import DARK, INK, LINE, LIT, PAPER, SOFT, cut, font, wrapped

__all__ = ["FILM_SIZE", "FilmLayout"]

FILM_SIZE = 512
"""Side of the large picture [px]."""
_SMALL, _SEEN, _GAP, _HEAD = 256, 112, 16, 84
_WIDTH, _HEIGHT = _GAP + FILM_SIZE + _GAP + _SMALL + _GAP, _HEAD + FILM_SIZE + _GAP
_BORDER, _RANDOM = (58, 66, 74), (227, 146, 78)
_LINES = 2
"""Most lines of the sentence."""


class FilmLayout:
    """Turns shots into the pictures (H, W, 3) of a film, and keeps the rewards so far for their curve."""

    def __init__(self, sentence: str, title: str, steps: int, rewards: tuple[float, float]) -> None:
        """Prepare.

        Args:
            sentence: the goal prompt.
            title: what is filmed, below it.
            steps: steps of the longer episode, as far as is known beforehand; the curve grows with more.
            rewards: lowest and highest reward to expect; the curve grows with others.
        """
        self._steps, (self._low, self._high) = max(steps, 2), rewards
        self._rewards: tuple[list[float], list[float]] = ([], [])
        self._base = Image.new("RGB", (_WIDTH, _HEIGHT), PAPER)
        draw = ImageDraw.Draw(self._base)
        width = _WIDTH - 2 * _GAP
        size, quoted = 22, f"“{sentence}”"
        if font(size, bold=True).getlength(quoted) > width:
            size = 17
        lines = wrapped(quoted, font(size, bold=True), width, 1 if size == 22 else _LINES)
        for number, line in enumerate(lines):
            draw.text((_GAP, 12 + number * (size + 5)), line, INK, font(size, bold=True))
        below = 14 + len(lines) * (size + 5)
        draw.text((_GAP, below), cut(title, font(14), width), SOFT, font(14))
        self._large = (_GAP, _HEAD)
        self._small = (2 * _GAP + FILM_SIZE, _HEAD)

    def picture(self, shot: Shot) -> Frames:
        """Return the next picture."""
        for kept, take in zip(self._rewards, shot, strict=True):
            if not take.over:
                kept.append(take.reward)
        sheet = self._base.copy()
        trained, random = shot
        self._paste(sheet, trained.picture, self._large, FILM_SIZE)
        self._paste(sheet, random.picture, self._small, _SMALL)
        draw = ImageDraw.Draw(sheet, "RGBA")
        self._show_seen(sheet, draw, trained)
        self._label(draw, self._large, "trained", trained, 16)
        self._label(draw, self._small, "random", random, 13)
        self._draw_curves(draw, shot)
        return np.asarray(sheet)

    @staticmethod
    def _paste(sheet: Image.Image, picture: NDArray[np.uint8], place: tuple[int, int], side: int) -> None:
        image = Image.fromarray(picture)
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(image, place)

    def _show_seen(self, sheet: Image.Image, draw: Any, take: Take) -> None:
        left, top = self._large[0] + 8, self._large[1] + FILM_SIZE - _SEEN - 8  # where no task has its goal
        draw.rectangle((left - 2, top - 20, left + _SEEN + 1, top + _SEEN + 1), fill=PAPER)
        draw.text((left + 2, top - 17), "the reward's view", INK, font(11))
        self._paste(sheet, take.seen, (left, top), _SEEN)

    @staticmethod
    def _label(draw: Any, place: tuple[int, int], name: str, take: Take, size: int) -> None:
        """Write whose episode it is, with a light that success turns on."""
        letters = font(size, bold=True)
        text = name if take.success is None else f"{name}: {'success' if take.success else 'no success'}"
        left, top, light = place[0] + 8, place[1] + 8, 0 if take.success is None else size
        right, bottom = round(left + letters.getlength(text) + light * 1.5 + 16), round(top + size * 1.75)
        draw.rounded_rectangle((left, top, right, bottom), size // 2, PAPER)
        if take.success is not None:
            edge = (left + 8, top + size * 0.375, left + 8 + size, top + size * 1.375)
            draw.ellipse(edge, fill=LIT if take.success else DARK, outline=INK if take.success else None)
        draw.text((left + 8 + light * 1.5, top + size * 0.28), text, INK, letters)

    def _draw_curves(self, draw: Any, shot: Shot) -> None:
        left, top = self._small[0], self._small[1] + _SMALL + 12
        right, bottom = left + _SMALL, _HEIGHT - _GAP
        draw.text((left, top), "VLM reward", SOFT, font(13))
        step = max(take.step for take in shot)
        text = f"step {step:,}"
        draw.text((right - font(13).getlength(text), top), text, SOFT, font(13))
        for row, (name, colour, take) in enumerate(
            zip(("trained", "random"), (LINE, _RANDOM), shot, strict=True)
        ):  # fmt: skip
            draw.text((left + row * _SMALL / 2, top + 20), f"{name} {take.reward:.3f}", colour, font(14, bold=True))
        values = [value for kept in self._rewards for value in kept if np.isfinite(value)]
        self._low, self._high = min([self._low, *values]), max([self._high, *values])
        self._steps = max(self._steps, *(len(kept) for kept in self._rewards))
        area = (left, top + 46, right, bottom)
        draw.rectangle(area, outline=_BORDER)
        span = max(self._high - self._low, 1e-6)
        for kept, colour in zip(self._rewards[::-1], (_RANDOM, LINE), strict=True):
            points = [
                (
                    area[0] + 4 + index / (self._steps - 1) * (_SMALL - 8),
                    area[3] - 6 - (value - self._low) / span * (area[3] - area[1] - 12),
                )
                for index, value in enumerate(kept)
                if np.isfinite(value)
            ]
            if len(points) > 1:
                draw.line(points, colour, 2, joint="curve")
            if points:
                x, y = points[-1]
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
