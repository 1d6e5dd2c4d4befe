"""One task of each world, where what tasks of one world do not share is none of a test's business."""

from typing import Any

from gym_vlmrm.task.catalog import builtin_tasks
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.scene import SCENES

__all__ = ["ONE_OF_EACH_WORLD"]


WITHOUT_SCENE = ("cheetah-back", "pendulum-hanging")
"""Worlds without a scene are wrapped alike: one that MuJoCo draws stands for all, and one that pygame draws."""


def _one_of_each_world() -> dict[str, TaskSpec]:
    """Of tasks with the same environment, scene and kind of judge, take that whose reward has most parts."""
    found: dict[Any, tuple[str, TaskSpec]] = {}
    for name, task in builtin_tasks().items():
        if task.env.id not in SCENES and name not in WITHOUT_SCENE:
            continue
        world = (repr(task.env), repr(task.scene), task.reward.model, task.reward.sees_films)
        if world not in found or len(found[world][1].reward.all_parts) < len(task.reward.all_parts):
            found[world] = name, task
    return dict(found.values())


ONE_OF_EACH_WORLD = _one_of_each_world()
