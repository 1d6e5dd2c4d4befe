"""Writing a new task file that is right: what `vlmrm check` would find is told before anything is written."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from gym_vlmrm.errors import TaskError
from gym_vlmrm.files import write_text
from gym_vlmrm.learning.check import check_task
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.task.new import BASES, new_task_text
from gym_vlmrm.worlds.description import WorldDescription, describe_world
from gym_vlmrm.worlds.generic import find_environment

__all__ = ["write_new_task"]

ENDS = (".yaml", ".yml")
DEFAULT_LIMIT = 200
"""Steps of an episode where the environment has no limit of its own."""


def write_new_task(
    path: Path,
    env: str,
    goal: Sequence[str],
    *,
    task_id: str | None = None,
    baseline: Sequence[str] = (),
    alpha: float | None = None,
    model: str | None = None,
    success: Sequence[str] = (),
    max_episode_steps: int | None = None,
    on_notice: Callable[[str], None] = lambda _: None,
) -> tuple[Path, WorldDescription]:
    """Write a commented task file and describe its world; see `gym_vlmrm.task.new.new_task_text`.

    Raises:
        TaskError: there is such a file already, or `vlmrm check` would refuse the task.
        RunError: the file cannot be written.
    """
    if path.suffix.lower() not in ENDS:
        raise TaskError(f"'{path}' is no name for a task file; end it with .yaml")
    if path.exists():
        raise TaskError(f"'{path}' exists already; name another file")
    if env not in BASES and max_episode_steps is None and find_environment(env).max_episode_steps is None:
        max_episode_steps = DEFAULT_LIMIT
    algorithm = "PPO"

    def text(described: WorldDescription | None) -> str:
        units = {} if described is None else {quantity.name: quantity.unit for quantity in described.quantities}
        return new_task_text(
            env, goal, task_id=task_id, baseline=baseline, alpha=alpha or 0.0, model=model, success=success,
            algorithm=algorithm, quantities=units, max_episode_steps=max_episode_steps, file=path.name,
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        draft.write_text(text(None), encoding="utf-8")
        report = check_task(str(draft))
        if report.problems:
            raise TaskError(report.problems[0].replace(f"{draft}", "a task from these options"))
        for notice in report.notes:
            on_notice(notice.replace(f"{draft}", str(path)))
        if env not in BASES and model is None and load_task(draft).reward.model == "embedded":
            on_notice("the embedded model knows the built-in scenes alone; name one of `vlmrm models` with --model")
        elif report.unknown_words:
            words = ", ".join(map(repr, report.unknown_words))
            on_notice(f"the model never saw {words} in training; name one of `vlmrm models` with --model")
        world = describe_world(load_task(draft))
    write_text(path, text(world))
    return path, world
