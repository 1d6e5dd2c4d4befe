"""One process's share of a run: learning, stopping, and what both leave in the run folder."""

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.logger import Logger

from gym_vlmrm.cluster.training import Cluster
from gym_vlmrm.errors import RunError, VLMRMError, WorldError
from gym_vlmrm.interrupts import StopRequest, stopping_on_signals
from gym_vlmrm.learning.asking.asked_rewards import AskedRewards, AskingFailedError
from gym_vlmrm.learning.callbacks import Progress, StopTraining, TrainingCallback
from gym_vlmrm.learning.checkpoint_replay import fill_before_learning
from gym_vlmrm.learning.checkpoints import load_whole_state, read_verdict, restore, write_verdict
from gym_vlmrm.learning.episodic import is_episodic, tell_of_rollouts, tell_of_updates
from gym_vlmrm.learning.finite import check_finite
from gym_vlmrm.learning.metrics_table import Events, MetricsTable
from gym_vlmrm.learning.provenance import describe_machine
from gym_vlmrm.learning.random_states import kept_random_states
from gym_vlmrm.learning.records import Best, JudgeRecord, RunRecord
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.saver import Saver
from gym_vlmrm.learning.setup import Notices, Setup
from gym_vlmrm.learning.trackers import Tracker, check_trackers
from gym_vlmrm.learning.trials import Trials, trial_episodes, trial_times
from gym_vlmrm.learning.whole_state import Due, WholeState, begin_worlds_anew, fresh_seed, put_state
from gym_vlmrm.reward.remote import is_remote
from gym_vlmrm.task.spec import Recipe, TaskSpec
from gym_vlmrm.task.yaml_file import yaml_text
from gym_vlmrm.worlds.world import episode_limit

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["Session", "TrainingResult", "checkpoint_period"]

CHECKPOINTS_PER_RUN = 20
"""At most, where the recipe does not say."""


def checkpoint_period(task: TaskSpec, recipe: Recipe) -> int:
    """Return the environment steps between checkpoints: judging one must not cost more than the learning before it."""
    judging = trial_episodes(recipe) * trial_times(recipe) * (episode_limit(task) or 1)
    return recipe.checkpoint_every or max(recipe.steps // CHECKPOINTS_PER_RUN, 2 * judging)


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended."""

    run: RunFolder
    step: int
    """Environment steps made, those of earlier sessions included."""
    seconds: float
    """Wall-clock time of all sessions [s]."""
    interrupted: bool
    best: Best | None
    signal: int | None = None
    """Number of the signal that interrupted it, if one did."""


class Session:
    """Learns with a setup, stops when asked to, and leaves in the run folder what going on needs."""

    def __init__(
        self,
        task: TaskSpec,
        record: RunRecord,
        workers: int | None,
        on_progress: Callable[[Progress], None] | None,
        on_notice: Callable[[str], None],
        log: Sequence[str] = (),
        cluster: Cluster | None = None,
    ) -> None:
        self.log, self._trackers = check_trackers(log), list[Tracker]()
        self.task, self.record, self.recipe = task, record, record.recipe
        self.on_progress, self.notices = on_progress, Notices(on_notice)
        self.setup = Setup(task, record, workers, self.notices, cluster)
        self.resumed_at: int | None = None
        self.stop = StopRequest()
        self._closing = contextlib.ExitStack()
        self._state: WholeState | None = None
        self._verdict: Best | None = None

    def __enter__(self) -> "Session":
        with contextlib.ExitStack() as opened:
            self._heeding = opened.enter_context(contextlib.ExitStack())  # the last to close
            opened.enter_context(self.setup)
            judge = self._compared(JudgeRecord.of(self.setup.reward_model))
            self.record = self.record.model_copy(update={"judge": judge})
            self.trials = Trials(self.setup, self.record.seed)
            self._closing = opened.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._closing.close()

    @property
    def model(self) -> "BaseAlgorithm":
        """The algorithm."""
        return self.setup.model

    def _compared(self, judge: JudgeRecord) -> JudgeRecord:
        """Say so where a run goes on with other weights, or other arithmetic, than it began with.

        Raises:
            RunError: of a judge behind HTTP.
        """
        before = self.record.judge
        for name, words in (("weights_digest", "weights"), ("precision", "arithmetic")):
            old, new = getattr(before, name, None), getattr(judge, name)
            if None not in (old, new) and old != new:
                if is_remote(judge.model):  # no two judges in one run; here nobody else has changed a file knowingly
                    raise RunError(
                        f"the {words} of '{judge.model}' were {old:.16} and are {new:.16} now, and two judges are "
                        "never mixed in one run; start that server with the first model"
                    )
                self.notices(f"the {words} of the reward model '{judge.model}' were {old} and are {new} now")
        return judge

    def open_trackers(self, run: Path) -> None:
        """Begin a run of each tracker under the name of the run folder; raises TrainingError where one refuses."""
        for name in self.log:
            self._trackers.append(Tracker(name, run.resolve().name, self._settings(), self.notices))
            self._closing.callback(self._trackers[-1].close)

    def heed_signals(self) -> None:
        """From now on signals ask for a clean stop, until everything is closed."""
        self._heeding.enter_context(stopping_on_signals(self.stop))

    def describe_machine(self) -> None:
        """Note in the record what draws and computes."""
        judge = self.record.judge
        device = (judge.device if judge is not None else None) or self.task.reward.device
        machine = describe_machine(opengl="mujoco" in sys.modules, device=device)
        self.record = self.record.model_copy(update={"machine": machine})

    def restore(self, checkpoint: Path) -> None:
        """Go back to a checkpoint; raises RunError where it is damaged or of another run."""
        self._place, self._state = checkpoint, load_whole_state(checkpoint)
        buffer_restored = restore(checkpoint, self.model, self.setup.scale)
        self.resumed_at, self._updates = self.model.num_timesteps, getattr(self.model, "_n_updates", 0)
        self.setup.late.made = self.resumed_at
        if self._state is None:
            self.model.set_random_seed(fresh_seed(self.record.seed, self.resumed_at))
            self.notices(
                f"step {self.resumed_at:,} was stored without the state of environments and random numbers; the run "
                "goes on, but not as it would have without a stop"
            )
        else:
            self.model._last_obs = self._state.training["last"]["_last_obs"]  # else learning resets the worlds
            if self._state.due.verdict:
                self._verdict = read_verdict(checkpoint)
            self._say_what_is_not_exact(self._state)
        if hasattr(self.model, "learning_starts") and not buffer_restored:
            fill_before_learning(self.model, self.recipe.num_envs)
            self.notices("the replay buffer was not stored; it fills again before learning goes on")

    def _say_what_is_not_exact(self, state: WholeState) -> None:
        if state.worlds is None:
            self.notices(f"the state of '{self.task.env.id}' cannot be stored; it begins anew at every checkpoint")
        if "cuda" in str(self.model.device) or "cuda" in str(getattr(self.setup.reward_model, "device", "cpu")):
            self.notices("a GPU computes here; the run goes on exactly, but for the last bits of what the GPU adds up")

    def _go_on(self) -> Due | None:
        """Put the rest of the checkpoint's state back, once the algorithm is ready, and say what that owes."""
        if self._state is None:
            return None
        state, self._state = self._state, None
        try:
            put_state(self.setup, state)
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError, WorldError) as error:
            raise RunError(f"{self._place}: does not fit its run ({' '.join(str(error).split())})") from None
        if state.worlds is None:
            begin_worlds_anew(self.setup, fresh_seed(self.record.seed, self.model.num_timesteps))
        return state.due

    def learn(self, run: RunFolder) -> TrainingResult:
        """Learn until the recipe's steps are made or a stop is asked for."""
        self.run = run
        status = self._learn()
        self._heeding.enter_context(self.stop.shield())  # what is left is quick, and there is a line to say
        return TrainingResult(
            run, self.model.num_timesteps, self.seconds, status == "interrupted", run.best, self.stop.signal
        )

    def _learn(self) -> str:
        """Learn; returns how it ended, as ``run.json`` says too."""
        self._began, self._earlier = time.perf_counter(), self.record.seconds
        self._write_record("running")
        self._open_tables()
        saver = self._saver = Saver(self.setup, self.recipe, self.run, self._table)
        if self.resumed_at is not None:
            saver.place, saver.saved = self._place, None if self._state is None else self.resumed_at
        self.model.set_logger(Logger(None, [self._table, self._times, self._events, *self._trackers]))
        self._closing.callback(self.model.logger.close)
        callback = self._callback = TrainingCallback(
            steps=self.recipe.steps,
            statistics=self.setup.statistics,
            checkpoint_every=checkpoint_period(self.task, self.recipe),
            save=self._save,
            judge=self._judge,
            go_on=self._go_on,
            keep=saver.keep,
            check=self._check,
            on_progress=self._report,
            stop_requested=lambda: bool(self.stop),
        )
        saver.callback = callback
        try:
            self._run_algorithm(callback)
            if not callback.ended:
                callback.unlearned = None
                callback.checkpoint("end")
                callback.log()
            status = "finished"
        except StopTraining:
            status = "interrupted"
            saver.back_to_last_rollout()
        except KeyboardInterrupt:
            with self.stop.shield():
                self._write_record("interrupted")
            raise KeyboardInterrupt(self._how_to_go_on()) from None
        except AskingFailedError:
            with self.stop.shield():
                if saver.saved != self.model.num_timesteps:
                    saver.write(callback.due("stop"))
                self.notices(self._stopped_by_error())
                self._write_record("failed")
            raise
        except Exception as error:
            if not self.stop:
                at_once = self._fails_at_once(error)
                self._save_what_is_whole(error)
                if at_once:
                    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                    raise RunError(f"{self._place}: cannot be gone on with ({reason})") from error
                raise
            # What fails once a stop was asked for, such as a worker that the signal reached too, is part of stopping.
            status, saver.rough = "interrupted", not saver.back_to_last_rollout()
        with self.stop.shield():
            if status == "interrupted" and saver.saved != self.model.num_timesteps:
                saver.write(callback.due("stop"))
            self._write_record(status)
        return status

    def _fails_at_once(self, error: Exception) -> bool:
        """Whether what was restored does not even bear its first update: somebody has made it up."""
        model: Any = self.model
        resumed = self.resumed_at is not None and getattr(model, "_n_updates", 0) == self._updates
        return resumed and not isinstance(error, VLMRMError | OSError | MemoryError)

    def _save_what_is_whole(self, error: Exception) -> None:
        """Keep what was learned before an error: of the environments, of the judge, of a disk that was full."""
        saver = self._saver
        saver.rough = not saver.back_to_last_rollout()
        with self.stop.shield():
            learned = self.model.num_timesteps > (self.resumed_at or 0) and saver.saved != self.model.num_timesteps
            whole = all(bool(weights.isfinite().all()) for weights in self.model.policy.parameters())
            if learned and whole and not isinstance(error, RunError):
                for with_buffer in (True, False):  # the last transition may lack its reward
                    with contextlib.suppress(Exception):  # the first error is the one to tell of
                        saver.write(self._callback.due("stop"), with_buffer)
                        self.notices(self._stopped_by_error())
                        break
            elif self.run.checkpoints() and (isinstance(error, RunError) or saver.saved == self.model.num_timesteps):
                self.notices(self._stopped_by_error())
            self._write_record("failed")

    def _stopped_by_error(self) -> str:
        return self._how_to_go_on().replace("interrupted", "stopped by an error", 1)

    def _how_to_go_on(self) -> str:
        last, named = self.run.checkpoints(), shlex.quote(str(self.run.path))
        if not last:
            return f"interrupted before the first checkpoint; begin again with: vlmrm train --resume {named}"
        step = f"{last[-1].step:,}"
        return f"interrupted; go on from step {step} with: vlmrm train --resume {named}"

    def _report(self, progress: Progress) -> None:
        if self.on_progress is not None and not self.stop:
            self.on_progress(progress)

    def _run_algorithm(self, callback: TrainingCallback) -> None:
        resumed = self.resumed_at is not None
        # Nothing where only the verdict on the last checkpoint is missing.
        remaining = max(self.recipe.steps - (self.resumed_at or 0), 0)
        # Logs are dumped by the callback, so that all of a row's numbers belong to the same steps.
        options: dict[str, Any] = {"log_interval": None, "reset_num_timesteps": not resumed}
        if self.model.__class__.__name__ == "MaskablePPO":
            options["use_masking"] = self.setup.world.masked
        if is_episodic(self.model):
            after = partial(callback.after_rollout, None)
            tell_of_updates(self.model, callback.between_rollouts, after, self.recipe.steps)
        else:
            tell_of_rollouts(self.model, callback.between_rollouts)
        try:
            self.model.learn(remaining, callback, **options)
        except (ValueError, RuntimeError):
            check_finite(self.model)  # what torch says of numbers that are none does not tell where they came from
            raise

    def _open_tables(self) -> None:
        run, resumed, state = self.run, self.resumed_at, self._state
        text = times = first = None
        if resumed is not None:
            text = MetricsTable.until(run.path / "metrics.csv", resumed) if state is None else state.metrics
            times = MetricsTable.until(run.path / "timings.csv", resumed)
            first = resumed + (state is None or not state.due.verdict)
            run.remove_after(resumed)
        elif (run.path / "metrics.csv").exists():  # of a run that was killed before its first checkpoint
            text = times = ""
            first = 0
        if state is not None or first == 0:
            run.write_best(None if state is None else state.best)
        self._table = MetricsTable(run.path / "metrics.csv", text=text)
        self._times = MetricsTable(run.path / "timings.csv", text=times, of_times=True)
        self._events = Events(run.path / "tensorboard", first, first if self._verdict is None else (resumed or 0) + 1)
        settings = {name: f"```yaml\n{yaml_text(part)}\n```" for name, part in self._settings().items()}
        self._events.say({"goal": "; ".join(self.task.reward.said), **settings}, resumed or 0)

    def _settings(self) -> dict[str, Any]:
        task = self.task.model_dump(exclude={"training"}, exclude_none=True)
        return {"task": task, "recipe": self.recipe.model_dump(), "seed": self.record.seed}

    def _save(self, due: Due) -> None:
        """Make a checkpoint while learning; worlds that cannot be stored begin anew there, whether it stops or not."""
        with self.stop.shield():
            worlds = self._saver.write(due)
            self._write_record("running")
        if worlds is None and due.kind == "rollout":
            begin_worlds_anew(self.setup, fresh_seed(self.record.seed, self.model.num_timesteps))

    def _judge(self) -> dict[str, float]:
        """Try the policy of the last checkpoint, unless that was done, and remember the best by VLM reward."""
        self._stop_if_asked()
        verdict, self._verdict = self._verdict, None
        if verdict is None:
            with kept_random_states():
                verdict = self.trials.play(self._stop_if_asked)
            write_verdict(self._saver.place, verdict)
            if self.trials.shown:
                self._events.show(self.trials.shown, verdict.step)
                for tracker in self._trackers:
                    tracker.show(self.trials.shown, verdict.step)
        best = self.run.best
        if best is None or verdict.vlm_reward > best.vlm_reward:
            self.run.write_best(verdict)
        numbers = verdict.model_dump(exclude={"step", "episodes"}, exclude_none=True)
        return {f"eval/{name}": value for name, value in numbers.items()}

    def _check(self) -> None:
        if isinstance(self.setup.late, AskedRewards):
            self.setup.late.check()

    def _stop_if_asked(self, *_: Any) -> None:
        if self.stop:
            raise StopTraining

    @property
    def seconds(self) -> float:
        """Wall-clock time of all sessions so far [s]."""
        return self._earlier + time.perf_counter() - self._began

    def _write_record(self, status: str) -> None:
        changes = {"status": status, "step": self.model.num_timesteps, "seconds": round(self.seconds, 3)}
        self.run.write_record(self.record.model_copy(update=changes))
