"""A client's way to the server of its model: it is found, or started, and nobody else starts a second one meanwhile."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from multiprocessing.spawn import get_executable
from typing import IO, Any

from filelock import FileLock, Timeout

from gym_vlmrm import errors
from gym_vlmrm.errors import ModelError, VLMRMError, WorkerError
from gym_vlmrm.serving.place import Place, find_place
from gym_vlmrm.serving.wire import VERSION, GoneError, Wire, WireError
from gym_vlmrm.task.spec import RewardSpec
from gym_vlmrm.worlds.pools.processes import TIMEOUT_VARIABLE, patience, too_slow, wait_patiently

__all__ = ["ask", "find_server", "is_served", "server_error"]

# The first process ends at once, so that the server is nobody's child: no worker waits for it or takes it along.
_BOOT = """
import os, sys
if os.fork():
    os._exit(0)
import json
given = json.loads(sys.stdin.read())
sys.stdin.close()
sys.path[:] = given["path"]
from gym_vlmrm.serving.server import run_in_background
run_in_background(given["settings"])
sys.stderr.flush()
os._exit(0)
"""


def find_server(judge: RewardSpec) -> tuple[Wire, dict[str, Any]]:
    """Connect to the server of a model, started if there is none; return the connection and what it said of itself.

    Raises:
        ModelError: the model cannot be loaded, or what answers is no server of this version.
        WorkerError: the server does not answer, or dies as it starts.
    """
    place = find_place(judge)
    seconds = patience()
    lock = FileLock(place.lock, timeout=-1 if seconds == float("inf") else seconds)
    try:
        with lock:
            wire = _connect(place, seconds)
            if wire is None:
                _start(place, judge, seconds)
                wire = _connect(place, seconds)
            if wire is None:
                raise WorkerError(f"the reward server ended as soon as it had started; its log is {place.log}")
            try:
                return wire, _greet(wire, seconds)
            except BaseException:
                wire.close()
                raise
    except Timeout:
        raise WorkerError(
            f"another process has been starting the reward server for {seconds:g} s (it holds {place.lock}); "
            f"set {TIMEOUT_VARIABLE} to more seconds if the model takes that long to load"
        ) from None
    except OSError as error:
        raise ModelError(f"{place.folder}: the reward server cannot be reached ({error})") from None


def is_served(place: Place) -> bool:
    """Whether somebody listens at a place."""
    wire = _connect(place, 1.0)
    if wire is not None:
        wire.close()
    return wire is not None


def _connect(place: Place, seconds: float) -> Wire | None:
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                connecting.settimeout(1.0)
                connecting.connect(os.fspath(place.socket))
                break
            except (BlockingIOError, TimeoutError):  # too many wait to be accepted
                if time.monotonic() > deadline:
                    raise too_slow("the reward server", "connect", seconds) from None
                time.sleep(0.05)
    except (FileNotFoundError, ConnectionRefusedError):
        connecting.close()
        return None
    except BaseException:
        connecting.close()
        raise
    connecting.settimeout(None if seconds == float("inf") else seconds)
    wire = Wire(connecting)
    user = wire.peer_user()
    if user not in (None, os.getuid()):
        wire.close()
        raise ModelError(f"{place.socket} is served by user {user} and not by you; remove it")
    return wire


def _greet(wire: Wire, seconds: float) -> dict[str, Any]:
    try:
        facts = ask(wire, {"do": "hello", "version": VERSION}, seconds)
    except GoneError as error:
        raise WorkerError(f"the reward server went away in its greeting ({error})") from None
    except WireError as error:
        raise ModelError(
            f"what listens is no reward server: it answers, but {error}; end it, and start again"
        ) from None
    wanted = {"version": int, "pid": int, "frame_size": int, "name": str, "weights_digest": str}
    wanted |= {"precision": str, "device": str}
    strange = [name for name, kind in wanted.items() if type(facts.get(name)) is not kind]
    if strange or facts["version"] != VERSION:
        raise ModelError(
            f"what listens is no reward server of this version: it says {strange[0] if strange else 'version'} = "
            f"{facts.get(strange[0] if strange else 'version')!r:.40}; end it, and start again"
        )
    return facts


def ask(wire: Wire, message: dict[str, Any], seconds: float, descriptor: int | None = None) -> dict[str, Any]:
    """Send a request and return the answer.

    Raises:
        GoneError: the server has gone.
        WorkerError: it does not answer within `seconds`.
        WireError: what it answers is no message.
        VLMRMError: it refuses; the error is what it was there.
    """
    try:
        wire.send(message, descriptor)
        if not wait_patiently(wire.wait, seconds):
            raise too_slow("the reward server", str(message["do"]), seconds)
        answer = wire.receive()
    except TimeoutError:
        raise too_slow("the reward server", str(message["do"]), seconds) from None
    if "error" in answer:
        raise server_error(answer)
    return answer


def server_error(answer: dict[str, Any]) -> VLMRMError:
    """Return the error that a server describes."""
    kind: Any = getattr(errors, str(answer.get("kind")), ModelError)
    if not (isinstance(kind, type) and issubclass(kind, VLMRMError)):
        kind = ModelError
    error: VLMRMError = kind(" ".join(str(answer["error"]).split())[:1000])
    return error


def _start(place: Place, judge: RewardSpec, seconds: float) -> None:
    """Start a server of this user's that lives on its own, and wait until it listens."""
    with contextlib.suppress(FileNotFoundError):
        place.socket.unlink()  # a killed server's
    settings = json.dumps({"judge": judge.model_dump()})
    given = json.dumps({"path": [os.path.abspath(entry) for entry in sys.path], "settings": settings})
    command = [os.fsdecode(get_executable()), "-c", _BOOT, f"gym_vlmrm-reward-server-{place.key}"]
    descriptor = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.write(given.encode())
            process.stdin.close()
        line = wait_patiently(lambda wait: _first_line(process.stdout, wait), seconds)
    if not line:
        raise too_slow("the reward server", "start", seconds)
    try:
        answer = json.loads(line)
    except ValueError:
        raise WorkerError(f"the reward server died as it started; its log is {place.log}") from None
    if "error" in answer:
        raise server_error(answer)


def _first_line(stream: IO[bytes] | None, seconds: float) -> bytes:
    if stream is not None and select.select([stream], [], [], seconds)[0]:
        return stream.readline(100_000) or b"?"
    return b""
