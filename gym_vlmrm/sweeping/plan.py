"""What a sweep varies: a YAML file, and the trainings that it means."""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gym_vlmrm.errors import TaskError, VLMRMError, whole_number
from gym_vlmrm.learning.inspection import WorldFacts, inspect_recipe, inspect_world
from gym_vlmrm.learning.recipes import choose_recipe
from gym_vlmrm.learning.records import MAX_SEED
from gym_vlmrm.reward.loading import check_model_name
from gym_vlmrm.task.builtin import short_name
from gym_vlmrm.task.catalog import load_task, override
from gym_vlmrm.task.spec import Recipe, TaskSpec
from gym_vlmrm.task.yaml_file import read_document, shorten

__all__ = ["MOST_TRIALS", "Stopping", "SweepSpec", "Trial", "check_trials", "read_sweep", "trials_of"]

MOST_TRIALS = 200
"""As many as one comparison holds."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stopping(_Strict):
    """Early stopping by ASHA (arXiv 1810.05934) on the VLM reward of the newest checkpoint."""

    after: float = Field(default=0.25, gt=0, lt=1)
    """Share of its steps that every training makes."""
    keep: float = Field(default=0.5, gt=0, lt=1)
    """Share of the trainings that go on at each rung; rungs lie at `after`, `after` / `keep` and so on."""


_Whole = Annotated[int, Field(strict=True)]
"""No text, and no ``true``, which counts as 1 otherwise."""
_Number = Annotated[float, Field(strict=True)]


class SweepSpec(_Strict):
    """What the file says. Every list is varied; one value alone is as good as a list of it."""

    tasks: list[str] = Field(min_length=1)
    """Names, IDs or paths."""
    models: list[str | None] = [None]
    alphas: list[_Number | None] = [None]
    goals: list[str | list[str] | None] = [None]
    seeds: list[_Whole] = [0]
    recipes: list[str | None] = [None]
    algorithms: list[str | None] = [None]
    hyperparameters: dict[str, list[Any]] = {}
    """By name; a list of values for each."""
    steps: _Whole | None = Field(default=None, ge=1)
    num_envs: _Whole | None = Field(default=None, ge=1)
    cores: _Whole = Field(default=1, ge=1)
    """Of each training."""
    accelerators: _Number = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Of each training; 0.25 lets four share one."""
    at_once: _Whole | None = Field(default=None, ge=1)
    """Most trainings at a time."""
    stopping: Stopping | None = None
    """``None`` lets every training make all of its steps."""

    @field_validator("tasks", "models", "alphas", "goals", "seeds", "recipes", "algorithms")
    @classmethod
    def _none_twice(cls, values: list[Any]) -> list[Any]:
        for index, value in enumerate(values):
            if any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values[:index]):
                raise ValueError(f"{shorten(json.dumps(value), 60)} stands there twice; write it once")
        return values

    @field_validator("hyperparameters")
    @classmethod
    def _no_value_twice(cls, values: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for name, given in values.items():
            try:
                cls._none_twice(given)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return values


class Trial(_Strict):
    """One training."""

    name: str
    """Of its run folder."""
    task: TaskSpec
    recipe: Recipe
    recipe_name: str
    seed: int = Field(ge=0, le=MAX_SEED)


_LISTS = ("tasks", "models", "alphas", "goals", "seeds", "recipes", "algorithms")


def read_sweep(path: Path) -> SweepSpec:
    """Read the file of a sweep.

    Raises:
        TaskError: it is missing or wrong; the message names file, line and field.
    """
    if not path.is_file():
        raise TaskError(f"no sweep file at '{path}'")
    document = read_document(path, None)
    data = dict(document.data)
    for name in _LISTS:
        if name in data and not isinstance(data[name], list):
            data[name] = [data[name]]
    if isinstance(data.get("hyperparameters"), dict):
        data["hyperparameters"] = {
            name: value if isinstance(value, list) else [value] for name, value in data["hyperparameters"].items()
        }
    for name in (*_LISTS, "hyperparameters"):
        lists = data.get(name, {}).items() if name == "hyperparameters" and isinstance(data.get(name), dict) else ()
        for key, value in [(name, data.get(name)), *((f"{name}.{key}", value) for key, value in lists)]:
            if value == [] or (isinstance(value, list) and len(value) > MOST_TRIALS):
                raise TaskError(f"{path}: {key}: give 1 to {MOST_TRIALS} values")
    try:
        return SweepSpec.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = tuple(part for part in first["loc"] if not isinstance(part, int))
        place = next(
            (document.places[where[:n]] for n in range(len(where), 0, -1) if where[:n] in document.places), path
        )
        raise TaskError(f"{place}: {'.'.join(map(str, where))}: {_words(first)}") from None


def _words(error: Any) -> str:
    return shorten(error["msg"].removeprefix("Value error, "), 120)


def trials_of(spec: SweepSpec, folder: Path = Path()) -> list[Trial]:
    """Return all trainings that a sweep means, in order; equal ones once.

    Args:
        spec: the sweep.
        folder: paths of task files are looked for there.

    Raises:
        TaskError, TrainingError: a task, model, recipe, algorithm or value is wrong, or there are too many.
    """
    parts: list[list[Any]] = [getattr(spec, name) for name in _LISTS]
    count = math.prod(map(len, [*parts, *spec.hyperparameters.values()]))
    if count > MOST_TRIALS:
        raise TaskError(f"the sweep means {count:,} trainings; at most {MOST_TRIALS} are compared, so vary less")
    found: dict[str, Trial] = {}
    for trial in _trials(spec, parts, folder):
        found.setdefault(trial.name, trial)
    return list(found.values())


def check_trials(trials: list[Trial]) -> None:
    """Check models, environments and recipes of all trainings, each once, without training.

    Raises:
        VLMRMError: what the training would raise as it begins; the message names it.
    """
    models, worlds = set[str](), dict[str, WorldFacts]()
    for trial in trials:
        try:
            for model in set(trial.task.reward.models) - models:
                check_model_name(model)
                models.add(model)
            world = json.dumps([trial.task.env.model_dump(mode="json"), trial.task.scene.model_dump(mode="json")])
            if world not in worlds:
                worlds[world] = inspect_world(trial.task, draw=False)
            inspect_recipe(trial.recipe, worlds[world])
        except VLMRMError as error:
            raise TaskError(f"{short_name(trial.task.id)}, {trial.recipe.algorithm}: {error}") from None


def _trials(spec: SweepSpec, parts: list[list[Any]], folder: Path) -> Iterator[Trial]:
    names = list(spec.hyperparameters)
    for chosen in itertools.product(*parts, *spec.hyperparameters.values()):
        name, model, alpha, goal, seed, recipe_name, algorithm = chosen[: len(parts)]
        path = folder / name
        task = load_task(path if path.is_file() else name)
        task = override(task, model=model, alpha=alpha, goal=goal)
        called, recipe = choose_recipe(task, recipe_name, algorithm=algorithm, steps=spec.steps, num_envs=spec.num_envs)
        whole_number("seed", seed, 0, MAX_SEED)
        values = dict(zip(names, chosen[len(parts) :], strict=True))
        try:
            recipe = Recipe.model_validate(_with(recipe.model_dump(), values))
        except ValidationError as error:
            first = error.errors()[0]
            raise TaskError(f"hyperparameters.{first['loc'][0]}: {_words(first)}") from None
        yield Trial(name=_name(task, recipe, seed), task=task, recipe=recipe, recipe_name=called, seed=seed)


def _with(recipe: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A recipe with other values: of its own fields, such as ``reward_every``, or of the algorithm."""
    own = {name: value for name, value in values.items() if name in recipe and name != "hyperparameters"}
    theirs = {name: value for name, value in values.items() if name not in own}
    return {**recipe, **own, "hyperparameters": {**recipe["hyperparameters"], **theirs}}


def _name(task: TaskSpec, recipe: Recipe, seed: int) -> str:
    """A name that says task, algorithm and seed, and tells equal settings from others."""
    meant = json.dumps([task.model_dump(mode="json"), recipe.model_dump(mode="json")], sort_keys=True)
    digest = hashlib.sha256(meant.encode()).hexdigest()[:8]
    return f"{short_name(task.id)}-{recipe.algorithm.lower()}-{digest}-{seed}"
