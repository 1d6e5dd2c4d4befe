"""The Hugging Face Hub without its patience: what is cached loads, what cannot be reached fails within seconds."""

import contextlib
import logging
import socket
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

from huggingface_hub import constants

__all__ = ["impatient_hub"]

PROBE_TIMEOUT = 3.0
"""Seconds to wait for the hub to accept a connection."""


@contextlib.contextmanager
def impatient_hub() -> Iterator[None]:
    """Go offline while the hub cannot be reached, instead of its minute of retries, and keep its log records quiet."""
    before = constants.HF_HUB_OFFLINE
    handler = logging.NullHandler()
    logging.root.addHandler(handler)  # else the first record would set up logging for the whole process
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    constants.HF_HUB_OFFLINE = before or not _is_reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        logging.disable(level)
        logging.root.removeHandler(handler)


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
