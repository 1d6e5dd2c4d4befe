"""A desk behind HTTP: an ASGI application, served by uvicorn alone or by Ray Serve. docs/clusters.md is its reference.

Every request stands for itself, and every refusal is one line of JSON; nobody's request can harm another's.
"""

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import ValidationError

from gym_vlmrm.errors import ModelError, VLMRMError
from gym_vlmrm.reward.remote.schema import (
    MAX_BYTES,
    MAX_HEAD,
    MODEL_PATH,
    REWARDS_PATH,
    Facts,
    SchemaError,
    pack_rewards,
    read_asked,
)
from gym_vlmrm.serving.desk import Desk
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["BODY_SECONDS", "HEALTH_PATH", "WebDesk", "facts_of"]

logger = logging.getLogger("gym_vlmrm")

HEALTH_PATH = "/healthz"
BODY_SECONDS = 30.0
"""How long a request may take to come [s]."""
MAX_WAITING = 1_000_000_000
"""Most bytes of requests that are held at a time; further ones are told to come again."""
AT_ONCE = 64
"""Requests that are decoded and wait for the desk at a time; the desk itself works as its machine can."""
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


def facts_of(desk: Desk) -> Facts:
    """Return what every answer says of a desk's model; what it does not tell is an empty text."""
    model = desk.model
    told = {name: str(getattr(model, name, None) or "") for name in ("weights_digest", "precision", "device")}
    return Facts(model=model.name, frame_size=int(model.frame_size), **told)


class _RefusalError(Exception):
    """Why a request is not answered: a status and one line."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class WebDesk:
    """The application. It holds nothing of a request once that is answered."""

    def __init__(self, desk: Desk, token: str | None = None, *, body_seconds: float = BODY_SECONDS) -> None:
        """Serve a desk to whoever knows the token, or to everybody where there is none."""
        self.facts, self._desk = facts_of(desk), desk
        self._token, self._body_seconds = token, body_seconds
        self._held = 0
        self._team = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="asking")

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        """Answer one request, as ASGI 3 says."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        kind = b"application/json"
        try:
            status, body = 200, await self._answer(scope, receive)
            if scope["path"].endswith(REWARDS_PATH):
                kind = b"application/octet-stream"
        except _GoneError:
            return
        except _RefusalError as error:
            status, body = error.status, _plain({"error": str(error)})
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        if status in (408, 413):  # the rest of it is not wanted
            headers.append((b"connection", b"close"))
        if status == 503:
            headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: MutableMapping[str, Any], receive: _Receive) -> bytes:
        path, method = scope["path"], scope["method"]
        allowed = {HEALTH_PATH: "GET", MODEL_PATH: "GET", REWARDS_PATH: "POST"}.get(path)
        if allowed is None:
            raise _RefusalError(404, f"there is {MODEL_PATH}, {REWARDS_PATH} and {HEALTH_PATH}, and no {path!r:.80}")
        if method != allowed:
            raise _RefusalError(405, f"{path} takes {allowed}, not {method:.20}")
        headers = {name.lower(): value for name, value in scope["headers"]}
        if path == HEALTH_PATH:
            return _plain({"status": "ok"})
        if self._token is not None and not self._knows(headers.get(b"authorization", b"")):
            raise _RefusalError(401, "the token is missing or wrong; send 'Authorization: Bearer TOKEN'")
        if path == MODEL_PATH:
            return _plain(self.facts.plain())
        _check_length(headers)
        held = 0
        try:
            body = bytearray()
            async with asyncio.timeout(self._body_seconds):
                async for part in _parts(receive):
                    if self._held + len(part) > MAX_WAITING:
                        raise _RefusalError(503, "too many requests wait; come again in a second")
                    held, self._held = held + len(part), self._held + len(part)
                    body += part
                    if len(body) > MAX_HEAD + MAX_BYTES:
                        raise _RefusalError(413, _TOO_LARGE)
            work = asyncio.get_running_loop().run_in_executor(self._team, self._judge, bytes(body))
            return await work
        except TimeoutError:
            raise _RefusalError(408, f"the request did not come within {self._body_seconds:g} s") from None
        finally:
            self._held -= held

    def _knows(self, authorization: bytes) -> bool:
        wanted = f"Bearer {self._token}".encode()
        return hmac.compare_digest(authorization, wanted)

    def _judge(self, body: bytes) -> bytes:
        try:
            asked = read_asked(body)
            spec = self._desk.spec_for(asked.goal, asked.baseline or None, asked.alpha)
            judge, notes = self._desk.judge_by(spec)
            rewards = self._desk.score(judge, asked.frames)
        except SchemaError as error:
            raise _RefusalError(400, f"the request is not understood: {error}") from None
        except ValidationError as error:
            words = "; ".join(str(one["msg"]) for one in error.errors()[:3])
            raise _RefusalError(400, f"the prompts are none: {shorten(words, 200)}") from None
        except VLMRMError as error:
            raise _RefusalError(422 if isinstance(error, ModelError) else 400, shorten(error, 500)) from None
        except Exception as error:
            logger.warning("a request failed: %s: %s", type(error).__name__, shorten(error, 200))
            raise _RefusalError(500, f"the judge failed: {type(error).__name__}: {shorten(error, 200)}") from None
        return pack_rewards(self.facts, rewards, [note.partition(": ")[2] for note in notes])


_TOO_LARGE = f"a request has at most {MAX_HEAD + MAX_BYTES:,} bytes; send fewer frames at a time"


class _GoneError(Exception):
    """The asker has gone."""


def _check_length(headers: dict[bytes, bytes]) -> None:
    said = headers.get(b"content-length", b"0")
    if not said.isdigit() or len(said) > 18:
        raise _RefusalError(400, "the length of the request is no number")
    if int(said) > MAX_HEAD + MAX_BYTES:
        raise _RefusalError(413, _TOO_LARGE)


async def _parts(receive: _Receive) -> Any:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _plain(data: dict[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


async def _lifespan(receive: _Receive, send: _Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
