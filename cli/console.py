"""What the commands say, and where: results on stdout, everything else on stderr.

Much of it was written by somebody else: prompts, names of files, words of libraries. Characters that would command the
terminal, or show a line other than it is, are replaced wherever anything is printed.
"""

import functools
import json
import logging
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import IO, Any, ParamSpec, TypeVar

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = [
    "SIGNALLED", "complain", "elapsed", "harmless", "note", "one_line_errors", "print_json", "print_table", "say",
    "stderr", "stdout",
]  # fmt: skip

_COMMANDING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
"""Control characters but tab and line feed, marks of direction, invisible tags and halves of characters."""
REPLACEMENT = "\ufffd"

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def harmless(text: str, stream: IO[str] | None = None) -> str:
    """Return text in which nothing commands a terminal, in characters that the stream (stdout if not given) has."""
    text = _COMMANDING.sub(REPLACEMENT, text)
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "replace").decode(encoding)
    return text


SIGNALLED = 128
"""What shells add to a signal's number to make an exit code."""

GAP = 2
"""Columns between those of a table."""
SHORT = 9
"""A cell of so many columns or fewer is never broken."""
FILE_WIDTH = 200
"""Columns of a table that goes to a file or a pipe."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def say(message: str) -> None:
    """Print one line of a result on stdout."""
    stdout.print(Text(harmless(message, stdout.file)))


def note(message: str) -> None:
    """Print one line on stderr that the user should read."""
    stderr.print(Text.assemble(("note: ", "yellow"), harmless(" ".join(message.split()), stderr.file)))


def complain(message: str) -> None:
    """Print one red line on stderr."""
    stderr.print(Text("error: " + harmless(" ".join(message.split()), stderr.file), style="red"))


def print_json(data: Any) -> None:
    """Print one JSON object on stdout, and nothing around it."""
    typer.echo(json.dumps(data, indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str | None = None,
    whole: int = 1,
    spare: Sequence[str] = (),
) -> None:
    """Print a table on stdout.

    Args:
        columns: their names.
        rows: a text for each column.
        title: stands above.
        whole: so many columns are never broken into lines; the others fold between words.
        spare: names of columns that a narrow terminal may lack, the first one first. One that is too narrow even then
            gets one row below the other, with every column's name.
    """
    target = stdout if stdout.is_terminal else Console(width=FILE_WIDTH, highlight=False)
    heading = None if title is None else Text(harmless(title, target.file))
    # A line feed of somebody's would begin a row that nobody wrote.
    told = [[Text(harmless(cell.replace("\n", " "), target.file)) for cell in row] for row in rows]
    texts = [[Text(column), *(cells[index] for cells in told)] for index, column in enumerate(columns)]
    widths = [max(cell_len(text.plain) for text in column) for column in texts]
    needed = [
        width if index < whole else max(cell_len(word) for text in texts[index] for word in _words(text.plain))
        for index, width in enumerate(widths)
    ]
    shown = list(range(len(columns)))
    for name in spare:
        if _sum(needed, shown) > target.width:
            shown.remove(columns.index(name))
    if _sum(needed, shown) > target.width:
        _print_below(target, heading, columns, told)
        return
    # Rich shrinks the widest column first, and breaks the words of others.
    while _sum(widths, shown) > target.width:
        widths[max(shown, key=lambda index: widths[index] - needed[index])] -= 1
    if heading is not None:
        target.print(heading, soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for index in shown:
        table.add_column(columns[index], width=widths[index], no_wrap=index < whole, overflow="fold")
    for cells in told:
        table.add_row(*(cells[index] for index in shown))
    target.print(table)


def _words(text: str) -> list[str]:
    """Return what is never broken: words, and a number with its unit."""
    return [text] if cell_len(text) <= SHORT else text.split()


def _sum(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[index] for index in shown) + GAP * (len(shown) - 1)


def _print_below(target: Console, heading: Text | None, columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    if heading is not None:
        target.print(heading, soft_wrap=True)
    names = [column or "row" for column in columns]
    for first, *others in rows:
        target.print(first)
        grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        grid.add_column(width=1)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, cell in zip(names[1:], others, strict=True):
            grid.add_row("", name, cell)
        target.print(grid)


def elapsed(seconds: float) -> str:
    """Format a time that has passed, by its largest unit: ``40 s``, ``12 min``, ``3 h``, ``5 d``."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


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

            if isinstance(error, MemoryError):
                error = VLMRMError("there is not enough memory for this" + (f" ({error})" if str(error) else ""))
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
