"""The hunt for states that fool a model: those that it rates high and that do not deserve it.

Where the package's own scene can be posed, CMA-ES searches its configurations for the highest rating. Where a world's
state can be told, stints of random play compete: the best rated go on. Elsewhere short agents chase the reward.
"""

import shutil
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.search import POPULATION, minimise_together
from gym_vlmrm.interrupts import Stopped
from gym_vlmrm.learning import choose_recipe, train
from gym_vlmrm.learning.agents import TrainedAgent
from gym_vlmrm.learning.algorithms import find_algorithm
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.stored_policy import load_agent
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.teaching.lessons import World
from gym_vlmrm.worlds.explore import STINT, Explorer, Sight
from gym_vlmrm.worlds.scene import find_scene
from gym_vlmrm.worlds.state import WorldState

__all__ = ["Prey", "hunt", "policy_sights", "steps_of_hunt"]

OVERRATED_SHARE = 0.5
"""Share of what is kept that is overrated most; the others are drawn from all that the hunt saw."""
SEEN_PER_KEPT = 4
"""States that a hunt looks at for each that it keeps."""
RESTARTS = 4
"""Searches for the highest rating of each goal."""
PARTIES = 32
"""Stints that compete."""
CHECKPOINTS, NOISES = 4, (0.0, 0.2, 0.5)
"""Stages of an agent's learning that play, and how noisy its actions are [share of their range]."""
LEARNING = 0.75
"""Share of such a hunt, as it is told, in which its agent learns."""
STRIDE = 3
"""Steps of an agent from one state that is kept to the next."""
Rate = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
OnDone = Callable[[int, int], None]


class Prey:
    """What one hunt saw: states, and how true the caption that was hunted seemed of each."""

    def __init__(self, caption: int) -> None:
        """Begin with nothing; `caption` is the number of the caption among its world's."""
        self.caption = caption
        self.sights: list[Sight] = []
        self.ratings: list[float] = []

    def add(self, sights: Sequence[Sight], ratings: Floats) -> None:
        """Remember some states and their ratings (N,)."""
        self.sights += sights
        self.ratings += ratings.tolist()

    @property
    def excess(self) -> Floats:
        """How much each state is overrated (N,)."""
        truths = np.array([sight.truths[self.caption] for sight in self.sights], np.float64)
        return np.asarray(self.ratings, np.float64) - truths

    def choose(self, count: int, rng: np.random.Generator) -> list[Sight]:
        """Choose states: those that are overrated most, and others at random."""
        worst_first = np.argsort(-self.excess, kind="stable")
        worst, others = np.split(worst_first, [round(OVERRATED_SHARE * count)])
        return [self.sights[row] for row in [*worst, *rng.permutation(others)][:count]]


def hunt(
    world: World,
    explorer: Explorer,
    rate: Rate,
    count: int,
    seed: int,
    *,
    place: Path,
    steps: int,
    workers: int | None,
    on_done: OnDone,
) -> list[Prey]:
    """Hunt in one world for what fools a model about each goal.

    Args:
        world: the world.
        explorer: plays it, and has explored it.
        rate: frames (N, H, W, 3) to how true (N, C) the world's captions seem.
        count: states that will be kept of all hunts together.
        seed: equal seeds hunt alike.
        place: a folder that holds the model, for agents, which leave nothing there.
        steps: environment steps of an agent.
        workers: processes that step an agent's environments.
        on_done: called with the finished and all hunts' states.
    """
    goals = world.goals
    budget = _budget(world, count)
    found = []
    for index, goal in enumerate(goals):
        prey = Prey(goal)

        def done(seen: int, index: int = index) -> None:
            on_done(min(index * budget + seen, len(goals) * budget), len(goals) * budget)

        if explorer.can_pose:
            _search(explorer, rate, prey, budget, seed + index, done)
        elif explorer.tells_states:
            _chase(explorer, rate, prey, budget, seed + index, done)
        else:
            task = _chased(world, goal)
            _send_agent(task, explorer, rate, prey, budget, seed + index, place, steps, workers, done)
        found.append(prey)
    return found


def steps_of_hunt(world: World, explorer: Explorer, count: int, steps: int) -> int:
    """Return about how many steps of the world one `hunt` makes; arguments as there."""
    if explorer.can_pose:
        return 0
    each = _budget(world, count)
    return len(world.goals) * (each * (1 + STINT) // 2 if explorer.tells_states else steps + STRIDE * each)


def _budget(world: World, count: int) -> int:
    """Return how many states are looked at for each goal."""
    return max(SEEN_PER_KEPT * count // len(world.goals), 2 * PARTIES)


def policy_sights(
    agent: TrainedAgent, explorer: Explorer, count: int, rng: np.random.Generator, stride: int = STRIDE
) -> Iterator[Sight]:
    """Yield states that a policy passes, with more and less noise in its actions."""
    world = explorer.world
    agent.enter(world.observation_space, world.action_space, explorer.task.env.id)
    space = world.action_space
    share = max(count // len(NOISES), 1)
    for noise in NOISES:
        agent.restart()

        def act(observation: Any, noise: float = noise) -> Any:
            action = agent.act_alone(observation, world)
            if isinstance(space, Box):
                moved = action + noise * rng.standard_normal(space.shape) * (space.high - space.low) / 2
                return np.clip(moved, space.low, space.high).astype(space.dtype)
            return space.sample() if rng.random() < noise else action

        yield from explorer.follow(act, share, stride)


def _search(explorer: Explorer, rate: Rate, prey: Prey, budget: int, seed: int, done: Callable[[int], None]) -> None:
    space = find_scene(explorer.task.env.id).search_space()
    rng = np.random.default_rng([seed, 13])

    def costs(points: Floats, generation: int) -> list[Floats]:
        sights = [explorer.pose(state) for state in space.decode(points)]
        ratings = _ratings(rate, sights, prey.caption)
        prey.add(sights, ratings)
        done(len(prey.sights))
        return list(-ratings.reshape(RESTARTS, POPULATION))

    starts = [rng.random(space.dimension) for _ in range(RESTARTS)]
    minimise_together(starts, costs, max(budget // (RESTARTS * POPULATION), 2), seed)


def _chase(explorer: Explorer, rate: Rate, prey: Prey, budget: int, seed: int, done: Callable[[int], None]) -> None:
    rng = np.random.default_rng([seed, 17])
    known = explorer.states()
    parties: list[tuple[float, WorldState | None]] = []
    while len(prey.sights) < budget:
        anywhere = [known[int(rng.integers(len(known)))] for _ in range(PARTIES - len(parties))]
        arrived = []
        for state in [*(state for _, state in parties), *anywhere]:
            sight = explorer.go_on(state)
            if sight is not None:
                arrived.append(sight)
        if not arrived:
            return
        ratings = _ratings(rate, arrived, prey.caption)
        prey.add(arrived, ratings)
        done(len(prey.sights))
        alive = [(float(rating), sight.state) for rating, sight in zip(ratings, arrived, strict=True) if sight.state]
        # The best go on, those of before too: a stint may lead away from where it began.
        parties = sorted([*parties, *alive], key=lambda party: -party[0])[: 3 * PARTIES // 4]


def _chased(world: World, goal: int) -> TaskSpec:
    """The task whose goal prompt a caption says; else the world's first, with a sentence of it for a goal."""
    said = set(world.captions[goal].sentences)
    for task in world.tasks:
        if said & {text for part in task.reward.all_parts for text in part.goals}:
            return task
    return override(world.task, goal=world.captions[goal].sentences[0])


def _send_agent(
    task: TaskSpec,
    explorer: Explorer,
    rate: Rate,
    prey: Prey,
    budget: int,
    seed: int,
    place: Path,
    steps: int,
    workers: int | None,
    done: Callable[[int], None],
) -> None:
    """Train an agent on the model's reward, and look at what it shows at every stage of its learning."""
    path = place / "agent"
    judged = override(task, model=f"local-dir:{place}", device="cpu")
    name, recipe = choose_recipe(judged, steps=steps)
    recipe = recipe.model_copy(update={"checkpoint_every": max(steps // CHECKPOINTS, 1)})
    if find_algorithm(recipe.algorithm).kind == "off-policy":  # no more room than so few steps fill: pictures are large
        filled = steps + recipe.num_envs
        room = {"buffer_size": min(recipe.hyperparameters.get("buffer_size", filled), filled)}
        recipe = recipe.model_copy(update={"hyperparameters": {**recipe.hyperparameters, **room}})
    rng = np.random.default_rng([seed, 19])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of words and spaces, which were said already
            result = train(
                judged, recipe, recipe_name=name, seed=seed, output=path, workers=workers,
                on_progress=lambda made: done(round(LEARNING * budget * min(made.step / steps, 1.0))),
            )  # fmt: skip
        if result.interrupted:
            raise Stopped(result.signal or signal.SIGINT)
        checkpoints = RunFolder.open(path).checkpoints()
        for checkpoint in checkpoints:
            sights = list(policy_sights(load_agent(checkpoint.path), explorer, budget // len(checkpoints), rng))
            prey.add(sights, _ratings(rate, sights, prey.caption))
            done(round(LEARNING * budget + (1 - LEARNING) * len(prey.sights)))
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _ratings(rate: Rate, sights: Sequence[Sight], caption: int) -> Floats:
    return np.asarray(rate(np.stack([sight.frame for sight in sights]))[:, caption], np.float64)
