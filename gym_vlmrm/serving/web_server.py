"""A desk behind HTTP in one process of its own, without a cluster: uvicorn serves the application."""

import contextlib
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, cast

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.loading import asks_a_server
from gym_vlmrm.reward.remote.address import TOKEN_VARIABLE
from gym_vlmrm.serving.desk import Desk
from gym_vlmrm.serving.web import WebDesk
from gym_vlmrm.task.spec import RewardSpec

__all__ = ["WebServer", "check_served", "find_endpoint", "server_token"]

_LOOK = 0.2


def find_endpoint(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``PORT``, which means this machine alone; port 0 is any free one.

    Raises:
        ModelError: it is no such thing.
    """
    host, _, port = text.strip().rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdecimal() or int(port) > 65_535 or not host.isprintable() or "/" in host:
        raise ModelError(f"--http is {text!r:.80}; give HOST:PORT, such as 127.0.0.1:8800 or 0.0.0.0:8800")
    return host, int(port)


def server_token(host: str) -> str | None:
    """Return the token that askers must know; raises ModelError where others may ask and there is none."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
    if token is not None and (len(token) < 8 or not token.isascii() or not token.isprintable() or " " in token):
        raise ModelError(f"{TOKEN_VARIABLE} must be at least 8 plain characters without blanks")
    if token is None and not _is_here_alone(host):
        raise ModelError(f"other machines may ask at {host}; set {TOKEN_VARIABLE} to a token that they shall know")
    return token


def _is_here_alone(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_served(judge: RewardSpec) -> None:
    """Check that a reward is one that a server can tell over HTTP; raises ModelError where it is not."""
    if not judge.plain:
        raise ModelError("a judge behind HTTP holds one model; serve the model of each part by a server of its own")
    if asks_a_server(judge.model):
        raise ModelError(f"model '{judge.model}' is a server already; name the model that shall be served")


class WebServer:
    """Listens, and serves until it is closed."""

    def __init__(self, judge: RewardSpec, host: str, port: int, token: str | None) -> None:
        """Load the model and listen.

        Raises:
            ModelError: uvicorn is not installed, the model cannot be loaded, or nobody can listen there.
        """
        try:
            import uvicorn
        except ImportError:
            raise ModelError("serving over HTTP needs a package: pip install uvicorn (gym-vlmrm[http])") from None
        check_served(judge)
        self._socket = _listen(host, port)
        try:
            self.desk = Desk(judge)
            self.app = WebDesk(self.desk, token)
        except BaseException:
            self._socket.close()
            raise
        from gym_vlmrm.serving.web_protocol import MAX_REQUEST_HEAD, protocol_for

        named = f"[{host}]" if ":" in host else host
        self.url = f"http://{named}:{self._socket.getsockname()[1]}"
        config: Any = uvicorn.Config(
            self.app, http=protocol_for(self.app), ws="none", lifespan="off", log_level="error", access_log=False,
            server_header=False, timeout_keep_alive=60, timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=MAX_REQUEST_HEAD,
        )  # fmt: skip
        self._server = cast(Any, uvicorn.Server(config))
        # Signals are the command's business and not the library's.
        self._server.capture_signals = contextlib.nullcontext
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            time.sleep(0.01)

    def serve(self, every_look: Callable[["WebServer"], None] | None = None) -> None:
        """Wait while it serves; `every_look` is called some times a second."""
        while self._thread.is_alive():
            if every_look is not None:
                every_look(self)
            self._thread.join(_LOOK)

    def close(self) -> None:
        """Listen no more; answers that are under way are given, for a few seconds."""
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise ModelError(f"nobody can listen at {host}:{port} ({error.strerror or error})") from None
