"""Which recipe a training follows: the task's, with what the user said on top."""

from typing import Any

from gym_vlmrm.errors import TrainingError, did_you_mean, whole_number
from gym_vlmrm.learning.algorithms import find_algorithm
from gym_vlmrm.task.spec import Recipe, TaskSpec

__all__ = ["DEFAULT_RECIPE", "FALLBACK", "choose_recipe"]

DEFAULT_RECIPE = "default"
FALLBACK = Recipe(
    algorithm="PPO",
    steps=200_000,
    num_envs=8,
    normalize_observation=True,
    normalize_reward=True,
    hyperparameters={"n_steps": 128, "batch_size": 256, "n_epochs": 5},
)
"""For tasks without a ``training:`` section; PPO acts in every kind of space."""


def choose_recipe(
    task: TaskSpec,
    name: str | None = None,
    *,
    algorithm: str | None = None,
    steps: int | None = None,
    num_envs: int | None = None,
) -> tuple[str, Recipe]:
    """Return the name of the recipe and the recipe with the given values replaced.

    Another algorithm than the recipe's takes the task's first recipe for that algorithm, else the algorithm's own
    default hyper-parameters.

    Raises:
        TrainingError: no recipe or algorithm of that name, or a number below 1.
    """
    recipes = dict(task.training) or {DEFAULT_RECIPE: FALLBACK}
    chosen = name or (DEFAULT_RECIPE if DEFAULT_RECIPE in recipes else next(iter(recipes)))
    if chosen not in recipes:
        raise TrainingError(f"{task.id} has no recipe '{chosen}'{did_you_mean(chosen, recipes)}")
    recipe = recipes[chosen]
    if algorithm is not None:
        chosen, recipe = _with_algorithm(recipes, chosen, algorithm)
    given = {"steps": steps, "num_envs": num_envs}
    changes = {name: whole_number(name, value, 1) for name, value in given.items() if value is not None}
    return chosen, recipe.model_copy(update=changes)


def _with_algorithm(recipes: dict[str, Recipe], chosen: str, algorithm: str) -> tuple[str, Recipe]:
    wanted = find_algorithm(algorithm)
    if find_algorithm(recipes[chosen].algorithm) == wanted:
        return chosen, recipes[chosen]
    for name, recipe in recipes.items():
        if find_algorithm(recipe.algorithm) == wanted:
            return name, recipe.model_copy(update={"steps": recipes[chosen].steps})
    plain: dict[str, Any] = {"algorithm": wanted.name, "hyperparameters": {}, "updates_per_step": None}
    if wanted.kind != "on-policy":
        plain["normalize_reward"] = False
    return chosen, recipes[chosen].model_copy(update=plain)
