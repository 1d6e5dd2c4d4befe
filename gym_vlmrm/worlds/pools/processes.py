"""How worker processes begin and end, whoever's they are: what they inherit, which signals reach them, when they go."""

import contextlib
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from typing import Any, TypeVar

import gymnasium as gym
from gymnasium.vector.utils import CloudpickleWrapper

from gym_vlmrm.errors import VLMRMError, WorkerError
from gym_vlmrm.interrupts import stop_is_asked

__all__ = [
    "DEFAULT_TIMEOUT",
    "LAST_PATIENCE",
    "TIMEOUT_VARIABLE",
    "adopt_registrations",
    "begin_worker",
    "end_processes",
    "in_main_thread",
    "pack_registrations",
    "patience",
    "starting_workers",
    "too_slow",
    "wait_patiently",
    "worker_context",
]

DEFAULT_TIMEOUT = 300.0
"""How long a worker may take for one command [s]: long enough for any step on a busy machine, and not for ever."""
TIMEOUT_VARIABLE = "GYM_VLMRM_TIMEOUT"
_FOR_THE_PARENT = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_PIECE = 1.0
LAST_PATIENCE = 3.0
"""How long a worker is waited for once a signal asked for a stop [s]."""
_Found = TypeVar("_Found")


def patience(timeout: float | None = None, default: float = DEFAULT_TIMEOUT) -> float:
    """Return how long to wait for a worker [s]: `timeout`, else what ``GYM_VLMRM_TIMEOUT`` says, else `default`.

    Raises:
        VLMRMError: it is no positive number; ``inf`` is one.
    """
    given: Any = (os.environ.get(TIMEOUT_VARIABLE) or default) if timeout is None else timeout
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = math.nan
    if not seconds > 0:
        name = TIMEOUT_VARIABLE if timeout is None else "timeout"
        raise VLMRMError(f"{name} is {given!r}; give seconds above 0, or 'inf' to wait for ever")
    return seconds


def wait_patiently(look: Callable[[float], _Found], seconds: float) -> _Found | None:
    """Call `look` with a time to wait [s] until it finds something, or until `seconds` have passed in vain.

    The wait is cut into pieces, so that time in which the whole machine stood still counts as one of them. Once a
    signal asked for a stop, little is left of it: whoever takes a machine away gives some ten seconds.
    """
    left, hurried = seconds, False
    while left > 0:
        if not hurried and stop_is_asked():
            left, hurried = min(left, LAST_PATIENCE), True
        piece, began = min(_PIECE, left), time.monotonic()
        found = look(piece)
        if found:
            return found
        left -= min(piece, time.monotonic() - began)
    return None


def too_slow(who: str, command: str, seconds: float) -> WorkerError:
    """Return the error that says of a worker that it does not answer."""
    cure = f"try fewer workers, or set {TIMEOUT_VARIABLE} to more seconds if the environment is that slow"
    return WorkerError(f"{who} has not answered '{command}' for {seconds:g} s; {cure}")


def worker_context() -> Any:
    """Return the start method of workers.

    A fork hangs after an OpenGL or CUDA context exists, and a fork server keeps the environment variables of its first
    start; a new interpreter has neither fault, and takes no longer: imports are what costs.
    """
    _start_tracker()
    return multiprocessing.get_context("spawn")


def _start_tracker() -> None:
    """Start Python's keeper of shared memory, which heeds no SIGINT and SIGTERM, where no SIGHUP meets it either."""
    if hasattr(signal, "pthread_sigmask"):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])  # processes inherit this
        try:
            resource_tracker.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def starting_workers() -> Iterator[None]:
    """Start processes inside that do not import `__main__` again, and that no Ctrl-C meets before they are ready.

    Workers need nothing from `__main__`, and a user's script need not hide behind ``if __name__ == "__main__"``.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    before = None
    try:
        if hasattr(signal, "pthread_sigmask"):
            _start_tracker()  # which would unblock them as it starts
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_PARENT)  # processes inherit this
        yield
    finally:
        vars(main).update(hidden)
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(*, of_main_thread: bool, heeds_sigterm: bool = False) -> None:
    """Leave signals for the parent to decide about, and end as soon as it is gone; called first in every worker.

    Args:
        of_main_thread: whether the parent's main thread started it, which lives as long as the parent.
        heeds_sigterm: for workers of a `ProcessPoolExecutor`, which ends them by SIGTERM once one of them has died.
    """
    for number in _FOR_THE_PARENT:
        if heeds_sigterm and number == signal.SIGTERM:
            continue
        # A handler and not SIG_IGN, which programs that an environment starts would inherit.
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FOR_THE_PARENT)
    if of_main_thread and sys.platform == "linux":
        _let_kernel_end_with_parent()
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()


def in_main_thread() -> bool:
    """Whether this is the main thread (see `begin_worker`)."""
    return threading.current_thread() is threading.main_thread()


def _let_kernel_end_with_parent() -> None:
    """Have Linux kill this process with the thread that started it: one that is stopped can watch for nothing."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # a worker that hangs would stay for ever


def end_processes(processes: Iterable[Any], grace: float = 0.0) -> None:
    """Wait up to `grace` seconds for processes to end, kill those that have not, and wait until all are gone."""
    deadline = time.monotonic() + grace
    started = [process for process in processes if process.pid is not None]
    for process in started if grace > 0 else ():
        process.join(timeout=max(0.0, deadline - time.monotonic()))
    for process in started:
        if process.is_alive():
            process.kill()
    for process in started:
        process.join()


def pack_registrations() -> bytes:
    """Pack the environments that are registered with Gymnasium here, and what of `__main__` their entry points name.

    A user's script registers its own environments, or Gymnasium's anew; workers, which do not run it, learn of them by
    this. All are packed (which takes a hundredth of a second): nothing tells an ID of Gymnasium's from one made anew.
    """
    specs = list(gym.registry.values())
    packed = [data for spec in specs if (data := _pack(spec)) is not None]
    main, named = vars(sys.modules["__main__"]), {}
    for spec in specs:
        points = [spec.entry_point, spec.vector_entry_point, *(w.entry_point for w in spec.additional_wrappers)]
        for point in points:
            module, _, name = point.partition(":") if isinstance(point, str) else ("", "", "")
            if module == "__main__" and name in main and (data := _pack(main[name])) is not None:
                named[name] = data
    # Python's own start of a process waits for ever where more than a pipe holds (64 KiB) meets a child that just died.
    return zlib.compress(pickle.dumps((packed, named)))


def _pack(thing: Any) -> bytes | None:
    try:
        return pickle.dumps(CloudpickleWrapper(thing))
    except Exception:  # it does not travel: an environment that no task may ever ask for must not stop the others
        return None


def adopt_registrations(data: bytes) -> None:
    """Register in this process what `pack_registrations` packed in another; what cannot be loaded here is left out."""
    packed, named = pickle.loads(zlib.decompress(data))
    for name, thing in named.items():
        with contextlib.suppress(Exception):
            setattr(sys.modules["__main__"], name, pickle.loads(thing).fn)
    for entry in packed:
        with contextlib.suppress(Exception):
            spec = pickle.loads(entry).fn
            gym.registry[spec.id] = spec
