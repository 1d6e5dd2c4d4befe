"""The algorithms of stable-baselines3 and sb3-contrib by name, and the buffers that they keep."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gymnasium import spaces

from gym_vlmrm.errors import TrainingError, did_you_mean

__all__ = ["ALGORITHMS", "Algorithm", "check_action_space", "find_algorithm"]

_DISCRETE = ("Discrete",)
_BOX = ("Box",)
_MOST = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")


@dataclass(frozen=True)
class Algorithm:
    """What must be known about an algorithm before anything heavy is imported."""

    name: str
    target: str
    """``module:Class``."""
    kind: str
    """``off-policy`` (replay buffer), ``on-policy`` (rollout buffer) or ``episodic`` (no buffer)."""
    actions: tuple[str, ...]
    """Names of the action spaces that it can handle."""

    def load(self) -> type[Any]:
        """Import and return the algorithm's class."""
        module, _, name = self.target.partition(":")
        loaded: type[Any] = getattr(importlib.import_module(module), name)
        return loaded

    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Constructor arguments of the class."""
        return inspect.signature(self.load()).parameters


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("A2C", "stable_baselines3:A2C", "on-policy", _MOST),
        Algorithm("ARS", "sb3_contrib:ARS", "episodic", ("Box", "Discrete")),
        Algorithm("CrossQ", "sb3_contrib:CrossQ", "off-policy", _BOX),
        Algorithm("DDPG", "stable_baselines3:DDPG", "off-policy", _BOX),
        Algorithm("DQN", "stable_baselines3:DQN", "off-policy", _DISCRETE),
        Algorithm("MaskablePPO", "sb3_contrib:MaskablePPO", "on-policy", _MOST[1:]),
        Algorithm("PPO", "stable_baselines3:PPO", "on-policy", _MOST),
        Algorithm("QRDQN", "sb3_contrib:QRDQN", "off-policy", _DISCRETE),
        Algorithm("RecurrentPPO", "sb3_contrib:RecurrentPPO", "on-policy", _MOST),
        Algorithm("SAC", "stable_baselines3:SAC", "off-policy", _BOX),
        Algorithm("TD3", "stable_baselines3:TD3", "off-policy", _BOX),
        Algorithm("TQC", "sb3_contrib:TQC", "off-policy", _BOX),
        Algorithm("TRPO", "sb3_contrib:TRPO", "on-policy", _MOST),
    )
}


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()


def find_algorithm(name: str) -> Algorithm:
    """Return an algorithm by name; case and hyphens do not matter (``qr-dqn``).

    Raises:
        TrainingError: no algorithm goes by that name.
    """
    for known in ALGORITHMS.values():
        if _plain(known.name) == _plain(name):
            return known
    raise TrainingError(f"unknown algorithm '{name}'{did_you_mean(name.upper(), ALGORITHMS)}")


def check_action_space(algorithm: Algorithm, action_space: spaces.Space[Any], env_id: str) -> None:
    """Check that the algorithm can act in the space.

    Raises:
        TrainingError: it cannot; the message names the algorithms that can.
    """
    kind = next((name for name in _MOST if isinstance(action_space, getattr(spaces, name))), None)
    if kind in algorithm.actions:
        return
    kind = kind or type(action_space).__name__
    able = ", ".join(known.name for known in ALGORITHMS.values() if kind in known.actions) or "none here"
    needs = " or ".join(algorithm.actions)
    raise TrainingError(f"{algorithm.name} needs {needs} actions but {env_id} has {kind} actions; able: {able}")
