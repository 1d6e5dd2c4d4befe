"""Run folders: where a training leaves everything that it made. No file in one can execute anything.

runs/<name>/
├── task.yaml           the task, fully resolved        ├── tensorboard/      event files
├── run.json            options, versions, status       ├── eval/             evaluation.json
├── metrics.csv         one row per log                 ├── best.json         checkpoint with the best VLM reward
├── timings.csv         speed, for the same rows        └── video.mp4, video.gif
└── checkpoints/step_00001000/    manifest.json, policy.*, verdict.json; in the last two all that going on needs
"""

import contextlib
import difflib
import logging
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import (
    check_links,
    check_writable,
    free_folder,
    is_free,
    make_folder,
    only_writer,
    read_model,
    sync,
    write_json,
    write_text,
)
from gym_vlmrm.learning.records import Best, RunRecord
from gym_vlmrm.learning.zoo import copy_of, is_in_zoo, zoo_folder
from gym_vlmrm.reward.loading import EMBEDDED_FOLDERS, MODELS
from gym_vlmrm.task.builtin import short_name
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.task.yaml_file import yaml_text

__all__ = ["ROOT", "Checkpoint", "RunFolder", "default_run_path"]

ROOT = Path("runs")
"""Where runs go that are given no folder of their own."""

logger = logging.getLogger("gym_vlmrm")
_CHECKPOINT = re.compile(r"step_([0-9]{8,18})")
_OWN = (
    "task.yaml", "run.json", "metrics.csv", "timings.csv", "best.json", "checkpoints", "tensorboard", "eval",
    "video.gif", "video.mp4", "report.html", "report.json", ".lock",
)  # fmt: skip
"""What is read and written in a run folder."""
_FOLDERS = ("checkpoints", "tensorboard", "eval")
_REPLACED = ".old"
"""Suffix of a checkpoint that another one of the same step replaces; one is left only where that was cut short."""


@dataclass(frozen=True)
class Checkpoint:
    """One saved policy."""

    step: int
    path: Path


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        """Take the folder, and what to call it where that is not its path."""
        self.path, self.name = path, name or str(path)

    @staticmethod
    def check_new(path: str | os.PathLike[str]) -> None:
        """Check that a run folder can be made there, and leave nothing behind.

        Raises:
            RunError: the folder holds something already, or cannot be written.
        """
        folder = Path(path)
        try:
            if "\0" in str(folder):
                raise ValueError("embedded null byte")  # as the system's own calls say, but not pathlib's `exists`
            free = is_free(folder)
        except (OSError, ValueError) as error:  # a name that no folder can have
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"'{folder}' can be no folder ({reason}); name another") from None
        if not free:
            if (folder / "run.json").exists():
                raise RunError(
                    f"'{folder}' holds a run; resume it (--resume {shlex.quote(str(folder))}), or name another folder"
                )
            why = "is not empty" if folder.is_dir() else "is no folder"
            raise RunError(f"'{folder}' {why}; name another folder")
        check_writable(folder)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """Make a new run folder; an existing empty folder is taken.

        Raises:
            RunError: the folder holds something already, or cannot be written.
        """
        cls.check_new(path)
        folder = Path(path)
        make_folder(folder / "checkpoints")
        return cls(folder)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """Open an existing run folder, or a policy that comes with the package (``zoo:kneeling``).

        Raises:
            RunError: there is none, its ``run.json`` is not valid, or something in it is a link, a pipe or a device.
        """
        folder = cls(zoo_folder(path), str(path)) if is_in_zoo(path) else cls(Path(path))
        if not (folder.path / "run.json").is_file():
            raise RunError(f"'{folder.path}' is no run folder: it {_what_it_is(folder.path)}")
        check_links(folder.path, _OWN)
        for name in _FOLDERS:
            if (folder.path / name).exists() and not (folder.path / name).is_dir():
                raise RunError(f"{folder.path / name}: is no folder; remove it")
        _ = folder.record
        return folder

    @classmethod
    def open_to_write(cls, run: "RunFolder | str | os.PathLike[str]") -> "RunFolder":
        """Open a run for what is written into it; of a policy of the zoo, the copy in ``runs/zoo-<name>``.

        Raises:
            RunError: as `open` does, or the copy cannot be written.
        """
        folder = run if isinstance(run, RunFolder) else cls.open(run)
        return cls.open(copy_of(folder.path, ROOT)) if is_in_zoo(folder.name) else folder

    @property
    def task(self) -> TaskSpec:
        """The resolved task; it includes no other file, which might lie anywhere."""
        return load_task(self.path / "task.yaml", alone=True)

    def name_model(self) -> None:
        """Say which models the run names, where they are to be loaded and do not come with this package."""
        for model in self.task.reward.models:
            if model in EMBEDDED_FOLDERS or model in MODELS:
                continue
            logger.warning("the run in '%s' names the reward model '%s', which is loaded now", self.name, model)

    def write_task(self, task: TaskSpec) -> None:
        """Write the task with all defaults spelled out."""
        write_text(self.path / "task.yaml", yaml_text(task.model_dump()))

    @property
    def record(self) -> RunRecord:
        """What ``run.json`` says."""
        return read_model(self.path / "run.json", RunRecord)

    def write_record(self, record: RunRecord) -> None:
        """Replace ``run.json``."""
        write_json(self.path / "run.json", record.model_dump(mode="json"))

    @property
    def best(self) -> Best | None:
        """The best checkpoint so far, or ``None`` before the first one was judged."""
        return read_model(self.path / "best.json", Best) if (self.path / "best.json").exists() else None

    def write_best(self, best: Best | None) -> None:
        """Replace ``best.json``; ``None`` removes it."""
        if best is None:
            (self.path / "best.json").unlink(missing_ok=True)
        else:
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
        """Let `write` fill a folder, then put it in place of an earlier one of that step, if any.

        Whenever the process or the machine stops, the earlier or the new one is there, whole.

        Raises:
            RunError: it cannot be written; what was there before still is.
        """
        target = self.path / "checkpoints" / f"step_{step:08d}"
        replaced = target.with_name(f".{target.name}{_REPLACED}")
        try:
            temporary = Path(tempfile.mkdtemp(prefix=".", dir=target.parent))
            try:
                write(temporary)
                temporary.chmod(0o755)
                for path in (*temporary.iterdir(), temporary):
                    sync(path)
                if target.exists():
                    target.rename(replaced)
                temporary.rename(target)
                sync(target.parent)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            self._sweep_checkpoints()
            raise RunError(f"cannot write checkpoint '{target}' ({error.strerror or error})") from None
        shutil.rmtree(replaced, ignore_errors=True)
        return Checkpoint(step, target)

    def remove_after(self, step: int) -> None:
        """Remove the checkpoints of later steps: a run that goes on from an earlier one makes them anew."""
        for checkpoint in self.checkpoints():
            if checkpoint.step > step:
                shutil.rmtree(checkpoint.path, ignore_errors=True)

    @contextlib.contextmanager
    def only_writer(self) -> Iterator[None]:
        """Keep other processes from training into this folder, and clear away what killed ones left half done.

        Raises:
            RunError: another process trains into it.
        """
        with only_writer(self.path):
            self._sweep_checkpoints()
            yield

    def _sweep_checkpoints(self) -> None:
        """Finish or undo what was cut short; only for whoever writes here."""
        folder = self.path / "checkpoints"
        for left in folder.glob(".*"):
            whole = folder / left.name.removeprefix(".").removesuffix(_REPLACED)
            if left.suffix == _REPLACED and _CHECKPOINT.fullmatch(whole.name) and not whole.exists():
                left.rename(whole)
            else:
                shutil.rmtree(left, ignore_errors=True)


def default_run_path(task: TaskSpec, algorithm: str, seed: int, root: Path = ROOT) -> Path:
    """Return the first free ``runs/<task>-<algorithm>-<seed>-<n>``."""
    return free_folder(root, f"{short_name(task.id)}-{algorithm.lower()}-{seed}")


def _what_it_is(path: Path) -> str:
    """Say why a path is no run folder, and which one may have been meant."""
    if path.is_dir():
        holds = next((child for child in sorted(path.iterdir()) if (child / "run.json").is_file()), None)
        return "has no run.json" + ("" if holds is None else f"; it holds runs, such as '{holds}'")
    if path.exists():
        return "is no folder" + (f"; its run is '{path.parent}'" if (path.parent / "run.json").is_file() else "")
    runs = {str(child.parent) for root in (path.parent, ROOT) for child in root.glob("*/run.json")}
    if str(ROOT / path) in runs:
        return f"does not exist; did you mean '{ROOT / path}'?"
    close = difflib.get_close_matches(str(path), runs, n=1)
    return "does not exist" + (f"; did you mean '{close[0]}'?" if close else "")
