"""A process that holds one reward model for all processes of a user, and ends with the last of them."""

import contextlib
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from gym_vlmrm import errors
from gym_vlmrm.errors import ModelError, VLMRMError
from gym_vlmrm.reward.loading import asks_a_server
from gym_vlmrm.serving.desk import MAX_JUDGES, Desk
from gym_vlmrm.serving.place import Place, find_place
from gym_vlmrm.serving.starting import is_served
from gym_vlmrm.serving.wire import VERSION, GoneError, Wire, WireError, read_frames
from gym_vlmrm.task.spec import RewardSpec

__all__ = ["AFTER_LAST", "UNTIL_FIRST", "RewardServer", "open_server", "run_in_background", "say"]

AFTER_LAST = 10.0
"""How long a server waits after its last client [s]: libraries make environments, close them and make them again."""
UNTIL_FIRST = 60.0
"""How long it waits for its first one [s]."""
MAX_CLIENTS = 1000
_LOOK = 0.1
"""How often somebody looks whether a client has come or gone [s]."""


class RewardServer:
    """Listens at a model's place and serves whoever of this user connects."""

    def __init__(self, judge: RewardSpec, *, until_first: float = UNTIL_FIRST, after_last: float = AFTER_LAST) -> None:
        """Load the model and listen; the caller holds the place's lock, or has somebody wait who does.

        Args:
            judge: names the model, its arithmetic and device, and the prompts that are embedded first.
            until_first: how long to wait for a first client [s]; ``inf`` is for ever.
            after_last: how long to wait after the last one [s].

        Raises:
            ModelError: the model cannot be loaded, or there is no place to listen.
        """
        self.place = find_place(judge)
        self.desk = Desk(judge)
        self._patience, self._after_last = until_first, after_last
        self._clients: set[Wire] = set()
        self._changing = threading.Lock()
        self._stopped = False
        self._listener = _listen(self.place)
        self._inode = os.stat(self.place.socket).st_ino
        self._idle_since = time.monotonic()

    @property
    def clients(self) -> int:
        """Processes that are connected."""
        return len(self._clients)

    def serve(self, every_look: Callable[["RewardServer"], None] | None = None) -> None:
        """Serve until there is nobody left to wait for; `every_look` is called some times a second."""
        while not self._is_over():
            if every_look is not None:
                every_look(self)
            if select.select([self._listener], [], [], _LOOK)[0]:
                with contextlib.suppress(OSError):
                    self._welcome(Wire(self._listener.accept()[0]))

    def _is_over(self) -> bool:
        if self._stopped:
            return True
        if self._clients or time.monotonic() - self._idle_since < self._patience:
            return False
        # Nobody connects without holding this lock, so nobody does while the socket goes.
        lock = FileLock(self.place.lock, timeout=0)
        try:
            with lock:
                if not select.select([self._listener], [], [], 0)[0]:
                    self.close()
        except Timeout:
            pass
        except OSError:  # the folder is gone, so nobody will ever find this server
            self.close()
        return self._stopped

    def close(self) -> None:
        """Listen no more; whoever is connected is let go."""
        self._stopped = True
        self._listener.close()
        with contextlib.suppress(OSError):
            if os.stat(self.place.socket).st_ino == self._inode:
                self.place.socket.unlink()

    def _welcome(self, wire: Wire) -> None:
        if wire.peer_user() not in (None, os.getuid()) or len(self._clients) >= MAX_CLIENTS:
            wire.close()
            return
        with self._changing:
            self._clients.add(wire)
        self._patience = self._after_last
        threading.Thread(target=self._serve, args=(wire,), name="client", daemon=True).start()

    def _serve(self, wire: Wire) -> None:
        try:
            _Talk(wire, self.desk).run()
        except (GoneError, TimeoutError):
            pass
        except WireError as error:
            say(f"a client is let go: {error}")
            with contextlib.suppress(VLMRMError, OSError):
                wire.send({"error": f"the reward server does not understand: {error}", "kind": "ModelError"})
        except Exception as error:  # one client's end is not everybody's
            say(f"a client is let go: {type(error).__name__}: {error}")
        finally:
            wire.close()
            with self._changing:
                self._clients.discard(wire)
                self._idle_since = time.monotonic()


class _Talk:
    """What one client asks, and what it is answered."""

    def __init__(self, wire: Wire, desk: Desk) -> None:
        self._wire, self._desk = wire, desk
        self._frames: int | None = None
        self._judges: list[RewardSpec] = []

    def run(self) -> None:
        """Answer until the client has gone; raises GoneError then, and WireError for what is no request."""
        try:
            self._greet(self._wire.receive())
            while True:
                message = self._wire.receive()
                answer = getattr(self, f"_do_{message.get('do')}", None)
                if answer is None or not isinstance(message.get("do"), str):
                    raise WireError(f"nobody can do {message.get('do')!r:.40}")
                self._wire.send(self._answer(answer, message))
        finally:
            if self._frames is not None:
                os.close(self._frames)

    def _greet(self, message: dict[str, Any]) -> None:
        version = message.get("version")
        if message.get("do") != "hello" or type(version) is not int or version != VERSION:  # True is equal to 1
            raise WireError(f"it speaks version {version!r:.40}, and this server speaks {VERSION}")
        model = self._desk.model
        facts = {name: getattr(model, name, "") for name in ("name", "weights_digest", "precision", "device")}
        self._wire.send({"version": VERSION, "pid": os.getpid(), "frame_size": model.frame_size, **facts})

    def _answer(self, answer: Callable[[dict[str, Any]], dict[str, Any]], message: dict[str, Any]) -> dict[str, Any]:
        try:
            return answer(message)
        except WireError:
            raise
        except VLMRMError as error:
            return {"error": str(error), "kind": type(error).__name__}
        except Exception as error:
            return {"error": f"the reward server failed: {type(error).__name__}: {error}"[:1000], "kind": "ModelError"}

    def _do_prompts(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            spec = self._desk.spec_for(message.get("goal"), message.get("baseline"), message.get("alpha"))
        except ValidationError as error:
            raise WireError(f"its prompts are none ({error.error_count()} mistakes)") from None
        if len(self._judges) >= MAX_JUDGES:
            raise WireError(f"it gives more than {MAX_JUDGES} prompts")
        warnings = self._desk.judge_by(spec)[1]
        self._judges.append(spec)
        return {"judge": len(self._judges) - 1, "warnings": warnings}

    def _do_memory(self, _: dict[str, Any]) -> dict[str, Any]:
        taken = self._wire.take_descriptor()
        if taken is None:
            raise WireError("no memory came with its message")
        if self._frames is not None:
            os.close(self._frames)
        self._frames = taken
        return {"memory": True}

    def _do_score(self, message: dict[str, Any]) -> dict[str, Any]:
        number = message.get("judge")
        if self._frames is None or type(number) is not int or not 0 <= number < len(self._judges):
            raise WireError(f"it asks for rewards by {number!r:.40} before it gave prompts and memory")
        frames = read_frames(self._frames, message.get("shape"))
        ticket = self._desk.ask(self._desk.judge_by(self._judges[number])[0], frames, self)
        while not wait([ticket.answer], _LOOK).done:
            if self._wire.has_gone():
                self._desk.drop(ticket)
                raise GoneError("it did not wait for its rewards")
        return {"rewards": ticket.answer.result().tolist()}


def _listen(place: Place) -> socket.socket:
    """Listen at a place under another name first: whoever finds the socket finds somebody who listens."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    hidden = place.folder / f"{place.key}.{os.getpid() % 10_000}"
    try:
        with contextlib.suppress(FileNotFoundError):
            hidden.unlink()
        listener.bind(os.fspath(hidden))
        listener.listen(128)
        hidden.replace(place.socket)
    except OSError as error:
        listener.close()
        raise ModelError(f"{place.folder}: no server can listen there ({error.strerror or error})") from None
    return listener


def open_server(judge: RewardSpec, *, until_first: float, after_last: float) -> RewardServer:
    """Return a `RewardServer` at a place where nobody listens yet, for a process that is there for nothing else.

    Raises:
        ModelError: there is a server already, or as `RewardServer` raises it.
    """
    if asks_a_server(judge.model):
        raise ModelError(f"model '{judge.model}' has a server of its own, which every process asks; use it as it is")
    place = find_place(judge)
    with FileLock(place.lock):
        if is_served(place):
            raise ModelError(f"model '{judge.model}' is served already, at {place.socket}; processes find it there")
        return RewardServer(judge, until_first=until_first, after_last=after_last)


def say(text: str) -> None:
    """Write a line for whoever reads what a server has to say."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run_in_background(given: str) -> None:
    """Serve what a client asked for, once it has been told on the standard output whether that works.

    Args:
        given: JSON with the section ``reward:`` as ``judge`` and the two times that `RewardServer` takes.
    """
    settings = json.loads(given)
    asker = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        judge = RewardSpec.model_validate(settings.pop("judge"))
        server = RewardServer(judge, **settings)
        answer: dict[str, Any] = {"pid": os.getpid()}
    except VLMRMError as error:
        kind = type(error).__name__
        answer = {"error": str(error), "kind": kind if hasattr(errors, kind) else "ModelError"}
    except Exception as error:
        answer = {"error": f"the reward server failed: {type(error).__name__}: {error}"[:1000], "kind": "ModelError"}
    with contextlib.suppress(OSError):  # whoever asked is gone
        os.write(asker, json.dumps(answer).encode() + b"\n")
    os.close(asker)
    if "pid" in answer:
        say(f"serving {server.desk.model.name} ({server.desk.model.weights_digest[:12]})")  # type: ignore[attr-defined]
        server.serve()
        with contextlib.suppress(OSError):
            server.place.log.unlink()
