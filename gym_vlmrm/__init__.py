"""Gymnasium environments whose reward comes from a sentence.

Importing this package registers the built-in tasks (``VLMRM/...``). It never imports torch, open_clip,
stable-baselines3 or MuJoCo: those wait until an environment or a model is made.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gym_vlmrm.registry import register_builtin_tasks

if TYPE_CHECKING:
    from gym_vlmrm.reward import RewardModel, load_reward_model
    from gym_vlmrm.task.catalog import load_task
    from gym_vlmrm.task.spec import TaskSpec
    from gym_vlmrm.user_tasks import register_task, register_tasks
    from gym_vlmrm.wrappers import VectorVLMReward, VLMReward

__version__ = "0.1.0"

_HOMES = {
    "RewardModel": "gym_vlmrm.reward",
    "TaskSpec": "gym_vlmrm.task.spec",
    "VLMReward": "gym_vlmrm.wrappers",
    "VectorVLMReward": "gym_vlmrm.wrappers",
    "load_reward_model": "gym_vlmrm.reward",
    "load_task": "gym_vlmrm.task.catalog",
    "register_task": "gym_vlmrm.user_tasks",
    "register_tasks": "gym_vlmrm.user_tasks",
}

__all__ = [
    "RewardModel",
    "TaskSpec",
    "VLMReward",
    "VectorVLMReward",
    "load_reward_model",
    "load_task",
    "register_task",
    "register_tasks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


register_builtin_tasks()
