"""Names: environment IDs, registered with Gymnasium; the entry points are strings and resolve late."""

from typing import Any

import gymnasium as gym

from gym_vlmrm.builtin import ENTRY_POINT, builtin_headers
from gym_vlmrm.errors import TaskError

__all__ = ["check_free", "register_builtin_tasks", "register_id"]

_VECTOR_ENTRY_POINT = "gym_vlmrm.entry_points:make_vec_env"


def register_builtin_tasks() -> None:
    """Register the built-in tasks by name, without validating their files yet: importing must be light."""
    for name, task_id, max_episode_steps in builtin_headers():
        register_id(task_id, name, max_episode_steps)


def check_free(task_id: str) -> None:
    """Raise TaskError where an ID belongs to an environment that is none of this package's."""
    present = gym.registry.get(task_id)
    if present is not None and present.entry_point != ENTRY_POINT:
        raise TaskError(
            f"id '{task_id}' is taken by another environment; choose another, "
            f"such as 'Mine/{task_id.rpartition('/')[2]}'"
        )


def register_id(task_id: str, task: str | dict[str, Any], max_episode_steps: int | None) -> None:
    """Let ``gymnasium.make(task_id)`` build a task: the name of a built-in one, or a whole one as JSON-able data.

    Raises:
        TaskError: Gymnasium refuses the ID, or it belongs to an environment that is none of this package's.
    """
    check_free(task_id)
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
