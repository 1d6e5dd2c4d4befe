"""Which states an audit looks at: a grid where the state is small, poses and near misses of the humanoid."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.search import minimise_together
from gym_vlmrm.auditing.stage_pool import StagePool
from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.catalog import builtin_tasks
from gym_vlmrm.task.rules import Rule, quantity_scales, shortfalls
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.scene import BodySurvey, Grid, SearchSpace, find_scene

__all__ = [
    "DISTURBED",
    "EXPLORED",
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
GRID, POSE, NEAR_MISS, PATH = "grid", "reference pose", "near miss", "way to the goal"
RANDOM, DISTURBED, ROLLOUT, POLICY, FILE = "random state", "disturbed goal", "random policy", "given policy", "picture"
EXPLORED = "exploration"

GOAL_VARIANTS, NEAR_MISS_VARIANTS, RANDOM_POSES, DISTURBED_POSES = 260, 10, 160, 140
PATHS, PATH_POINTS = 4, 25


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
    """Return the states of a posable task (see `gym_vlmrm.worlds.scene.can_pose`); `pool` judges, `rng` draws."""
    survey = find_scene(task.env.id).survey()
    return _grid(survey, rng) if isinstance(survey, Grid) else _bodies(task, survey, pool, rng)


def _grid(grid: Grid, rng: np.random.Generator) -> Plan:
    plan = Plan(grid.axis)
    for source, landmarks in ((GRID, grid.places()), (RANDOM, grid.cloud(rng))):
        for landmark in landmarks:
            plan.add(landmark.state, source, landmark.name, landmark.coordinate)
    return plan


def _bodies(task: TaskSpec, survey: BodySurvey, pool: StagePool, rng: np.random.Generator) -> Plan:
    plan = Plan("way from {start} to the goal")
    poses = survey.poses()
    for name, state in poses.items():
        plan.add(state, POSE, name)
    hits = dict(zip(poses, pool.show(np.array(plan.states), draw=False).success, strict=True))
    reached = [name for name, hit in hits.items() if hit]
    goals = _goal_variants(reached, survey, pool, rng) if reached else _searched_goals(task, pool, rng)
    for state, name in goals:
        plan.add(state, POSE, name)
    key = next((name for name, builtin in builtin_tasks().items() if builtin.id == task.id), "")
    for name in survey.near_misses(key):
        for _ in range(NEAR_MISS_VARIANTS):
            plan.add(survey.near_miss(name, rng), NEAR_MISS, name.replace("_", " "))
    for _ in range(RANDOM_POSES):
        plan.add(survey.anything(rng), RANDOM, "random pose")
    for _ in range(DISTURBED_POSES):
        state, name = goals[rng.integers(len(goals))]
        plan.add(survey.disturb(state, rng), DISTURBED, f"{name}, disturbed")
    starts = survey.starts()
    start = next((name for name in starts if not hits[name]), starts[-1])
    _add_paths(plan, survey, start, poses[start], goals, rng)
    return plan


def _goal_variants(
    names: list[str], survey: BodySurvey, pool: StagePool, rng: np.random.Generator
) -> list[tuple[Floats, str]]:
    """Draw natural variants of the reference poses that are successes, and keep those that are successes too."""
    drawn = [(names[rng.integers(len(names))], rng.choice([0.5, 1.0, 1.5])) for _ in range(2 * GOAL_VARIANTS)]
    states = [survey.variant(name, variation, rng) for name, variation in drawn]
    hits = pool.show(np.array(states), draw=False).success
    kept = [(state, name) for state, (name, _), hit in zip(states, drawn, hits, strict=True) if hit]
    poses = survey.poses()
    return kept[:GOAL_VARIANTS] or [(poses[name], name) for name in names]


def _searched_goals(task: TaskSpec, pool: StagePool, rng: np.random.Generator) -> list[tuple[Floats, str]]:
    """Search for successes where no reference pose is one."""
    rule, space = task.success_rule, find_scene(task.env.id).search_space()
    assert rule is not None
    sample = pool.show(space.decode(rng.random((400, space.dimension))), draw=False)
    scales = quantity_scales(rule, sample.quantities)
    found = _search_success(pool, space, rule, scales, int(rng.integers(2**31)))
    if len(found) == 0:
        raise TaskError(
            f"task '{task.id}': neither a reference pose nor a search found a success; check the rule 'success:',"
            " or give --pictures DIR with DIR/goal and DIR/other"
        )
    return [(state, "found by search") for state in found[:GOAL_VARIANTS]]


def _search_success(
    pool: StagePool, space: SearchSpace, rule: Rule, scales: Mapping[str, float], seed: int, searches: int = 6
) -> Floats:
    """Search for successes (N, C) by walking down the rule's shortfall, without drawing anything; N may be 0."""
    rng = np.random.default_rng(seed)
    found: list[Floats] = []

    def costs(points: Floats, generation: int) -> list[Floats]:
        seen = pool.show(space.decode(points), draw=False)
        found.extend(seen.states[seen.success])
        return np.split(shortfalls(rule, seen.quantities, scales), searches)

    minimise_together([rng.random(space.dimension) for _ in range(searches)], costs, 60, seed)
    return np.array([found[i] for i in rng.permutation(len(found))])


def _add_paths(
    plan: Plan, survey: BodySurvey, name: str, start: Floats, goals: list[tuple[Floats, str]], rng: np.random.Generator
) -> None:
    plan.axis = plan.axis.format(start=name.partition(",")[0]) + " [share]"
    for number in rng.choice(len(goals), PATHS, replace=len(goals) < PATHS):
        goal, goal_name = goals[number]
        path = survey.path(start, goal, PATH_POINTS)
        for share, state in zip(np.linspace(0, 1, PATH_POINTS), path, strict=True):
            plan.add(state, PATH, f"{share:.0%} of the way to {goal_name}", float(round(share, 6)))
