"""All trainings of a sweep on a Ray cluster, by Ray Tune; what is there already is not made again."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gym_vlmrm.cluster.connecting import ClusterError, connected
from gym_vlmrm.errors import RunError, VLMRMError
from gym_vlmrm.files import make_folder, only_writer, read_model, write_json
from gym_vlmrm.learning.comparison import Comparison, compare
from gym_vlmrm.learning.records import Result
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.reports.comparison_page import write_comparison
from gym_vlmrm.sweeping.plan import SweepSpec, Trial, check_trials, trials_of
from gym_vlmrm.sweeping.trial import StopEarly, make_trial, rewards_so_far
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["SweepResult", "TrialResult", "begin_sweep", "run_sweep"]

FILE, RESULTS = "sweep.json", "results.json"
TRIES = 3
"""Times that a training is begun again whose machine or process went away."""
_LEAST_OF_ALL = -1e30
"""Stands for a reward that is none yet."""


class _SweepFile(Result):
    """What ``sweep.json`` holds, so that a sweep goes on as it was begun whatever becomes of its file."""

    format: int = 1
    spec: SweepSpec
    trials: list[Trial]


class TrialResult(Result):
    """How one training ended. Those of a sweep stand in ``results.json``."""

    name: str
    status: str
    """``finished``, ``stopped`` early, ``failed``, or ``left`` where the sweep was interrupted."""
    step: int
    reward: float | None
    """Best VLM reward per step of a checkpoint."""
    error: str | None = None


class _ResultsFile(Result):
    trials: list[TrialResult]


@dataclass(frozen=True)
class SweepResult:
    """What came of a sweep."""

    folder: Path
    trials: list[TrialResult]
    comparison: Comparison | None
    """``None`` where no training left a run."""
    page: Path | None


def begin_sweep(
    spec: SweepSpec, folder: Path, beside: Path = Path(), *, ready: Callable[[], object] = lambda: None
) -> list[Trial]:
    """Make the folder of a sweep, or check that one that is there is of the same sweep; returns its trainings.

    Args:
        spec: the sweep.
        folder: where its run folders will be; on a file system that all machines of the cluster see.
        beside: paths of task files are looked for there.
        ready: called once all of it was checked, and before anything is written.

    Raises:
        RunError: the folder holds something else, or another sweep. TaskError, TrainingError: as `trials_of` and
            `check_trials` do.
    """
    trials = trials_of(spec, beside)
    check_trials(trials)
    path = folder / FILE
    if path.exists():
        before = _read(folder)
        if before.spec != spec or before.trials != trials:
            raise RunError(f"'{folder}' holds another sweep; name another folder, or go on with it: --resume {folder}")
        ready()
        return trials
    RunFolder.check_new(folder)
    ready()
    make_folder(folder)
    write_json(path, _SweepFile(spec=spec, trials=trials).model_dump(mode="json"))
    return trials


def _read(folder: Path) -> _SweepFile:
    if not (folder / FILE).is_file():
        raise RunError(f"'{folder}' holds no sweep: it has no {FILE}")
    return read_model(folder / FILE, _SweepFile)


def run_sweep(folder: Path, address: str = "auto", *, on_notice: Callable[[str], None] = lambda _: None) -> SweepResult:
    """Train everything of a sweep that is not done yet, and write ``report.html`` and ``report.json`` beside the runs.

    Ray's own records lie in a temporary folder and are thrown away: whatever a sweep needs to go on is in its run
    folders, which hold no pickle.

    Args:
        folder: as `begin_sweep` made it.
        address: of the cluster (see `gym_vlmrm.cluster.connecting.connected`).
        on_notice: called with a sentence that the user should read.

    Raises:
        RunError: no such sweep, or another process works on it. ClusterError: no cluster, or no Ray Tune.
    """
    plan = _read(folder)
    with only_writer(folder):
        before = _results(folder)
        over = {one.name for one in before if one.status in ("finished", "stopped")}
        results = before
        if len(over) < len(plan.trials):
            with connected(address) as ray, _quiet_tune():
                endings = _tune(ray, plan, folder.resolve(), over, on_notice)
            results = [_result(trial, folder, endings.get(trial.name)) for trial in plan.trials]
            write_json(folder / RESULTS, _ResultsFile(trials=results).model_dump(mode="json"))
    there = [folder / one.name for one in results if (folder / one.name / "run.json").exists()]
    comparison = compare(there) if there else None
    page = None if comparison is None else write_comparison(comparison, folder)
    return SweepResult(folder, results, comparison, page)


def _results(folder: Path) -> list[TrialResult]:
    """Return what an earlier session of a sweep noted at its end."""
    path = folder / RESULTS
    return read_model(path, _ResultsFile).trials if path.exists() else []


def _result(trial: Trial, folder: Path, ending: tuple[str, str | None] | None) -> TrialResult:
    path = folder / trial.name
    if not (path / "run.json").exists():
        return TrialResult(name=trial.name, status="failed", step=0, reward=None, error=ending and ending[1])
    run = RunFolder.open(path)
    reward = None if run.best is None else run.best.vlm_reward
    status = "finished" if run.record.status == "finished" else "left" if ending is None else ending[0]
    return TrialResult(name=trial.name, status=status, step=run.record.step, reward=reward, error=ending and ending[1])


@contextlib.contextmanager
def _quiet_tune() -> Iterator[None]:
    """Tune prints tables and catches signals of its own unless it is told otherwise."""
    settings = {"TUNE_DISABLE_SIGINT_HANDLER": "1", "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
                "RAY_AIR_NEW_OUTPUT": "0", "RAY_CHDIR_TO_TRIAL_DIR": "0"}  # fmt: skip
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _tune(
    ray: Any, plan: _SweepFile, folder: Path, over: set[str], on_notice: Callable[[str], None]
) -> dict[str, tuple[str, str | None]]:
    """Run what is not `over`, and say of each training how it ended here and why.

    Those that are over report once more, so that the others compete with them.
    """
    try:
        from ray import tune
        from ray.tune.schedulers import AsyncHyperBandScheduler
    except ImportError:
        raise ClusterError('a sweep needs Ray Tune: pip install "ray[default,tune]" (gym-vlmrm[cluster])') from None
    spec, trials = plan.spec, {trial.name: trial for trial in plan.trials}
    plain = {name: trial.model_dump(mode="json") for name, trial in trials.items()}

    def train_one(config: dict[str, Any]) -> None:
        _train_one(config["name"], plain[config["name"]], str(folder), config["name"] in over)

    scheduler = None
    if spec.stopping is not None:
        # Per mille of a training's own steps, so that trainings of different lengths compete fairly.
        scheduler = AsyncHyperBandScheduler(
            time_attr="per_mille", metric="reward", mode="max", max_t=1000,
            grace_period=max(1, round(1000 * spec.stopping.after)), reduction_factor=1 / spec.stopping.keep,
        )  # fmt: skip
    resources = {"cpu": spec.cores, **({"gpu": spec.accelerators} if spec.accelerators else {})}
    with tempfile.TemporaryDirectory(prefix="gym-vlmrm-sweep-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(train_one, resources),
            param_space={"name": tune.grid_search(list(trials))},
            tune_config=tune.TuneConfig(scheduler=scheduler, max_concurrent_trials=spec.at_once, reuse_actors=False),
            run_config=tune.RunConfig(
                storage_path=scratch, name="sweep", verbose=0, failure_config=tune.FailureConfig(max_failures=TRIES)
            ),
        )
        grid = tuner.fit()
        endings: dict[str, tuple[str, str | None]] = {}
        for index in range(len(grid)):
            result = grid[index]
            name = str((result.config or {}).get("name", ""))
            told = (result.metrics or {}).get("failure")
            error = told or (None if result.error is None else shorten(str(result.error).strip().splitlines()[-1], 300))
            endings[name] = ("failed", error) if error else ("stopped", None)
            if error:
                on_notice(f"{name}: {error}")
    return endings


def _train_one(name: str, plain: dict[str, Any], folder: str, done: bool) -> None:
    """What runs in a process of the cluster."""
    from ray import tune

    trial = Trial.model_validate(plain)

    def report(step: int, reward: float) -> None:
        # Only the end of all steps is 1000, where Tune ends a training.
        per_mille = 1000 if step >= trial.recipe.steps else max(1, min(999, round(1000 * step / trial.recipe.steps)))
        try:
            tune.report({"reward": reward, "per_mille": per_mille, "step": step})
        except SystemExit:  # how Tune ends a training
            raise StopEarly from None

    try:
        with contextlib.suppress(StopEarly):
            make_trial(trial, Path(folder), report, done=done)
    except VLMRMError as error:  # of this training, and it would fail again
        tune.report({"reward": _LEAST_OF_ALL, "per_mille": 1, "step": 0, "failure": shorten(str(error), 300)})
        return
    if not rewards_so_far(Path(folder) / trial.name):
        tune.report({"reward": _LEAST_OF_ALL, "per_mille": 1, "step": 0})
