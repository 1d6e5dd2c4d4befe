"""Run folders: where a training leaves everything that it made. No file in one can execute anything.

runs/<name>/
├── task.yaml           the task, fully resolved        ├── tensorboard/      event files
├── run.json            options, versions, status       ├── eval/             evaluation.json
├── metrics.csv         one row per log                 ├── best.json         checkpoint with the best VLM reward
└── checkpoints/step_00001000/                          └── video.gif
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gym_vlmrm.builtin import builtin_headers
from gym_vlmrm.catalog import load_task
from gym_vlmrm.errors import RunError
from gym_vlmrm.spec import Recipe, TaskSpec

__all__ = ["Best", "Checkpoint", "Judge", "RunFolder", "RunRecord", "default_run_path", "read_json", "write_json"]

_CHECKPOINT = re.compile(r"step_(\d{8,})")


class Judge(BaseModel):
    """The reward model that judged, as it really ran. ``None`` is what the model does not tell."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    weights_digest: str | None = None
    """SHA-256 of the weights of both towers."""
    precision: str | None = None
    device: str | None = None

    @classmethod
    def of(cls, reward_model: Any) -> "Judge":
        """Describe a loaded reward model."""
        names = ("weights_digest", "precision", "device")
        told = {name: getattr(reward_model, name, None) for name in names}
        return cls(model=reward_model.name, **{name: None if told[name] is None else str(told[name]) for name in names})


class RunRecord(BaseModel):
    """What ``run.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    task: str
    """ID of the task."""
    recipe_name: str
    recipe: Recipe
    """The recipe as it was run, all overrides applied."""
    seed: int
    status: Literal["running", "finished", "interrupted", "failed"] = "running"
    step: int = 0
    """Environment steps made."""
    seconds: float = 0.0
    """Wall-clock time spent training [s]."""
    versions: dict[str, str] = {}
    machine: dict[str, Any] = {}
    judge: Judge | None = None


class Best(BaseModel):
    """What ``best.json`` holds: the checkpoint with the best mean VLM reward. Success is noted, it never selects."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int = Field(ge=0)
    vlm_reward: float
    """Mean VLM reward per step of the greedy policy."""
    task_reward: float
    success: float | None = None
    """Share of steps in success; ``None`` where the task defines none."""


@dataclass(frozen=True)
class Checkpoint:
    """One saved policy."""

    step: int
    path: Path


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def check_new(path: str | os.PathLike[str]) -> None:
        """Check that a run folder can be made there, and leave nothing behind.

        Raises:
            RunError: the folder holds something already, or cannot be written.
        """
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            if (folder / "run.json").exists():
                raise RunError(f"'{folder}' holds a run; go on with it by --resume {folder}")
            raise RunError(f"'{folder}' is not empty; name another folder")
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        try:
            # Permissions alone do not tell: file systems may be read-only or refuse folders.
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise _unwritable(folder, error) from None
        finally:
            with contextlib.suppress(OSError):
                for made in missing:
                    made.rmdir()

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """Make a new run folder; an existing empty folder is taken.

        Raises:
            RunError: the folder holds something already, or cannot be written.
        """
        cls.check_new(path)
        folder = Path(path)
        try:
            (folder / "checkpoints").mkdir(parents=True)
        except OSError as error:
            raise _unwritable(folder, error) from None
        return cls(folder)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """Open an existing run folder.

        Raises:
            RunError: there is none, or its ``run.json`` is not valid.
        """
        folder = cls(Path(path))
        if not (folder.path / "run.json").is_file():
            why = "has no run.json" if folder.path.is_dir() else "does not exist"
            raise RunError(f"'{folder.path}' is no run folder: it {why}")
        _ = folder.record
        return folder

    @property
    def task(self) -> TaskSpec:
        """The resolved task."""
        return load_task(self.path / "task.yaml")

    def write_task(self, task: TaskSpec) -> None:
        """Write the task with all defaults spelled out."""
        text = yaml.safe_dump(task.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
        self._write(self.path / "task.yaml", lambda path: path.write_text(text, encoding="utf-8"))

    @property
    def record(self) -> RunRecord:
        """What ``run.json`` says."""
        record: RunRecord = self._model(RunRecord, "run.json")
        return record

    def write_record(self, record: RunRecord) -> None:
        """Replace ``run.json``."""
        write_json(self.path / "run.json", record.model_dump(mode="json"))

    @property
    def best(self) -> Best | None:
        """The best checkpoint so far, or ``None`` before the first one was judged."""
        return self._model(Best, "best.json") if (self.path / "best.json").exists() else None

    def write_best(self, best: Best) -> None:
        """Replace ``best.json``."""
        write_json(self.path / "best.json", best.model_dump(mode="json"))

    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints by step."""
        folders = (self.path / "checkpoints").glob("step_*")
        matches = [(path, _CHECKPOINT.fullmatch(path.name)) for path in folders if path.is_dir()]
        found = [Checkpoint(int(match[1]), path) for path, match in matches if match]
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def checkpoint(self, which: Literal["best", "last"] | int) -> Checkpoint:
        """Return a checkpoint: the best by VLM reward (the last where none was judged), the last, or that of a step.

        Raises:
            RunError: there is none.
        """
        found = self.checkpoints()
        if not found:
            raise RunError(f"'{self.path}' has no checkpoint yet; train for more steps")
        if which == "last" or (which == "best" and self.best is None):
            return found[-1]
        step = self.best.step if which == "best" and self.best is not None else which
        for checkpoint in found:
            if checkpoint.step == step:
                return checkpoint
        steps = ", ".join(str(checkpoint.step) for checkpoint in found)
        raise RunError(f"'{self.path}' has no checkpoint of step {step}; there are {steps}")

    def write_checkpoint(self, step: int, write: Callable[[Path], None]) -> Checkpoint:
        """Let `write` fill a folder, then put it in place in one move."""
        target = self.path / "checkpoints" / f"step_{step:08d}"
        try:
            temporary = Path(tempfile.mkdtemp(prefix=".", dir=target.parent))
            try:
                write(temporary)
                temporary.chmod(0o755)
                shutil.rmtree(target, ignore_errors=True)
                temporary.rename(target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            raise RunError(f"cannot write checkpoint '{target}' ({error.strerror})") from None
        return Checkpoint(step, target)

    def _model(self, model: type[Any], name: str) -> Any:
        path = self.path / name
        try:
            return model.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise RunError(f"{path}: {field}: {first['msg']}") from None

    @staticmethod
    def _write(path: Path, write: Callable[[Path], Any]) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            write(temporary)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise RunError(f"cannot write '{path}' ({error.strerror})") from None


def _unwritable(folder: Path, error: OSError) -> RunError:
    return RunError(f"cannot write to '{folder}' ({error.strerror}); choose another folder with --output")


def write_json(path: Path, data: Any) -> None:
    """Write JSON in one move, so that nobody ever reads half a file; raises RunError."""
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    RunFolder._write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read JSON; raises RunError when the file is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not valid JSON ({error})") from None


def _slug(task: TaskSpec) -> str:
    """Short name of a task for folder names: a built-in task's file name, else its ID without namespace and version."""
    for name, task_id, _ in builtin_headers():
        if task_id == task.id:
            return name
    return re.sub(r"-v\d+$", "", task.id.rpartition("/")[2]).lower()


def default_run_path(task: TaskSpec, algorithm: str, seed: int, root: Path = Path("runs")) -> Path:
    """Return the first free ``runs/<task>-<algorithm>-<seed>-<n>``."""
    stem = f"{_slug(task)}-{algorithm.lower()}-{seed}"
    number = 1
    while (root / f"{stem}-{number}").exists():
        number += 1
    return root / f"{stem}-{number}"
