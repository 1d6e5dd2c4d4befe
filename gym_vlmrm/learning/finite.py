"""Whether what an algorithm has learned is still made of numbers."""

from typing import TYPE_CHECKING, Any

import torch

from gym_vlmrm.errors import TrainingError

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["check_finite", "name_of_not_finite"]


def check_finite(model: "BaseAlgorithm") -> None:
    """Check that learning has not destroyed the policy, or what the algorithm learns beside it.

    Raises:
        TrainingError: a parameter is not finite.
    """
    learned: Any = model
    _, variables = learned._get_torch_save_params()  # SAC's entropy coefficient is no part of the policy
    alone = {name: getattr(model, name) for name in variables if getattr(model, name) is not None}
    for whose, tensors in (("policy", model.policy.state_dict()), ("algorithm", alone)):
        name = name_of_not_finite(tensors)
        if name is not None:
            cure = "lower the learning rate, or look at the rewards and observations"
            raise TrainingError(f"'{name}' of the {whose} is not finite after {model.num_timesteps:,} steps; {cure}")


def name_of_not_finite(tensors: dict[str, torch.Tensor]) -> str | None:
    """Name of the first tensor with a number that is not finite."""
    return next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), None)
