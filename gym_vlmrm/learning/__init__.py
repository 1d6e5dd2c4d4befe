"""Training by any algorithm of stable-baselines3 or sb3-contrib, with rewards that arrive late.

Importing this package imports neither torch nor stable-baselines3; using it does.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gym_vlmrm.learning.recipes import choose_recipe
    from gym_vlmrm.learning.trainer import TrainingResult, resume, train

__all__ = ["TrainingResult", "choose_recipe", "resume", "train"]

_HOMES = {"TrainingResult": "trainer", "choose_recipe": "recipes", "resume": "trainer", "train": "trainer"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
