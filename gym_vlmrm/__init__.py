"""Gymnasium environments whose reward comes from a sentence.

Importing this package registers the built-in tasks (``VLMRM/...``). It never imports torch, open_clip,
stable-baselines3 or MuJoCo: those wait until an environment or a model is made.
"""

from typing import TYPE_CHECKING

import lazy_loader

from gym_vlmrm.registry import register_builtin_tasks

if TYPE_CHECKING:
    from gym_vlmrm.api import audit, compare, score, train
    from gym_vlmrm.learning import evaluate, load_policy, resume
    from gym_vlmrm.registry import register_task, register_tasks
    from gym_vlmrm.reward import RewardModel, load_reward_model
    from gym_vlmrm.task.catalog import load_task
    from gym_vlmrm.task.schema import schema
    from gym_vlmrm.task.spec import TaskSpec
    from gym_vlmrm.wrappers import VectorVLMReward, VLMReward

__version__ = "0.2.0.dev0"

__all__ = [
    "RewardModel",
    "TaskSpec",
    "VLMReward",
    "VectorVLMReward",
    "audit",
    "compare",
    "evaluate",
    "load_policy",
    "load_reward_model",
    "load_task",
    "register_task",
    "register_tasks",
    "resume",
    "schema",
    "score",
    "train",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "api": ["audit", "compare", "score", "train"],
        "learning": ["evaluate", "load_policy", "resume"],
        "registry": ["register_task", "register_tasks"],
        "reward": ["RewardModel", "load_reward_model"],
        "task.catalog": ["load_task"],
        "task.schema": ["schema"],
        "task.spec": ["TaskSpec"],
        "wrappers": ["VLMReward", "VectorVLMReward"],
    },
)

register_builtin_tasks()
