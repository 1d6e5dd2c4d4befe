"""Whatever a stranger's environment raises becomes one line: which environment, doing what, and its own words."""

import contextlib
import functools
import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.errors import RenderingError, TaskError, VLMRMError, WorldError
from gym_vlmrm.interrupts import is_for_the_caller
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.worlds.answers import misfit, yes_or_no

__all__ = [
    "Guarded",
    "describe",
    "guard_construction",
]

_WORDS = 300
_ID = ("env", "id")


class _ResetNeeded(WorldError, gym.error.ResetNeeded):
    pass


class _Closed(WorldError, gym.error.ClosedEnvironmentError):
    pass


class _InvalidAction(WorldError, gym.error.InvalidAction):
    pass


class _Misfit(WorldError, TaskError):
    """What an environment gives is not what it says of itself."""


_SIGNALS: dict[type[Exception], type[WorldError]] = {
    gym.error.ResetNeeded: _ResetNeeded,
    gym.error.ClosedEnvironmentError: _Closed,
    gym.error.InvalidAction: _InvalidAction,
}
"""What Gymnasium tells whoever uses an environment stays what it was for `except`."""


def describe(error: BaseException) -> str:
    """Return an exception's kind and words as one line."""
    kind = type(error).__name__
    try:
        words = str(error)
    except Exception:  # a foreign exception may fail to speak as well
        words = ""
    if not words.strip():
        return f"{kind} without a word"
    return f"{kind}: {shorten(words, _WORDS)}"


@contextlib.contextmanager
def guard_construction(env_id: str, kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Turn what an environment's module or constructor raises into one line, which blames `kwargs` if there are some.

    Raises:
        RenderingError: a package is missing.
        TaskError: anything else went wrong.
    """
    try:
        yield
    except VLMRMError:
        raise
    except BaseException as error:
        if is_for_the_caller(error):
            raise
        raise _construction_error(error, env_id, kwargs) from error


def _construction_error(error: BaseException, env_id: str, kwargs: Mapping[str, Any]) -> VLMRMError:
    if isinstance(error, ImportError | gym.error.DependencyNotInstalled):
        return RenderingError(f"environment '{env_id}' lacks a package: {describe(error)}", field=_ID)
    origin = _origin(error)
    if not kwargs:
        return TaskError(f"environment '{env_id}' cannot be made: {describe(origin)}", field=_ID)
    message = f"environment '{env_id}' cannot be made with env.kwargs {shorten(dict(kwargs), 200)}"
    return TaskError(f"{message}: {describe(origin)}", field=_blamed(origin, kwargs))


def _origin(error: BaseException) -> BaseException:
    """Return what the constructor raised, where Gymnasium repeats it with all arguments."""
    repeated = isinstance(error, TypeError) and "was raised from the environment creator" in str(error)
    return error.__cause__ if repeated and error.__cause__ is not None else error


def _blamed(error: BaseException, kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of the argument that the words of the exception name, if they name just one."""
    named = [name for name in kwargs if f"'{name}'" in str(error)]
    return ("env", "kwargs", *(named if len(named) == 1 else ()))


class Guarded(gym.Wrapper[Any, Any, Any, Any]):
    """Stands right above an environment that may fail in any way.

    Errors of this package, Ctrl-C and what handlers of signals raise pass through. What Gymnasium itself tells users
    (`ResetNeeded`, `ClosedEnvironmentError`, `InvalidAction`) can still be caught as such.
    """

    counters = ()

    def __init__(self, env: gym.Env[Any, Any], env_id: str) -> None:
        """Wrap an environment; `env_id` is what messages call it.

        Raises:
            TaskError: it has no spaces.
        """
        super().__init__(env)
        self._env_id = env_id
        with self._watching("asked for its spaces", TaskError):
            for name in ("observation_space", "action_space"):
                space = getattr(env, name)
                if not isinstance(space, gym.Space):
                    raise TypeError(f"{name} is {shorten(repr(space))} and not a space of Gymnasium")
            self._space = env.observation_space  # asking for it through all wrappers at every step would cost more
            self._shape, self._dtype = self._space.shape, self._space.dtype

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment.

        Raises:
            WorldError: it failed, or returned something else than Gymnasium's two values.
            WorldError, which is a TaskError as well: the observation does not fit its space.
        """
        with self._watching("reset", WorldError):
            observation, info = _unpack(self.env.reset(seed=seed, options=options), "observation, info")
            self._check_fit(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment; whether the episode ends is a `bool` afterwards, whatever of size 1 it was.

        Raises:
            WorldError: it failed, returned something else than Gymnasium's five values, or an end that is no yes or no.
            WorldError, which is a TaskError as well: the observation does not fit its space.
        """
        with self._watching("stepped", WorldError):
            result = _unpack(self.env.step(action), "observation, reward, terminated, truncated, info")
            observation, reward, terminated, truncated, info = result
            self._check_fit(observation)
            if type(terminated) is not bool:
                terminated = self._end("terminated", terminated)
            if type(truncated) is not bool:
                truncated = self._end("truncated", truncated)
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """Draw the environment.

        Raises:
            RenderingError: it failed.
        """
        with self._watching("drawn", RenderingError):
            return self.env.render()

    def close(self) -> None:
        """Close the environment; should that fail, a warning says so, since nothing depends on it any more."""
        try:
            with self._watching("closed", WorldError):
                super().close()
        except WorldError as error:
            warnings.warn(str(error), stacklevel=2)

    def get_wrapper_attr(self, name: str) -> Any:
        """Return an attribute of the environment; a method such as ``action_masks`` fails by one line as well."""
        with self._watching(f"asked for {name}", WorldError, AttributeError):
            value = super().get_wrapper_attr(name)
        called = inspect.isroutine(value) or isinstance(value, functools.partial)
        if not called or getattr(value, "__self__", None) is self:
            return value

        @functools.wraps(value, updated=())
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._watching(f"asked for {name}()", WorldError):
                return value(*args, **kwargs)

        return call

    def has_wrapper_attr(self, name: str) -> bool:
        """Whether the environment has an attribute; a property that fails does so by one line."""
        with self._watching(f"asked for {name}", WorldError):
            return super().has_wrapper_attr(name)

    def _check_fit(self, observation: Any) -> None:
        if type(observation) is np.ndarray and observation.shape == self._shape and observation.dtype == self._dtype:
            return
        found = misfit(self._space, observation)
        if found is not None:
            said = f"environment '{self._env_id}' gives an observation that does not fit its observation space"
            raise _Misfit(f"{said}: {found}", field=_ID)

    def _end(self, name: str, value: Any) -> bool:
        answer = yes_or_no(value)
        if answer is None:
            said = f"environment '{self._env_id}' says {name} = {shorten(repr(value))}"
            raise WorldError(f"{said}, which is not one True or False", field=_ID)
        return answer

    @contextlib.contextmanager
    def _watching(self, doing: str, kind: type[VLMRMError], *passing: type[Exception]) -> Iterator[None]:
        known: tuple[type[BaseException], ...] = (VLMRMError, *passing)
        try:
            yield
        except known:
            raise
        except BaseException as error:  # SystemExit too: an environment does not end the program
            if is_for_the_caller(error):
                raise
            message = f"environment '{self._env_id}' failed when it was {doing}: {describe(error)}"
            kind = next((ours for theirs, ours in _SIGNALS.items() if isinstance(error, theirs)), kind)
            raise kind(message, field=_ID) from error


def _unpack(result: Any, names: str) -> tuple[Any, ...]:
    wanted = names.split(", ")
    if not isinstance(result, tuple | list) or len(result) != len(wanted):
        count = len(result) if isinstance(result, tuple | list) else type(result).__name__
        raise TypeError(f"it returned {count} instead of the {len(wanted)} values ({names})")
    if not isinstance(result[-1], Mapping):
        raise TypeError(f"its info is {shorten(repr(result[-1]))} and not a dict")
    return tuple(result)
