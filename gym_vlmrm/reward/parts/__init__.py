"""Rewards made of parts: what is asked of each picture (`judge`), and what a step pays for the answers (`memory`)."""

from gym_vlmrm.reward.parts.judge import PartsReward

__all__ = ["PartsReward"]
