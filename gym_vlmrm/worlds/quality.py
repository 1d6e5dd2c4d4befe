"""What a scene's quality means where MuJoCo draws: one table, for our own model and for those of other environments."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from gym_vlmrm.task.spec import Quality

__all__ = ["FLOOR_SQUARE", "QUALITIES", "Drawing", "Drawn", "set_drawing"]

Drawn: TypeAlias = Quality | Literal["film"]
"""A task's quality, or what films and pages show to people, which no task can name and so no reward sees."""

FLOOR_SQUARE = 2.0
"""A floor is drawn as squares of this size [m]; Gymnasium's 0.125 are 100,000 of them, 70% of a frame's time."""


@dataclass(frozen=True)
class Drawing:
    """How much is spent on a frame."""

    samples: int
    """Samples per pixel; 0 takes one, at its centre."""
    slices: int | None
    """Around and along a round shape; ``None`` keeps the model's own number."""
    effects: bool
    """Whether there are shadows and reflections."""
    shadow: int | None = None
    """Side of the shadow map [px], most of a frame's time in software; ``None`` keeps the model's own."""


QUALITIES: dict[Drawn, Drawing] = {
    "draft": Drawing(samples=0, slices=12, effects=False),
    "standard": Drawing(samples=4, slices=None, effects=False),
    "paper": Drawing(samples=4, slices=None, effects=True),
    "film": Drawing(samples=4, slices=None, effects=True, shadow=768),
}


def set_drawing(visual: Any, quality: Drawn, size: int) -> None:
    """Set what a frame of `size` x `size` pixels costs; reflections are up to materials and renderers.

    Args:
        visual: settings of a model (``MjModel.vis``) or of a specification (``MjSpec.visual``).
        quality: see `gym_vlmrm.task.spec.SceneSpec`, or ``film``.
        size: side of the frame [px].
    """
    drawing = QUALITIES[quality]
    visual.quality.offsamples = drawing.samples
    if drawing.slices is not None:
        visual.quality.numslices = visual.quality.numstacks = drawing.slices
    if drawing.shadow is not None:
        visual.quality.shadowsize = drawing.shadow
    if not drawing.effects:
        visual.quality.shadowsize = 0
    visual.global_.offwidth = visual.global_.offheight = size
