"""The picture of this transition: frames are taken inside `step` and travel with the observation."""

import contextlib
from numbers import Integral
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import TrainingError
from gym_vlmrm.task.parts import PLAIN_SHOTS, Shots
from gym_vlmrm.worlds.cameras import picture_shape, take_pictures
from gym_vlmrm.worlds.state import WorldState, put_state, state_of

__all__ = ["FrameObservation", "check_every", "is_scored", "refused_hindsight", "turn_of"]


def _refuse(*_: Any, **__: Any) -> Any:
    raise TrainingError(
        "the reward of this environment comes from pictures, so compute_reward has none: hindsight needs frames "
        "of transitions that were never drawn; use a plain replay buffer instead of HerReplayBuffer"
    )


def _compute_reward(self: gym.Wrapper[Any, Any, Any, Any]) -> Any:
    """Refuse to value a transition without its frame, where the environment would do so by its own reward.

    Raises:
        AttributeError: on access, if the environment has no ``compute_reward``.
        TrainingError: when called.
    """
    if not self.env.has_wrapper_attr("compute_reward"):
        raise AttributeError("compute_reward")
    return _refuse


refused_hindsight = property(_compute_reward)
"""``compute_reward`` of a wrapper that stands for the model's reward: hindsight would mix in the environment's own."""


def is_scored(step: int, every: int) -> bool:
    """Say whether a step's frame is scored: the first of an episode (``step == 1``) and each ``every``-th after it."""
    return (step - 1) % every == 0


def turn_of(step: int, every: int) -> int:
    """Number of a scored step among those of its episode, from 0; the picture that it begins with counts as 0 too."""
    return max(step - 1, 0) // every


def check_every(envs: VectorEnv[Any, Any, Any], every: int) -> None:
    """Make sure that the frames which are scored are those which `FrameObservation` draws; others are blank.

    Raises:
        ValueError: one of the environments draws every k-th frame for another k.
    """
    if not (isinstance(every, Integral) and every >= 1):
        raise ValueError(f"every must be at least 1, got {every!r}")
    known: tuple[Any, ...] = ()
    with contextlib.suppress(AttributeError):  # frames that are not `FrameObservation`'s; then nobody can tell
        known = envs.call("every")
    for drawn in known:
        if drawn != every:
            raise ValueError(f"every is {every}, but the environments draw every {drawn}th frame; give both the same")


class FrameObservation(gym.Wrapper[dict[str, Any], Any, Any, Any]):
    """Adds the rendered frame to the observation: ``{"state": observation, "frame": uint8 (S, S, 3)}``.

    An automatic reset replaces what `render` shows, but not what an observation carries: in a vector environment the
    last frame of an episode stays in the terminal observation. Steps that are not scored, and resets, carry zeros;
    unless a reward needs more pictures: of other cameras, uint8 (C, S, S, 3), or of what an episode begins with.
    """

    counters = ("_step", "_due")

    def __init__(self, env: gym.Env[Any, Any], size: int, every: int = 1, shots: Shots = PLAIN_SHOTS) -> None:
        """Wrap an environment whose `render` returns uint8 (size, size, 3).

        Args:
            env: the environment.
            size: side of its frames [px].
            every: render every k-th frame of an episode only.
            shots: the pictures that are needed of a step.
        """
        super().__init__(env)
        self.every, self.shots = every, shots
        shape = picture_shape(shots, size)
        frame = spaces.Box(0, 255, shape, np.uint8)
        self.observation_space = spaces.Dict({"state": env.observation_space, "frame": frame})
        self._blank: Frames = np.zeros(shape, np.uint8)
        self._step = 0
        self.deferred = False
        """Whether frames of steps that end no episode are blank until whoever steps this environment calls `draw`."""
        self._due = False

    compute_reward = refused_hindsight

    @property
    def world_state(self) -> WorldState | None:
        """The state of the whole (see `gym_vlmrm.worlds.state`), ``None`` where it cannot be told.

        An attribute, so that pools read it by ``get_attr`` and give each world its own by ``set_attr``.
        """
        return state_of(self)

    @world_state.setter
    def world_state(self, state: WorldState) -> None:
        put_state(self, state)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Reset the environment; the frame is blank, as no transition was made, unless beginnings are needed."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._step, self._due = 0, False
        return {"state": observation, "frame": self._take() if self.shots.begins else self._blank}, info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Step, and take the picture of the state that the step led to."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._step += 1
        scored = is_scored(self._step, self.every)
        self._due = scored and self.deferred and not (terminated or truncated)
        frame = self._take() if scored and not self._due else self._blank
        return {"state": observation, "frame": frame}, reward, terminated, truncated, info

    def _take(self) -> Frames:
        return take_pictures(self.env, self.shots, turn_of(self._step, self.every))

    def draw(self) -> Frames | None:
        """Return the frame that the last step left out, if it did."""
        if not self._due:
            return None
        self._due = False
        return np.asarray(self._take(), np.uint8)
