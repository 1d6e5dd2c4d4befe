"""Where states are shown: an environment that takes a state, draws it and judges it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.parts import PLAIN_SHOTS
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.cameras import take_pictures
from gym_vlmrm.worlds.scene import can_pose
from gym_vlmrm.worlds.world import episode_limit, make_world

__all__ = ["Seen", "Stage", "episode_length", "join_seen"]

DEFAULT_EPISODE = 200
"""Steps of an episode that neither task nor environment limits."""


def episode_length(task: TaskSpec) -> int:
    """Steps that an audit plays of an episode; raises TaskError where the environment is unknown."""
    return episode_limit(task) or DEFAULT_EPISODE


@dataclass(frozen=True)
class Seen:
    """N states as they were shown."""

    frames: NDArray[np.uint8]
    """(N, S, S, 3); (N, 0, 0, 3) where nothing was drawn."""
    success: NDArray[np.bool_]
    """(N,)"""
    quantities: list[dict[str, float]]
    """Named quantities of each state: all that the scene has, or those that the rule reads."""
    states: Floats
    """(N, D) configurations; (N, 0) where the environment cannot be put into a state."""
    views: NDArray[np.uint8] | None = None
    """The pictures that the reward needs, (N, C, S, S, 3) of several cameras, where they are others than `frames`."""
    moments: NDArray[np.int64] | None = None
    """(N,) the place of each state in its episode, in order, where the reward sees them as films."""

    def __len__(self) -> int:
        return len(self.success)

    def pick(self, rows: NDArray[Any]) -> "Seen":
        """Return some of the states; `rows` are indices or a mask."""
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        quantities = [self.quantities[row] for row in rows]
        views = None if self.views is None else self.views[rows]
        moments = None if self.moments is None else self.moments[rows]
        return Seen(self.frames[rows], self.success[rows], quantities, self.states[rows], views, moments)


def join_seen(parts: Sequence[Seen]) -> Seen:
    """Put parts one behind the other; empty ones do not count."""
    parts = [part for part in parts if len(part)] or list(parts[:1])
    views = [part.views for part in parts if part.views is not None]
    moments = [part.moments for part in parts if part.moments is not None]
    return Seen(
        np.concatenate([part.frames for part in parts]),
        np.concatenate([part.success for part in parts]),
        [quantities for part in parts for quantities in part.quantities],
        np.concatenate([part.states for part in parts]),
        np.concatenate(views) if views else None,
        np.concatenate(moments) if moments else None,
    )


class Stage:
    """One environment that shows states."""

    def __init__(self, task: TaskSpec, size: int) -> None:
        """Build the environment of a task that has a rule of success; `size` is the side of its frames [px]."""
        rule = task.success_rule
        if rule is None:
            raise TaskError(f"task '{task.id}' has no 'success:' rule, so nothing says which frames show the goal")
        self.rule, self.size = rule, size
        self.limit = episode_length(task)
        self.world: gym.Env[Any, Any] = make_world(task, render_size=size)
        self.poses, self.films = can_pose(task), task.reward.sees_films
        self._shots = task.reward.shots if task.reward.shots.slots != PLAIN_SHOTS.slots else None
        self.world.reset(seed=0)

    def show(self, states: Floats, draw: bool) -> Seen:
        """Put the environment into each of the states (N, D), draw it and judge it."""
        env: Any = self.world.unwrapped
        frames, quantities, views = self._blank(len(states) if draw else 0), [], []
        for index, state in enumerate(states):
            env.place(state)
            quantities.append(dict(env.quantities()))
            if draw:
                frames[index] = self.world.render()  # type: ignore[assignment]
                views += self._views()
        success = np.array([self.rule.holds(values) for values in quantities], np.bool_)
        shown = frames if draw else np.zeros((len(states), 0, 0, 3), np.uint8)
        return Seen(shown, success, quantities, states, np.array(views, np.uint8) if views else None)

    def roll(self, seed: int, stride: int, act: Callable[[Any], Any] | None = None, *, hold: int = 1) -> Seen:
        """Play as many steps as an episode may have; show every `stride`-th state.

        Where the environment itself ends the episode (terminated or truncated), the next one begins.

        Args:
            seed: of the first episode and of random actions.
            stride: steps from one state that is shown to the next.
            act: turns an observation into an action; at random if not given.
            hold: for how many steps a random action is held.

        Returns:
            (limit // stride) states, in order.
        """
        observation, _ = self.world.reset(seed=seed)
        self.world.action_space.seed(seed)
        frames, views, success, quantities, states, moments = [], [], [], [], [], [0]
        action: Any = None
        for step in range(self.limit):
            if act is not None:
                action = act(observation)
            elif step % hold == 0:
                action = self.world.action_space.sample()
            observation, _, terminated, truncated, info = self.world.step(action)
            if step % stride == stride - 1:
                frames.append(self.world.render())
                views += self._views()
                success.append(bool(info["success"]))
                quantities.append(self._quantities(observation, info))
                states.append(self.world.unwrapped.configuration() if self.poses else [])  # type: ignore[attr-defined]
                moments.append(moments[-1] + 1)
            if terminated or truncated:
                observation, _ = self.world.reset()
                moments[-1] = 0
        shown = np.array(frames, np.uint8).reshape(-1, self.size, self.size, 3)
        placed = np.array(states, np.float64).reshape(len(success), -1) if states else np.zeros((0, 0))
        seen = np.array(views, np.uint8) if views else None
        places = np.array(moments[: len(success)], np.int64) if self.films else None
        return Seen(shown, np.array(success, np.bool_), quantities, placed, seen, places)

    def _views(self) -> list[NDArray[np.uint8]]:
        """The pictures of the present state that the reward needs besides `render`'s, as a list of one or none."""
        return [] if self._shots is None else [take_pictures(self.world, self._shots, 0)]

    def _quantities(self, observation: Any, info: dict[str, Any]) -> dict[str, float]:
        env: Any = self.world.unwrapped
        of_scene: dict[str, float] = dict(env.quantities()) if hasattr(env, "quantities") else {}
        of_rule: dict[str, float] = self.world.get_wrapper_attr("read_quantities")(observation, info)
        return of_scene | of_rule

    def _blank(self, count: int) -> NDArray[np.uint8]:
        return np.zeros((count, self.size, self.size, 3), np.uint8)
