"""A wish to stop that arrives as a signal: Ctrl-C, a cluster's SIGTERM, a terminal that closes."""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["STOPPING", "StopRequest", "deaf_children", "ignore_stopping", "stopping_on_signals"]

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask for a clean stop."""


class StopRequest:
    """Whether, and by which signal, a stop was asked for; true from then on."""

    def __init__(self) -> None:
        self.signal: int | None = None
        """Number of the first signal, or ``None``."""
        self._shields = 0

    def __bool__(self) -> bool:
        return self.signal is not None

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Let nothing interrupt the block: what is being saved is saved, however impatient the user."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    def _take(self, number: int, _: Any = None) -> None:
        if number == getattr(signal, "SIGHUP", None):
            _leave_dead_terminal()
        again, self.signal = self.signal is not None, self.signal or number
        if again and number == signal.SIGINT and not self._shields:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stopping_on_signals(stop: StopRequest) -> Iterator[None]:
    """Turn the first signal of `STOPPING` in the block into a request to stop; Ctrl-C after that interrupts at once.

    Outside the main thread, where Python has no say over signals, nothing changes. A SIGHUP that is ignored already
    (``nohup``) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}
    try:
        for number in STOPPING:
            if signal.getsignal(number) is signal.SIG_IGN and number != signal.SIGINT:
                continue
            before[number] = signal.signal(number, stop._take)
        yield
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _leave_dead_terminal() -> None:
    """Send what would be written to a terminal that is gone to nowhere: every write there is an error."""
    if not hasattr(select, "poll"):
        return
    for descriptor in (1, 2):
        poll = select.poll()
        poll.register(descriptor, 0)
        if any(events & select.POLLHUP for _, events in poll.poll(0)):
            with contextlib.suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


@contextlib.contextmanager
def deaf_children() -> Iterator[None]:
    """Let processes that the block starts begin without hearing Ctrl-C or a terminal that closes.

    Both reach every process of a terminal, and a child that imports for a second would die of them. What arrives here
    in the block is heard when it ends.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # where it starts, it unblocks signals
    held = {number for number in STOPPING if number != signal.SIGTERM}  # which ends children, also those of others
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_stopping() -> None:
    """Leave stopping to the parent, in a child that ends when the pipe to its parent does.

    A terminal, and many a cluster, sends its signals to the whole group of processes.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
