"""Fine-tuning of open_clip models, or small ones from scratch, on captioned frames of an environment.

Importing this package imports neither torch nor open_clip; using it does.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gym_vlmrm.finetuning.settings import Settings
    from gym_vlmrm.finetuning.trainer import FinetuningResult, finetune, resume

__all__ = ["FinetuningResult", "Settings", "finetune", "resume"]

_HOMES = {"FinetuningResult": "trainer", "Settings": "settings", "finetune": "trainer", "resume": "trainer"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
