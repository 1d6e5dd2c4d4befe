"""Between pool and policy: an environment's own spaces, and those in which stable-baselines3 reads and acts."""

from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from torch import nn

from gym_vlmrm.errors import RunError, TrainingError

__all__ = ["Adapter", "Space", "States", "check_fit"]

Space: TypeAlias = spaces.Space[Any]
States: TypeAlias = NDArray[Any] | dict[str, NDArray[Any]]
"""What a policy reads: an array (N, ...), or one array per key of a Dict."""

_PLAIN = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
_LAYERS = nn.ModuleDict()
_READ = frozenset(map(np.dtype, ("f4", "f2", "u1", "i1", "i2", "i4", "i8", "?")))
"""What torch computes with and buffers hold as it is; anything else becomes float32, which halves every buffer."""


class Adapter:
    """Turns an environment's observations into a policy's states, and the policy's actions into the environment's.

    States are Box, Discrete, MultiDiscrete or MultiBinary, or a Dict of those; they count from zero, and a Tuple or a
    nested part is flattened. Actions of a policy are float32 and have one axis; the environment gets its own shape and
    dtype, within its own bounds. Keys that torch cannot name a layer by, such as ``"a.b"`` or 1, are renamed.
    """

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        env_id: str = "the environment",
        *,
        halve: bool = True,
    ) -> None:
        """Find the policy's spaces to an environment's own.

        Args:
            observation_space: the environment's.
            action_space: the environment's.
            env_id: what messages call it.
            halve: whether float64 becomes float32; stable-baselines3 itself lets it be, and compares spaces.

        Raises:
            TrainingError: no policy can read such observations or take such actions.
        """
        self.env_id = env_id
        self.own_observation_space, self.own_action_space = observation_space, action_space
        self._names: dict[Any, str] = {}
        self._read = _READ if halve else _READ | {np.dtype("f8")}
        self.observation_space = self._readable(observation_space)
        self.action_space = self._actable(action_space)

    def states(self, observations: Any) -> States:
        """Return the policy's states (N, ...) of N observations as a vector environment batches them.

        Raises:
            TrainingError: an observation is not finite, or lies outside a space that counts.
        """
        own, read = self.own_observation_space, self.observation_space
        if isinstance(own, spaces.Dict):
            assert isinstance(read, spaces.Dict)
            return {
                name: self._part(own[key], read[name], observations[key], f"[{key!r}]")
                for key, name in self._names.items()
            }
        return self._part(own, read, observations, "")

    def state(self, observation: Any) -> Any:
        """Return the policy's state of one observation, without the axis N; raises as `states` does."""
        states = self.states(self.batch_of_one(observation))
        return {key: value[0] for key, value in states.items()} if isinstance(states, dict) else states[0]

    def batch_of_one(self, observation: Any) -> Any:
        """Return one observation as a vector environment of one environment would."""
        space = self.own_observation_space
        empty: Any = create_empty_array(space, n=1)
        return concatenate(space, [observation], empty)

    def actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return the environment's own actions (N, ...) to those of a policy.

        Raises:
            TrainingError: an action is not finite.
        """
        own = self.own_action_space
        shape: tuple[int, ...] = (len(actions), *(own.shape or ()))
        if isinstance(own, spaces.Box):
            if not np.isfinite(actions).all():
                raise TrainingError(f"the policy's action for '{self.env_id}' is not finite; its weights may be lost")
            taken: NDArray[Any] = np.clip(np.asarray(actions).astype(own.dtype).reshape(shape), own.low, own.high)
            return taken
        start = own.start if isinstance(own, spaces.Discrete | spaces.MultiDiscrete) else 0
        return (np.asarray(actions).reshape(shape) + start).astype(own.dtype)

    def _readable(self, space: Space) -> Space:
        if isinstance(space, spaces.Dict):
            if not len(space):
                raise TrainingError(f"observation of '{self.env_id}' is an empty Dict; a policy must read something")
            self._names = self._policy_names(space)
            return spaces.Dict(
                {self._names[key]: self._readable_part(part, f"[{key!r}]") for key, part in space.items()}
            )
        return self._readable_part(space, "")

    def _policy_names(self, space: spaces.Dict) -> dict[Any, str]:
        """Names under which a policy reads the keys of a Dict; most are the keys themselves."""
        names: dict[Any, str] = {key: key for key in space.spaces if _names_a_layer(key)}
        for key in space.spaces:
            if not isinstance(key, str | int):
                kind = type(key).__name__
                raise TrainingError(f"observation of '{self.env_id}' has a key {key!r} of {kind}; policies know text")
            if key not in names:
                name = repr(key).replace(".", "%2E")
                while name in names.values():
                    name += "'"
                names[key] = name
        return {key: names[key] for key in space.spaces}

    def _readable_part(self, space: Space, where: str) -> Space:
        if 0 in (space.shape or ()):
            raise TrainingError(f"observation{where} of '{self.env_id}' is empty, {space}; policies read numbers")
        if isinstance(space, _PLAIN):
            return _counted_from_zero(space, self._read)
        self._check_leaves(space, where)
        flat = spaces.flatten_space(space)
        assert isinstance(flat, spaces.Box)
        return _box(flat, np.dtype(np.float32), flat.shape)

    def _check_leaves(self, space: Space, where: str) -> None:
        if isinstance(space, spaces.Tuple):
            inner = [(f"{where}[{index}]", part) for index, part in enumerate(space)]
        elif isinstance(space, spaces.Dict):
            inner = [(f"{where}[{key!r}]", part) for key, part in space.items()]
        else:
            known = "Box, Discrete, MultiDiscrete and MultiBinary, alone or in a Dict or Tuple"
            kind = type(space).__name__
            raise TrainingError(f"observation{where} of '{self.env_id}' is {kind}; policies read {known}")
        if not inner:
            empty = f"an empty {type(space).__name__}"
            raise TrainingError(f"observation{where} of '{self.env_id}' is {empty}; a policy must read something")
        for name, part in inner:
            if not isinstance(part, _PLAIN):
                self._check_leaves(part, name)

    def _actable(self, space: Space) -> Space:
        if isinstance(space, spaces.Box):
            if not np.issubdtype(space.dtype, np.floating):
                cure = "policies give fractions there; whole numbers are a MultiDiscrete space"
                raise TrainingError(f"actions of '{self.env_id}' are Box of {space.dtype}; {cure}")
            size = int(np.prod(space.shape))
            box = _box(space, np.dtype(np.float32), (size,))
            if not size or not (np.isfinite(box.low).all() and np.isfinite(box.high).all()):
                what = "no bounds" if size else "no numbers"
                raise TrainingError(f"Box actions of '{self.env_id}' have {what}; policies need finite bounds")
            return box
        if isinstance(space, spaces.MultiBinary):
            return space if len(space.shape) == 1 else spaces.MultiBinary(int(np.prod(space.shape)))
        return _counted_from_zero(space) if isinstance(space, _PLAIN) else space

    def _check_choices(self, own: Space, values: Any, where: str) -> None:
        """Raise TrainingError where one of a batch lies outside a space that counts."""
        if isinstance(own, spaces.Dict):
            for key, part in own.items():
                self._check_choices(part, values[key], f"{where}[{key!r}]")
        elif isinstance(own, spaces.Tuple):
            for index, part in enumerate(own):
                self._check_choices(part, values[index], f"{where}[{index}]")
        elif not isinstance(own, spaces.Box):
            counts = np.asarray(values) - getattr(own, "start", 0)
            number: Any = 2
            if not isinstance(own, spaces.MultiBinary):
                number = own.n if isinstance(own, spaces.Discrete) else own.nvec  # type: ignore[attr-defined]
            if ((counts < 0) | (counts >= number)).any():
                raise TrainingError(f"'{self.env_id}' gives an observation{where} outside its space {own}")

    def _part(self, own: Space, read: Space, values: Any, where: str) -> NDArray[Any]:
        self._check_choices(own, values, where)
        if isinstance(own, spaces.Discrete | spaces.MultiDiscrete):
            values = np.asarray(values) - own.start
        elif not isinstance(own, _PLAIN):
            rows = iterate(batch_space(own, _count(values)), values)
            values = [spaces.flatten(own, row) for row in rows]
        with np.errstate(over="ignore"):  # too large for float32 is infinite, which is found below
            states: NDArray[Any] = np.array(values, read.dtype)
        states = states.reshape(len(states), *(read.shape or ()))
        if states.dtype.kind == "f" and not np.isfinite(states).all():
            row, *place = np.argwhere(~np.isfinite(states))[0].tolist()
            given = np.asarray(values).reshape(states.shape)[(row, *place)]
            raise TrainingError(
                f"'{self.env_id}' gives {given} in its observation{where}, at {place} of environment {row}; "
                f"policies need finite numbers of {states.dtype}"
            )
        return states


def _count(values: Any) -> int:
    """Observations in a batch of a nested space."""
    while isinstance(values, dict | tuple):
        values = next(iter(values.values())) if isinstance(values, dict) else values[0]
    return len(values)


def _names_a_layer(key: Any) -> bool:
    """Whether torch takes a key of a Dict for the name of a layer: no dots, and nothing that a ModuleDict has."""
    return isinstance(key, str) and bool(key) and "." not in key and not hasattr(_LAYERS, key)


def _box(space: spaces.Box, dtype: np.dtype[Any], shape: tuple[int, ...]) -> spaces.Box:
    if type(space) is spaces.Box and dtype == space.dtype and shape == space.shape:
        return space
    with np.errstate(over="ignore"):
        low, high = (bound.astype(dtype).reshape(shape) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=dtype.type)


def _counted_from_zero(space: Space, read: frozenset[np.dtype[Any]] = _READ) -> Space:
    if isinstance(space, spaces.Box):
        dtype = space.dtype if space.dtype in read else np.dtype(np.float32)
        return _box(space, dtype, space.shape or (1,))
    if isinstance(space, spaces.Discrete):
        return space if type(space) is spaces.Discrete and space.start == 0 else spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        plain = type(space) is spaces.MultiDiscrete and space.nvec.ndim == 1 and not np.any(space.start)
        return space if plain else spaces.MultiDiscrete(space.nvec.ravel())
    return space


def check_fit(stored: Adapter, given: Adapter, where: Any) -> None:
    """Check that a policy for one environment can act in another one.

    Args:
        stored: of the environment that the policy was trained in.
        given: of the environment that it shall act in.
        where: the policy's place, for the message.

    Raises:
        RunError: it cannot.
    """
    seen, acted = (stored.observation_space, given.observation_space), (stored.action_space, given.action_space)
    if not _alike(*seen):
        raise RunError(f"{where}: policy for states {_brief(seen[0])} does not fit the task's states {_brief(seen[1])}")
    if not _alike(*acted):
        raise RunError(
            f"{where}: policy with actions {_brief(acted[0])} does not fit the task's actions {_brief(acted[1])}"
        )


def _alike(left: Space, right: Space) -> bool:
    if isinstance(left, spaces.Dict) and isinstance(right, spaces.Dict):
        return set(left) == set(right) and all(_alike(left[key], right[key]) for key in left)
    if isinstance(left, spaces.Box) and isinstance(right, spaces.Box):
        # Bounds do not matter to a policy, and 0.1.0 stored images as the policy sees them, channels first.
        return left.shape == right.shape or _channels_first(left) == _channels_first(right)
    if isinstance(left, spaces.Discrete) and isinstance(right, spaces.Discrete):
        return bool(left.n == right.n)
    if isinstance(left, spaces.MultiDiscrete) and isinstance(right, spaces.MultiDiscrete):
        return np.array_equal(left.nvec, right.nvec)
    return type(left) is type(right) and left.shape == right.shape


def _channels_first(space: spaces.Box) -> tuple[int, ...]:
    if is_image_space(space) and not is_image_space_channels_first(space):
        height, width, channels = space.shape
        return channels, height, width
    return space.shape


def _brief(space: Space) -> str:
    if isinstance(space, spaces.Dict):
        return "{" + ", ".join(f"{key}: {_brief(part)}" for key, part in space.items()) + "}"
    return str(space) if isinstance(space, spaces.Discrete | spaces.MultiDiscrete) else str(space.shape)
