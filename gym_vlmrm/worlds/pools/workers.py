"""Worker processes that obey one command at a time: whatever cuts one short, no answer is taken for another's."""

import contextlib
import os
import pickle
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from typing import Any, cast

from gym_vlmrm.errors import WorkerError
from gym_vlmrm.worlds.pools.processes import end_processes, starting_workers, too_slow, wait_patiently, worker_context

__all__ = ["NOTE", "START", "Answers", "Workers"]

START = 0
"""Number of the answer that a worker gives by itself once it is ready; those of commands follow."""
NOTE = -1
"""Number of an answer that nobody waits for: it tells which OpenGL the worker draws with."""
_GRACE = 2.0
"""How long workers that were told to close may take [s]."""


class Answers:
    """What came of one command, one answer per worker in any order."""

    def __init__(self, on_answer: Callable[[int, Any], None] | None) -> None:
        """Begin; `on_answer` is called with the index of a worker and its answer as soon as that is there."""
        self._on_answer = on_answer
        self._found: dict[int, Any] = {}
        self._failures: dict[int, BaseException] = {}

    def take(self, index: int, ok: bool, answer: Any) -> None:
        """Take in a worker's answer, or what was raised there where it is not `ok`."""
        if not ok:
            self._failures[index] = answer
        elif self._on_answer is not None:
            self._on_answer(index, answer)
        self._found[index] = answer

    def in_order(self) -> list[Any]:
        """Return the answers by worker; raises what was raised in the first of those that failed."""
        if self._failures:
            raise self._failures[min(self._failures)]
        return [self._found[index] for index in sorted(self._found)]


class Workers:
    """Processes, each at the other end of a pipe. Commands go to all of them, and one answer comes from each.

    Commands and answers are numbered. An exception (Ctrl-C above all) may leave any method at any point: answers to
    what was cut short are thrown away when they come, and a pipe that was left within a message is never read again.
    """

    def __init__(
        self, target: Callable[..., None], arguments: Sequence[tuple[Any, ...]], timeout: float, packed: bytes
    ) -> None:
        """Start one process per entry of `arguments`, as ``target(connection, *entry)``.

        The workers are waited for by `receive`.

        Args:
            target: what each process runs; it reads `packed` from the connection, and answers first with the number
                `START`.
            arguments: of each process, and small: what is more than a pipe holds (64 KiB) is waited for without end
                where the process dies before it reads them.
            timeout: how long any command may take [s].
            packed: what all of them are told first, as large as it may be.
        """
        self.timeout = timeout
        self._pid = os.getpid()
        self.processes: list[Any] = []
        self._connections: list[Connection] = []
        self._number, self._command = START, "start"
        self._talking: int | None = None
        self._failure: str | None = None
        self._drawn_by: dict[int, str | None] = {}
        # Before Python's own end, which waits for daemons that do not hear its SIGTERM.
        self._at_exit = Finalize(self, _end, args=(self.processes, self._connections, 0.0), exitpriority=100)
        context = worker_context()
        try:
            with starting_workers():
                for index, entry in enumerate(arguments):
                    ours, theirs = context.Pipe()
                    self._connections.append(ours)
                    process = context.Process(
                        target=target, args=(theirs, *entry), daemon=True, name=f"gym_vlmrm-{index + 1}"
                    )
                    self.processes.append(process)
                    process.start()
                    theirs.close()
            for connection in self._connections:
                with contextlib.suppress(OSError):  # it is dead, and `receive` says so
                    connection.send_bytes(packed)
        except BaseException:
            self.stop(0.0)
            raise
        self._count = len(self.processes)

    def send(self, command: str, arguments: Sequence[Any]) -> None:
        """Give every worker a command; `arguments` has one entry per worker.

        Raises:
            WorkerError: a worker has died.
            RuntimeError: the workers were told to close.
        """
        self.check()
        packed = [bytes(ForkingPickler.dumps(argument)) for argument in arguments]  # before anybody is told anything
        self._number, self._command = self._number + 1, command
        for index, connection in enumerate(self._connections):
            try:
                self._talking = index
                connection.send((self._number, command, packed[index]))
                self._talking = None
            except OSError:
                raise self._death(index) from None

    def receive(self, on_answer: Callable[[int, Any], None] | None = None) -> list[Any]:
        """Wait for one answer per worker to the latest command, and return them in order.

        `on_answer` is called with the index of a worker and its answer as soon as that is there.

        Raises:
            WorkerError: a worker died, or none answered within `timeout`; the others are ended.
            Whatever was raised in a worker, once all have answered.
        """
        self.check()
        answers = Answers(on_answer)
        waiting = {connection: index for index, connection in enumerate(self._connections)}
        while waiting:
            for connection in self._wait(waiting):
                index = waiting[connection]
                number, ok, answer = self._read(index, connection)
                if number == NOTE:
                    self._drawn_by[index] = answer
                if number != self._number:
                    continue
                del waiting[connection]
                answers.take(index, ok, answer)
        return answers.in_order()

    def _wait(self, waiting: dict[Connection, int]) -> list[Connection]:
        ready = wait_patiently(lambda seconds: cast(list[Connection], wait(list(waiting), seconds)), self.timeout)
        if ready is None:
            raise self._hang(min(waiting.values()))
        return ready

    def _read(self, index: int, connection: Connection) -> tuple[int, bool, Any]:
        try:
            self._talking = index
            data = connection.recv_bytes()
            self._talking = None
        except (EOFError, OSError):
            raise self._death(index) from None
        number, ok, packed = pickle.loads(data)  # what is packed may fail to load; whose answer it is, never
        try:
            return number, ok, pickle.loads(packed)
        except Exception as error:
            return number, False, error

    def check(self) -> None:
        """Make sure that commands can be given.

        Raises:
            WorkerError: they never can again, for the reason that was given the first time, or they belong to the
                process from which this one was forked.
            RuntimeError: the workers were told to close.
        """
        if self._pid != os.getpid():
            raise WorkerError(
                f"this vector environment belongs to process {self._pid}, from which this one was forked; make one here"
            )
        if self._talking is not None:
            message = f"the talk with {self._name(self._talking)} was interrupted within a message"
            raise self._fail(f"{message}; make the environment anew")
        if self._failure is not None:
            raise WorkerError(self._failure)
        if not self._connections:
            raise RuntimeError("the vector environment is closed")

    def _name(self, index: int) -> str:
        return f"worker process {index + 1} of {self._count}"

    def _death(self, index: int) -> WorkerError:
        process = self.processes[index]
        process.join(timeout=_GRACE)
        code = process.exitcode
        end = f"signal {-code}" if (code or 0) < 0 else f"exit code {code}"
        cure = "perhaps memory ran out: try fewer environments or workers"
        return self._fail(f"{self._name(index)} died ({end}) at '{self._command}'; {cure}")

    def _hang(self, index: int) -> WorkerError:
        drawn_by = self._drawn_by.get(index)
        opengl = f" (drawing with {drawn_by})" if drawn_by else ""
        return self._fail(str(too_slow(self._name(index) + opengl, self._command, self.timeout)))

    def _fail(self, message: str) -> WorkerError:
        self._failure, self._talking = message, None
        self.stop(0.0)
        return WorkerError(message)

    def stop(self, grace: float = _GRACE) -> None:
        """Let the workers end, and end those that have not after `grace` seconds; those of another process stay."""
        if self._pid != os.getpid():  # the parent goes on using them
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            return
        self._at_exit.cancel()
        _end(self.processes, self._connections, grace)


def _end(processes: list[Any], connections: list[Connection], grace: float) -> None:
    if grace > 0:
        for connection in connections:
            with contextlib.suppress(OSError, ValueError):
                connection.send((0, "close", None))
    for connection in connections:
        connection.close()
    end_processes(processes, grace)
    processes.clear()
    connections.clear()
