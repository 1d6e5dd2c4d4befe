"""A page on this machine alone that shows moments as they come: frames as MJPEG, numbers as server-sent events."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from gym_vlmrm.errors import VLMRMError
from gym_vlmrm.reports.page import render
from gym_vlmrm.watching.episodes import Moment

__all__ = ["FIRST_PORT", "LivePage"]

HOST = "127.0.0.1"
FIRST_PORT = 8765
PORTS_TRIED = 20
MAX_WATCHERS = 20
"""Streams that are served at once; a page has two."""
SILENCE = 5.0
"""A stream that has nothing new to say shows after so long that it still lives [s]."""
_BOUNDARY = "vlmrm-frame"


class LivePage:
    """Serves a page until it is closed; `show` is what it shows next."""

    def __init__(self, *, title: str, sentence: str, port: int | None = None) -> None:
        """Begin to serve.

        Args:
            title: what is watched.
            sentence: the goal prompt.
            port: 0 takes any; if not given, the first free one from 8765 on.

        Raises:
            VLMRMError: the port is taken.
        """
        self._page = render("watch.html.j2", title=title, sentence=sentence).encode()
        self._news = threading.Condition()
        self._number, self._jpeg, self._numbers = 0, b"", ""
        self._watchers = 0
        self._closed = False
        self._server = _listen(port, self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="page")
        self._thread.start()
        self.url = f"http://{HOST}:{self._server.server_address[1]}/"
        """Its address."""

    def __enter__(self) -> "LivePage":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def wait_for_watcher(self, timeout: float | None = None) -> bool:
        """Wait until somebody watches; False if nobody does after `timeout` [s]."""
        with self._news:
            return self._news.wait_for(lambda: self._watchers > 0, timeout)

    def show(self, moment: Moment) -> None:
        """Show a moment."""
        buffer = io.BytesIO()
        Image.fromarray(moment.frame).save(buffer, "JPEG", quality=88)
        numbers = {
            "reward": round(moment.reward, 6), "success": moment.success, "step": moment.step,
            "episode": moment.episode, "checkpoint": moment.checkpoint,
        }  # fmt: skip
        with self._news:
            self._number += 1
            self._jpeg, self._numbers = buffer.getvalue(), json.dumps(numbers)
            self._news.notify_all()

    def stream(self) -> Iterator[tuple[bytes, str] | None]:
        """Yield the frame (JPEG) and numbers (JSON) of each new moment; ``None`` after a long silence."""
        seen = 0
        with self._news:
            if self._watchers >= MAX_WATCHERS:
                return
            self._watchers += 1
            self._news.notify_all()
        try:
            while not self._closed:
                with self._news:
                    if self._number == seen:
                        self._news.wait(SILENCE)
                    new = self._number > seen
                    seen, jpeg, numbers = self._number, self._jpeg, self._numbers
                yield (jpeg, numbers) if new else None
        finally:
            with self._news:
                self._watchers -= 1

    @property
    def html(self) -> bytes:
        """The page."""
        return self._page

    def close(self) -> None:
        """End every stream and free the port."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, port: int, page: LivePage) -> None:
        self.page = page
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone."""


def _listen(port: int | None, page: LivePage) -> _Server:
    ports = range(FIRST_PORT, FIRST_PORT + PORTS_TRIED) if port is None else (port,)
    for number in (*ports, *((0,) if port is None else ())):
        try:
            return _Server(number, page)
        except (OSError, OverflowError):
            continue
    raise VLMRMError(f"port {port} of {HOST} cannot be taken; another program has it, or it is not yours to take")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "vlmrm"
    sys_version = ""
    timeout = 30.0

    def do_GET(self) -> None:
        """Answer with the page, its frames or its numbers."""
        # Another site's page may know this address by a name of its own, and then read what is here.
        name = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
        if name not in (HOST, "localhost"):
            self.send_error(403)
            return
        answer = {"/": self._send_page, "/frames": self._send_frames, "/numbers": self._send_numbers}.get(self.path)
        if answer is None:
            self.send_error(404)
        else:
            answer()

    def log_message(self, *_: Any) -> None:
        """Say nothing of requests."""

    def _begin(self, kind: str, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send_page(self) -> None:
        self._begin("text/html; charset=utf-8", len(self.server.page.html))
        self.wfile.write(self.server.page.html)

    def _send_frames(self) -> None:
        self._begin(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        for news in self.server.page.stream():
            if news is not None:
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(news[0])}\r\n\r\n"
                self.wfile.write(head.encode() + news[0] + b"\r\n")

    def _send_numbers(self) -> None:
        self._begin("text/event-stream")
        for news in self.server.page.stream():
            self.wfile.write(b": still here\n\n" if news is None else f"data: {news[1]}\n\n".encode())
            self.wfile.flush()
