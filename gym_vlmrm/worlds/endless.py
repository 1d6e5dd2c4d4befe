"""Episodes that go on after what the environment calls their end."""

from typing import Any

from gym_vlmrm.worlds.hidden import HiddenWrapper

__all__ = ["Endless"]


class Endless(HiddenWrapper):
    """Passes no ``terminated`` on: a pole that fell may be lifted again, and a fallen body stand up.

    Whether the environment can go on from there is its own affair; Gymnasium's MuJoCo and classic-control ones can.
    """

    counters = ()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        observation, reward, _, truncated, info = self.env.step(action)
        return observation, reward, False, truncated, info
