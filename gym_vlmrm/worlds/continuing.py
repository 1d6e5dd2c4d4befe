"""Episodes that can go on after their time is over, from the state in which they ended."""

from typing import Any

import gymnasium as gym

from gym_vlmrm.errors import WorldError
from gym_vlmrm.worlds.state import WorldState, put_state, state_of

__all__ = ["Continuing"]


class Continuing(gym.Wrapper[Any, Any, Any, Any]):
    """Remembers the state in which an episode ran out of time, so that the next one can begin there.

    Setting `goes_on` to true after the reset that followed takes that reset back: the time begins anew, nothing else
    does. An attribute, so that pools can give each environment its own answer by ``set_attr``.
    """

    counters = ()

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment with a time limit."""
        super().__init__(env)
        self._end: WorldState | None = None

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._end = state_of(self.env) if truncated and not terminated else None
        return observation, reward, terminated, truncated, info

    @property
    def goes_on(self) -> bool:
        """Whether the last episode can go on, as its end is known."""
        return self._end is not None

    @goes_on.setter
    def goes_on(self, wanted: bool) -> None:
        end, self._end = self._end, None
        if not wanted:
            return
        if end is None:
            raise WorldError("no episode has run out of time, so none can go on")
        for layer in end["layers"]:
            if "_elapsed_steps" in layer:
                layer["_elapsed_steps"] = 0
        put_state(self.env, end)
