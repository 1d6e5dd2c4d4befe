"""The Hugging Face Hub without its patience: what is cached loads, what cannot be reached fails within seconds."""

import contextlib
import logging
import socket
import threading
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

from huggingface_hub import constants

__all__ = ["impatient_hub"]

PROBE_TIMEOUT = 3.0
"""Seconds to wait for the hub to accept a connection."""
QUIET = ("huggingface_hub", "httpx", "urllib3", "transformers")
"""Loggers of the libraries that fetch; their complaints come as one error."""
_LOCK = threading.RLock()


@contextlib.contextmanager
def impatient_hub(offline: bool = False) -> Iterator[None]:
    """Go offline while the hub cannot be reached, instead of its minute of retries, and keep its log records quiet.

    Threads take turns, since what is changed (the hub's offline mode, levels of its loggers) is the whole process's.
    What anybody else logs meanwhile is logged.

    Args:
        offline: do not even try to reach it: what is cached, or nothing.
    """
    with _LOCK, _quiet():
        before = constants.HF_HUB_OFFLINE
        # The hub has no setting for this that is read after its import; the constant is what `HF_HUB_OFFLINE` sets.
        constants.HF_HUB_OFFLINE = before or offline or not _is_reachable(constants.ENDPOINT)
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in QUIET]
    levels = [logger.level for logger in loggers]
    here = threading.get_ident()

    def is_not_from_here(record: logging.LogRecord) -> bool:
        return record.thread != here

    # open_clip logs to the root logger itself, whose first record would set up logging for the whole process.
    stand_in = logging.lastResort if not logging.root.handlers else None
    if stand_in is not None:
        logging.root.addHandler(stand_in)
    logging.root.addFilter(is_not_from_here)  # sees what is logged to the root logger itself, not what comes up to it
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        logging.root.removeFilter(is_not_from_here)
        if stand_in is not None:
            logging.root.removeHandler(stand_in)


def _is_reachable(address: str) -> bool:
    if urllib.request.getproxies():
        return True  # a proxy may reach what this machine cannot look up
    parts = urlsplit(address)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=PROBE_TIMEOUT):
            return True
    except OSError:
        return False
