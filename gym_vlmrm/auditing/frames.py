"""The audit set: frames of a task's environment, each with its label, where it comes from and how far the goal is."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.plan import EXPLORED, FILE, POLICY, ROLLOUT, Plan, plan_states
from gym_vlmrm.auditing.stage import Seen, Stage, episode_length, join_seen
from gym_vlmrm.auditing.stage_pool import StagePool
from gym_vlmrm.errors import RunError, TaskError, VLMRMError
from gym_vlmrm.files import open_picture
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.task.parts import PLAIN_SHOTS
from gym_vlmrm.task.rules import quantity_scales, shortfalls
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.canvas import fit_square
from gym_vlmrm.worlds.explore import SCOUTING, Explorer
from gym_vlmrm.worlds.scene import can_pose

__all__ = ["AuditSet", "TooFewFramesError", "audit_set_from_files", "build_audit_set", "steps_of_set"]

FEWEST = 8
"""Fewer goal frames, or fewer others, say nothing."""
ROLLOUTS, ROLLOUT_FRAMES = 6, 20
BLIND_ROLLOUTS, BLIND_FRAMES = 40, 25
"""The same where states cannot be posed: every frame comes from a rollout."""
HELD = 8
"""Steps for which every second random episode holds its actions, where windows of episodes are judged: who draws a new
action at each step trembles, and hardly moves."""
EXPLORED_FRAMES = 500
"""Frames that exploring adds where random episodes hardly ever show the goal."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
MAX_PICTURES = 10_000
"""Most pictures of each kind that are read into memory."""
OnDone = Callable[[int, int], None]


@dataclass(frozen=True)
class AuditSet:
    """N labelled frames."""

    seen: Seen
    sources: NDArray[np.str_]
    """(N,) kind of state, such as ``near miss``."""
    names: NDArray[np.str_]
    """(N,) what the state is called."""
    coordinate: Floats
    """(N,) place on the landscape's axis; NaN for frames that are not on it."""
    axis: str
    """What the coordinate is."""
    distance: Floats | None
    """(N,) shortfall of the success rule; ``None`` for frames from files."""
    scales: dict[str, float]
    """Standard deviation of each quantity of the rule."""

    @property
    def labels(self) -> NDArray[np.bool_]:
        """(N,) whether the frame shows the goal."""
        return self.seen.success

    @property
    def episodes(self) -> NDArray[np.str_] | None:
        """(N,) the episode of each frame where all come from several episodes; ``None`` where some stand alone."""
        played = bool(np.isin(self.sources, (ROLLOUT, POLICY)).all())
        return self.names if played and len(np.unique(self.names)) > 1 else None

    def __len__(self) -> int:
        return len(self.seen)


class TooFewFramesError(TaskError):
    """Too few frames of an audit set show the goal, or too few do not."""

    def __init__(self, task_id: str, kind: Literal["goal", "other"], count: int, frames: int) -> None:
        """Tell of `count` frames of a kind among all `frames`."""
        super().__init__(
            f"task '{task_id}': only {count} of {frames} frames are {kind} frames by its success rule;"
            f" at least {FEWEST} are needed: give --pictures DIR with DIR/goal and DIR/other, or a trained --policy RUN"
        )
        self.kind, self.count, self.frames, self.least = kind, count, frames, FEWEST


def build_audit_set(
    task: TaskSpec,
    pool: StagePool,
    seed: int,
    *,
    policy: str | os.PathLike[str] | None = None,
    on_done: OnDone | None = None,
) -> AuditSet:
    """Draw the audit set of a task: posed states where the environment allows it, and rollouts.

    Args:
        task: a task with a rule of success.
        pool: shows its states.
        seed: equal seeds draw equal sets.
        policy: a run folder whose policy plays too.
        on_done: called with the finished and all frames.

    Raises:
        TooFewFramesError: too few frames show the goal, or too few do not.
        RunError: `policy` is no run, or its policy does not fit the task.
    """
    plan = plan_states(task, pool, np.random.default_rng([seed, 1])) if can_pose(task) else Plan()
    episodes, frames = (ROLLOUTS, ROLLOUT_FRAMES) if len(plan.states) else (BLIND_ROLLOUTS, BLIND_FRAMES)
    total = len(plan.states) + episodes * frames

    def done(count: int) -> None:
        if on_done is not None:
            on_done(min(count, total), total)

    parts: list[tuple[Seen, list[str], list[str], list[float]]] = []
    if len(plan.states):
        parts.append((pool.show(np.array(plan.states), on_done=done), plan.sources, plan.names, plan.coordinates))
    stride, holds = max(1, episode_length(task) // frames), [1]
    if task.reward.sees_films:  # which are made of the very pictures that the reward scores
        stride, holds = task.reward.every, [1, HELD]
    before = len(plan.states)
    seeds = [seed + 1000 + i for i in range(episodes)]
    rolled = pool.roll(seeds, stride, holds=holds, on_done=lambda n: done(before + n))
    parts += [_rollout(seen, ROLLOUT, f"random episode {i + 1}") for i, seen in enumerate(rolled)]
    if policy is not None:
        played = _play(task, pool.size, policy, stride, seed)
        parts += [_rollout(seen, POLICY, f"the policy's episode {i + 1}") for i, seen in enumerate(played)]
    if not len(plan.states) and sum(int(part[0].success.sum()) for part in parts) < FEWEST:
        parts += _explore(task, pool.size, seed)
    return _assemble(task, plan.axis, parts)


def steps_of_set(task: TaskSpec) -> int:
    """Return about how many steps of its world `build_audit_set` makes, at the least, where a task cannot be posed."""
    return BLIND_ROLLOUTS * episode_length(task) + SCOUTING * EXPLORED_FRAMES


def _explore(task: TaskSpec, size: int, seed: int) -> list[tuple[Seen, list[str], list[str], list[float]]]:
    """Show states that random play hardly ever reaches, spread over what the rule of success reads."""
    if task.reward.sees_films or task.reward.shots.slots != PLAIN_SHOTS.slots:
        return []  # windows of an episode, and what several cameras see of a state, are drawn while it is played
    explorer = Explorer(task, task.captions, size, seed + 3000)
    try:
        sights = explorer.explore(EXPLORED_FRAMES)
    finally:
        explorer.close()
    if not any(sight.success for sight in sights):
        return []
    seen = Seen(
        np.stack([sight.frame for sight in sights]),
        np.array([sight.success for sight in sights], np.bool_),
        [sight.quantities for sight in sights],
        np.zeros((len(sights), 0)),
    )
    return [_rollout(seen, EXPLORED, "a state found by exploring")]


def _rollout(seen: Seen, source: str, name: str) -> tuple[Seen, list[str], list[str], list[float]]:
    return seen, [source] * len(seen), [name] * len(seen), [np.nan] * len(seen)


def _play(task: TaskSpec, size: int, policy: str | os.PathLike[str], stride: int, seed: int) -> list[Seen]:
    # Here and not above, because importing it imports torch and stable-baselines3.
    from gym_vlmrm.learning.stored_policy import load_agent

    agent = load_agent(RunFolder.open(policy).checkpoint("best").path)
    stage = Stage(task, size)
    world = stage.world
    agent.enter(world.observation_space, world.action_space, task.env.id)

    def act(observation: Any) -> Any:
        return agent.act_alone(observation, world)

    seen = []
    for episode in range(ROLLOUTS):
        agent.restart()
        seen.append(stage.roll(seed + 2000 + episode, stride, act))
    stage.world.close()
    return seen


def _assemble(task: TaskSpec, axis: str, parts: Sequence[tuple[Seen, list[str], list[str], list[float]]]) -> AuditSet:
    parts = [part for part in parts if len(part[0])]
    seen = join_seen([part[0] for part in parts])
    rule = task.success_rule
    assert rule is not None
    scales = quantity_scales(rule, seen.quantities)
    distance = shortfalls(rule, seen.quantities, scales)
    goals, others = int(seen.success.sum()), int((~seen.success).sum())
    if goals < FEWEST or others < FEWEST:
        raise TooFewFramesError(task.id, "goal" if goals < FEWEST else "other", min(goals, others), len(seen))
    coordinate = np.array([value for part in parts for value in part[3]])
    if not axis:
        axis, coordinate = "distance to the goal [standard deviations]", _binned(distance)
    sources = np.array([source for part in parts for source in part[1]])
    names = np.array([name for part in parts for name in part[2]])
    return AuditSet(seen, sources, names, coordinate, axis, distance, scales)


def _binned(distance: Floats, bins: int = 16) -> Floats:
    """Round distances to the mean of their bin, so that several frames share one place on the axis."""
    edges = np.unique(np.quantile(distance, np.linspace(0, 1, bins + 1)))
    index = np.digitize(distance, edges[1:-1])
    means = [distance[index == i].mean() if (index == i).any() else np.nan for i in range(index.max() + 1)]
    return np.asarray(np.array(means)[index])


def audit_set_from_files(folder: str | os.PathLike[str], size: int) -> AuditSet:
    """Read an audit set from pictures in ``folder/goal`` and ``folder/other``; `size` is the side of a frame [px].

    Raises:
        VLMRMError: a folder is missing, holds too few pictures, or a picture cannot be read.
    """
    frames, labels, names = [], [], []
    for label, part in ((True, "goal"), (False, "other")):
        place = Path(folder) / part
        found = sorted(path for path in place.glob("*") if path.suffix.lower() in PICTURES)
        if len(found) > MAX_PICTURES:
            raise VLMRMError(f"'{place}' holds {len(found):,} pictures; --pictures takes {MAX_PICTURES:,} at most")
        if len(found) < 2:
            raise VLMRMError(f"'{place}' holds {len(found)} pictures; --pictures needs 2 in goal/ and in other/")
        frames += [_read(path, size) for path in found]
        labels += [label] * len(found)
        names += [path.stem for path in found]
    count = len(frames)
    seen = Seen(np.array(frames), np.array(labels, np.bool_), [{}] * count, np.zeros((count, 0)))
    nowhere = np.full(count, np.nan)
    return AuditSet(seen, np.array([FILE] * count), np.array(names), nowhere, "", None, {})


def _read(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        return fit_square(open_picture(path), size)
    except RunError as error:
        raise VLMRMError(f"{error}; use PNG or JPEG") from None
