"""Tasks of one's own: registered like the built-in ones, with the whole task inside the registration."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gym_vlmrm.catalog import builtin_tasks, load_task
from gym_vlmrm.errors import TaskError
from gym_vlmrm.registry import check_free, register_id
from gym_vlmrm.spec import TaskSpec
from gym_vlmrm.worlds import episode_limit

__all__ = ["register_task", "register_tasks"]


def register_task(task: TaskSpec | str | os.PathLike[str]) -> TaskSpec:
    """Register a task, so that ``gym.make(task.id)`` builds it and `load_task` finds it by its ID; returns the task.

    Registering a task of one's own again replaces it. A built-in task stays what it is: registering it again, as it
    is, does nothing. Where a task names no model, each ``gym.make`` asks the environment variable ``GYM_VLMRM_MODEL``.

    Args:
        task: a task, or its name, environment ID or path.

    Raises:
        TaskError: no such task, the file is wrong, its environment is unknown, or its ID belongs to a built-in task or
            to an environment of another package.
    """
    spec = task if isinstance(task, TaskSpec) else load_task(task)
    return _register([spec])[0]


def register_tasks(folder: str | os.PathLike[str]) -> list[TaskSpec]:
    """Register every task file of a folder, except those whose name begins with an underscore.

    Raises:
        TaskError: no such folder, no task in it, two of one ID, or one of the tasks cannot be registered (see
            `register_task`); then none is.
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
    builtin = {task.id: task for task in builtin_tasks().values()}
    own = [spec for spec in specs if not _is_builtin(spec, builtin)]
    limits = [episode_limit(spec) for spec in own]
    for spec in own:
        check_free(spec.id)
    for spec, limit in zip(own, limits, strict=True):
        register_id(spec.id, spec.model_dump(exclude_unset=True), limit)
    return list(specs)


def _is_builtin(spec: TaskSpec, builtin: dict[str, TaskSpec]) -> bool:
    """Whether a task is a built-in one, unchanged; raises TaskError for another one under a built-in task's ID."""
    known = builtin.get(spec.id)
    if known is not None and spec != known and _told(spec) != _told(known):
        raise TaskError(
            f"id '{spec.id}' is a built-in task's, and this one differs from it; choose another, "
            f"such as 'Mine/{spec.id.rpartition('/')[2]}'"
        )
    return known is not None


def _told(spec: TaskSpec) -> dict[str, Any]:
    return spec.model_dump(exclude_unset=True)
