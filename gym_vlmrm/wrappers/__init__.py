"""World and judge together: environments whose reward is the reward model's."""

from gym_vlmrm.wrappers.single import VLMReward
from gym_vlmrm.wrappers.vector import VectorVLMReward

__all__ = ["VLMReward", "VectorVLMReward"]
