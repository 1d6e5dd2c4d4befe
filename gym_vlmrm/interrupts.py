"""A wish to stop that arrives as a signal: Ctrl-C, a cluster's SIGTERM, a terminal that closes."""

import contextlib
import functools
import os
import select
import signal
import threading
import traceback
from collections.abc import Iterator
from typing import Any

__all__ = [
    "STOPPING", "StopRequest", "Stopped", "a_stop_was_made", "is_for_the_caller", "raising_on_signals",
    "stop_is_asked", "stopping_on_signals",
]  # fmt: skip

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask for a clean stop."""
ADVICE = "to begin again, give the same command"
"""What `Stopped` says where nobody knows better."""
_requests: "list[StopRequest]" = []
"""Those that signals reach now."""
_made: "list[StopRequest]" = []
"""Those that ended in a clean stop."""
_deaf: list[bool] = []
"""Per `raising_on_signals` whether it hears nothing any more: a clean stop was made, and only that is left to say."""


class Stopped(KeyboardInterrupt):
    """A signal ended what had nothing to save; `signal` is its number, `advice` what to do now."""

    def __init__(self, number: int, advice: str = ADVICE) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal, self.advice = number, advice


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
        _leave_dead_terminal(number)
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
        _requests.append(stop)
        yield
    finally:
        with contextlib.suppress(ValueError):
            _requests.remove(stop)
        if stop:
            _deaf[:] = [True] * len(_deaf)
            _made.append(stop)
        _put_back(before)


def a_stop_was_made() -> bool:
    """Whether a signal has led to a clean stop in this process."""
    return bool(_made)


def stop_is_asked() -> bool:
    """Whether a signal asked for a stop that the program is about to make: nothing is worth a long wait any more."""
    return any(_requests)


@contextlib.contextmanager
def raising_on_signals() -> Iterator[None]:
    """Raise `Stopped` in the block where a signal of `STOPPING` comes, once; a second Ctrl-C raises it again.

    What the block opens is closed on the way out. `stopping_on_signals` inside has its way. Outside the main thread
    nothing changes; a signal that is ignored already stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken: list[int] = []
    place = len(_deaf)
    _deaf.append(False)

    def take(number: int, _: Any = None) -> None:
        _leave_dead_terminal(number)
        if _deaf[place]:
            return
        again = bool(taken)
        taken.append(number)
        if not again or number == signal.SIGINT:
            raise Stopped(taken[0])

    before: dict[int, Any] = {}
    try:
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, take)
        yield
    except KeyboardInterrupt as stop:
        if not taken or isinstance(stop, Stopped):
            raise
        # A library made its own of it, as Ray does, and which signal it was is lost.
        raise Stopped(taken[0], getattr(stop, "advice", ADVICE)) from None
    finally:
        del _deaf[place:]
        _put_back(before)


def _put_back(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        # None: a handler that was not set from Python, which Python cannot put back.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _leave_dead_terminal(number: int) -> None:
    """After a SIGHUP, send what would be written to a terminal that is gone to nowhere: every write there fails."""
    if number != getattr(signal, "SIGHUP", None) or not hasattr(select, "poll"):
        return
    for descriptor in (1, 2):
        poll = select.poll()
        poll.register(descriptor, 0)
        if any(events & select.POLLHUP for _, events in poll.poll(0)):
            with contextlib.suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def is_for_the_caller(error: BaseException) -> bool:
    """Whether an exception only passed through the environment: Ctrl-C, or what a handler of a signal raised.

    A time limit by SIGALRM, or ``sys.exit`` on SIGTERM, comes out of whatever line is running. Where Ctrl-C is ignored,
    as in worker processes, a KeyboardInterrupt is the environment's own.
    """
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        return True
    handlers = {code for number in signal.valid_signals() if (code := _code(signal.getsignal(number))) is not None}
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_code in handlers for frame in frames)


def _code(handler: Any) -> Any:
    """Return the code that a handler of a signal runs, if it is written in Python."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if callable(handler) and not hasattr(handler, "__code__"):
        handler = type(handler).__call__
    return getattr(handler, "__code__", None)
