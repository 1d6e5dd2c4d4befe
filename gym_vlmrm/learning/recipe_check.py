"""What a recipe may say and hardly means: what `vlmrm check` asks beside whether it can train at all."""

from gym_vlmrm.learning.algorithms import find_algorithm
from gym_vlmrm.task.spec import Recipe
from gym_vlmrm.task.yaml_file import Location

__all__ = ["recipe_notes"]

COPYING = ("DQN", "QRDQN")
"""Algorithms that copy their target network every so many environment steps; the others here move it at each update."""
FEWEST_COPIES = 4
"""Copies while an agent learns, below which a recipe is hardly meant: each hands values one step further."""
_TIMES = ("never", "only once", "only twice")


def recipe_notes(recipe: Recipe) -> list[tuple[str, Location]]:
    """Return what is allowed and hardly meant of a recipe that can train, each with its place in the recipe."""
    algorithm = find_algorithm(recipe.algorithm)
    if algorithm.kind != "off-policy":
        return []

    def said(name: str) -> int:
        return int(recipe.hyperparameters.get(name, algorithm.parameters()[name].default))

    def place(name: str) -> Location:
        return ("hyperparameters", *([name] if name in recipe.hyperparameters else []))

    learning_starts = max(said("learning_starts"), 0)
    if learning_starts >= recipe.steps:
        message = f"{recipe.steps:,} steps and learning_starts {learning_starts:,}: {algorithm.name} never learns"
        return [(f"{message}; set hyperparameters.learning_starts lower, or more steps", place("learning_starts"))]
    if algorithm.name not in COPYING:
        return []
    interval = said("target_update_interval")
    # As the algorithms count: in steps of all environments at once, from the first one, before they learn too.
    every = max(interval // recipe.num_envs, 1)
    copies = -(-recipe.steps // recipe.num_envs) // every - learning_starts // recipe.num_envs // every
    if copies >= FEWEST_COPIES:
        return []
    times = _TIMES[copies] if copies < len(_TIMES) else f"only {copies} times"
    message = (
        f"{recipe.steps:,} steps and a target network copied every {interval:,}: it is {times} updated while"
        f" {algorithm.name} learns; set hyperparameters.target_update_interval, to a tenth of the steps or less"
    )
    return [(message, place("target_update_interval"))]
