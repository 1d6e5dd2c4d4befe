"""What the commands share that can be interrupted and resumed."""

import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import typer

from .console import SIGNALLED, note, print_json

__all__ = ["check_resume", "conclude"]

FREE = ("resume", "json", "quiet")
"""Options that always go with ``--resume``."""


class _Stoppable(Protocol):
    """How a training ended."""

    @property
    def step(self) -> int: ...
    @property
    def interrupted(self) -> bool: ...


_Result = TypeVar("_Result", bound=_Stoppable)


def check_resume(context: typer.Context, argument: str, *free: str) -> None:
    """Refuse the argument and every option that a resumed run has settled already, but those named in `free`."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in (*FREE, *free) and source is not None and source.name != "DEFAULT":
            option = argument if name == argument.lower() else "--" + name.replace("_", "-")
            raise typer.BadParameter(
                f"a resumed run keeps what it began with; leave {option} out", param_hint="--resume"
            )


def conclude(
    result: _Result,
    summary: dict[str, Any],
    show: Callable[[_Result], None],
    command: str,
    folder: Path,
    *,
    json: bool,
    quiet: bool,
) -> None:
    """Print how a training ended: its summary as JSON, or by `show`.

    After a signal say how to go on, and exit by the code that shells have for it: 130 after Ctrl-C, 143 after SIGTERM.
    """
    if json:
        print_json(summary)
    elif not quiet and not result.interrupted:
        show(result)
    if result.interrupted:
        note(f"stopped after {result.step:,} steps; go on with: vlmrm {command} --resume {shlex.quote(str(folder))}")
        raise typer.Exit(SIGNALLED + (getattr(result, "signal", None) or signal.SIGINT))
