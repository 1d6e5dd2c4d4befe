"""Which states an audit looks at: a grid where the state is small, poses and near misses of the humanoid."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.auditing.space import SPACES
from gym_vlmrm.auditing.stage import StagePool
from gym_vlmrm.errors import TaskError, VLMRMError
from gym_vlmrm.task.catalog import builtin_tasks
from gym_vlmrm.task.shortfall import quantity_scales
from gym_vlmrm.task.spec import TaskSpec

__all__ = [
    "DISTURBED",
    "FILE",
    "GRID",
    "NEAR_MISS",
    "PATH",
    "POLICY",
    "POSE",
    "RANDOM",
    "ROLLOUT",
    "Plan",
    "plan_states",
]

Floats = NDArray[np.float64]
GRID, POSE, NEAR_MISS, PATH = "grid", "reference pose", "near miss", "way to the goal"
RANDOM, DISTURBED, ROLLOUT, POLICY, FILE = "random state", "disturbed goal", "random policy", "given policy", "picture"

GOAL_VARIANTS, NEAR_MISS_VARIANTS, RANDOM_POSES, DISTURBED_POSES = 260, 10, 160, 140
PATHS, PATH_POINTS = 4, 25
START_POSES = ("standing", "lying_front", "sitting_legs_forward")
"""Legs of the start of a way to the goal: the first that is not the goal itself."""


@dataclass
class Plan:
    """States to show, row by row, with what is known of them beforehand."""

    axis: str = ""
    """What the coordinates are."""
    states: list[Floats] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    coordinates: list[float] = field(default_factory=list)

    def add(self, state: Floats, source: str, name: str, coordinate: float = np.nan) -> None:
        """Add one state."""
        self.states.append(state)
        self.sources.append(source)
        self.names.append(name)
        self.coordinates.append(coordinate)


def plan_states(task: TaskSpec, pool: StagePool, rng: np.random.Generator) -> Plan:
    """Return the states of a posable task (see `gym_vlmrm.auditing.stage.can_pose`); `pool` judges, `rng` draws."""
    return _PLANS[task.env.id](task, pool, rng)


def _cartpole(task: TaskSpec, pool: StagePool, rng: np.random.Generator) -> Plan:
    plan = Plan("pole angle [deg], cart in the middle")
    angles = sorted({*range(-180, 181, 6), *range(-30, 31, 2)})
    for cart in (-2.7, -2.0, -1.0, 0.0, 1.0, 2.0, 2.7):
        for angle in angles:
            place = f"pole at {angle} deg, cart at {cart:g} m"
            plan.add(np.array([cart, np.radians(angle)]), GRID, place, float(angle) if cart == 0 else np.nan)
    for _ in range(120):
        cart, angle = rng.uniform(-2.3, 2.3), rng.uniform(-25, 25)
        plan.add(np.array([cart, np.radians(angle)]), RANDOM, f"pole at {angle:.0f} deg, cart at {cart:.1f} m")
    return plan


def _mountain_car(task: TaskSpec, pool: StagePool, rng: np.random.Generator) -> Plan:
    plan = Plan("car position [m], flag at 0.45")
    for x in np.linspace(-1.2, 0.6, 181):
        plan.add(np.array([x]), GRID, f"car at {x:.2f}", float(round(x, 6)))
    for x in rng.uniform(0.3, 0.6, 80):
        plan.add(np.array([x]), RANDOM, f"car at {x:.2f}")
    return plan


def _humanoid(task: TaskSpec, pool: StagePool, rng: np.random.Generator) -> Plan:
    # Here and not above, because importing it imports MuJoCo.
    from gym_vlmrm.worlds.poses.kinematics import set_down
    from gym_vlmrm.worlds.poses.near_misses import near_miss_pose, near_misses
    from gym_vlmrm.worlds.poses.poses import ARM_POSES, LEG_POSES, can_combine, random_pose, reference_pose

    plan = Plan("way from {start} to the goal")
    pairs = [(legs, arms) for legs in LEG_POSES for arms in ARM_POSES if can_combine(legs, arms)]
    for legs, arms in pairs:
        plan.add(reference_pose(legs, arms), POSE, _words(legs, arms))
    hits = pool.show(np.array(plan.states), draw=False).success
    goal_pairs = [pair for pair, hit in zip(pairs, hits, strict=True) if hit]
    goals = _goal_variants(goal_pairs, pool, rng) if goal_pairs else _searched_goals(task, pool, rng)
    for state, name in goals:
        plan.add(state, POSE, name)
    key = next((name for name, builtin in builtin_tasks().items() if builtin.id == task.id), "")
    try:
        misses = near_misses(key)
    except VLMRMError:
        misses = []
    for name in misses:
        for _ in range(NEAR_MISS_VARIANTS):
            plan.add(near_miss_pose(name, rng), NEAR_MISS, name.replace("_", " "))
    for _ in range(RANDOM_POSES):
        plan.add(random_pose(rng), RANDOM, "random pose")
    for _ in range(DISTURBED_POSES):
        state, name = goals[rng.integers(len(goals))]
        wild, moved = random_pose(rng), state.copy()
        moved[7:] = np.where(rng.random(17) < rng.uniform(0.1, 0.6), wild[7:], moved[7:])
        plan.add(set_down(moved), DISTURBED, f"{name}, disturbed")
    _add_paths(plan, goals, dict(zip(pairs, zip(plan.states, hits, strict=False), strict=False)), rng)
    return plan


def _words(legs: str, arms: str) -> str:
    return f"{legs}, arms {arms}".replace("_", " ")


def _goal_variants(pairs: list[tuple[str, str]], pool: StagePool, rng: np.random.Generator) -> list[tuple[Floats, str]]:
    """Draw natural variants of the reference poses that are successes, and keep those that are successes too."""
    from gym_vlmrm.worlds.poses.poses import reference_pose

    drawn = [(pairs[rng.integers(len(pairs))], rng.choice([0.5, 1.0, 1.5])) for _ in range(2 * GOAL_VARIANTS)]
    states = [reference_pose(*pair, rng=rng, variation=variation) for pair, variation in drawn]
    hits = pool.show(np.array(states), draw=False).success
    kept = [(state, _words(*pair)) for state, (pair, _), hit in zip(states, drawn, hits, strict=True) if hit]
    return kept[:GOAL_VARIANTS] or [(reference_pose(*pair), _words(*pair)) for pair in pairs]


def _searched_goals(task: TaskSpec, pool: StagePool, rng: np.random.Generator) -> list[tuple[Floats, str]]:
    """Search for successes where no reference pose is one."""
    from gym_vlmrm.auditing.search import search_success

    rule = task.success_rule
    assert rule is not None
    sample = pool.show(SPACES[task.env.id].decode(rng.random((400, SPACES[task.env.id].dimension))), draw=False)
    scales = quantity_scales(rule, sample.quantities)
    found = search_success(pool, SPACES[task.env.id], rule, scales, int(rng.integers(2**31)))
    if len(found) == 0:
        raise TaskError(
            f"task '{task.id}': neither a reference pose nor a search found a success; check the rule 'success:',"
            " or give --frames DIR with DIR/goal and DIR/other"
        )
    return [(state, "found by search") for state in found[:GOAL_VARIANTS]]


def _add_paths(
    plan: Plan,
    goals: list[tuple[Floats, str]],
    references: dict[tuple[str, str], tuple[Floats, bool]],
    rng: np.random.Generator,
) -> None:
    from gym_vlmrm.worlds.poses.poses import pose_path

    start = next((legs for legs in START_POSES if not references[legs, "down"][1]), START_POSES[-1])
    plan.axis = plan.axis.format(start=start.replace("_", " ")) + " [share]"
    for number in rng.choice(len(goals), PATHS, replace=len(goals) < PATHS):
        goal, name = goals[number]
        path = pose_path(references[start, "down"][0], goal, PATH_POINTS)
        for share, state in zip(np.linspace(0, 1, PATH_POINTS), path, strict=True):
            plan.add(state, PATH, f"{share:.0%} of the way to {name}", float(round(share, 6)))


_PLANS: dict[str, Callable[[TaskSpec, StagePool, np.random.Generator], Plan]] = {
    "Humanoid-v5": _humanoid,
    "CartPole-v1": _cartpole,
    "MountainCarContinuous-v0": _mountain_car,
}
