"""A progress bar over several things done one after the other, on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .console import stderr

__all__ = ["phase_bar"]


@contextmanager
def phase_bar(shown: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Show what is being done and how far it is; yields what is called with its name, the done and the whole."""
    if not shown:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True) as bar:
        line = bar.add_task("starting", total=None)
        yield lambda what, done, total: bar.update(line, description=what, completed=done, total=total)
