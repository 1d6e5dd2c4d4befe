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
from gym_vlmrm.serving.desk import BusyError, Desk, Ticket
from gym_vlmrm.serving.refusals import RefusalError, RefusalLog
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["BODY_SECONDS", "HEALTH_PATH", "WebDesk", "facts_of"]

logger = logging.getLogger("gym_vlmrm")

HEALTH_PATH = "/healthz"
BODY_SECONDS = 30.0
"""How long a request may take to come [s]."""
MAX_WAITING = 1_000_000_000
"""Most bytes of requests that are held at a time, half of them of one asker; further ones are told to come again."""
_READERS = 4
"""Threads that read what has come."""
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


def facts_of(desk: Desk) -> Facts:
    """Return what every answer says of a desk's model; what it does not tell is an empty text."""
    model = desk.model
    told = {name: str(getattr(model, name, None) or "") for name in ("weights_digest", "precision", "device")}
    return Facts(model=model.name, frame_size=int(model.frame_size), **told)


class WebDesk:
    """The application. It holds nothing of a request once that is answered, or its asker has gone."""

    def __init__(self, desk: Desk, token: str | None = None, *, body_seconds: float = BODY_SECONDS) -> None:
        """Serve a desk to whoever knows the token, or to everybody where there is none."""
        self.facts, self._desk = facts_of(desk), desk
        self._token, self.body_seconds = token, body_seconds
        self._held: dict[str, int] = {}
        self.log = RefusalLog(token)
        self._team = ThreadPoolExecutor(_READERS, thread_name_prefix="reading")

    @property
    def held(self) -> int:
        """Bytes of requests that are held now."""
        return sum(self._held.values())

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        """Answer one request, as ASGI 3 says."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        asker = str((scope.get("client") or ("unknown",))[0])[:64]  # a proxy may have been told anything
        kind = b"application/json"
        more: list[tuple[bytes, bytes]] = []
        try:
            status, body = 200, await self._answer(scope, receive, asker)
            if scope["path"].endswith(REWARDS_PATH):
                kind = b"application/octet-stream"
        except _GoneError:
            return
        except RefusalError as error:
            status, body, more = error.status, error.body, error.headers
            self.log.tell(error, asker, f"{scope['method']} {scope['path']}")
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: MutableMapping[str, Any], receive: _Receive, asker: str) -> bytes:
        path, method = scope["path"], scope["method"]
        allowed = {HEALTH_PATH: "GET", MODEL_PATH: "GET", REWARDS_PATH: "POST"}.get(path)
        if allowed is None:
            raise RefusalError(404, f"there is {MODEL_PATH}, {REWARDS_PATH} and {HEALTH_PATH}, and no {path!r:.80}")
        if method != allowed:
            raise RefusalError(405, f"{path} takes {allowed}, not {method:.20}")
        headers = {name.lower(): value for name, value in scope["headers"]}
        if path == HEALTH_PATH:
            return _plain({"status": "ok"})
        if self._token is not None and not self._knows(headers.get(b"authorization", b"")):
            raise RefusalError(401, "the token is missing or wrong; send 'Authorization: Bearer TOKEN'")
        if path == MODEL_PATH:
            return _plain(self.facts.plain())
        _check_length(headers)
        body = bytearray()
        try:
            await self._take(receive, asker, body)
            ticket = await asyncio.get_running_loop().run_in_executor(self._team, self._ask, body, asker)
            return await self._wait(ticket, receive)
        except RefusalError:
            raise
        except TimeoutError:
            raise RefusalError(408, f"the request did not come within {self.body_seconds:g} s") from None
        except VLMRMError as error:
            raise RefusalError(422 if isinstance(error, ModelError) else 400, shorten(error, 500)) from None
        except Exception as error:
            words = f"the judge failed: {type(error).__name__}: {shorten(error, 200)}"
            raise RefusalError(500, words) from None
        finally:
            self._let_go(asker, len(body))

    async def _take(self, receive: _Receive, asker: str, body: bytearray) -> None:
        async with asyncio.timeout(self.body_seconds):
            async for part in _parts(receive):
                if len(body) + len(part) > MAX_HEAD + MAX_BYTES:
                    raise RefusalError(413, _TOO_LARGE)
                mine = self._held.get(asker, 0) + len(part)
                if mine > MAX_WAITING / 2 or self.held + len(part) > MAX_WAITING:
                    raise RefusalError(503, "too many requests wait; come again in a second", retry_after=1)
                body += part
                self._held[asker] = mine

    def _let_go(self, asker: str, count: int) -> None:
        left = self._held.pop(asker, 0) - count
        if left > 0:
            self._held[asker] = left

    def _knows(self, authorization: bytes) -> bool:
        wanted = f"Bearer {self._token}".encode()
        return hmac.compare_digest(authorization, wanted)

    def _ask(self, body: bytearray, asker: str) -> Ticket:
        try:
            asked = read_asked(body)
            spec = self._desk.spec_for(asked.goal, asked.baseline or None, asked.alpha)
            return self._desk.ask(spec, asked.frames, asker, bounded=True)
        except SchemaError as error:
            raise RefusalError(400, f"the request is not understood: {error}") from None
        except ValidationError as error:
            one = max(error.errors(), key=lambda told: len(told["loc"]))  # of alternatives, the one that came furthest
            words = "".join(f"{name}: " for name in one["loc"][:1]) + one["msg"].removeprefix("Value error, ")
            raise RefusalError(400, f"the prompts are none: {shorten(words, 200)}") from None
        except BusyError as error:
            raise RefusalError(503, str(error), retry_after=error.seconds) from None

    async def _wait(self, ticket: Ticket, receive: _Receive) -> bytes:
        """Wait for the rewards, as long as the asker does."""
        answer = asyncio.wrap_future(ticket.answer)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            waited: set[asyncio.Future[Any]] = {answer, gone}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise _GoneError
            rewards = answer.result()
        finally:
            gone.cancel()
            self._desk.drop(ticket)
        return pack_rewards(self.facts, rewards, [note.partition(": ")[2] for note in ticket.notes])


_TOO_LARGE = f"a request has at most {MAX_HEAD + MAX_BYTES:,} bytes; send fewer frames at a time"


class _GoneError(BaseException):
    """The asker has gone; no error of a judge."""


def _check_length(headers: dict[bytes, bytes]) -> None:
    said = headers.get(b"content-length", b"0")
    if not said.isdigit() or len(said) > 18:
        raise RefusalError(400, "the length of the request is no number")
    if int(said) > MAX_HEAD + MAX_BYTES:
        raise RefusalError(413, _TOO_LARGE)


async def _parts(receive: _Receive) -> Any:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _disconnected(receive: _Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _plain(data: dict[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


async def _lifespan(receive: _Receive, send: _Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
