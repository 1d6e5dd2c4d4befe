"""Experiment trackers that a training also logs to when asked: Weights & Biases and Trackio, which speak alike.

A tracker never changes a run: its use of random numbers is undone, and one that fails is left out with a notice.
"""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import TrainingError, did_you_mean
from gym_vlmrm.learning.random_states import kept_random_states
from gym_vlmrm.learning.video import gif_bytes

__all__ = ["TRACKERS", "Tracker", "check_trackers"]

TRACKERS = ("trackio", "wandb")
"""Names, which are those of their modules and packages as well."""
PROJECT = "gym-vlmrm"


def check_trackers(names: Iterable[str]) -> tuple[str, ...]:
    """Return the trackers of these names, each once.

    Raises:
        TrainingError: one is unknown or not installed.
    """
    wanted = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in wanted:
        if name not in TRACKERS:
            raise TrainingError(f"'{name}' is no tracker{did_you_mean(name, TRACKERS)}")
        if find_spec(name) is None:
            raise TrainingError(f"logging to {name} needs its package: pip install {name}")
    return wanted


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Let nothing be drawn from this run's random numbers, or be printed where its results are."""
    with kept_random_states(), contextlib.redirect_stdout(sys.stderr):
        yield


class Tracker(KVWriter):
    """One run of one tracker."""

    def __init__(self, name: str, run_name: str, config: dict[str, Any], on_notice: Callable[[str], None]) -> None:
        """Begin a run of the tracker; `config` is shown beside it.

        Raises:
            TrainingError: the tracker refuses.
        """
        self.name, self._on_notice = name, on_notice
        self._run: Any = None
        try:
            with _aside():
                self._module: Any = import_module(name)
                self._run = self._module.init(project=PROJECT, name=run_name, config=config)
        except Exception as error:  # whatever a stranger's library raises
            reason = " ".join(str(error).split()) or type(error).__name__
            raise TrainingError(f"{name} does not begin a run: {reason}") from error

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write one log; called by stable-baselines3's logger."""
        numbers = {key: float(value) for key, value in key_values.items() if isinstance(value, int | float | np.number)}
        self._do(lambda: self._run.log(numbers, step=step))

    def show(self, frames: Sequence[Frames], step: int) -> None:
        """Log the first episode of a trial: its last frame, and its film."""

        def log() -> None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "trial.gif"
                path.write_bytes(gif_bytes(frames))
                film = self._module.Video(str(path), format="gif")
                self._run.log({"trial/last_frame": self._module.Image(frames[-1]), "trial/film": film}, step=step)

        self._do(log)

    def close(self) -> None:
        """End the tracker's run."""
        self._do(lambda: self._module.finish())
        self._run = None

    def _do(self, call: Callable[[], Any]) -> None:
        if self._run is None:
            return
        try:
            with _aside():
                call()
        except Exception as error:
            self._run = None
            reason = " ".join(str(error).split()) or type(error).__name__
            self._on_notice(f"{self.name} failed and is left out from now on ({reason})")
