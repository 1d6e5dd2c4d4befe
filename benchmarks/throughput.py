"""How close rewarded environment steps come to the machine's own limit; see README.md beside this file."""

import json
import logging
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

HUMANOIDS = "kneeling,lotus,standing,arms-raised,splits,hands-on-hips,one-leg,arms-crossed"
STANDARD = (("kneeling", "embedded"), ("cartpole", "embedded"), ("mountain-car", "embedded"))
VIT = ("kneeling", "ViT-B-32/untrained")
GROWTH = "1,2,4,8,16,32,64"

Task = Annotated[str, typer.Argument(help="Task: a name or a path.")]
Model = Annotated[str, typer.Option("--model", help="Reward model.")]
NumEnvs = Annotated[str, typer.Option("--num-envs", help="Environments; a table for each, with commas.")]
Seconds = Annotated[float, typer.Option("--seconds", help="Length of each measurement [s].")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Rounds; medians are printed.")]
Tasks = Annotated[str, typer.Argument(help="Humanoid tasks, with commas.")]
States = Annotated[int, typer.Option("--states", min=3, help="Number of varied states.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")]
Preset = Annotated[str, typer.Option("--preset", help="'ours', or 'original': also work as the original code does.")]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _write(results: Any, path: Path | None) -> None:
    """Write dataclasses, or lists of them, as JSON."""
    if path is not None:
        path.write_text(json.dumps(results, indent=1, default=asdict) + "\n", encoding="utf-8")


@app.command()
def rates(
    task: Task,
    model: Model = "embedded",
    num_envs: NumEnvs = "16",
    preset: Preset = "ours",
    seconds: Seconds = 3.0,
    rounds: Rounds = 3,
    output: Json = None,
) -> None:
    """Simulation, rendering and embedding alone, and the loops beside the bound that these imply."""
    from loops import prepared
    from rates import measure_rates
    from tables import print_rates

    if preset not in ("ours", "original"):
        raise typer.BadParameter(f"--preset is 'ours' or 'original', got '{preset}'")
    counts, spec = _numbers(num_envs), prepared(task, model)
    found = measure_rates(spec, counts, seconds=seconds, rounds=rounds, original=preset == "original")
    for table in found:
        print_rates(table)
    _write(found, output)


@app.command()
def growth(
    task: Task,
    model: Model = "embedded",
    num_envs: NumEnvs = GROWTH,
    seconds: Seconds = 2.0,
    rounds: Rounds = 3,
    output: Json = None,
) -> None:
    """The loops against the number of environments."""
    from loops import prepared
    from rates import measure_rates
    from tables import print_growth

    found = measure_rates(prepared(task, model), _numbers(num_envs), seconds=seconds, rounds=rounds, everies=[1])
    print_growth(found)
    _write(found, output)


@app.command()
def batches(task: Task, model: Model = "embedded", seconds: Seconds = 1.0, output: Json = None) -> None:
    """Embedding alone by the size of the batch, one per core beside each other: what few environments leave to it."""
    import numpy as np
    from capacity import Embedding
    from loops import prepared
    from tables import print_table

    import gym_vlmrm

    judge = gym_vlmrm.load_reward_model(prepared(task, model))
    frames = np.random.default_rng(0).integers(0, 256, (32, *(judge.frame_size,) * 2, 3), np.uint8)
    embedding = Embedding(judge, frames)
    found = embedding.by_batch((1, 2, 4, 8, 16, 32), seconds)
    embedding.close()
    print_table(f"{model}, embedding alone", ["frames in a batch", "frames/s"], [list(row) for row in found.items()])
    _write(found, output)


@app.command()
def ways(
    task: Task,
    model: Model = "embedded",
    num_envs: NumEnvs = "1,4,16,64",
    busy: Annotated[str, typer.Option("--busy", help="Processes that keep cores busy; a table for each.")] = "0,4",
    most_processes: Annotated[int, typer.Option("--most-processes", min=1)] = 16,
    seconds: Seconds = 2.0,
    rounds: Rounds = 5,
    output: Json = None,
) -> None:
    """`gymnasium.make_vec` beside Gymnasium's and stable-baselines3's own ways to many environments."""
    from loops import prepared
    from tables import print_ways
    from ways import measure_ways

    spec, found = prepared(task, model), []
    for load in _numbers(busy):
        for number in _numbers(num_envs):
            found += measure_ways(
                spec, number, seconds=seconds, rounds=rounds, busy=load, most_processes=most_processes
            )
    print_ways(f"{spec.id}, {model}", found)
    _write(found, output)


@app.command()
def every(
    task: Task,
    model: Model = "embedded",
    num_envs: Annotated[int, typer.Option("--num-envs", min=1)] = 16,
    everies: Annotated[str, typer.Option("--every", help="Values of reward.every, with commas.")] = "1,2,4,8",
    seconds: Seconds = 3.0,
    rounds: Rounds = 3,
    output: Json = None,
) -> None:
    """Training against `reward.every`."""
    from loops import prepared
    from rates import measure_rates
    from tables import print_rates

    spec, values = prepared(task, model), _numbers(everies)
    found = measure_rates(spec, [num_envs], seconds=seconds, rounds=rounds, vector=False, everies=values)
    print_rates(found[0])
    _write(found, output)


@app.command()
def memory(
    task: Task,
    model: Model = "embedded",
    num_envs: Annotated[int, typer.Option("--num-envs", min=1)] = 16,
    score_every: Annotated[int, typer.Option("--every", min=1)] = 1,
    steps: Annotated[str, typer.Option("--steps", help="Training steps at which to look, with commas.")] = "1000,20000",
    output: Json = None,
) -> None:
    """Peak memory of a training, gradient steps included, early and late."""
    from loops import prepared
    from memory import measure_memory
    from tables import print_table

    found = measure_memory(prepared(task, model), num_envs, score_every, _numbers(steps))
    rows = [[f"to {step:,} steps", peak] for step, peak in zip(found.steps, found.peak_mb, strict=True)]
    print_table(f"peak memory of training {found.task}, {found.model}, {num_envs} environments", ["", "MB"], rows)
    print(f"growth {found.growth:.3f}")
    _write(found, output)


@app.command()
def quality(tasks: Tasks = HUMANOIDS, model: Model = "embedded", states: States = 300, output: Json = None) -> None:
    """What render quality costs in time and in fidelity of the rewards."""
    from fidelity import measure_quality

    found = measure_quality(tasks.split(","), model, states)
    _print_fidelity(f"rewards of {states} humanoid states against 'paper' quality, {model}", tasks, found)
    _write(found, output)


@app.command()
def precision(tasks: Tasks = HUMANOIDS, model: Model = "embedded", states: States = 300, output: Json = None) -> None:
    """What arithmetic in fewer bits gains in time and costs in fidelity of the rewards."""
    from fidelity import measure_precision

    found = measure_precision(tasks.split(","), model, states)
    _print_fidelity(f"rewards of {states} humanoid states against float32, {model}", tasks, found)
    _write(found, output)


def _print_fidelity(title: str, tasks: str, found: list[Any]) -> None:
    from tables import print_table

    columns = ["", "frames/s", "Pearson", "Spearman", "max |difference|"]
    print_table(f"{title}, the worst of {tasks}", columns, [list(asdict(row).values()) for row in found])


@app.command()
def drawing(rounds: Rounds = 3, output: Json = None) -> None:
    """What it saves to redraw only what moved in CartPole and MountainCar."""
    from drawing import measure_drawing
    from tables import print_table

    found = measure_drawing(["cartpole", "mountain-car"], rounds)
    columns = ["frames/s, one process", "Gymnasium's picture", "ours, whole", "ours, what moved", "ratio to whole"]
    rows = [[row.task, row.gymnasium, row.whole, row.moved, row.moved / row.whole] for row in found]
    print_table("drawing with pygame, at the model's size", columns, rows)
    _write(found, output)


@app.command()
def startup(rounds: Rounds = 7, output: Json = None) -> None:
    """Times of importing the package and of `vlmrm --help`."""
    from startup import measure_startup
    from tables import print_table

    found = measure_startup(rounds)
    base = next(iter(found.values()))
    print_table("start-up", ["", "seconds", "ratio"], [[name, value, value / base] for name, value in found.items()])
    _write(found, output)


@app.command(name="all")
def everything(
    seconds: Seconds = 3.0,
    rounds: Rounds = 3,
    output: Annotated[Path | None, typer.Option("--json", help="Write all figures to files in this folder.")] = None,
) -> None:
    """Every table that README.md shows but those of `ways` and `batches`."""

    def file(name: str) -> Path | None:
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
        return output / f"{name}.json" if output is not None else None

    began = time.perf_counter()
    startup(7, file("startup"))
    drawing(output=file("drawing"))
    quality(output=file("quality"))
    precision(output=file("precision"))
    for task, model in STANDARD:
        rates(task, model, "32,64,128", "original", seconds, rounds, file(f"rates-{task}"))
    precision(model=VIT[1], states=100, output=file("precision-vit"))
    rates(*VIT, "16", "original", 2 * seconds, rounds, file("rates-vit"))
    growth("kneeling", seconds=seconds, rounds=rounds, output=file("growth"))
    every("kneeling", seconds=seconds, rounds=rounds, output=file("every"))
    memory("kneeling", output=file("memory"))
    print(f"all of this took {(time.perf_counter() - began) / 60:.0f} minutes")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # the models' words about themselves
    app()
