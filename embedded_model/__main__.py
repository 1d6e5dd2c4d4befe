"""``python -m embedded_model``: make the embedded model from nothing, measure it, vary it, or write its captions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from gym_vlmrm.reward.loading import EMBEDDED_FOLDER

app = typer.Typer(add_completion=False, help="How the embedded model is made from nothing, and what it is worth.")
Data = Annotated[Path, typer.Option(help="Folder for the rendered frames (2.6 GB); an interrupted run goes on.")]
Model = Annotated[Path, typer.Option(help="Folder of the model.")]


@app.command()
def make(
    data: Data = Path("build/embedded-model"),
    output: Model = EMBEDDED_FOLDER,
    seed: Annotated[int, typer.Option(help="Seed of states, frames, sentences and weights.")] = 1,
) -> None:
    """Draw states, render frames, train both towers and write the model's folder."""
    from embedded_model.dataset import make_dataset
    from embedded_model.recipe import train_model
    from embedded_model.settings import COUNTS, RecipeSettings

    console = Console(stderr=True)
    console.print("rendering frames ...")
    make_dataset(data, COUNTS, seed)
    train_model(data, output, RecipeSettings(seed=seed), console.print)


@app.command()
def measure(
    model: Model = EMBEDDED_FOLDER,
    count: Annotated[int, typer.Option(help="Fresh humanoid states; a quarter as many of the other scenes.")] = 4000,
    generations: Annotated[int, typer.Option(help="Of each pose search; 0 leaves the searches out.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Print the figures of the model on states, sentences and pairs that training never saw."""
    from embedded_model.adversaries import search_tasks
    from embedded_model.landscapes import path_correlations, pole_landscape
    from embedded_model.measure import composition, measure_cost, measure_model
    from gym_vlmrm.reward.clip.towers import load_towers

    towers = load_towers(f"local-dir:{model}", "cpu", "fp32")
    pairs = composition(towers)
    tables = {
        "Weights and image tower": [measure_cost(towers, model)],
        "Reward against success": [asdict(row) for row in measure_model(towers, count=count)],
        "Spearman of reward with progress from standing to the goal": [
            {"task": task, "spearman": value} for task, value in path_correlations(towers).items()
        ],
        "CartPole: peak in degrees, Spearman of reward with distance from upright": pole_landscape(towers),
        "Held-out pairs of leg and arm pose": [
            *({"pair": pair, "auc": value} for pair, value in pairs.items()),
            {"pair": "median", "auc": float(np.median(list(pairs.values())))},
        ],
    }
    if generations:
        tables["Winners of pose searches for the highest reward"] = search_tasks(f"local-dir:{model}", generations)
    if as_json:
        print(json.dumps(tables))
        return
    for title, rows in tables.items():
        _print(title, rows)


@app.command()
def sizes(
    data: Data = Path("build/sizes"),
    output: Annotated[Path, typer.Option(help="Folder of the models.")] = Path("build/sizes/models"),
    frames: Annotated[int, typer.Option(min=600, help="Frames to learn from, those of all scenes.")] = 27_000,
    count: Annotated[int, typer.Option(min=40, help="Fresh humanoid states that measure them.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of states, frames and weights.")] = 1,
) -> None:
    """Teach image towers of five sizes the same frames and measure them; docs/make_experiments.py uses them."""
    from embedded_model.settings import COUNTS, RecipeSettings
    from embedded_model.sizes import make_sizes, measure_sizes

    share = frames / sum(COUNTS.values())
    counts = {domain: round(share * count) for domain, count in COUNTS.items()}
    say = Console(stderr=True).print
    models = make_sizes(data, output, counts, RecipeSettings(seed=seed), say)
    print(f"wrote {measure_sizes(models, count, say)}")


@app.command()
def motion(
    data: Annotated[Path, typer.Option(help="Folder for films (0.3 GB); an interrupted run goes on.")] = Path(
        "build/motion"
    ),
    model: Model = EMBEDDED_FOLDER,
    seed: Annotated[int, typer.Option(help="Seed of films, looks, sentences and weights.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw films; changes nothing else.")] = 2,
    teach: Annotated[bool, typer.Option(help="Teach the head; --no-teach only measures it.")] = True,
) -> None:
    """Teach the motion head of the model in a folder, and print its figures on films that it never saw."""
    from embedded_model.motion_head import MotionSettings, make_head, measure_head

    console, settings = Console(stderr=True), MotionSettings(seed=seed)
    if teach:
        console.print(f"wrote {make_head(data, model, settings, workers, console.print)}")
    _print("Motion head on fresh films", measure_head(data, model, settings, workers, console.print))


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `vlmrm teach` wrote.")],
    output: Annotated[Path, typer.Argument(metavar="TO", help="Folder of a model inside the package.")],
) -> None:
    """Copy a taught model's files into the package, its weights in half the space (int8, a factor for each row)."""
    from gym_vlmrm.files import replacing
    from gym_vlmrm.reward.clip.packed import PACKED, load_weights
    from gym_vlmrm.reward.clip.packed import pack as packed
    from gym_vlmrm.reward.folders import CONFIG_FILE, MERGES_FILE, WEIGHTS_FILE, WORDS_FILE, WORLDS_FILE
    from gym_vlmrm.tensors import save_tensors

    output.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG_FILE, MERGES_FILE, WORDS_FILE, WORLDS_FILE):
        with replacing(output / name) as part:
            part.write_bytes((folder / name).read_bytes())
    with replacing(output / WEIGHTS_FILE) as part:
        save_tensors(part, packed(load_weights(folder / WEIGHTS_FILE)), PACKED)
    print(f"wrote {output}: {sum(path.stat().st_size for path in output.iterdir()):,} bytes")


@app.command()
def captions(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="humanoid, cartpole or mountain-car.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty folder, made if missing.")],
    frames: Annotated[int, typer.Option(min=2, help="Pictures to draw.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of states, looks and sentences.")] = 0,
) -> None:
    """Write pictures of a scene and captions.csv in the recipe's own words, for `vlmrm finetune DIR`."""
    from embedded_model.captions import SCENES, write_captions

    if scene not in SCENES:
        raise typer.BadParameter(f"'{scene}' is none of {', '.join(SCENES)}", param_hint="SCENE")
    try:
        rows = write_captions(scene, folder, frames, seed)
    except OSError as error:
        raise typer.BadParameter(str(error), param_hint="DIR") from None
    print(f"{frames} pictures, {rows} captions; next: vlmrm finetune {folder} --model scratch --output mine")


def _print(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)


if __name__ == "__main__":
    app()
