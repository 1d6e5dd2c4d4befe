"""What a training costs on this machine: a short real one, watched from within, and each kind of work alone.

The short training is the recipe's own session: same pool, same queue of rewards, same updates, a checkpoint and its
trial. What it leaves on disk is thrown away.
"""

import contextlib
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gym_vlmrm.errors import TrainingError
from gym_vlmrm.learning.callbacks import StopTraining, TrainingCallback
from gym_vlmrm.learning.records import RunRecord
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.session import Session
from gym_vlmrm.reward import RewardModel
from gym_vlmrm.reward.threads import one_torch_thread
from gym_vlmrm.task.spec import Recipe, TaskSpec
from gym_vlmrm.worlds.pools.cores import usable_cores
from gym_vlmrm.worlds.world import make_world

__all__ = ["WATCHED", "Measured", "probe"]

WATCHED = 8.0
"""How long learning is watched [s], besides a third of that before learning starts."""
ALONE = 0.5
"""How long each kind of work alone is measured [s]."""
FRAMES = 16
LONG_TRIAL = 5.0
"""A first trial that takes longer is not made again to see what its workers' start took [s]."""


@dataclass(frozen=True)
class Measured:
    """Times of a training on this machine [s]."""

    startup: float
    """From the call to the first step: libraries that were not imported yet, the model, the workers."""
    collect: float
    """One environment step while learning, its reward included, without updates."""
    collect_before: float
    """The same before learning starts."""
    update: float
    """Updates per environment step."""
    learner: float
    """Processor time of the learner's own thread per environment step, without updates: what others do is left out."""
    learner_update: float
    """The same of updates."""
    checkpoint: float
    """Writing one checkpoint."""
    trial: float
    """Judging it."""
    first_trial: float
    """What the first trial took longer, as its workers start."""
    simulate: float
    """One environment step on one core, alone."""
    draw: float
    """Drawing one frame on one core, alone."""
    judge: float
    """Scoring one frame on one core (or on the accelerator), alone."""
    cores: int
    memory: float
    """Largest resident memory of all processes [bytes]."""
    frame_size: int


@dataclass(frozen=True)
class _Rollout:
    learned: bool
    steps: int
    collect: float
    update: float
    collect_cpu: float
    update_cpu: float


class _Watched(Session):
    """A session that notes when rollouts begin and end, tries a checkpoint, and stops after a while."""

    def __init__(self, *arguments: Any, seconds: float, starts: int) -> None:
        super().__init__(*arguments)
        self._starts = starts
        self._seconds = seconds
        self.began = 0.0
        self.rollouts: list[_Rollout] = []
        self.saving: list[float] = []
        self.judging: list[float] = []

    def _run_algorithm(self, callback: TrainingCallback) -> None:
        before, after = callback.between_rollouts, callback.after_rollout
        self.began = time.perf_counter()
        learning, since = self._starts == 0, self.began
        marks: list[tuple[float, float]] = []  # clock and processor time: as a rollout begins, and as it ends
        step = 0

        def mark() -> None:
            marks.append((time.perf_counter(), time.thread_time()))

        def begin() -> None:
            nonlocal learning, since, step
            if len(marks) == 2:
                if not learning and self._enough_to_learn(time.perf_counter() - since):
                    self._fill()  # what is still to be judged belongs to collecting
                    marks[1] = (time.perf_counter(), time.thread_time())
                    self.model.learning_starts = 0  # type: ignore[attr-defined]
                    self._note(False, self.model.num_timesteps - step, marks)
                    learning, since = True, time.perf_counter()
                else:
                    self._note(learning, self.model.num_timesteps - step, marks)
                patience = self._seconds * (1 if self._counted() >= 2 else 2)
                if learning and time.perf_counter() - since > patience and self._counted():
                    raise StopTraining
            step = self.model.num_timesteps
            before()
            marks.clear()
            mark()

        def end(unlearned: int | None) -> None:
            if learning:
                self._fill()
            mark()
            after(unlearned)

        callback.between_rollouts, callback.after_rollout = begin, end  # type: ignore[method-assign]
        with contextlib.suppress(StopTraining):
            super()._run_algorithm(callback)
            if len(marks) == 2:  # all steps are made
                self._note(learning, self.model.num_timesteps - step, marks)
        for _ in range(2):
            callback.unlearned = None
            began = time.perf_counter()
            self._save(callback.due("rollout"))
            self.saving.append(time.perf_counter() - began)
            began = time.perf_counter()
            self._judge()
            self.judging.append(time.perf_counter() - began)
            if self.judging[0] > LONG_TRIAL:
                break
        raise StopTraining

    def _note(self, learned: bool, steps: int, marks: list[tuple[float, float]]) -> None:
        (began, cpu_began), (ended, cpu_ended) = marks
        update = time.perf_counter() - ended, time.thread_time() - cpu_ended
        self.rollouts.append(_Rollout(learned, steps, ended - began, update[0], cpu_ended - cpu_began, update[1]))

    def _counted(self) -> int:
        return sum(rollout.learned for rollout in self.rollouts)

    def _enough_to_learn(self, seconds: float) -> bool:
        enough = self.model.num_timesteps >= max(getattr(self.model, "batch_size", 1), 2 * self.recipe.num_envs)
        return enough and (seconds > self._seconds / 3 or self.model.num_timesteps >= self._starts)

    def _fill(self) -> None:
        """Wait for rewards that an update would wait for."""
        buffer = getattr(self.model, "replay_buffer", None)
        if buffer is not None:
            buffer.fill()


def probe(
    task: TaskSpec,
    recipe: Recipe,
    workers: int | None = None,
    seconds: float | None = None,
    on_phase: Callable[[str, int, int], None] | None = None,
    began: float | None = None,
) -> Measured:
    """Train for a while as the recipe says, and measure.

    Args:
        task: the task, overrides applied.
        recipe: how it will be trained.
        workers: worker processes; one per core if not given.
        seconds: how long learning is watched; `WATCHED` if not given.
        on_phase: called with what is being done, and how much is done and to do.
        began: when whoever calls this began, by `time.perf_counter`; now if not given.

    Raises:
        TaskError, ModelError, RenderingError, TrainingError: as a training would.
    """
    began = time.perf_counter() if began is None else began
    seconds = WATCHED if seconds is None else seconds
    hyperparameters = dict(recipe.hyperparameters)
    starts = 0
    if "learning_starts" in hyperparameters:
        starts = int(hyperparameters["learning_starts"])
        hyperparameters["learning_starts"] = 10**9 if starts else 0
    short = recipe.model_copy(update={"checkpoint_every": 10**9, "hyperparameters": hyperparameters})
    record = RunRecord(task=task.id, recipe_name="probe", recipe=short, seed=0)
    report = on_phase or (lambda what, done, total: None)
    report("training for a while", 0, 2)
    with tempfile.TemporaryDirectory(prefix="vlmrm-plan-") as folder:
        session = _Watched(task, record, workers, None, lambda _: None, seconds=seconds, starts=starts)
        with session:
            run = RunFolder.create(Path(folder) / "run")
            with run.only_writer():
                _learn(session, run)
            report("measuring each part alone", 1, 2)
            alone = _alone(task, session.setup.reward_model, session.setup.every)
    learned = _steady([rollout for rollout in session.rollouts if rollout.learned])
    waited = _steady([rollout for rollout in session.rollouts if not rollout.learned]) or learned
    if not learned:
        raise TrainingError(f"{recipe.algorithm} made no rollout within {seconds:g} s; so nothing can be planned")
    own, child = (1024 * resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Measured(
        startup=session.began - began,
        collect=_per_step(learned, "collect"),
        collect_before=_per_step(waited, "collect"),
        update=_per_step(learned, "update"),
        learner=_per_step(learned, "collect_cpu"),
        learner_update=_per_step(learned, "update_cpu"),
        checkpoint=min(session.saving),
        trial=session.judging[-1],
        first_trial=max(session.judging[0] - session.judging[-1], 0.0),
        **alone,
        cores=usable_cores(),
        memory=float(own + usable_cores() * child),
    )


def _learn(session: Session, run: RunFolder) -> None:
    try:
        session.learn(run)
    except KeyboardInterrupt as interrupt:
        interrupt.args = ("interrupted; a plan leaves nothing behind",)
        raise


def _steady(rollouts: list[_Rollout]) -> list[_Rollout]:
    """Leave out the first rollout, in which everything is done for the first time, where there are others."""
    return rollouts[1:] or rollouts


def _per_step(rollouts: list[_Rollout], what: str) -> float:
    return float(sum(getattr(rollout, what) for rollout in rollouts) / sum(rollout.steps for rollout in rollouts))


def _alone(task: TaskSpec, model: RewardModel, every: int) -> dict[str, Any]:
    """Measure each kind of work alone, on one core."""
    size = task.scene.render_size or int(model.frame_size)
    world = make_world(task, render_size=size, limited=True)
    try:
        world.reset(seed=0)
        world.action_space.seed(0)

        def step() -> None:
            _, _, terminated, truncated, _ = world.step(world.action_space.sample())
            if terminated or truncated:
                world.reset()

        step()
        frames = np.stack([np.asarray(world.render())] * FRAMES)
        simulate = _time(step)

        def see() -> None:
            step()
            world.render()

        both = _time(see)
        with one_torch_thread():
            model(frames)
            judge = _time(lambda: model(frames)) / FRAMES
    finally:
        world.close()
    return {"simulate": simulate, "draw": max(both - simulate, 0.0), "judge": judge, "frame_size": size}


def _time(call: Callable[[], Any]) -> float:
    count, began = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - began < ALONE:
        call()
        count += 1
    return (time.perf_counter() - began) / count
