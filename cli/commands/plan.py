"""`vlmrm plan`: what will a training take?"""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import print_json, print_table, say
from ..options import (
    Algorithm,
    Alpha,
    Baseline,
    Goal,
    Json,
    Model,
    NumEnvs,
    Quiet,
    RecipeName,
    Steps,
    Task,
    Workers,
    sentences,
)
from ..progress import phase_bar

if TYPE_CHECKING:
    from gym_vlmrm.planning import Plan

__all__ = ["plan"]

Accelerators = Annotated[
    int, typer.Option("--accelerators", metavar="N", min=1, max=100_000, help="How many of --device judge.")
]
Where = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="DEVICE",
        help="An accelerator whose figures are known: h100, h200, a100, l40s, l4, rtx4090, mi300x. This machine if not "
        "given, or its auto, cpu, cuda.",
    ),
]  # fmt: skip
PricePerHour = Annotated[
    float | None,
    typer.Option("--price-per-hour", metavar="X", min=0, help="Money for an hour of one accelerator, or this machine."),
]
PricePerQuery = Annotated[
    float | None,
    typer.Option("--price-per-query", metavar="X", min=0, help="Money for one question to an openai: model."),
]


def plan(
    task: Task,
    steps: Steps = None,
    algorithm: Algorithm = None,
    recipe: RecipeName = None,
    model: Model = None,
    goal: Goal = None,
    baseline: Baseline = None,
    alpha: Alpha = None,
    num_envs: NumEnvs = None,
    workers: Workers = None,
    device: Where = None,
    accelerators: Accelerators = 1,
    price_per_hour: PricePerHour = None,
    price_per_query: PricePerQuery = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Plan a training before it is paid for: hours, arithmetic, memory, money, and what would save some.

    Trains for some twenty seconds, throws that away, and reckons. Nobody is asked, and no weights are fetched.
    """
    began = time.perf_counter()
    from gym_vlmrm.errors import VLMRMError
    from gym_vlmrm.learning import choose_recipe
    from gym_vlmrm.planning import make_plan
    from gym_vlmrm.planning.forecast import check_asked
    from gym_vlmrm.task.catalog import load_task, override

    spec = override(load_task(task), model=model, goal=sentences(goal), baseline=sentences(baseline), alpha=alpha)
    _, chosen = choose_recipe(spec, recipe, algorithm=algorithm, steps=steps, num_envs=num_envs)
    try:
        check_asked(spec, device, workers, price_per_query, price_per_hour)
    except VLMRMError as error:
        option = str((error.field or ("device",))[0]).replace("_", "-")
        raise typer.BadParameter(str(error), param_hint=f"--{option}") from None
    with phase_bar(shown=not quiet) as on_phase:
        found = make_plan(
            spec, chosen, device=device, accelerators=accelerators, workers=workers, price_per_hour=price_per_hour,
            price_per_query=price_per_query, on_phase=on_phase, began=began,
        )  # fmt: skip
    if json:
        print_json(found.model_dump(mode="json"))
    elif not quiet:
        _print(found)


def _print(plan: "Plan") -> None:
    where = plan.device if plan.device == "this machine" else f"{plan.accelerators:,} x {plan.device}"
    say(f"{plan.task}, {plan.steps:,} steps of {plan.algorithm}, model {plan.model}, {where}: {_time(plan.hours)}")
    rows = [(part.name, _time(part.hours), f"{part.share:.0%}") for part in plan.parts]
    print_table(("", "time", "share"), rows)
    say(f"{plan.frames:,} frames are scored" + ("" if plan.exaflop is None else f", {plan.exaflop:.3g} exaFLOP"))
    if plan.queries is not None:
        say(f"{plan.queries:,} questions")
    if plan.memory_gb is not None:
        of = "all processes" if plan.device == "this machine" else "each accelerator"
        say(f"memory: {plan.memory_gb:,.1f} GB of {of}" + (", which does not fit" if plan.fits is False else ""))
    if plan.money is not None:
        say(f"money: {plan.money:,.2f}")
    for saving in plan.savings:
        money = "" if saving.money is None else f", money: {saving.money:,.2f}"
        say(f"with {saving.change}: {_time(saving.hours)}{money}")
    for text in plan.notes:
        say(f"assumed: {text}" if "assumed" not in text and "taken" not in text else text)


def _time(hours: float) -> str:
    for unit, size in (("d", 24.0), ("h", 1.0), ("min", 1 / 60)):
        if hours >= 2 * size:
            return f"{hours / size:.1f} {unit}"
    return f"{3600 * hours:.0f} s"
