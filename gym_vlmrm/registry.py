"""Names: environment IDs, registered with Gymnasium; the entry points are strings and resolve late.

``import gym_vlmrm`` runs this module, so what needs pydantic is imported where it is used.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.builtin import ENTRY_POINT, builtin_headers

if TYPE_CHECKING:
    from gym_vlmrm.task.spec import TaskSpec

__all__ = ["register_builtin_tasks", "register_task", "register_tasks"]

_VECTOR_ENTRY_POINT = "gym_vlmrm.entry_points:make_vec_env"
LEROBOT = "gym_vlmrm"
"""Namespace of the IDs that LeRobot looks for: the name of the package that registers them."""


def register_builtin_tasks() -> None:
    """Register the built-in tasks by name, without validating their files yet: importing must be light."""
    for name, task_id, max_episode_steps in builtin_headers():
        _register_id(task_id, name, max_episode_steps)
        _register_for_lerobot(f"{LEROBOT}/{task_id.rpartition('/')[2]}", {"task": name})
    _register_for_lerobot(f"{LEROBOT}/Task-v0", {})


def _register_for_lerobot(face: str, kwargs: dict[str, Any]) -> None:
    """Register one ID of `gym_vlmrm.lerobot`, whose environment sets its limit of steps itself.

    LeRobot reads attributes of the outermost wrapper, so Gymnasium adds none.
    """
    gym.registry.pop(face, None)
    entry_point = "gym_vlmrm.lerobot:make_env"
    gym.register(id=face, entry_point=entry_point, order_enforce=False, disable_env_checker=True, kwargs=kwargs)


def _check_free(task_id: str) -> None:
    """Raise TaskError where an ID belongs to an environment that is none of this package's."""
    present = gym.registry.get(task_id)
    if present is not None and present.entry_point != ENTRY_POINT:
        raise TaskError(
            f"id '{task_id}' is taken by another environment; choose another, "
            f"such as 'Mine/{task_id.rpartition('/')[2]}'"
        )


def _register_id(task_id: str, task: str | dict[str, Any], max_episode_steps: int | None) -> None:
    """Let ``gymnasium.make(task_id)`` build a task: the name of a built-in one, or a whole one as JSON-able data.

    Raises:
        TaskError: Gymnasium refuses the ID, or it belongs to an environment that is none of this package's.
    """
    _check_free(task_id)
    present = gym.registry.pop(task_id, None)  # a second registration replaces the first without a warning
    try:
        gym.register(
            id=task_id,
            entry_point=ENTRY_POINT,
            vector_entry_point=_VECTOR_ENTRY_POINT,
            max_episode_steps=max_episode_steps,
            kwargs={"task": task},
        )
    except gym.error.Error as error:
        if present is not None:
            gym.registry[task_id] = present
        raise TaskError(f"id '{task_id}' cannot be registered: {' '.join(str(error).split())}") from None


def register_task(task: "TaskSpec | str | os.PathLike[str]") -> "TaskSpec":
    """Register a task, so that ``gym.make(task.id)`` builds it and `load_task` finds it by its ID; returns the task.

    Registering a task of one's own again replaces it. A built-in task stays what it is: registering it again, as it
    is, does nothing. Where a task names no model, each ``gym.make`` asks the environment variable ``GYM_VLMRM_MODEL``.

    Args:
        task: a task, or its name, environment ID or path.

    Raises:
        TaskError: no such task, the file is wrong, its environment is unknown, or its ID belongs to a built-in task or
            to an environment of another package.
    """
    from gym_vlmrm.task.catalog import load_task
    from gym_vlmrm.task.spec import TaskSpec

    spec = task if isinstance(task, TaskSpec) else load_task(task)
    return _register([spec])[0]


def register_tasks(folder: str | os.PathLike[str]) -> "list[TaskSpec]":
    """Register every task file of a folder, except those whose name begins with an underscore.

    Raises:
        TaskError: no such folder, no task in it, two of one ID, or one of the tasks cannot be registered (see
            `register_task`); then none is.
    """
    from gym_vlmrm.task.catalog import load_task

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


def _register(specs: "Sequence[TaskSpec]") -> "list[TaskSpec]":
    from gym_vlmrm.task.catalog import builtin_tasks
    from gym_vlmrm.task.spec import FOR_GYMNASIUM
    from gym_vlmrm.worlds.world import episode_limit

    builtin = {task.id: task for task in builtin_tasks().values()}
    own = [spec for spec in specs if not _is_builtin(spec, builtin)]
    limits = [episode_limit(spec) for spec in own]
    for spec in own:
        _check_free(spec.id)
    for spec, limit in zip(own, limits, strict=True):
        _register_id(spec.id, spec.model_dump(exclude_unset=True, context=FOR_GYMNASIUM), limit)
    return list(specs)


def _is_builtin(spec: "TaskSpec", builtin: "dict[str, TaskSpec]") -> bool:
    """Whether a task is a built-in one, unchanged; raises TaskError for another one under a built-in task's ID."""
    known = builtin.get(spec.id)
    if known is not None and spec != known and _told(spec) != _told(known):
        raise TaskError(
            f"id '{spec.id}' is a built-in task's, and this one differs from it; choose another, "
            f"such as 'Mine/{spec.id.rpartition('/')[2]}'"
        )
    return known is not None


def _told(spec: "TaskSpec") -> dict[str, Any]:
    return spec.model_dump(exclude_unset=True)
