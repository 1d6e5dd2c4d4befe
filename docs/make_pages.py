"""Write a page for each environment and its tasks from the specs: ``python docs/make_pages.py [FOLDER]``.

``--pictures [TASK ...]`` draws each task first, in a state that its rule accepts. What was measured comes from
``docs/results/results.json`` and ``docs/worlds.json``; nothing is measured here.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gym_vlmrm.task.catalog import builtin_tasks
from gym_vlmrm.task.homes import EMBEDDED_MODELS
from gym_vlmrm.task.rules import rule_text
from gym_vlmrm.task.spec import Recipe, TaskSpec
from gym_vlmrm.worlds.description import Number, WorldDescription, describe_world

DOCS = Path(__file__).resolve().parent
FOLDER = DOCS / "environments"
SIZE = 200
"""Side of the pictures [px]."""
LEARNED = 0.9
"""Share of an agent's episodes in success from which on a task counts as learned."""
EXPLORED = 150
"""States among which a picture is looked for."""
WORLDS = {
    "CartPole-v1": ("cartpole", "A pole hinged to a cart; the cart is pushed left or right."),
    "MountainCarContinuous-v0": ("mountain-car", "A weak car in a valley; the flag stands on the right hill."),
    "Humanoid-v5": ("humanoid", "MuJoCo's humanoid: 17 motors, 1.4 m tall at the torso, starting upright."),
    "Pendulum-v1": ("pendulum", "A rod hinged at one end; the motor is too weak to lift it at once."),
    "InvertedPendulum-v5": ("inverted-pendulum", "A pole hinged to a cart on a rail; the cart is pushed."),
    "Reacher-v5": ("reacher", "An arm of two links on a table, and a target."),
    "InvertedDoublePendulum-v5": ("inverted-double-pendulum", "Two poles, one on the other, on a cart that is pushed."),
    "Ant-v5": ("ant", "A round body on four legs of two joints each."),
    "Hopper-v5": ("hopper", "A flat robot with one leg."),
    "Walker2d-v5": ("walker2d", "A flat robot with two legs."),
    "Swimmer-v5": ("swimmer", "Three links in a thick liquid, seen from above."),
    "Pusher-v5": ("pusher", "An arm of seven joints beside a table."),
    "HalfCheetah-v5": ("half-cheetah", "A flat cheetah with six motors."),
}
"""Name of an environment's page, and one sentence about it; others are named after themselves."""


def page_name(env_id: str) -> str:
    """Return the name of an environment's page without its ending."""
    return WORLDS.get(env_id, (env_id.rpartition("/")[2].rpartition("-v")[0].lower(),))[0]


def environments() -> dict[str, dict[str, TaskSpec]]:
    """Return the built-in tasks by name, by environment."""
    found: dict[str, dict[str, TaskSpec]] = {}
    for name, task in builtin_tasks().items():
        found.setdefault(task.env.id, {})[name] = task
    return dict(sorted(found.items(), key=lambda pair: page_name(pair[0])))


@cache
def _measured() -> tuple[dict[str, Any], dict[str, Any]]:
    return tuple(json.loads((DOCS / name).read_text("utf-8")) for name in ("results/results.json", "worlds.json"))  # type: ignore[return-value]


def index() -> str:
    """Return the page that leads to the others."""
    rows = []
    for env_id, tasks in environments().items():
        name = page_name(env_id)
        rows.append((f"[{name}]({name}.md)", f"`{env_id}`", ", ".join(f"[{task}]({name}.md#{task})" for task in tasks)))
    head = "# Environments and their tasks\n\nWritten by `python docs/make_pages.py` from the task files.\n\n"
    return head + _table(("page", "Gymnasium's environment", "tasks"), rows) + "\n"


def page(env_id: str) -> str:
    """Return the page of one environment."""
    tasks = environments()[env_id]
    told = describe_world(next(iter(tasks.values())))
    about = WORLDS[env_id][1] if env_id in WORLDS else ""
    parts = [
        f"# {env_id}",
        about,
        "Written by `python docs/make_pages.py` from the task files. [All environments](README.md)",
    ]
    parts += ["## Tasks", _table(("task", "environment ID", "goal prompt"), [
        (f"[{name}](#{name})", f"`{task.id}`", " / ".join(task.reward.goals)) for name, task in tasks.items()
    ])]  # fmt: skip
    for name, task in tasks.items():
        parts += [f"## {name}", *_task(name, task)]
    parts += ["## Observation", _numbers(told.observation), "## Action", _numbers(told.action)]
    if told.quantities:
        parts += ["## Quantities", "What rules of success may name, beside `obs[i]` and `info.key`.", _quantities(told)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _task(name: str, task: TaskSpec) -> Iterable[str]:
    if (FOLDER / f"{name}.png").is_file():
        yield f"![{name}]({name}.png)"
    if (FOLDER / f"{name}.gif").is_file():
        yield f"![The trained agent, one episode]({name}.gif)"
        found = _measured()[1][name]
        if found["trained"] < LEARNED * found["episodes"]:
            good = f"{found['trained']} of {found['episodes']} episodes"
            yield f"**Not learned**: the film shows an agent that succeeds in {good}."
    if (DOCS / "results" / f"{name}.gif").is_file():
        yield f"[A film of an agent](../results/{name}.gif)."
    yield task.description or ""
    reward = task.reward
    rows = [("ID", f"`{task.id}`"), ("goal prompt", " / ".join(reward.goals))]
    if reward.baseline:
        baseline = reward.baseline if isinstance(reward.baseline, str) else " / ".join(reward.baseline)
        rows.append(("baseline prompt, alpha", f"{baseline}, {reward.alpha:g}"))
    if reward.avoid:
        rows.append(("to be avoided", reward.avoid if isinstance(reward.avoid, str) else " / ".join(reward.avoid)))
    if reward.window is not None:
        window = reward.window
        rows.append(("window", f"{window.frames} frames, every {window.stride}th, joined by `{window.join}`"))
    rows.append(("judge", f"`{reward.model}`, [how it was taught]({_teaching(reward.model)})"))
    rows.append(("success", "-" if task.success is None else f"`{rule_text(task.success)}`"))
    steps = task.env.max_episode_steps
    version = task.id.rpartition("-v")[2]
    rows.append(("version", f"v{version} of the task, on `{task.env.id}`"))
    rows.append(("episode", "as long as the environment's own" if steps is None else f"{steps} steps"))
    rows += [(f"recipe `{key}`", _recipe(recipe)) for key, recipe in task.training.items()]
    rows += [(what, words) for what, words in _figures(name)]
    if task.source:
        rows.append(("source", task.source))
    yield _table(("", ""), rows)


def _teaching(model: str) -> str:
    return "../worlds.md" if model in EMBEDDED_MODELS else "../embedded-model.md"


def _recipe(recipe: Recipe) -> str:
    return f"{recipe.algorithm}, {recipe.steps:,} steps, {recipe.num_envs} environments"


def _figures(name: str) -> Iterable[tuple[str, str]]:
    """Say what was measured of a task; what was not is said, too."""
    results, worlds = _measured()
    found = worlds.get(name, {})
    verdict = next((audit["verdict"] for audit in results["audits"] if audit["task"] == name), None)
    if verdict is not None:
        yield "audit", f"{verdict} ([results](../results/README.md))"
    if verdict is None and "verdict" in found:
        yield "audit", f"{found['verdict']} ([worlds](../worlds.md))"
    if found.get("auc") is not None:
        yield "held-out frames", f"AUC {found['auc']:.2f}, EPIC {found['epic']:.2f} ([worlds](../worlds.md))"
    elif "auc" in found:
        yield "held-out frames", "fewer than five show the goal, too few to tell ([worlds](../worlds.md))"
    rows = [row for row in results["rows"] if row["task"] == name]
    for row in rows:
        scores = row["policy"]
        yield (
            "result",
            f"`{row['recipe_name']}`, seed {row['seed']}: {_success(scores)} ([results](../results/README.md))",
        )
    if "trained" in found:
        low, high = found["interval"]
        share = found["trained"] / found["episodes"]
        yield "result", f"{share:.0%} of {found['episodes']} episodes [{low:.0%}, {high:.0%}] ([worlds](../worlds.md))"
    if not rows and "trained" not in found:
        yield "result", "none of these weights yet"


def _success(scores: dict[str, Any]) -> str:
    low, high = scores["success_rate_low"], scores["success_rate_high"]
    return f"{scores['success_rate']:.0%} of {scores['episodes']} episodes [{low:.0%}, {high:.0%}]"


def _numbers(numbers: Sequence[Number]) -> str:
    def bound(value: float | None) -> str:
        return "-" if value is None else f"{value:.6g}"

    return _table(
        ("place", "what", "from", "to"),
        [(f"`{number.place}`", number.name or "-", bound(number.low), bound(number.high)) for number in numbers],
    )


def _quantities(told: WorldDescription) -> str:
    return _table(("name", "unit"), [(f"`{quantity.name}`", quantity.unit) for quantity in told.quantities])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(folder: Path) -> None:
    """Write all pages; pictures are left as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(index(), encoding="utf-8")
    for env_id in environments():
        (folder / f"{page_name(env_id)}.md").write_text(page(env_id), encoding="utf-8")


def draw(names: Iterable[str]) -> None:
    """Draw tasks in a state of success, as films show it; none where none is found or needs a film."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    tasks = builtin_tasks()
    for name in names:
        task = tasks[name]
        frame = None if task.reward.sees_films else _in_success(name, task)
        if frame is None:
            print(f"{name}: no picture")
            continue
        picture = Image.fromarray(frame).quantize(64, dither=Image.Dither.NONE)
        picture.save(FOLDER / f"{name}.png", optimize=True)


def _in_success(name: str, task: TaskSpec) -> Any:
    import make_pictures

    from gym_vlmrm.worlds.explore import Explorer

    if name in {**make_pictures.POSES, **make_pictures.MORE_POSES, **make_pictures.STATES}:
        return make_pictures.draw(name, task, SIZE, film=True)[1]
    explorer = Explorer(task, task.captions, SIZE, 0)
    try:
        sights = explorer.explore(EXPLORED)
    finally:
        explorer.close()
    found = [sight.frame for sight in sights if sight.success]
    if found:  # the one with most in it: of a world that is wider than its picture, some states show little
        return max(found, key=lambda frame: int((frame != frame[0, 0]).any(axis=-1).sum()))
    film = FOLDER / f"{name}.gif"
    return _end_of(film) if film.is_file() else None


def _end_of(film: Path) -> NDArray[np.uint8]:
    """Return how an agent's film ends: what exploring does not reach, training may."""
    with Image.open(film) as pictures:
        pictures.seek(pictures.n_frames - 1)  # type: ignore[attr-defined]
        return np.asarray(pictures.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--pictures", nargs="*", metavar="TASK")
    asked = parser.parse_args()
    if asked.pictures is not None:
        draw(asked.pictures or builtin_tasks())
    write(asked.folder)
