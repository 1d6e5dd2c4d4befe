"""An agent from a reward, and what it is worth: any algorithm of stable-baselines3 or sb3-contrib, and evaluation.

Importing this package imports neither torch nor stable-baselines3; using it does.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from gym_vlmrm.learning.evaluation import Evaluation, evaluate
    from gym_vlmrm.learning.policy import Policy, load_policy
    from gym_vlmrm.learning.recipes import choose_recipe
    from gym_vlmrm.learning.trainer import TrainingResult, resume, train

__all__ = ["Evaluation", "Policy", "TrainingResult", "choose_recipe", "evaluate", "load_policy", "resume", "train"]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "evaluation": ["Evaluation", "evaluate"],
        "policy": ["Policy", "load_policy"],
        "recipes": ["choose_recipe"],
        "trainer": ["TrainingResult", "resume", "train"],
    },
)
