"""The same image tower in several sizes, taught the same frames: what a judge's size is worth."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from embedded_model.dataset import make_dataset
from embedded_model.fitting import fit_image
from embedded_model.measure import measure_model
from embedded_model.recipe import build_space, write_image_targets
from embedded_model.settings import RecipeSettings
from gym_vlmrm.files import write_json
from gym_vlmrm.finetuning.scratch import build_clip, save_folder
from gym_vlmrm.reward.clip.packed import load_weights
from gym_vlmrm.reward.clip.towers import load_towers
from gym_vlmrm.reward.folders import MERGES_FILE, WEIGHTS_FILE, WORDS_FILE, WORLDS_FILE
from gym_vlmrm.reward.loading import EMBEDDED_FOLDER

__all__ = ["FIGURES_FILE", "WIDTHS", "make_sizes", "measure_sizes"]

FIGURES_FILE = "figures.json"

WIDTHS = (2, 4, 8, 16, 20)
"""Of the image tower's first layers: 0.1 to 9 MB. The embedded model's is 16."""


def make_sizes(
    data: Path,
    folder: Path,
    counts: dict[str, int],
    settings: RecipeSettings,
    say: Callable[[str], None],
    widths: Sequence[int] = WIDTHS,
) -> list[Path]:
    """Train an image tower of each width on one data set, by the recipe's stages 1 to 4: without hard negatives.

    Sentences are embedded by the text tower of the model in the package, whose space is the recipe's own.

    Args:
        data: folder for the rendered frames; what an interrupted run has finished is kept.
        folder: where the models go, each in a folder ``width-N``.
        counts: frames by domain.
        settings: sizes and seeds.
        say: receives lines of progress.
        widths: of the towers.

    Returns:
        The models' folders.
    """
    say("rendering frames ...")
    make_dataset(data, counts, settings.seed)
    work = data / "targets"
    work.mkdir(exist_ok=True)
    if not (work / "concepts.npy").exists():
        say("embedding space ...")
        write_image_targets(*build_space(settings), data, work)
    shipped = load_weights(EMBEDDED_FOLDER / WEIGHTS_FILE)
    text = {name: value.float() for name, value in shipped.items() if not name.startswith("visual.")}
    vocabulary = len(text["token_embedding.weight"])
    models = []
    for width in widths:
        model = build_clip(vocabulary, width)
        model.load_state_dict(text | fit_image(data, work, settings, width))
        models.append(folder / f"width-{width}")
        models[-1].mkdir(parents=True, exist_ok=True)
        for name in (MERGES_FILE, WORDS_FILE, WORLDS_FILE):
            shutil.copyfile(EMBEDDED_FOLDER / name, models[-1] / name)
        save_folder(model, vocabulary, models[-1])
        say(f"wrote {models[-1]}")
    return models


def measure_sizes(models: Sequence[Path], count: int, say: Callable[[str], None]) -> Path:
    """Write beside each model what it is worth on `count` fresh humanoid states, and all of that into one file.

    Returns:
        The file, in the folder that holds the models: a list with an entry per model.
    """
    rows: list[dict[str, Any]] = []
    for folder in models:
        file = folder / FIGURES_FILE
        if not file.exists():
            say(f"measuring {folder} ...")
            towers = load_towers(f"local-dir:{folder}", "cpu", "fp32")
            write_json(
                file,
                {
                    "model": folder.name,
                    "parameters": towers.parameters,
                    "megabytes": 2 * towers.parameters / 1e6,
                    "states": count,
                    "tasks": [asdict(row) for row in measure_model(towers, count=count)],
                },
            )
        rows.append(json.loads(file.read_text()))
    together = models[0].parent / FIGURES_FILE
    write_json(together, rows)
    return together
