"""Shares of a pool of worlds as actors of a cluster: one that dies is made again elsewhere, as it was."""

import os
import pickle
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory

from gym_vlmrm.cluster.connecting import lost
from gym_vlmrm.errors import VLMRMError, WorkerError
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.worlds.pools.pool import EnvPool
from gym_vlmrm.worlds.pools.processes import adopt_registrations, too_slow, wait_patiently
from gym_vlmrm.worlds.pools.server import Server, Share, portable
from gym_vlmrm.worlds.pools.workers import Answers

__all__ = ["ClusterPool", "WorldActors"]

REMEMBERED = 64
"""Commands between two states of the worlds that are kept; so many are made again at most."""
MOST_REMEMBERED = 2000
"""Commands of worlds that cannot tell their state; of older ones they are not made again."""
TRIES = 10
"""Lives that one command may cost."""
_PAUSE = 0.2


class _Worlds:
    """A share of the worlds in a process of its own, somewhere. Its first frame is drawn as it starts."""

    def __init__(self, packed: bytes, count: int, mode: AutoresetMode) -> None:
        registrations, self._make = pickle.loads(packed)
        adopt_registrations(registrations)
        self._count, self._mode = count, mode
        self._life = uuid.uuid4().hex
        self._server: Server | None = None
        self._failed: BaseException | None = None
        try:
            self._build()
        except BaseException as error:  # an answer and no death, which Ray would try to cure
            self._failed = portable(error)

    def _build(self) -> None:
        if self._server is not None:
            self._server.envs.close()
        envs = Share([self._make.fn] * self._count, copy=False, autoreset_mode=self._mode)
        memory = create_shared_memory(envs.single_observation_space, n=self._count)
        self._views = read_from_shared_memory(envs.single_observation_space, memory, n=self._count)
        self._server = Server(envs, memory, 0, self._count)

    def begin(self) -> tuple[str, int, BaseException | None]:
        """Its present life, which no later one shares, its number on its machine, and why it cannot work if so."""
        return self._life, os.getpid(), self._failed

    def do(self, life: str, command: str, argument: bytes) -> tuple[bool, Any, Any] | None:
        """Obey; ``None`` where it has begun anew since `life` and knows nothing of what was before."""
        if life != self._life:
            return None
        try:
            answer = getattr(self._server, command)(pickle.loads(argument))
        except BaseException as error:
            return False, portable(error), None
        return True, answer, self._views if command in ("step", "reset") else None

    def replay(self, states: list[Any] | None, commands: list[tuple[str, bytes]]) -> tuple[str, Any]:
        """Begin anew from states of the worlds, obey commands once more, and give the last one's answer."""
        self._build()
        self._life = uuid.uuid4().hex
        if states is not None and self._server is not None:
            self._server.set_attr(("world_state", states))
        answer: Any = (True, None, None)
        for command, argument in commands:
            answer = self.do(self._life, command, argument)
        return self._life, answer


class WorldActors:
    """What `gym_vlmrm.worlds.pools.workers.Workers` is to a pool, over actors.

    Commands since the last known state are remembered, so that worlds which are lost with their machine are made again
    to the bit.
    """

    def __init__(
        self, ray: Any, arguments: Sequence[tuple[bytes, int, AutoresetMode]], timeout: float,
        put: Callable[[int, Any], None], on_notice: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Start one actor per entry of `arguments`.

        Args:
            ray: connected.
            arguments: of each.
            timeout: how long any command may take [s].
            put: told of an actor's observations.
            on_notice: told once of worlds that were lost.
        """
        self._ray, self.timeout, self._put, self._on_notice = ray, timeout, put, on_notice
        self.processes: list[Any] = []
        self._count = len(arguments)
        # They reserve no core, so that what is lost finds a place on what is left.
        actor = ray.remote(_Worlds).options(
            num_cpus=0, max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        self.actors = [actor.remote(*entry) for entry in arguments]
        self._end = weakref.finalize(self, _kill, ray, self.actors)
        self._lives = [""] * self._count
        self.pids = [0] * self._count
        self._states: list[list[Any] | None] = [None] * self._count
        self._done: list[list[tuple[str, bytes]]] = [[] for _ in range(self._count)]
        self._forgot = [False] * self._count
        self._mute = False
        self._asked: dict[Any, int] = {}
        self._command = "start"
        self._failure: str | None = None
        self.replayed = 0
        """Shares that were made again."""

    def begin(self) -> None:
        """Wait until all have started; raises WorkerError where one does not, or what its worlds raised."""
        asked = {actor.begin.remote(): index for index, actor in enumerate(self.actors)}
        while asked:
            for ref in self._ready(asked):
                index = asked.pop(ref)
                try:
                    self._lives[index], self.pids[index], failed = self._ray.get(ref)
                except lost(self._ray):
                    self._await(index)
                    asked[self.actors[index].begin.remote()] = index
                    continue
                except self._ray.exceptions.RayError as error:
                    raise self._reason(error, index) from None
                if failed is not None:
                    raise failed

    def _ready(self, asked: dict[Any, int]) -> list[Any]:
        """Wait until something is answered; raises WorkerError where nothing is."""
        found = wait_patiently(lambda wait: self._ray.wait(list(asked), timeout=wait)[0], self.timeout)
        if not found:
            raise self._too_slow(min(asked.values()))
        return list(found)

    def _too_slow(self, index: int) -> WorkerError:
        return self._fail(str(too_slow(f"share {index + 1} of the worlds", self._command, self.timeout)))

    def check(self) -> None:
        """Raise WorkerError where nothing goes on, RuntimeError where they were told to close."""
        if self._failure is not None:
            raise WorkerError(self._failure)
        if not self.actors:
            raise RuntimeError("the vector environment is closed")

    def send(self, command: str, arguments: Sequence[Any]) -> None:
        """Give every actor a command; `arguments` has one entry per actor."""
        self.check()
        packed = [pickle.dumps(argument) for argument in arguments]
        self._command, self._asked = command, {}
        for index, argument in enumerate(packed):
            self._done[index].append((command, argument))
            self._asked[self.actors[index].do.remote(self._lives[index], command, argument)] = index

    def receive(self, on_answer: Callable[[int, Any], None] | None = None) -> list[Any]:
        """Wait for one answer per actor to the latest command, and return them in order; raises as `Workers` does."""
        self.check()
        answers = Answers(on_answer)
        asked, self._asked = self._asked, {}
        while asked:
            for ref in self._ready(asked):
                index = asked.pop(ref)
                ok, answer, views = self._answer(ref, index)
                if views is not None:
                    self._put(index, views)
                answers.take(index, ok, answer)
        told = answers.in_order()
        if len(self._done[0]) >= (MOST_REMEMBERED if self._mute else REMEMBERED):
            self._remember()
        return told

    def _answer(self, ref: Any, index: int) -> tuple[bool, Any, Any]:
        try:
            found: tuple[bool, Any, Any] | None = self._ray.get(ref)
            if found is not None:
                return found
        except lost(self._ray):
            pass
        except self._ray.exceptions.RayError as error:
            raise self._reason(error, index) from None
        return self._again(index)

    def _again(self, index: int) -> tuple[bool, Any, Any]:
        """Make a share again that was lost, wherever Ray finds a place, and return its answer to the last command."""
        if self._forgot[index]:
            raise self._fail(f"share {index + 1} of the worlds was lost, and they cannot tell their state")
        if not self.replayed:
            self._on_notice("worlds were lost with their process or machine; they are made again as they were")
        for _ in range(TRIES):
            self._await(index)
            self.replayed += 1
            ref = self.actors[index].replay.remote(self._states[index], self._done[index])
            self._ready({ref: index})
            try:
                self._lives[index], answer = self._ray.get(ref)
            except lost(self._ray):
                continue
            except self._ray.exceptions.RayError as error:
                raise self._reason(error, index) from None
            return answer  # type: ignore[no-any-return]
        raise self._fail(f"share {index + 1} of the worlds died {TRIES} times of one command; perhaps memory ran out")

    def _await(self, index: int) -> None:
        """Wait until Ray has found an actor another place."""

        def look(seconds: float) -> bool:
            began = time.monotonic()
            try:
                self._ray.get(self.actors[index].begin.remote(), timeout=seconds)
            except (*lost(self._ray), self._ray.exceptions.GetTimeoutError):
                time.sleep(max(0.0, min(_PAUSE, seconds) - (time.monotonic() - began)))
                return False
            except self._ray.exceptions.RayError as error:
                raise self._reason(error, index) from None
            return True

        if not wait_patiently(look, self.timeout):
            raise self._too_slow(index)

    def _remember(self) -> None:
        """Keep the states of all worlds, and forget the commands before; of such as cannot tell, the commands."""
        ask = pickle.dumps(("world_state", (), {}))
        told: dict[int, Any] = {}
        for index, actor in enumerate(self.actors):
            told[index] = actor.do.remote(self._lives[index], "call", ask)
        for index, ref in told.items():
            try:
                found = self._ray.get(ref, timeout=self.timeout)
            except self._ray.exceptions.RayError:
                continue  # the next command finds out
            if found is None or not found[0]:
                continue
            states = list(found[1])
            if all(state is not None for state in states):
                self._states[index], self._done[index] = states, []
                continue
            self._mute = True
            if len(self._done[index]) >= MOST_REMEMBERED:
                self._forgot[index], self._done[index] = True, []

    def _reason(self, error: Exception, index: int) -> Exception:
        cause = getattr(error, "cause", None)
        if isinstance(cause, VLMRMError):
            return cause
        words = shorten(str(cause or error).strip().splitlines()[-1], 300)
        return self._fail(f"share {index + 1} of the worlds failed at '{self._command}': {words}")

    def _fail(self, message: str) -> WorkerError:
        self._failure = message
        self.stop()
        return WorkerError(message)

    def stop(self, grace: float = 0.0) -> None:
        """End all actors."""
        self._end()
        self.actors = []


def _kill(ray: Any, actors: list[Any]) -> None:
    for actor in actors:
        try:
            ray.kill(actor)
        except Exception:  # the cluster is gone before its actors
            return


class ClusterPool(EnvPool):
    """The vector environment over such actors: equal seeds and actions give what they give on one machine."""

    def __init__(
        self, ray: Any, make_env: Callable[[], gym.Env[Any, Any]], num_envs: int, workers: int, mode: AutoresetMode,
        timeout: float, on_notice: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._ray, self._on_notice = ray, on_notice
        super().__init__(make_env, num_envs, workers, mode, timeout)

    def _start(self, timeout: float) -> None:
        arguments = [(self._packed, share.stop - share.start, self.autoreset_mode) for share in self._slices]
        actors = WorldActors(self._ray, arguments, timeout, self._put, self._on_notice)
        self._workers: Any = actors
        try:
            actors.begin()
        except BaseException:
            actors.stop()
            raise

    def _put(self, index: int, views: Any) -> None:
        _copy_rows(views, self._views, self._slices[index])


def _copy_rows(source: Any, target: Any, rows: slice) -> None:
    """Copy the observations of a share to their place among all."""
    if isinstance(source, dict):
        for key, part in source.items():
            _copy_rows(part, target[key], rows)
    elif isinstance(source, tuple):
        for part, place in zip(source, target, strict=True):
            _copy_rows(part, place, rows)
    else:
        target[rows] = source
