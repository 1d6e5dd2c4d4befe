"""What the commands say, and where: results on stdout, everything else on stderr."""

import functools
import json
import logging
import signal
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["SIGNALLED", "complain", "note", "one_line_errors", "print_json", "print_table", "say", "stderr", "stdout"]

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

SIGNALLED = 128
"""What shells add to a signal's number to make an exit code."""

FILE_WIDTH = 200
"""Columns of a table that goes to a file or a pipe."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def say(message: str) -> None:
    """Print one line of a result on stdout."""
    stdout.print(Text(message))


def note(message: str) -> None:
    """Print one line on stderr that the user should read."""
    stderr.print(Text.assemble(("note: ", "yellow"), " ".join(message.split())))


def complain(message: str) -> None:
    """Print one red line on stderr."""
    stderr.print(Text("error: " + " ".join(message.split()), style="red"))


def print_json(data: Any) -> None:
    """Print one JSON object on stdout, and nothing around it."""
    typer.echo(json.dumps(data, indent=2, allow_nan=False))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None, whole: int = 1
) -> None:
    """Print a table on stdout; the first `whole` columns are never broken into lines, the others fold."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index < whole, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    target = stdout if stdout.is_terminal else Console(width=FILE_WIDTH, highlight=False)
    target.print(table)


def one_line_errors(command: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Make a command report errors as one line and an exit code: 1 for its own, 130 after Ctrl-C. Never a traceback."""

    @functools.wraps(command)
    def reporting(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        _route_warnings()
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            complain(str(interrupt) or "interrupted")
            raise typer.Exit(SIGNALLED + signal.SIGINT) from None
        except Exception as error:
            from gym_vlmrm.errors import VLMRMError

            if not isinstance(error, VLMRMError | OSError):
                raise
            complain(str(error))
            raise typer.Exit(1) from None

    return reporting


def _route_warnings() -> None:
    """Send Python warnings and log records of the package to stderr, one line each."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning):
            note(str(message))

    warnings.showwarning = show
    logger = logging.getLogger("gym_vlmrm")
    if not logger.handlers:
        logger.addHandler(_NoteHandler())
        logger.propagate = False


class _NoteHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())
