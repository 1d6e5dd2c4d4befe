"""One question to a judge behind HTTP, asked again while its server is away; errors in one line, without the token."""

import contextlib
import http.client
import json
import logging
import os
import socket
import ssl
import threading
import time
import weakref
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.remote.address import SERVER_VARIABLE, TOKEN_VARIABLE, base_of, token_for
from gym_vlmrm.reward.remote.schema import (
    MAX_COUNT,
    MAX_HEAD,
    MODEL_PATH,
    REWARDS_PATH,
    Asked,
    Facts,
    SchemaError,
    pack_asked,
    read_facts,
    read_rewards,
)
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.worlds.pools.processes import TIMEOUT_VARIABLE, patience, wait_patiently

__all__ = ["Connection"]

logger = logging.getLogger("gym_vlmrm")

LARGEST = MAX_HEAD + 4 * MAX_COUNT
"""Longest answer that is read [bytes]."""
FIRST_PATIENCE = 5.0
"""How long a server is waited for that was never there [s]: then its address is wrong, more likely than not."""
_AWAY = (429, 502, 503, 504)
"""What proxies and servers say that may soon be well again."""
_PAUSE = 0.25
_PIECE = 65_536


_LONGEST_PAUSE = 10.0
"""A server may say when to come again, but not any time [s]."""


class _AwayError(Exception):
    """Nobody answers now; perhaps `pause` seconds later."""

    def __init__(self, words: str, pause: float = _PAUSE) -> None:
        super().__init__(words)
        self.pause = pause


class Connection:
    """A way to one server. Threads may share it: each has a socket of its own, kept open between questions."""

    def __init__(self, model: str) -> None:
        """Prepare to ask; nothing is sent yet. Raises ModelError where `model` is no address."""
        self._model, self._base = model, base_of(model)
        self._token = token_for(self._base)
        self._seconds = patience()
        self._local = threading.local()
        self._met = self._away = False
        self._noting = threading.Lock()
        self._opened: list[http.client.HTTPConnection] = []
        weakref.finalize(self, _close_all, self._opened).atexit = False

    def model(self) -> Facts:
        """Return what the server says of its judge; raises ModelError where it does not."""
        body = self._ask("GET", MODEL_PATH, None)
        try:
            return read_facts(json.loads(body))
        except (ValueError, RecursionError):
            raise self._strange("it is no JSON") from None
        except SchemaError as error:
            raise self._strange(str(error)) from None

    def rewards(self, asked: Asked) -> tuple[Facts, NDArray[np.float32], list[str]]:
        """Return facts, rewards (N,) and notes.

        Raises:
            ModelError: there are none. SchemaError: `asked` is too long.
        """
        body = self._ask("POST", REWARDS_PATH, pack_asked(asked))
        try:
            return read_rewards(body)
        except SchemaError as error:
            raise self._strange(str(error)) from None

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        last, again_at = "", 0.0

        def once(seconds: float) -> bytes | None:
            nonlocal last, again_at
            began = time.monotonic()
            if began < again_at:
                time.sleep(min(seconds, again_at - began))
                return None
            try:
                return self._once(method, path, body)
            except _AwayError as error:
                last, again_at = str(error), time.monotonic() + error.pause
            if self._met and self._turns_away(True):
                logger.warning("'%s' %s; it is asked again for %g s", self._model, last, self._seconds)
            return None

        seconds = self._seconds if self._met else min(self._seconds, FIRST_PATIENCE)
        answer = wait_patiently(once, seconds)
        if answer is None:
            hint = (
                f"set {TIMEOUT_VARIABLE} to more seconds if it takes longer to come back"
                if self._met
                else ("is its server running (vlmrm serve TASK --http HOST:PORT), and is that the address?")
            )
            raise self._error(f"{last or 'cannot be reached'}, still after {seconds:g} s; {hint}")
        if self._turns_away(False):
            logger.warning("'%s' answers again", self._model)
        self._met = True
        return answer

    def _turns_away(self, away: bool) -> bool:
        """Note whether the server is away; whether that is news, to one of all threads."""
        with self._noting:
            news, self._away = self._away != away, away
            return news

    def _once(self, method: str, path: str, body: bytes | None) -> bytes:
        headers = {"Content-Type": "application/octet-stream", "User-Agent": "gym-vlmrm"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = self._socket()
        try:
            try:
                connection.request(method, urlsplit(self._base).path + path, body, headers)
            except (BrokenPipeError, ConnectionResetError):
                if connection.sock is None:
                    raise
                # It hung up before it had all of it, and may have said why.
            with contextlib.closing(connection.getresponse()) as response:
                answer = self._read(response)
                if response.will_close:
                    self._drop()
        except ssl.SSLCertVerificationError as error:
            self._drop()
            raise self._error(f"has no certificate that this machine trusts ({error.verify_message})") from None
        except TimeoutError:
            self._drop()
            hint = f"set {TIMEOUT_VARIABLE} to more seconds if it is that slow"
            raise self._error(f"has not answered for {self._seconds:g} s; {hint}") from None
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            raise self._gone(error) from None
        except BaseException:
            self._drop()
            raise
        if response.status == 200:
            return answer
        words = self._words(answer)
        if 300 <= response.status < 400:
            to = self._clean(response.getheader("Location", "").partition("?")[0])
            raise self._error(
                f"sends requests on to '{to}' ({response.status}); frames and token go to the address and nowhere else:"
                " write the right one"
            )
        if response.status in _AWAY:
            said = response.getheader("Retry-After", "")
            pause = min(float(said), _LONGEST_PAUSE) if said.isdecimal() and len(said) < 10 else _PAUSE
            raise _AwayError(f"is away or busy: {response.status} {words}", max(pause, _PAUSE))
        raise self._error(self._refused(response.status, words))

    def _gone(self, error: Exception) -> Exception:
        if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
            return self._error("does not speak HTTP; is that the address of a judge?")
        if isinstance(error, socket.gaierror | ssl.SSLError):
            return self._error(f"cannot be reached ({shorten(error, 120)}); is that the address?")
        return _AwayError(f"cannot be reached ({shorten(error, 120) or type(error).__name__})")

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """Read an answer within its size and time: one that trickles is none."""
        body, deadline = bytearray(), time.monotonic() + self._seconds
        while part := response.read(_PIECE):
            body += part
            if len(body) > LARGEST:
                raise self._error(f"sends an answer of more than {LARGEST:,} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError
        return bytes(body)

    def _refused(self, status: int, words: str) -> str:
        if status != 401:
            return f"refuses the request: {status} {words}"
        if self._token is not None:
            return f"refuses the token of {TOKEN_VARIABLE} (401)"
        return (
            f"wants a token (401): set {TOKEN_VARIABLE}, and {SERVER_VARIABLE}={self._base}, as a token goes to the "
            "server that it belongs to and nowhere else"
        )

    def _words(self, body: bytes) -> str:
        with contextlib.suppress(ValueError, RecursionError):
            told: Any = json.loads(body)
            if isinstance(told, dict) and isinstance(told.get("error"), str):
                return self._clean(told["error"])
        return self._clean(body[:160].decode("utf-8", "replace"))

    def _clean(self, text: str) -> str:
        return shorten(text.replace(self._token, "...") if self._token else text, 240)

    def _strange(self, why: str) -> ModelError:
        return self._error(f"does not answer as a judge of this version does: {why}")

    def _error(self, words: str) -> ModelError:
        return ModelError(f"'{self._model}' {words}")

    def _socket(self) -> http.client.HTTPConnection:
        known: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if known is None or self._local.pid != os.getpid():
            parts = urlsplit(self._base)
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            timeout = None if self._seconds == float("inf") else self._seconds
            known = self._local.connection = kind(parts.hostname or "", parts.port, timeout=timeout)
            self._local.pid = os.getpid()
            self._opened.append(known)
        return known

    def _drop(self) -> None:
        known = getattr(self._local, "connection", None)
        self._local.connection = None
        if known is not None:
            known.close()
            with contextlib.suppress(ValueError):
                self._opened.remove(known)

    def close(self) -> None:
        """End the connections of all threads."""
        _close_all(self._opened)


def _close_all(opened: list[http.client.HTTPConnection]) -> None:
    while opened:
        opened.pop().close()
