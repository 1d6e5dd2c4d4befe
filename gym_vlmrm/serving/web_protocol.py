"""What uvicorn leaves open before the application is asked, answered in JSON.

Slow heads, bodies in crumbs, too many connections, and garbage.
"""

import asyncio
import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gym_vlmrm.serving.refusals import RefusalError
from gym_vlmrm.serving.web import WebDesk

__all__ = ["MAX_CONNECTIONS", "MAX_REQUEST_HEAD", "protocol_for"]

MAX_CONNECTIONS = 800
"""Most connections at a time, half of them from one address; systems let a process have 1,024 files open."""
MAX_REQUEST_HEAD = 65_536
"""Longest head of a request, its line and headers [bytes]."""
_MORE = 5.0
"""How much longer than the application waits for a body its connection stays open [s]."""


def protocol_for(desk: WebDesk) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol for a desk."""

    class Protocol(_Protocol):
        web = desk

    return Protocol


class _Protocol(H11Protocol):
    web: WebDesk
    _watch: asyncio.TimerHandle | None = None
    _awaited: str | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        here = sum(self._address(one) == self._address(self) for one in self.connections)
        if len(self.connections) > MAX_CONNECTIONS or here > MAX_CONNECTIONS // 2:
            words = f"there are too many connections (at most {MAX_CONNECTIONS}, half of them from one address)"
            self._refuse(RefusalError(503, f"{words}; come again in a second", retry_after=1), "a connection")
            return
        self._look_again()
        take = self.conn.next_event

        def next_event() -> Any:
            event = take()
            if isinstance(event, h11.Request) and any(name == b"transfer-encoding" for name, _ in event.headers):
                # A body in chunks of a byte keeps h11, and with it everybody, busy for a minute a megabyte.
                words = "a body in chunks is not read; send its length (Content-Length)"
                self._refuse(RefusalError(411, words), "a request in chunks")
                return h11.PAUSED
            return event

        self.conn.next_event = next_event  # type: ignore[method-assign]

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_for(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look_again()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look_again()

    def send_400_response(self, msg: str) -> None:
        # Called where h11 found what is no request; its error says more than `msg`.
        error = sys.exc_info()[1]
        if getattr(error, "error_status_hint", 400) == 431:
            refusal = RefusalError(431, f"the head of a request has at most {MAX_REQUEST_HEAD:,} bytes")
        else:
            said = str(error or msg).partition(": bytearray")[0]  # h11 shows what came as Python would
            refusal = RefusalError(400, f"this is no HTTP request: {said:.120}")
        self._refuse(refusal, "no request")

    def _look_again(self) -> None:
        """Give a head, and what the application did not want of a body, some time to come."""
        if self.transport.is_closing():
            self._wait_for(None)
        elif self.conn.their_state is h11.SEND_BODY:
            self._wait_for("body")
        elif self.conn.their_state is h11.IDLE and (self.cycle is None or self.conn.trailing_data[0]):
            self._wait_for("head")
        else:  # a request is judged, or uvicorn itself waits for the next one
            self._wait_for(None)

    def _wait_for(self, awaited: str | None) -> None:
        if awaited == self._awaited:
            return
        if self._watch is not None:
            self._watch.cancel()
        self._awaited, self._watch = awaited, None
        if awaited is not None:
            seconds = self.web.body_seconds + (_MORE if awaited == "body" else 0.0)
            self._watch = self.loop.call_later(seconds, self._too_late, awaited)

    def _too_late(self, awaited: str) -> None:
        if self.transport.is_closing():
            return
        if awaited == "body":  # the application has said so long ago
            self.transport.close()
            return
        words = f"the head of the request did not come within {self.web.body_seconds:g} s"
        self._refuse(RefusalError(408, words), "no request")

    def _refuse(self, refusal: RefusalError, what: str) -> None:
        self.web.log.tell(refusal, str(self._address(self)), what)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = refusal.body
            kind, length = (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())
            headers = [kind, length, *refusal.headers]
            if (b"connection", b"close") not in headers:
                headers.append((b"connection", b"close"))
            reason = HTTPStatus(refusal.status).phrase.encode()
            head = h11.Response(status_code=refusal.status, headers=headers, reason=reason)
            for event in (head, h11.Data(body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:  # the application has nobody to answer now
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    @staticmethod
    def _address(one: Any) -> Any:
        return one.client[0] if one.client else None
