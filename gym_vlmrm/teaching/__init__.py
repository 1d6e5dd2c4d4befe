"""Teaching: from captions by rule to a small reward model that knows a world.

Importing this package imports neither torch nor open_clip; using it does.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from gym_vlmrm.teaching.settings import TeachingSettings
    from gym_vlmrm.teaching.teacher import TeachingResult, teach

__all__ = ["TeachingResult", "TeachingSettings", "teach"]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__, submod_attrs={"settings": ["TeachingSettings"], "teacher": ["TeachingResult", "teach"]}
)
