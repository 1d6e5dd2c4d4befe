"""What it saves to redraw only what moved in the scenes that pygame draws."""

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.task.catalog import load_task, override
from gym_vlmrm.worlds.world import make_world

__all__ = ["DrawingRow", "measure_drawing"]

FRAMES = 200


@dataclass(frozen=True)
class DrawingRow:
    """Frames/s of one scene in one process, medians of the rounds."""

    task: str
    gymnasium: float
    """Gymnasium's own picture, scaled to the model's size."""
    whole: float
    """This package's scene with nothing kept from the frame before."""
    moved: float
    """The same, pixel for pixel, where only what moved is drawn again."""


def measure_drawing(tasks: list[str], rounds: int) -> list[DrawingRow]:
    """Draw frames of a random policy in every way in turn; `tasks` are names of tasks whose scene pygame draws."""
    return [_measure(task, rounds) for task in tasks]


def _measure(name: str, rounds: int) -> DrawingRow:
    task = load_task(name)
    size = load_reward_model(task).frame_size
    ours = make_world(task, render_size=size, limited=True)
    original = make_world(override(task, scene="original"), render_size=size, limited=True)
    found = [(_rate(original), _rate(ours, forget=True), _rate(ours)) for _ in range(rounds)]
    ours.close()
    original.close()
    return DrawingRow(name, *(median(rates) for rates in zip(*found, strict=True)))


def _rate(env: Any, *, forget: bool = False) -> float:
    env.reset(seed=0)
    env.action_space.seed(0)
    env.render()
    spent = 0.0
    for _ in range(FRAMES):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
        if forget:
            env.unwrapped._canvas._background = None
        began = time.perf_counter()
        env.render()
        spent += time.perf_counter() - began
    return FRAMES / spent
