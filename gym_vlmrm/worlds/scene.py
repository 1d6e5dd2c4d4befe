"""Scenes: worlds of this package that can be posed. One table names them; everything else asks the scene itself."""

import inspect
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import TaskError, did_you_mean
from gym_vlmrm.task.names import observed_number, turn
from gym_vlmrm.task.past import look_back
from gym_vlmrm.task.rules import quantity_names
from gym_vlmrm.task.spec import SceneSpec, TaskSpec
from gym_vlmrm.worlds.guard import guard_construction

__all__ = [
    "SCENES", "BodySurvey", "Grid", "Landmark", "Scene", "SearchSpace", "box_space", "can_pose", "find_scene",
    "make_scene", "told_by_pose",
]  # fmt: skip

SCENES: dict[str, str] = {
    "Humanoid-v5": "gym_vlmrm.worlds.humanoid.env:HumanoidScene",
    "CartPole-v1": "gym_vlmrm.worlds.cartpole:CartPoleScene",
    "MountainCarContinuous-v0": "gym_vlmrm.worlds.mountain_car:MountainCarScene",
}
"""Gymnasium ID to "module:Class" of the environment's scene; other environments are drawn as they draw themselves."""


@dataclass(frozen=True)
class SearchSpace:
    """Every configuration of a scene as a point of a unit cube: what a search over states moves in."""

    dimension: int
    """Edges D of the cube."""
    decode: Callable[[Floats], Floats]
    """Points (N, D) in [0, 1] to configurations (N, C)."""
    encode: Callable[[Floats], Floats]
    """Configurations (N, C) to points (N, D)."""


def box_space(low: Sequence[float], high: Sequence[float]) -> SearchSpace:
    """Return the space of configurations between two corners (C,)."""
    bottom, size = np.array(low, np.float64), np.subtract(high, low)
    return SearchSpace(
        len(bottom),
        lambda points: bottom + points * size,
        lambda states: np.clip((states - bottom) / size, 0, 1),
    )


@dataclass(frozen=True)
class Landmark:
    """A configuration that an audit looks at."""

    state: Floats
    """(C,)"""
    name: str
    coordinate: float = float("nan")
    """Its place on the axis of a reward landscape, if it lies there."""


@dataclass(frozen=True)
class Grid:
    """What an audit looks at where configurations are few numbers: a grid of them, and a cloud around the goal."""

    axis: str
    """What the coordinates are."""
    places: Callable[[], list[Landmark]]
    cloud: Callable[[np.random.Generator], list[Landmark]]


class BodySurvey(Protocol):
    """What an audit looks at where configurations are bodies: poses, near misses, bodies between and beside them."""

    def poses(self) -> dict[str, Floats]:
        """Return the canonical reference poses by name."""

    def variant(self, pose: str, variation: float, rng: np.random.Generator) -> Floats:
        """Draw a natural variant of a reference pose, the farther from it the larger `variation`."""

    def near_misses(self, task: str) -> list[str]:
        """Return the names of bodies that almost reach the goal of a built-in task (its short name)."""

    def near_miss(self, name: str, rng: np.random.Generator) -> Floats:
        """Draw one of them."""

    def anything(self, rng: np.random.Generator) -> Floats:
        """Draw any body that the joints allow."""

    def disturb(self, state: Floats, rng: np.random.Generator) -> Floats:
        """Throw some of a body's joints anywhere."""

    def starts(self) -> Sequence[str]:
        """Return reference poses from which a way to a goal may begin, best first."""

    def path(self, start: Floats, end: Floats, count: int) -> Floats:
        """Return `count` bodies on the way from one to another."""


class Scene(Protocol):
    """A Gymnasium environment of this package: it names what it shows, and can be put into any configuration.

    It may also have ``quantity_units`` (unit by name), ``observation_names`` and ``action_names``, for `vlmrm show`,
    ``velocity_names``, those of its quantities that are 0 at rest and so say nothing of a pose, and
    ``pose_quantities()``, which returns all others in less time.
    """

    name: ClassVar[str]
    """Short name, such as ``cartpole``."""
    quantity_names: ClassVar[tuple[str, ...]]

    def quantities(self) -> dict[str, float]:
        """Return the named quantities of the current state."""

    def place(self, configuration: Floats) -> None:
        """Put the environment into a configuration (C,), at rest."""

    def configuration(self) -> Floats:
        """Return the current configuration (C,)."""

    @classmethod
    def search_space(cls) -> SearchSpace:
        """Return the space of all configurations."""

    @classmethod
    def survey(cls) -> "Grid | BodySurvey":
        """Return what an audit looks at."""


def find_scene(env_id: str) -> Any:
    """Return the class of an environment's scene (see `Scene`), or ``None`` where it has none."""
    return pkgutil.resolve_name(SCENES[env_id]) if env_id in SCENES else None


def can_pose(task: TaskSpec) -> bool:
    """Say whether the task's environment can be put into any state, and success be read from the state alone."""
    rule = task.success_rule
    if task.env.id not in SCENES or rule is None or task.reward.sees_films:
        return False
    moving = getattr(find_scene(task.env.id), "velocity_names", ())
    return all(told_by_pose(name) and name not in moving for name in quantity_names(rule))


def told_by_pose(name: str) -> bool:
    """Whether a quantity is one of a scene's own, which one state tells: no observation, info or state before it."""
    told_by_step = observed_number(name) is not None or name.startswith("info.")
    return not told_by_step and turn(name) is None and look_back(name) is None


def make_scene(
    env_id: str, kwargs: dict[str, Any], scene: SceneSpec, render_size: int, *, film: bool = False
) -> gym.Env[Any, Any]:
    """Make an environment of `SCENES` that renders square frames, without a time limit; `film` as in `make_world`.

    Raises:
        TaskError: it cannot be made with these `kwargs`, or a camera or backdrop is given and it takes none.
        RenderingError: this machine cannot draw, or a package is missing.
    """
    scene_class = find_scene(env_id)
    _check_kwargs(env_id, kwargs, _parameters(scene_class))
    if scene.camera is not None and not hasattr(scene_class, "set_camera"):
        message = f"scene.camera is for environments that MuJoCo draws, and '{env_id}' is drawn flat; remove it"
        raise TaskError(message, field=("scene", "camera"))
    if scene.backdrop is not None:
        message = f"scene.backdrop is for environments that draw themselves, and '{env_id}' has a scene of its own"
        raise TaskError(f"{message}; remove it, or write scene.look", field=("scene", "backdrop"))
    camera = None if scene.camera is None else scene.camera.model_dump()
    if film:
        camera = getattr(scene_class, "film_camera", camera)
    with guard_construction(env_id, kwargs):
        env: gym.Env[Any, Any] = scene_class(
            look=scene.look, camera=camera, quality="film" if film else scene.quality, render_size=render_size, **kwargs
        )
    return env


def _parameters(scene_class: type) -> dict[str, inspect.Parameter]:
    """Return the named constructor arguments of a scene class and of the Gymnasium class below it."""
    found: dict[str, inspect.Parameter] = {}
    for ancestor in reversed(scene_class.__mro__):
        if "__init__" in vars(ancestor) and ancestor is not EzPickle:
            found |= inspect.signature(ancestor.__init__).parameters  # type: ignore[misc]
    catch_all = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: parameter for name, parameter in found.items() if parameter.kind not in catch_all and name != "self"}


def _check_kwargs(env_id: str, kwargs: dict[str, Any], known: dict[str, inspect.Parameter]) -> None:
    for name, value in kwargs.items():
        if name not in known:
            message = f"env.kwargs has '{name}', which '{env_id}' does not take{did_you_mean(name, known)}"
            raise TaskError(message, field=("env", "kwargs", name))
        if isinstance(known[name].default, bool) and not isinstance(value, bool):
            message = f"env.kwargs.{name} of '{env_id}' is {value!r}; write true or false"
            raise TaskError(message, field=("env", "kwargs", name))
