"""How a command ends that a signal stops: one line and the exit code that shells have for it, never half a file."""

import atexit
import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import typer

from .console import SIGNALLED, complain

__all__ = ["end_by_signal", "stopped_in_one_line"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# gym_vlmrm has its own, but a page of help must not wait for Gymnasium.
_STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class _Early(BaseException):
    """A signal that came before or after the command itself; typer makes exit code 130 of a KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def stopped_in_one_line(command: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Make a command end at the first Ctrl-C, SIGTERM or SIGHUP: what it opened is closed, and one line says so.

    A command that saves what it has (``train``, ``finetune``) does that itself (see `gym_vlmrm.interrupts`).
    """

    @functools.wraps(command)
    def stoppable(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        from gym_vlmrm.interrupts import Stopped, raising_on_signals

        try:
            with raising_on_signals():
                return command(*args, **kwargs)
        except Stopped as stopped:
            complain(f"{stopped}; {stopped.advice}")
            raise typer.Exit(SIGNALLED + stopped.signal) from None

    return stoppable


@contextlib.contextmanager
def end_by_signal() -> Iterator[None]:
    """Run the whole program inside: signals before and after its command leave no traceback and no other exit code."""
    code = 1
    threading.excepthook = _leave_to_main_thread
    try:
        for number in _STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _end_early)
        yield
    except (KeyboardInterrupt, _Early) as stopped:
        number = signal.Signals(getattr(stopped, "signal", signal.SIGINT))
        code = SIGNALLED + number
        complain(f"stopped by {number.name}; to begin again, give the same command")
        raise SystemExit(code) from None
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        _see_to_the_end(code)


def _end_early(number: int, _: object = None) -> None:
    interrupts = sys.modules.get("gym_vlmrm.interrupts")
    if interrupts is None or not interrupts.a_stop_was_made():  # after that, all that is left is to say so
        raise _Early(number)


def _see_to_the_end(code: int) -> None:
    """Let nothing change how the program ends; a Ctrl-C ends it at once, whatever thread is still busy."""
    if threading.current_thread() is not threading.main_thread():
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda *_: os._exit(code))
    # Python takes that away while it ends, and a second Ctrl-C would then change the exit code.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def _leave_to_main_thread(failure: threading.ExceptHookArgs) -> None:
    """Say nothing of a full disk that a library's thread met: the main thread meets it too, and says so in one line."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)
