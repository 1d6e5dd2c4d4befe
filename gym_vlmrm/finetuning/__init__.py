"""Fine-tuning of open_clip models, or small ones from scratch, on captioned frames of an environment.

Importing this package imports neither torch nor open_clip; using it does.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from gym_vlmrm.finetuning.settings import Settings
    from gym_vlmrm.finetuning.trainer import FinetuningResult, finetune, resume

__all__ = ["FinetuningResult", "Settings", "finetune", "resume"]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__, submod_attrs={"settings": ["Settings"], "trainer": ["FinetuningResult", "finetune", "resume"]}
)
