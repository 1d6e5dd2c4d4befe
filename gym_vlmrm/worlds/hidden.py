"""Wrappers that nobody outside is to see."""

from typing import Any

import gymnasium as gym

__all__ = ["HiddenWrapper"]


class HiddenWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """A wrapper that is part of what an environment's entry point returns.

    Gymnasium's wrappers add themselves to `spec`, so that ``gym.make(env.spec)`` applies them again; the entry point
    does that for this one.
    """

    @property
    def spec(self) -> Any:  # type: ignore[override]
        """The specification of the environment at the bottom, which is that of the whole."""
        return self.env.unwrapped.spec
