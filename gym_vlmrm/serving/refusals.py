"""Why a server does not answer: what the asker is told, and the line that its log has of it."""

import json
import logging
import time

from gym_vlmrm.task.yaml_file import shorten

__all__ = ["RefusalError", "RefusalLog"]

logger = logging.getLogger("gym_vlmrm")

_TELLING = 5
"""From so many letters on the beginning of a token tells something of it."""
_LINES, _SECONDS = 20, 10.0
"""Most lines in so many seconds: a log must not fill a disk for somebody who asks for it."""


class RefusalError(Exception):
    """A status and one line."""

    def __init__(self, status: int, words: str, *, retry_after: int | None = None) -> None:
        super().__init__(words)
        self.status = status
        self.headers: list[tuple[bytes, bytes]] = []
        """Of the answer, besides those that every answer has."""
        if status == 408:  # the rest of it is not wanted
            self.headers.append((b"connection", b"close"))
        if retry_after is not None:
            self.headers.append((b"retry-after", str(retry_after).encode()))

    @property
    def body(self) -> bytes:
        """What the asker reads."""
        return json.dumps({"error": " ".join(str(self).split())}).encode() + b"\n"


class RefusalLog:
    """One line for each refusal, at most some in a while; none of them has the token."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._since, self._lines, self._left_out = 0.0, 0, 0

    def tell(self, refusal: RefusalError, asker: str, what: str) -> None:
        """Write that somebody was refused something, such as ``POST /v1/rewards``."""
        now = time.monotonic()
        if now - self._since > _SECONDS:
            if self._left_out:
                logger.warning("%d further requests were refused", self._left_out)
            self._since, self._lines, self._left_out = now, 0, 0
        if self._lines >= _LINES:
            self._left_out += 1
            return
        self._lines += 1
        line = f"refused {asker}: {shorten(what, 80)}: {refusal.status} {shorten(refusal, 300)}"
        if self._token is not None:  # what was too long was cut, perhaps in the middle of it
            for length in range(len(self._token), min(_TELLING, len(self._token)) - 1, -1):
                line = line.replace(self._token[:length], "...")
        logger.warning("%s", "".join(letter if letter.isprintable() else "?" for letter in line))
