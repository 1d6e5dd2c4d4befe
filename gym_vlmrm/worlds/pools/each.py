"""Single environments of a pool: read, set or call something in some of them, each with its own argument."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import gymnasium as gym

__all__ = [
    "Rows",
    "SomePool",
    "call_method",
    "chosen_rows",
    "get_attribute",
    "has_attribute",
    "is_wrapped",
    "set_attribute",
]

Rows: TypeAlias = int | Iterable[int] | None
"""Numbers of environments: one, some, or (``None``) all."""
_Envs: TypeAlias = Sequence[gym.Env[Any, Any]]


class SomePool(Protocol):
    """What `make_pool` returns, as far as this file needs it."""

    num_envs: int

    def apply(self, function: Any, rows: Sequence[int], arguments: Sequence[Any]) -> list[Any]:
        """Return what ``function(environments, arguments)`` returns, one value per row."""
        ...


def chosen_rows(rows: Rows, num_envs: int) -> list[int]:
    """Return the numbers of environments that are meant; -1 is the last one.

    Raises:
        IndexError: there is no such environment.
    """
    if rows is None:
        return list(range(num_envs))
    chosen = [int(row) for row in rows] if isinstance(rows, Iterable) else [int(rows)]
    for row in chosen:
        if not -num_envs <= row < num_envs:
            raise IndexError(f"there is no environment {row}; they are 0 to {num_envs - 1}")
    return [row % num_envs for row in chosen]


def get_attribute(pool: SomePool, name: str, rows: Rows = None) -> list[Any]:
    """Return an attribute, wherever in its wrappers an environment has it; raises AttributeError where none has."""
    return _ask(pool, _get, rows, name)


def has_attribute(pool: SomePool, name: str, rows: Rows = None) -> list[bool]:
    """Whether the environments have an attribute; what it is need not pickle."""
    return _ask(pool, _has, rows, name)


def set_attribute(pool: SomePool, name: str, value: Any, rows: Rows = None) -> None:
    """Set an attribute where an environment has it already, else on its outermost wrapper."""
    _ask(pool, _set, rows, (name, value))


def call_method(pool: SomePool, name: str, rows: Rows, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Call a method with the same arguments and return what it returns."""
    return _ask(pool, _call, rows, (name, args, kwargs))


def is_wrapped(pool: SomePool, wrapper: type[Any], rows: Rows = None) -> list[bool]:
    """Whether the environments are wrapped by a class or one derived from it, told by its name.

    By its name, because workers would have to import the library that defines it.
    """
    return _ask(pool, _wrapped, rows, f"{wrapper.__module__}:{wrapper.__qualname__}")


def _ask(pool: SomePool, function: Any, rows: Rows, argument: Any) -> list[Any]:
    chosen = chosen_rows(rows, pool.num_envs)
    return pool.apply(function, chosen, [argument] * len(chosen))


def _get(envs: _Envs, names: Sequence[str]) -> list[Any]:
    return [env.get_wrapper_attr(name) for env, name in zip(envs, names, strict=True)]


def _has(envs: _Envs, names: Sequence[str]) -> list[bool]:
    return [env.has_wrapper_attr(name) for env, name in zip(envs, names, strict=True)]


def _set(envs: _Envs, arguments: Sequence[tuple[str, Any]]) -> list[None]:
    return [env.set_wrapper_attr(*argument) for env, argument in zip(envs, arguments, strict=True)]  # type: ignore[misc]


def _call(envs: _Envs, arguments: Sequence[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
    pairs = zip(envs, arguments, strict=True)
    return [env.get_wrapper_attr(name)(*args, **kwargs) for env, (name, args, kwargs) in pairs]


def _wrapped(envs: _Envs, names: Sequence[str]) -> list[bool]:
    return [any(name in _classes(layer) for layer in _layers(env)) for env, name in zip(envs, names, strict=True)]


def _layers(env: Any) -> Iterable[Any]:
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env


def _classes(layer: Any) -> set[str]:
    return {f"{kind.__module__}:{kind.__qualname__}" for kind in type(layer).__mro__}
