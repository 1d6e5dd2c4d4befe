"""The judge: frames in, rewards out."""

from gym_vlmrm.reward.brightness import BrightnessReward
from gym_vlmrm.reward.formula import goal_baseline_reward
from gym_vlmrm.reward.loading import choose_frame_size, load_reward_model
from gym_vlmrm.reward.protocol import RewardModel

__all__ = [
    "BrightnessReward", "RewardModel", "choose_frame_size", "goal_baseline_reward", "load_reward_model",
]  # fmt: skip
