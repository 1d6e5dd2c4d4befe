"""Many runs: what lies in a folder of them, and which is the newest."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from gym_vlmrm.errors import RunError, VLMRMError
from gym_vlmrm.files import is_held
from gym_vlmrm.learning.records import Result
from gym_vlmrm.learning.run_folder import ROOT, RunFolder
from gym_vlmrm.learning.scores import read_evaluation
from gym_vlmrm.task.builtin import short_name
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["RunEntry", "Status", "find_runs", "list_runs", "newest_run"]

Status: TypeAlias = Literal["running", "finished", "interrupted", "failed", "killed", "broken"]
MAX_RUNS = 10_000
"""Most runs of a folder that are looked at."""


class RunEntry(Result):
    """One run as a list of runs shows it; what a broken one does not tell is ``None``."""

    run: str
    """Its folder."""
    status: Status
    """``killed`` says that it is running and no process trains into it, ``broken`` that it cannot be read."""
    age: float
    """Time since it last wrote its ``run.json`` [s]."""
    task: str | None = None
    """Short name of the task."""
    algorithm: str | None = None
    seed: int | None = None
    step: int | None = None
    """Environment steps made."""
    steps: int | None = None
    """Environment steps that its recipe asks for."""
    best_reward: float | None = None
    """VLM reward per step of the best checkpoint."""
    success_rate: float | None = None
    """Share of episodes in success, if it was evaluated and the task has a rule."""
    fault: str | None = None
    """What is wrong with a broken one."""


def find_runs(folders: Sequence[str | os.PathLike[str]] = (ROOT,)) -> list[Path]:
    """Return run folders: each folder itself if it is one, else all that lie in it or in a folder of seeds there.

    Raises:
        RunError: a folder is missing, holds no run, or holds too many.
    """
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            words = "is a file; name run folders" if folder.exists() else "does not exist"
            raise RunError(f"'{folder}' {words}; `vlmrm train TASK` makes runs in '{ROOT}'")
        runs = [folder] if (folder / "run.json").is_file() else sorted(_runs_in(folder))
        if not runs:
            raise RunError(f"'{folder}' holds no run; `vlmrm train TASK` makes one in '{ROOT}'")
        found |= dict.fromkeys(runs)
        if len(found) > MAX_RUNS:
            raise RunError(f"'{folder}' holds more than {MAX_RUNS:,} runs; name some of them")
    return list(found)


def _runs_in(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if os.path.lexists(path / "run.json"):
            yield path
        else:
            yield from (below.parent for below in path.glob("seed-*/run.json"))


def list_runs(folders: Sequence[str | os.PathLike[str]] = (ROOT,)) -> list[RunEntry]:
    """Describe runs, the newest first; one that cannot be read is listed as broken.

    Args:
        folders: run folders, or folders of such.

    Raises:
        RunError: as `find_runs` does.
    """
    return sorted(map(_describe, find_runs(folders)), key=lambda entry: entry.age)


def _describe(path: Path) -> RunEntry:
    age = max(0.0, time.time() - _written(path))
    try:
        run = RunFolder.open(path)
        record, best, evaluation = run.record, run.best, read_evaluation(run)
    except VLMRMError as error:
        return RunEntry(run=str(path), status="broken", age=age, fault=shorten(error, 300))
    status: Status = record.status
    if status == "running" and not is_held(path):
        status = "killed"
    return RunEntry(
        run=str(path),
        status=status,
        age=age,
        task=short_name(record.task),
        algorithm=record.recipe.algorithm,
        seed=record.seed,
        step=record.step,
        steps=record.recipe.steps,
        best_reward=None if best is None else best.vlm_reward,
        success_rate=None if evaluation is None else evaluation.policy.success_rate,
    )


def _written(path: Path) -> float:
    try:
        return (path / "run.json").lstat().st_mtime
    except OSError:
        return 0.0


def newest_run(root: str | os.PathLike[str] = ROOT, *, playable: bool = False) -> RunFolder:
    """Return the run that was written last.

    Args:
        root: folder of runs.
        playable: pass over those that have no checkpoint yet.

    Raises:
        RunError: there is none that can be read.
    """
    if not Path(root).is_dir():
        raise RunError(f"there is no '{root}' here; name a run, or make one with `vlmrm train TASK`")
    for path in sorted(find_runs([root]), key=_written, reverse=True):
        try:
            run = RunFolder.open(path)
        except VLMRMError:
            continue
        if not playable or run.checkpoints():
            return run
    raise RunError(f"no run in '{root}' " + ("has a checkpoint yet" if playable else "can be read") + "; name one")
