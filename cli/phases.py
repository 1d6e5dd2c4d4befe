"""A progress bar over several things done one after the other, on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .progress import bar

__all__ = ["phase_bar"]


@contextmanager
def phase_bar(shown: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Show what is being done and how far it is; yields what is called with its name, the done and the whole."""
    with bar("starting", shown=shown, clock="elapsed") as show:
        yield None if show is None else lambda what, done, total: show(done, total, what)
