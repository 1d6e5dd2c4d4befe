"""A texture behind a world that is drawn on an empty ground: thin lines on black or white tell a model little."""

from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.task.spec import Backdrop

__all__ = ["put_behind"]


def put_behind(frame: NDArray[np.uint8], name: Backdrop) -> NDArray[np.uint8]:
    """Return a square frame (S, S, 3) with a texture wherever it has exactly the colour of its ground.

    The ground is what most of the four corners show, in doubt the upper left one. A texture stands still, so it fits
    cameras that do.
    """
    corners = frame[[0, 0, -1, -1], [0, -1, 0, -1]]
    alike = (corners[:, None] == corners[None]).all(axis=-1).sum(axis=1)
    ground = (frame == corners[alike.argmax()]).all(axis=-1)
    return np.where(ground[..., None], _texture(name, len(frame)), frame)


@lru_cache(maxsize=8)
def _texture(name: Backdrop, side: int) -> NDArray[np.uint8]:
    from PIL import Image

    with files("gym_vlmrm.worlds.textures").joinpath(f"{name}.png").open("rb") as file:
        picture = Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    pixels = np.array(picture)
    pixels.flags.writeable = False
    return pixels
