"""The way to a Ray cluster: one that runs, or one of this machine alone."""

import contextlib
import importlib.metadata
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from gym_vlmrm.errors import VLMRMError
from gym_vlmrm.interrupts import STOPPING
from gym_vlmrm.task.yaml_file import shorten

__all__ = [
    "ClusterError",
    "accelerators",
    "check_address",
    "connected",
    "free_cores",
    "import_ray",
    "lost",
    "package_version",
]

ANSWER_SECONDS = 10.0
"""How long a cluster's head may take to answer [s]."""
STORE_BYTES = 256 * 2**20
"""Memory for frames on their way, of a cluster that is started here [bytes]."""


class ClusterError(VLMRMError):
    """A cluster is missing, cannot be reached, or is too small."""


def import_ray() -> Any:
    """Return Ray; raises ClusterError where it is not installed."""
    # Nothing about this machine is told to anybody, and a driver's signals stay its own.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Of clusters that are started here: Ray's own 15 lets whatever else runs go first.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
    except ImportError:
        raise ClusterError('a cluster needs Ray: pip install "ray[default,serve,tune]" (gym-vlmrm[cluster])') from None
    return ray


def package_version() -> str:
    """Return the version of this package, which is the same on all machines of a training."""
    return importlib.metadata.version("gym-vlmrm")


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a cluster in the block, and give Ray; a process that is connected already stays so afterwards.

    Args:
        address: ``HOST:PORT`` of a cluster's head, or ``auto``: the cluster that this machine belongs to, or else one
            that is started here, of this machine alone, and ends with the block.

    Raises:
        ClusterError: Ray is not installed, or no cluster answers there.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    check_address(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        with _own_signals():
            if address == "auto":
                try:
                    ray.init(address="auto", **quiet)
                except ConnectionError:
                    ray.init(address="local", include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
            else:
                ray.init(address=address, **quiet)
    except Exception as error:  # of Ray's many kinds
        with contextlib.suppress(Exception):
            ray.shutdown()
        raise ClusterError(
            f"no Ray cluster of this Python and Ray answers at '{address}' ({shorten(error, 160)}); start one with: "
            "ray start --head"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does at a signal: Ray's own handler of SIGTERM prints a stack and aborts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # set from Python, so that Python can set it again
                signal.signal(number, handler)


def check_address(address: str) -> None:
    """Check that a cluster's address is one and that something answers there; raises ClusterError."""
    host, _, port = address.rpartition(":")
    if address.startswith("ray://"):
        raise ClusterError("a training runs on a machine of its cluster; log in there and give auto or HOST:PORT")
    if address != "auto" and not (host and port.isdecimal() and int(port) < 65_536 and address.isprintable()):
        raise ClusterError(f"--cluster is {address!r:.80}; give auto, or HOST:PORT of the cluster's head")
    if address != "auto":  # Ray itself tries for minutes
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
        except OSError as error:
            raise ClusterError(
                f"nothing answers at '{address}' ({error.strerror or error}); start a cluster with: ray start --head, "
                "and give the HOST:PORT that it says"
            ) from None


def free_cores(ray: Any) -> int:
    """Return how many cores nobody has reserved."""
    return int(ray.available_resources().get("CPU", 0))


def accelerators(ray: Any) -> int:
    """Return how many accelerators nobody has reserved."""
    return int(ray.available_resources().get("GPU", 0))


def lost(ray: Any) -> tuple[type[Exception], ...]:
    """Return what says that a process or machine has gone, and that nobody is at fault."""
    errors = ray.exceptions
    return errors.RayActorError, errors.ObjectLostError, errors.WorkerCrashedError, errors.NodeDiedError
