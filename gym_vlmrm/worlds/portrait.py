"""One state of a task's world as a picture file: its frame at every quality, side by side."""

import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import RunError
from gym_vlmrm.files import check_place, replacing
from gym_vlmrm.lettering import INK, PAPER, font
from gym_vlmrm.task.spec import Quality, TaskSpec
from gym_vlmrm.worlds.description import WorldDescription, describing

__all__ = ["Portrait", "check_name", "draw_portrait", "write_portrait"]

SIDE = 384
"""Side of a frame [px]."""
ROUNDS = 3
"""Frames that are drawn to time one."""
_HEAD = 30


class Portrait(BaseModel):
    """What a task's world looks like."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    description: WorldDescription
    frames: dict[Quality, Frames]
    """(384, 384, 3) by quality; qualities that draw the same are one."""
    milliseconds: dict[Quality, float]
    """Shortest time of drawing one of them here [ms]."""


def draw_portrait(task: TaskSpec, *, seed: int = 0, steps: int = 0) -> Portrait:
    """Draw a world after a reset and some random steps, at every quality.

    Raises:
        TaskError, RenderingError, WorldError: as `gym_vlmrm.worlds.description.describe_world` does.
    """
    frames: dict[Quality, Frames] = {}
    times: dict[Quality, float] = {}
    description: WorldDescription | None = None
    for quality in get_args(Quality):
        scene = task.scene.model_copy(update={"quality": quality})
        drawn = task.model_copy(update={"scene": scene})
        world, described = describing(drawn, seed=seed, steps=steps, render_size=SIDE)
        try:
            frame, spent = _timed(world)
        finally:
            world.close()
        if quality == task.scene.quality or description is None:
            description = described
        if not any(np.array_equal(frame, other) for other in frames.values()):
            frames[quality], times[quality] = frame, spent
    assert description is not None
    return Portrait(description=description, frames=frames, milliseconds=times)


def _timed(world: Any) -> tuple[Frames, float]:
    frame, times = np.asarray(world.render()), []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        frame = np.asarray(world.render())
        times.append(1000 * (time.perf_counter() - began))
    return frame, min(times)


def check_name(path: Path) -> None:
    """Check, before anything is drawn, that a portrait can be written by this name; raises RunError."""
    if path.suffix.lower() != ".png":
        raise RunError(f"'{path}' is no name for a picture; end it with .png")
    check_place(path)


def write_portrait(portrait: Portrait, path: Path) -> None:
    """Write the frames side by side, each under its quality, as a PNG; raises RunError."""
    check_name(path)
    sheet = Image.new("RGB", (SIDE * len(portrait.frames), SIDE + _HEAD), PAPER)
    draw = ImageDraw.Draw(sheet)
    alone = len(portrait.frames) == 1
    for column, (quality, frame) in enumerate(portrait.frames.items()):
        words = "every quality" if alone else quality
        text = f"{words}, {portrait.milliseconds[quality]:.1f} ms"
        draw.text((column * SIDE + 10, 6), text, INK, font(15))
        sheet.paste(Image.fromarray(frame), (column * SIDE, _HEAD))
    with replacing(path, durable=False) as part:
        sheet.save(part, "PNG")
