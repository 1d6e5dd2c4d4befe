"""Names: environment IDs, registered with Gymnasium; the entry points are strings and resolve late."""

import os
from pathlib import Path
from typing import Any

import gymnasium as gym

from gym_vlmrm import catalog
from gym_vlmrm.errors import TaskError
from gym_vlmrm.spec import TaskSpec
from gym_vlmrm.worlds import episode_limit

__all__ = ["register_builtin_tasks", "register_task", "register_tasks"]

_ENTRY_POINT = "gym_vlmrm.entry_points:make_env"
_VECTOR_ENTRY_POINT = "gym_vlmrm.entry_points:make_vec_env"


def register_task(task: TaskSpec | str | os.PathLike[str]) -> TaskSpec:
    """Register a task, so that ``gym.make(task.id)`` builds it; returns the task. Registering it again is harmless.

    Raises:
        TaskError: no such task, or the file is wrong.
    """
    spec = task if isinstance(task, TaskSpec) else catalog.load_task(task)
    _register(spec.id, spec.model_dump(mode="json", exclude_unset=True), episode_limit(spec))
    return spec


def register_tasks(folder: str | os.PathLike[str]) -> list[TaskSpec]:
    """Register every task file of a folder, except those whose name begins with an underscore.

    Raises:
        TaskError: no such folder, no task in it, or one of the files is wrong; then none is registered.
    """
    paths = sorted(path for path in Path(folder).glob("*.yaml") if not path.name.startswith("_"))
    if not paths:
        raise TaskError(f"no task files (*.yaml) in '{os.fspath(folder)}'")
    return [register_task(spec) for spec in [catalog.load_task(path) for path in paths]]


def register_builtin_tasks() -> None:
    """Register the built-in tasks by name, without validating their files yet: importing must be light."""
    for name, task_id, max_episode_steps in catalog.builtin_headers():
        _register(task_id, name, max_episode_steps)


def _register(task_id: str, task: str | dict[str, Any], max_episode_steps: int | None) -> None:
    gym.registry.pop(task_id, None)  # a second registration replaces the first without a warning
    gym.register(
        id=task_id,
        entry_point=_ENTRY_POINT,
        vector_entry_point=_VECTOR_ENTRY_POINT,
        max_episode_steps=max_episode_steps,
        kwargs={"task": task},
    )
