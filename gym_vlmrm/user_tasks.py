"""Tasks of one's own: registered like the built-in ones, with the whole task inside the registration."""

import os
from collections.abc import Sequence
from pathlib import Path

from gym_vlmrm.errors import TaskError
from gym_vlmrm.registry import register_id
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.world import episode_limit

__all__ = ["register_task", "register_tasks"]


def register_task(task: TaskSpec | str | os.PathLike[str]) -> TaskSpec:
    """Register a task, so that ``gym.make(task.id)`` builds it; returns the task. Registering it again is harmless.

    Args:
        task: a task, or its name, environment ID or path.

    Raises:
        TaskError: no such task, the file is wrong, its environment is unknown, or another one has its ID.
    """
    spec = task if isinstance(task, TaskSpec) else load_task(task)
    return _register([spec])[0]


def register_tasks(folder: str | os.PathLike[str]) -> list[TaskSpec]:
    """Register every task file of a folder, except those whose name begins with an underscore.

    Raises:
        TaskError: no such folder, no task in it, two of one ID, or one of the files is wrong; then none is registered.
    """
    paths = sorted(path for path in Path(folder).glob("*.yaml") if not path.name.startswith("_"))
    if not paths:
        raise TaskError(f"no task files (*.yaml) in '{os.fspath(folder)}'")
    homes: dict[str, Path] = {}
    specs = [load_task(path) for path in paths]
    for path, spec in zip(paths, specs, strict=True):
        if spec.id in homes:
            raise TaskError(
                f"{path}: id: '{spec.id}' is also the ID of {homes[spec.id].name}; every task needs its own"
            )
        homes[spec.id] = path
    return _register(specs)


def _register(specs: Sequence[TaskSpec]) -> list[TaskSpec]:
    limits = [episode_limit(spec) for spec in specs]
    for spec, limit in zip(specs, limits, strict=True):
        register_id(spec.id, spec.model_dump(mode="json", exclude_unset=True), limit)
    return list(specs)
