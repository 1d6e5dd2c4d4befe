"""Letters on pictures: one font for films, windows and sheets, and texts that keep to a width."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = ["DARK", "INK", "LINE", "LIT", "PAPER", "SOFT", "cut", "font", "font_file", "wrapped"]

INK, SOFT, PAPER, LINE = (236, 239, 242), (150, 160, 170), (20, 24, 28), (97, 175, 239)
"""Colours of dark sheets: letters, lesser letters, ground, a curve."""
LIT, DARK = (76, 201, 122), (90, 98, 106)
"""Colours of the light that success turns on: on, off."""


def font_file(*, bold: bool = False) -> Path:
    """Return a font that knows more letters than those of pillow and pygame: matplotlib's."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")


@cache
def font(size: int, *, bold: bool = False) -> "FreeTypeFont":
    """Return that font for pillow, in a size [px]."""
    from PIL import ImageFont

    return ImageFont.truetype(str(font_file(bold=bold)), size)


def wrapped(text: str, letters: "FreeTypeFont", width: float, most: int) -> list[str]:
    """Break a text into at most so many lines of a width [px]; what is left over ends in an ellipsis."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if letters.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        elif len(lines) < most:
            lines.append(word)
        else:
            lines[-1] += " …"
            break
    return [cut(line, letters, width) for line in lines]


def cut(line: str, letters: "FreeTypeFont", width: float) -> str:
    """Return a line of at most a width [px]; one that is cut ends in an ellipsis."""
    line = " ".join(line.split())
    if letters.getlength(line) <= width:
        return line
    while line and letters.getlength(line + "…") > width:
        line = line.rstrip("…")[:-1].rstrip()
    return line + "…"
