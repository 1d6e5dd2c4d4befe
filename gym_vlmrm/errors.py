"""Every error that this package raises on purpose.

VLMRMError                 one line: what was wrong, what was given, what would be right
├── TaskError              a task file or task specification is wrong (names file, line, field)
│   ├── UnknownTaskError   no task of that name, ID or path
│   └── UnknownArgumentError   an environment takes no such argument (a TypeError too, as other libraries expect)
├── WorldError             an environment that is not ours failed in `reset` or `step`
├── RenderingError         no picture can be drawn (OpenGL missing, environment without `rgb_array`)
│   └── WorkerError        a process that simulates and draws died or does not answer
├── ResetNeededError       a step was cut short (Ctrl-C, an exception); `reset` must come before the next one
├── ModelError             a reward model is unknown, unreachable or cannot run here
├── TrainingError          an algorithm or hyper-parameter is unknown or does not fit the task
└── RunError               a run folder is missing, incomplete or cannot be written
"""

import difflib
import operator
import os
from collections.abc import Iterable
from typing import Any

__all__ = [
    "ModelError",
    "RenderingError",
    "ResetNeededError",
    "RunError",
    "TaskError",
    "TrainingError",
    "UnknownArgumentError",
    "UnknownTaskError",
    "VLMRMError",
    "WorkerError",
    "WorldError",
    "did_you_mean",
    "number_of_variable",
    "whole_number",
]


class VLMRMError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one line."""

    def __init__(self, message: str = "", *, field: tuple[str | int, ...] = ()) -> None:
        """Take one line; `field` holds the keys that lead to the wrong value in a task file, where one is at fault."""
        super().__init__(message)
        self.field = field


class TaskError(VLMRMError):
    """A task file or task specification is wrong."""


class UnknownTaskError(TaskError):
    """No task goes by that name, environment ID or path."""


class UnknownArgumentError(TaskError, TypeError):
    """An environment takes no argument of that name; Gymnasium and TorchRL look for a TypeError."""


class WorldError(VLMRMError):
    """An environment failed while it was reset or stepped."""


class RenderingError(VLMRMError):
    """No picture can be drawn."""


class WorkerError(RenderingError):
    """A process that simulates and draws died, or does not answer."""


class ResetNeededError(VLMRMError):
    """A step was cut short, so that nobody knows what the next reward would belong to; reset first."""


class ModelError(VLMRMError):
    """A reward model is unknown, unreachable or cannot run on this machine."""


class TrainingError(VLMRMError):
    """An algorithm or hyper-parameter is unknown or does not fit the task."""


class RunError(VLMRMError):
    """A run folder is missing, incomplete or cannot be written."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, else the list of all known names."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""


def whole_number(
    name: str, value: Any, least: int, most: int = 2**63 - 1, error: type[VLMRMError] = TrainingError
) -> int:
    """Return a whole number, of NumPy too, as Python's own; raises `error` where it is none or out of bounds."""
    try:
        number = operator.index(value)
    except TypeError:
        raise error(f"{name} must be a whole number, got {value!r}") from None
    if number < least:
        raise error(f"{name} must be at least {least}, got {number}")
    if number > most:
        raise error(f"{name} must be at most {most}, got {number}")
    return number


def number_of_variable(name: str, default: int, least: int, most: int, error: type[VLMRMError]) -> int:
    """Return the whole number that an environment variable holds; raises `error` where it is none or out of bounds."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    return whole_number(name, int(text) if text.isdecimal() and len(text) < 20 else text, least, most, error=error)
