"""Pictures for the eyes of whoever reads an audit: large ones of the states, beside what the reward saw of them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gym_vlmrm.arrays import Frames
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.scene import can_pose
from gym_vlmrm.worlds.world import make_world

__all__ = ["PORTRAIT", "portraits"]

PORTRAIT = 320
"""Side of a picture [px]: a hand of the humanoid is fifteen of them."""
SEEN = 80
"""Side of what the reward saw, in its corner [px]."""


def portraits(task: TaskSpec, states: Iterable[Any], seen: Iterable[Any]) -> list[Frames]:
    """Draw states (C,) anew as films are drawn, each with the frame (S, S, 3) that the reward saw in a corner.

    Where the environment cannot be put into a state, the frames themselves are returned.
    """
    configurations = [np.asarray(state, np.float64) for state in states]
    frames = [np.asarray(frame, np.uint8) for frame in seen]
    if not frames or not can_pose(task) or not all(len(state) for state in configurations):
        return frames
    world = make_world(task, render_size=PORTRAIT, film=True)
    try:
        world.reset(seed=0)
        scene: Any = world.unwrapped
        drawn = []
        for state, frame in zip(configurations, frames, strict=True):
            scene.place(state)
            drawn.append(_with_corner(world.render(), frame))
    finally:
        world.close()
    return drawn


def _with_corner(picture: Any, frame: NDArray[np.uint8]) -> Frames:
    if not frame.size:  # a reward of states saw none
        return np.asarray(picture)
    large = Image.fromarray(picture)
    small = Image.fromarray(frame).resize((SEEN, SEEN), Image.Resampling.LANCZOS)
    large.paste((255, 255, 255), (0, 0, SEEN + 2, SEEN + 2))
    large.paste(small, (0, 0))
    return np.array(large)
