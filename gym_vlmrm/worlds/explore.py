"""States of a world, spread over what is told apart there, found by going on from where others came to.

Random play from the start sees little of most worlds. So states that were reached are kept, cell by cell, and play goes
on from cells that were seldom chosen ("Go-Explore", Ecoffet et al. 2021, arXiv 2004.12919, without its second phase). A
cell is of one kind, by the quantities that are read and how true the captions are, and a part of it, by what else is
observed: swinging up takes speeds that no caption reads. What is drawn is spread over the kinds. Where a world's state
cannot be told, every stint goes on from where the last one ended, and begins anew where an episode is over.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import WorldError
from gym_vlmrm.task.captions import CaptionSpec
from gym_vlmrm.task.rules import quantity_names
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.answers import not_finite
from gym_vlmrm.worlds.anywhere import put_anywhere
from gym_vlmrm.worlds.configurations import configurations
from gym_vlmrm.worlds.readings import Readings
from gym_vlmrm.worlds.scene import find_scene, told_by_pose
from gym_vlmrm.worlds.state import WorldState, put_state, state_of
from gym_vlmrm.worlds.world import make_world

__all__ = ["Explorer", "Sight"]

BINS = 6
"""Of each quantity that is read, and of each caption's truth."""
HOLDS = (1, 2, 4, 8, 16)
"""For how many steps an action is held."""
EXTREME = 0.3
"""How often a drawn action lies in a corner of its box: what is worth seeing often takes all the force there is."""
STINT = 24
"""Most steps from one choice of a state to the next."""
ANEW = 0.25
"""How often play begins anew all the same."""
ANYWHERE = 0.7
"""How often a beginning is a pose from anywhere, where `put_anywhere` knows how."""
SHORT = 4
"""The same on the way from a state that is kept to one that is drawn."""
LEAD = 2.0
"""How many times as many states as the average cell one may show."""
OBSERVED, OBSERVED_BINS = 4, 5
"""Observations of more numbers are projected on so many, and so many bins of each make a cell."""
MOST_READ = 1000
"""Numbers of an observation that is looked at; pictures are not."""
MOST_CELLS = 2500
"""Cells after which only those of a new kind are kept: each holds a state of the whole world."""
REPLACED = 0.1
"""How often a cell takes a new state for its old one."""
SCOUTING = 12
"""Steps per state wanted that are made before any is drawn, so that what is hard to reach is known by then."""
TOLD = 16
"""Steps from one time that it is said how many were made to the next."""
PERSISTENCE = 10
"""How many times as many are made while a caption, or the rule of success, has never been true."""
FOREMOST = 32
"""Cells where it is truest."""
DRIVEN = 0.5
"""How often play goes on meanwhile from where such a caption is truest."""
REACHED = 0.9
"""From this truth on a caption counts as true."""
PATIENCE = 30
"""Steps per state wanted, at most: a world may have but few cells."""
POSED_ANYWHERE = 0.25
"""Share of the posed states that come from anywhere in the space of configurations."""
Act = Callable[[Any], Any]


@dataclass(frozen=True)
class Sight:
    """One state as it was seen."""

    frame: NDArray[np.uint8]
    """(S, S, 3)."""
    truths: tuple[float, ...]
    """How true each caption is, in [0, 1]."""
    quantities: dict[str, float]
    success: bool
    """What the task's rule says; False without one."""
    state: WorldState | None
    """What it takes to go on from here; ``None`` where the world cannot tell, or the episode is over."""


Key = tuple[int, ...]


@dataclass
class _Cell:
    truths: Floats
    """How true each caption is of its state."""
    state: WorldState
    chosen: int = 0


class Explorer:
    """Plays a task's world and remembers where it came to."""

    def __init__(self, task: TaskSpec, captions: Sequence[CaptionSpec], size: int, seed: int) -> None:
        """Build the world; `size` is the side of its frames [px].

        Raises:
            TaskError: the captions read what the world does not have.
            RenderingError: it cannot be drawn.
        """
        self.task, self.captions = task, captions
        self.world: gym.Env[Any, Any] = make_world(task, render_size=size, limited=True)
        self._rule = task.success_rule
        judged = [] if self._rule is None else list(quantity_names(self._rule))
        of_captions = [name for caption in captions for name in caption.reads()]
        written = [caption.model_dump(mode="json") for caption in captions]
        try:
            self._read = Readings(self.world, of_captions, task_id=task.id, written=written, field="captions")
            self._read_all = Readings(
                self.world, [*of_captions, *judged], task_id=task.id, written=task.success, field="success"
            )
        except BaseException:
            self.world.close()
            raise
        self._names = list(dict.fromkeys([*of_captions, *judged]))
        self.world.action_space.seed(seed)
        self._rng = np.random.default_rng([seed, 7])
        self._seed, self._episodes = seed, 0
        self.odd: Counter[str] = Counter()
        """In how many states a quantity that is read was no finite number; those are passed over."""
        self.steps = 0
        """Steps of the world so far."""
        self._cells: dict[Key, _Cell] = {}
        self._by_kind: dict[Key, dict[Key, None]] = {}
        """Cells of each kind."""
        self._chosen: Counter[Key] = Counter()
        self._shown: Counter[Key] = Counter()
        """States that were drawn, by kind."""
        self._best = np.zeros(len(captions))
        self._succeeded = self._rule is None
        self._ranges: dict[str, tuple[Floats, Floats]] = {}
        self._projection: Floats | None = None

    @property
    def tells_states(self) -> bool:
        """Whether the world can be put back into a state; known once it has begun."""
        return bool(self._cells)

    def close(self) -> None:
        """Free the world."""
        self.world.close()

    def explore(
        self,
        count: int,
        on_done: Callable[[int], None] = lambda _: None,
        on_scouted: Callable[[int, int], None] = lambda steps, wanted: None,
    ) -> list[Sight]:
        """Return states, seldom ones preferred; fewer than `count` where the world shows no more of them.

        Args:
            count: how many.
            on_done: called with the number of states that are found.
            on_scouted: called before that, with the steps that were made to find them, and how many there will be.

        Raises:
            TaskError: captions read of ``info`` what a step does not bring.
            RenderingError, WorldError: the world cannot be drawn, fails, or observes what is not finite.
        """
        found: list[Sight] = []
        if not self._episodes:
            for steps, _ in enumerate(self._wander(draw=False), 1):
                enough = SCOUTING * count if not self._unreached else PERSISTENCE * SCOUTING * count
                if steps % TOLD == 0:
                    on_scouted(min(steps, enough), enough)
                if steps >= enough:
                    break
        for sight in self._revisit(count) if self.tells_states else islice(self._wander(), PATIENCE * count):
            if sight is not None:
                found.append(sight)
                on_done(len(found))
            if len(found) == count:
                break
        return found

    def follow(self, act: Act, count: int, stride: int) -> Iterator[Sight]:
        """Yield every `stride`-th state of episodes in which `act` turns observations into actions."""
        left, observation = count, self._begin()
        while left > 0:
            for _ in range(stride):
                observation, _, terminated, truncated, info = self._step(act(observation))
                if terminated or truncated:
                    break
            yield self._see(observation, info, None if terminated or truncated else state_of(self.world, roughly=True))
            left -= 1
            if terminated or truncated:
                observation = self._begin()

    @property
    def can_pose(self) -> bool:
        """Whether the world is a scene that can be put into any configuration, and names all that is read."""
        return find_scene(self.task.env.id) is not None and all(told_by_pose(name) for name in self._names)

    def posed(self, count: int) -> Iterator[Sight]:
        """Yield configurations of a scene: a part from anywhere, the others from what an audit of it looks at."""
        env: Any = self.world.unwrapped
        for state in islice(configurations(env, self._rng, POSED_ANYWHERE), count):
            yield self.pose(state)

    def pose(self, configuration: Floats) -> Sight:
        """Put the scene into a configuration (C,)."""
        if self._episodes == 0:
            self._begin()
        env: Any = self.world.unwrapped
        env.place(configuration)
        return self._see(None, {}, None)

    def go_on(self, state: WorldState | None, longest: int = STINT) -> Sight | None:
        """Return what is seen after a stint from a state, from the start for ``None``.

        ``None`` is returned where a quantity is no number there.
        """
        if state is None:
            self._begin()
        else:
            self._put(state)
        for action in self.stint(longest):
            observation, _, terminated, truncated, info = self._step(action)
            over = bool(terminated or truncated)
            if over:
                break
        quantities = self._read_all(observation, info)
        if not self._all_finite(quantities):
            return None
        return self._see(observation, info, None if over else state_of(self.world, roughly=True))

    def states(self) -> list[WorldState]:
        """Return the states that are kept now, cell by cell."""
        return [cell.state for cell in self._cells.values()]

    def stint(self, longest: int = STINT) -> list[Any]:
        """Draw actions for one stint, some held for several steps."""
        return list(islice(self._actions(), int(self._rng.integers(1, longest + 1))))

    def _wander(self, *, draw: bool = True) -> Iterator[Sight | None]:
        """Yield a state, or None for one that resembles too many others, of every step that is made.

        Without `draw` states are only remembered, to go on from; where none can be told, nothing is done.
        """
        over = True
        while True:
            state = self._choose()
            if state is not None:
                self._put(state)
            elif over or self.tells_states or self._rng.random() < ANEW:
                self._begin()
            over = False
            for action in self.stint():
                observation, _, terminated, truncated, info = self._step(action)
                over = bool(terminated or truncated)
                yield self._look(observation, info, over, draw)
                if over:
                    break
            if not draw and not self.tells_states:
                return

    @property
    def _unreached(self) -> bool:
        return not self._succeeded or bool((self._best < REACHED).any())

    def _revisit(self, count: int) -> Iterator[Sight | None]:
        """Go on a little from states of every cell in turn, those first that were shown least."""
        for _ in range(2 * count):
            least = min(self._shown[kind] for kind in self._by_kind)
            waiting = [kind for kind in self._by_kind if self._shown[kind] == least]
            kind = waiting[int(self._rng.integers(len(waiting)))]
            self._shown[kind] += 1
            keys = list(self._by_kind[kind])
            yield self.go_on(self._cells[keys[int(self._rng.integers(len(keys)))]].state, SHORT)

    def _begin(self) -> Any:
        self._episodes += 1
        observation = self.world.reset(seed=self._seed + self._episodes)[0]
        self._check_finite(observation, "a reset")
        if self._episodes == 1:
            self.world.render()  # a state of a world that has drawn nothing lacks its cameras, and they cost much
        elif self._rng.random() < ANYWHERE:
            put_anywhere(self.world, self._rng)
        return observation

    def _step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        step = self.world.step(action)
        self.steps += 1
        self._check_finite(step[0], "a step")
        return step

    def _put(self, state: WorldState) -> None:
        try:
            put_state(self.world, state, roughly=True)
        except WorldError as error:
            raise WorldError(
                f"environment '{self.task.env.id}' cannot be put back into a state that it was in: {error}; "
                "mend its set_state, or remove it and get_state"
            ) from error

    def _check_finite(self, observation: Any, after: str) -> None:
        """Refuse what no agent can learn from, long before one meets it."""
        odd = not_finite(observation)
        if odd is not None:
            raise WorldError(
                f"environment '{self.task.env.id}': {odd} after {after}, and agents learn from finite numbers alone; "
                "let the environment give one, or end the episode before"
            )

    def _actions(self) -> Iterator[Any]:
        space = self.world.action_space
        bounded = isinstance(space, gym.spaces.Box) and np.isfinite(space.low).all() and np.isfinite(space.high).all()
        while True:
            action: Any = space.sample()
            if bounded and self._rng.random() < EXTREME:
                action = np.where(self._rng.random(space.shape) < 0.5, space.low, space.high)  # type: ignore[attr-defined]
                action = action.astype(space.dtype)
            for _ in range(int(self._rng.choice(HOLDS))):
                yield action

    def _choose(self) -> WorldState | None:
        """Choose a state to go on from; None to begin anew, or where no state can be told."""
        if not self._cells or self._rng.random() < ANEW:
            return None
        cells = list(self._cells.values())
        lacking = np.flatnonzero(self._best < REACHED)
        if len(lacking) and self._rng.random() < DRIVEN:
            wanted = int(self._rng.choice(lacking))
            cells = sorted(cells, key=lambda cell: -cell.truths[wanted])[:FOREMOST]
        else:
            kinds = list(self._by_kind)
            weights = 1 / np.sqrt([1.0 + self._chosen[kind] for kind in kinds])
            kind = kinds[int(self._rng.choice(len(kinds), p=weights / weights.sum()))]
            self._chosen[kind] += 1
            cells = [self._cells[key] for key in self._by_kind[kind]]
        weights = 1 / np.sqrt([1.0 + cell.chosen for cell in cells])
        cell = cells[int(self._rng.choice(len(cells), p=weights / weights.sum()))]
        cell.chosen += 1
        return cell.state

    def _look(self, observation: Any, info: Mapping[str, Any], final: bool, draw: bool) -> Sight | None:
        quantities = self._read_all(observation, info)
        if not self._all_finite(quantities):
            return None
        values = np.array([quantities[name] for name in self._names])
        truths = np.array(self._truths(quantities))
        self._best = np.maximum(self._best, truths)
        self._succeeded = self._succeeded or bool(self._rule is not None and self._rule.holds(quantities))
        kind = self._kind(values, truths)
        if not final:
            self._keep(kind, truths, observation)
        if not draw or self._shown[kind] > LEAD * self._shown.total() / max(len(self._shown), 1):
            return None  # common states shall not drown the rare
        self._shown[kind] += 1
        return self._see(observation, info, None if final else state_of(self.world, roughly=True))

    def _all_finite(self, quantities: Mapping[str, float]) -> bool:
        odd = [name for name in self._names if not np.isfinite(quantities[name])]
        self.odd.update(odd)
        return not odd

    def _keep(self, kind: Key, truths: Floats, observation: Any) -> None:
        """Remember the present state, if its cell has none, and now and then if it has one."""
        key = (*kind, *self._part(observation))
        cell = self._cells.get(key)
        known = cell is not None
        if known and self._rng.random() >= REPLACED:
            return
        if not known and len(self._cells) >= MOST_CELLS and kind in self._by_kind:
            return
        state = state_of(self.world, roughly=True)
        if state is not None:
            self._cells[key] = _Cell(truths, state, cell.chosen if cell is not None else 0)
            self._by_kind.setdefault(kind, {})[key] = None

    def _see(self, observation: Any, info: Mapping[str, Any], state: WorldState | None) -> Sight:
        quantities = self._read_all(observation, info)
        frame = np.array(self.world.render())
        success = self._rule is not None and bool(self._rule.holds(quantities))
        return Sight(frame, self._truths(quantities), quantities, success, state)

    def _truths(self, quantities: Mapping[str, float]) -> tuple[float, ...]:
        return tuple(caption.truth(quantities) for caption in self.captions)

    def _kind(self, values: Floats, truths: Floats) -> Key:
        return (*self._binned("read", values, BINS), *np.minimum((truths * BINS).astype(int), BINS - 1).tolist())

    def _part(self, observation: Any) -> Key:
        """Return the bins of what is observed, of a projection where that is many numbers; none of what is no array."""
        if (
            not isinstance(observation, np.ndarray)
            or observation.dtype.kind not in "fiu"
            or observation.size > MOST_READ
        ):
            return ()
        flat = observation.reshape(-1).astype(np.float64)
        if flat.size > OBSERVED:
            if self._projection is None:
                self._projection = np.random.default_rng(flat.size).standard_normal((OBSERVED, flat.size))
            flat = self._projection @ flat
        return self._binned("observed", flat, OBSERVED_BINS)

    def _binned(self, what: str, values: Floats, bins: int) -> Key:
        """Return the bins of values between the least and the highest so far."""
        low, high = self._ranges.get(what, (values, values))
        low, high = np.minimum(low, values), np.maximum(high, values)
        self._ranges[what] = low, high
        share = (values - low) / np.maximum(high - low, 1e-9)
        return tuple(np.minimum((share * bins).astype(int), bins - 1).tolist())
