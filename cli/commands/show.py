"""`vlmrm show`: what is there to see, and to read?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import print_json, print_table, say
from ..options import Json, Quiet, Seed, Task

if TYPE_CHECKING:
    from gym_vlmrm.worlds.description import Number, WorldDescription

__all__ = ["show"]

Picture = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="The picture to write, .png; TASK.png if not given.")
]
RandomSteps = Annotated[
    int, typer.Option("--steps", metavar="N", min=0, max=100_000, help="Random steps before what is shown.")
]


def show(
    task: Task,
    output: Picture = None,
    steps: RandomSteps = 0,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show a task's world: its frame at every quality, its quantities, and which number is what.

    Names of quantities are what a rule of success may read, as is obs[i].
    """
    from gym_vlmrm.task.builtin import short_name
    from gym_vlmrm.task.catalog import load_task
    from gym_vlmrm.worlds.portrait import check_name, draw_portrait, write_portrait

    spec = load_task(task)
    path = output or Path(f"{short_name(spec.id)}.png")
    check_name(path)
    portrait = draw_portrait(spec, seed=seed, steps=steps)
    write_portrait(portrait, path)
    if json:
        described = portrait.description.model_dump(mode="json")
        print_json({"task": spec.id, "picture": str(path), "milliseconds": portrait.milliseconds, **described})
    elif not quiet:
        say(f"{spec.id}: {'; '.join(spec.reward.said)}")
        _print(portrait.description)
        times = ", ".join(f"{quality} {spent:.1f} ms" for quality, spent in portrait.milliseconds.items())
        say(f"\nframe: {path} ({times})")


def _print(world: "WorldDescription") -> None:
    limit = "no limit" if world.max_episode_steps is None else f"{world.max_episode_steps} steps per episode"
    say(f"{world.environment}, {limit}\n")
    if world.quantities:
        rows = [(quantity.name, f"{quantity.value:.4g}", quantity.unit) for quantity in world.quantities]
        print_table(("quantity", "now", "unit"), rows)
        say("")
    print_table(
        ("observation", "name", "now", "low", "high"), [_row(number, value=True) for number in world.observation]
    )
    say("")
    if all(number.low is None and number.high is None for number in world.action):
        print_table(("action", "name"), [(number.place, number.name) for number in world.action])
    else:
        print_table(("action", "name", "low", "high"), [_row(number) for number in world.action])
    if world.rule is not None:
        verdict = "not known before a step" if world.success is None else "yes" if world.success else "no"
        say(f"\nsuccess: {world.rule}\nnow: {verdict}" + (f"; lacks {', '.join(world.lacks)}" if world.lacks else ""))


def _row(number: "Number", value: bool = False) -> tuple[str, ...]:
    bounds = tuple("-" if bound is None else f"{bound:.4g}" for bound in (number.low, number.high))
    now = (("-" if number.value is None else f"{number.value:.4g}"),) if value else ()
    return (number.place, number.name or "-", *now, *bounds)
