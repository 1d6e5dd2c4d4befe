"""``python -m gym_vlmrm.pretraining``: make the embedded model from nothing, or measure it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gym_vlmrm.reward.loading import EMBEDDED_FOLDER

app = typer.Typer(add_completion=False, help="Make the embedded model from nothing, or measure it.")
Data = Annotated[Path, typer.Option(help="Folder for the rendered frames (2.6 GB); an interrupted run goes on.")]
Model = Annotated[Path, typer.Option(help="Folder of the model.")]


@app.command()
def make(
    data: Data = Path("build/pretraining"),
    output: Model = EMBEDDED_FOLDER,
    seed: Annotated[int, typer.Option(help="Seed of states, frames, sentences and weights.")] = 1,
) -> None:
    """Draw states, render frames, train both towers and write the model's folder."""
    from gym_vlmrm.pretraining.dataset import make_dataset
    from gym_vlmrm.pretraining.recipe import COUNTS, Settings, train_model

    console = Console(stderr=True)
    console.print("rendering frames ...")
    make_dataset(data, COUNTS, seed)
    train_model(data, output, Settings(seed=seed), console.print)


@app.command()
def measure(
    model: Model = EMBEDDED_FOLDER,
    count: Annotated[int, typer.Option(help="Fresh humanoid states; a quarter as many of the other scenes.")] = 4000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Print the figures of the model on states, sentences and pairs that training never saw."""
    from gym_vlmrm.pretraining.measure import composition, measure_model, path_correlations
    from gym_vlmrm.reward.towers import load_towers

    towers = load_towers(f"local-dir:{model}", "cpu", "fp32")
    tasks = [asdict(row) for row in measure_model(towers, count=count)]
    paths, pairs = path_correlations(towers), composition(towers)
    if as_json:
        print(json.dumps({"tasks": tasks, "paths": paths, "composition": pairs}))
        return
    _print("Reward against success", tasks)
    _print(
        "Spearman of reward with progress from standing to the goal",
        [{"task": k, "spearman": v} for k, v in paths.items()],
    )
    median = sorted(pairs.values())[len(pairs) // 2]
    rows = [{"pair": k, "auc": v} for k, v in pairs.items()]
    _print("Held-out pairs of leg and arm pose", [*rows, {"pair": "median", "auc": median}])


def _print(title: str, rows: list[dict[str, object]]) -> None:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)


if __name__ == "__main__":
    app()
