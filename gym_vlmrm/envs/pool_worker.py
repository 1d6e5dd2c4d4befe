"""A worker process of `gym_vlmrm.envs.pool`: steps its share of the environments, then draws their pictures."""

import contextlib
import pickle
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import (
    concatenate,
    create_empty_array,
    iterate,
    read_from_shared_memory,
    write_to_shared_memory,
)

from gym_vlmrm.frames import FrameObservation

__all__ = ["Server", "work"]


def work(
    connection: Connection,
    make_env: Callable[[], gym.Env[Any, Any]],
    memory: Any,
    num_envs: int,
    share: slice,
    mode: AutoresetMode,
) -> None:
    """Serve one share of the environments until told to close or until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which decides
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        try:
            envs = SyncVectorEnv([make_env] * (share.stop - share.start), copy=False, autoreset_mode=mode)
        except Exception as error:
            connection.send((False, _portable(error)))
            return
        connection.send((True, None))
        _serve(connection, Server(envs, memory, share.start, num_envs))
        envs.close()


def _serve(connection: Connection, server: "Server") -> None:
    while True:
        command, argument = connection.recv()
        if command == "close":
            return
        try:
            answer = ForkingPickler.dumps((True, getattr(server, command)(argument)))
        except Exception as error:  # the environment's, or what it returned does not pickle
            answer = ForkingPickler.dumps((False, _portable(error)))
        connection.send_bytes(answer)


def _portable(error: BaseException) -> BaseException:
    """An exception that survives pickling, with the same words and the worker's traceback as a note."""
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

    def _write(self, observations: Any) -> None:
        for index, observation in enumerate(iterate(self.envs.observation_space, observations)):
            write_to_shared_memory(self.envs.single_observation_space, self.first + index, observation, self.memory)


def _restack(envs: SyncVectorEnv, actions: list[Any]) -> Any:
    space = envs.single_action_space
    empty: Any = create_empty_array(space, n=len(actions))
    return concatenate(space, actions, empty)
