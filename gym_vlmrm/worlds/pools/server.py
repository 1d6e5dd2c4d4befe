"""A worker process of `gym_vlmrm.worlds.pools.pool`: steps its share of the environments, then draws their pictures."""

import contextlib
import pickle
import sys
import traceback
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import (
    concatenate,
    create_empty_array,
    iterate,
    read_from_shared_memory,
    write_to_shared_memory,
)

from gym_vlmrm.errors import WorldError
from gym_vlmrm.worlds.frames import FrameObservation
from gym_vlmrm.worlds.guard import describe
from gym_vlmrm.worlds.offscreen import opengl_name
from gym_vlmrm.worlds.pools.processes import adopt_registrations, begin_worker
from gym_vlmrm.worlds.pools.workers import NOTE, START

__all__ = ["Server", "Share", "TypedInfos", "portable", "work"]


class TypedInfos(VectorEnv[Any, Any, Any]):
    """A vector environment that joins numpy's bools to an array of bool; Gymnasium makes one of objects of them."""

    def _add_info(self, vector_infos: dict[str, Any], env_info: dict[str, Any], env_num: int) -> dict[str, Any]:
        plain = {key: bool(value) if isinstance(value, np.bool_) else value for key, value in env_info.items()}
        return super()._add_info(vector_infos, plain, env_num)


class Share(TypedInfos, SyncVectorEnv):
    """Gymnasium's vector environment, for one worker's part of the environments."""


def work(
    connection: Connection,
    memory: Any,
    num_envs: int,
    share: slice,
    mode: AutoresetMode,
    of_main_thread: bool,
) -> None:
    """Serve one share of the environments until told to close or until the parent is gone.

    It is told the registrations of the parent's environments and the function that makes one of them first. They are
    unpacked here, so that what they cannot find is an answer and no death.
    """
    begin_worker(of_main_thread=of_main_thread)
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        try:
            registrations, make_env = pickle.loads(connection.recv_bytes())
            adopt_registrations(registrations)
            first = make_env()
            if isinstance(first, FrameObservation):
                drawn_by = opengl_name() if "mujoco" in sys.modules else None
                connection.send_bytes(_message(NOTE, True, drawn_by))
                # An OpenGL that hangs does so at its first frame, and here is where patience is long. No environment of
                # the share is touched: resets count in some.
                first.reset(seed=0)
                first.env.render()
            envs = Share([make_env.fn] * (share.stop - share.start), copy=False, autoreset_mode=mode)
            first.close()  # not before: until now it held the OpenGL context that the others may share
        except BaseException as error:
            connection.send_bytes(_message(START, False, portable(error)))
            return
        connection.send_bytes(_message(START, True, None))
        _serve(connection, Server(envs, memory, share.start, num_envs))
        envs.close()


def _serve(connection: Connection, server: "Server") -> None:
    while True:
        number, command, argument = connection.recv()
        if command == "close":
            return
        try:
            message = _message(number, True, getattr(server, command)(pickle.loads(argument)))
        except BaseException as error:  # the environment's, or what it was given or returned does not pickle
            message = _message(number, False, portable(error))
        connection.send_bytes(message)


def _message(number: int, ok: bool, answer: Any) -> bytes:
    return pickle.dumps((number, ok, bytes(ForkingPickler.dumps(answer))))


def portable(error: BaseException) -> BaseException:
    """Return an exception that survives pickling, with the same words and the worker's traceback as a note.

    No SystemExit or KeyboardInterrupt of a stranger's code ends the parent.
    """
    if not isinstance(error, Exception):
        words = f"an environment failed in a worker process: {describe(error)}"
        error = WorldError(words).with_traceback(error.__traceback__)
    error.add_note("In a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__} in a worker process: {error}")
    return error


class Server:
    """The commands that a worker understands."""

    def __init__(self, envs: SyncVectorEnv, memory: Any, first: int, num_envs: int) -> None:
        self.envs = envs
        self.memory = memory
        self.first = first
        # Physics of all environments first, pictures of all of them then: taking turns, each finds the other's data in
        # the processor's caches and takes up to twice as long.
        self.pictured = [(row, env) for row, env in enumerate(envs.envs, first) if isinstance(env, FrameObservation)]
        for _, env in self.pictured:
            env.deferred = True
        views: Any = read_from_shared_memory(envs.single_observation_space, memory, n=num_envs)
        self.frames: Any = views["frame"] if self.pictured else None

    def reset(self, argument: tuple[list[int | None], dict[str, Any] | None]) -> dict[str, Any]:
        """Reset the share, or what a mask says of it; seeds and options are those of Gymnasium."""
        seeds, options = argument
        if options is not None and "reset_mask" in options and not options["reset_mask"].any():
            return {}  # Gymnasium refuses an empty mask; here another worker's share is meant
        observations, infos = self.envs.reset(seed=seeds, options=options)
        self._write(observations)
        return infos

    def step(self, actions: list[Any]) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Step the share, and draw what `FrameObservation` left out."""
        observations, rewards, terminations, truncations, infos = self.envs.step(_restack(self.envs, actions))
        self._write(observations)
        for row, env in self.pictured:
            frame = env.draw()
            if frame is not None:
                self.frames[row] = frame
        return rewards, terminations, truncations, infos

    def call(self, argument: tuple[str, tuple[Any, ...], dict[str, Any]]) -> tuple[Any, ...]:
        """Call a method of every environment."""
        name, args, kwargs = argument
        return self.envs.call(name, *args, **kwargs)

    def set_attr(self, argument: tuple[str, list[Any]]) -> None:
        """Set an attribute of every environment."""
        self.envs.set_attr(*argument)

    def apply(self, argument: tuple[Any, list[int], list[Any]]) -> list[Any]:
        """Call a function with some environments of the share, if any are meant."""
        function, rows, arguments = argument
        found: list[Any] = function([self.envs.envs[row] for row in rows], arguments) if rows else []
        return found

    def _write(self, observations: Any) -> None:
        for index, observation in enumerate(iterate(self.envs.observation_space, observations)):
            write_to_shared_memory(self.envs.single_observation_space, self.first + index, observation, self.memory)


def _restack(envs: SyncVectorEnv, actions: list[Any]) -> Any:
    space = envs.single_action_space
    empty: Any = create_empty_array(space, n=len(actions))
    return concatenate(space, actions, empty)
