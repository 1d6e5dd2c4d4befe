"""Frames of a world, spread over what its captions tell apart, found by going on from where others came to.

Random play from the start sees little of most worlds. So states that were reached are kept, cell by cell of what the
captions say and read, and play goes on from cells that were seldom chosen ("Go-Explore", Ecoffet et al. 2021,
arXiv 2004.12919, without its second phase). Worlds whose state cannot be told are begun anew each time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.captions import CaptionSpec
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.state import WorldState, put_state, state_of
from gym_vlmrm.worlds.world import make_world

__all__ = ["Explorer", "Sight"]

BINS = 6
"""Of each quantity that captions read, and of each caption's truth."""
HOLDS = (1, 2, 4, 8, 16)
"""For how many steps an action is held."""
STINT = 24
"""Most steps from a state to the next choice of one."""
LEAD = 2.0
"""How many times as many states as the average cell one may show."""
PER_CELL = 4
"""States kept of each cell."""


@dataclass(frozen=True)
class Sight:
    """One state as it was seen."""

    frame: NDArray[np.uint8]
    """(S, S, 3)."""
    truths: tuple[float, ...]
    """How true each caption is."""
    state: WorldState | None
    """What it takes to go on from here; ``None`` where the world cannot tell."""


@dataclass
class _Cell:
    states: list[WorldState | None] = field(default_factory=list)
    chosen: int = 0
    shown: int = 0


class Explorer:
    """Plays a task's world and remembers where it came to."""

    def __init__(self, task: TaskSpec, size: int, seed: int) -> None:
        """Build the world; `size` is the side of its frames [px].

        Raises:
            TaskError: the task has no captions, or they read what its world does not have.
        """
        self.captions: Sequence[CaptionSpec] = task.captions
        if not self.captions:
            raise TaskError(
                f"task '{task.id}' has no captions; write under captions: what is seen when", field=("captions",)
            )
        names = list(dict.fromkeys(name for caption in self.captions for name in caption.reads()))
        probe = task.model_copy(update={"success": {"any": [f"{name} > 0" for name in names]} if names else None})
        self.world: gym.Env[Any, Any] = make_world(probe, render_size=size, limited=True)
        self.world.action_space.seed(seed)
        self._rng = np.random.default_rng([seed, 7])
        self._seed = seed
        self._episodes = 0
        self._shown = 0
        self._cells: dict[tuple[int, ...], _Cell] = {}
        self._low: NDArray[np.float64] | None = None
        self._high: NDArray[np.float64] | None = None
        self._names = names

    def close(self) -> None:
        """Free the world."""
        self.world.close()

    def sights(self, act: Callable[[Any], Any] | None = None) -> Iterator[Sight]:
        """Yield states without end, rare ones oftener; `act` turns an observation into an action, else at random."""
        observation, over = self._begin(), False
        for _ in iter(int, 1):
            cell = self._choose()
            if cell is None or (over and cell.states[0] is None):
                observation = self._begin()
            elif cell.states[-1] is not None:
                state = cell.states[self._rng.integers(len(cell.states))]
                assert state is not None
                put_state(self.world, state)
            over = False
            for step, action in enumerate(self._actions()):
                chosen = action if act is None else act(observation)
                observation, _, terminated, truncated, info = self.world.step(chosen)
                sight = self._look(observation, info, final=terminated or truncated)
                if sight is not None:
                    yield sight
                over = bool(terminated or truncated)
                if over or step >= STINT:
                    break

    def _begin(self) -> Any:
        self._episodes += 1
        return self.world.reset(seed=self._seed + self._episodes)[0]

    def _actions(self) -> Iterator[Any]:
        while True:
            action = self.world.action_space.sample()
            if self._rng.random() < 0.3 and isinstance(self.world.action_space, gym.spaces.Box):
                low, high = self.world.action_space.low, self.world.action_space.high
                if np.isfinite(low).all() and np.isfinite(high).all():
                    action = np.where(self._rng.random(low.shape) < 0.5, low, high).astype(low.dtype)
            for _ in range(int(self._rng.choice(HOLDS))):
                yield action

    def _choose(self) -> _Cell | None:
        if not self._cells or self._rng.random() < 0.1:
            return None
        cells = list(self._cells.values())
        weights = 1 / np.sqrt([1.0 + cell.chosen for cell in cells])
        cell = cells[int(self._rng.choice(len(cells), p=weights / weights.sum()))]
        cell.chosen += 1
        return cell

    def _look(self, observation: Any, info: Mapping[str, Any], final: bool) -> Sight | None:
        quantities = self.world.get_wrapper_attr("read_quantities")(observation, info)
        truths = tuple(caption.truth(quantities) for caption in self.captions)
        values = np.array([quantities[name] for name in self._names])
        if not (np.isfinite(truths).all() and np.isfinite(values).all()):
            return None
        cell = self._cells.setdefault(self._key(values, truths), _Cell())
        wanted = len(cell.states) < PER_CELL
        if not wanted and cell.shown > LEAD * self._shown / len(self._cells):
            return None  # common cells shall not drown the rare
        cell.shown += 1
        self._shown += 1
        state = None if final else state_of(self.world)
        if not final:
            if wanted:
                cell.states.append(state)
            else:
                cell.states[self._rng.integers(PER_CELL)] = state
        return Sight(np.asarray(self.world.render()), truths, state)

    def _key(self, values: NDArray[np.float64], truths: Sequence[float]) -> tuple[int, ...]:
        self._low = values if self._low is None else np.minimum(self._low, values)
        self._high = values if self._high is None else np.maximum(self._high, values)
        share = (values - self._low) / np.maximum(self._high - self._low, 1e-9)
        binned = np.minimum((np.concatenate([share, truths]) * BINS).astype(int), BINS - 1)
        return tuple(binned.tolist())
