"""Captioned frames of a built-in scene in all the words that the embedded model learned, for ``vlmrm finetune``."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedded_model.concepts import ANGLES, CARS, CARTS, GENERIC
from embedded_model.definitions import DEFINITIONS, graded_scores, measure_bodies
from embedded_model.grammar import Grammar
from embedded_model.rendering import render_now
from embedded_model.states import cartpole_states, humanoid_states, mountain_car_states
from gym_vlmrm.arrays import Floats

__all__ = ["SCENES", "draw_captions", "write_captions"]

Named = list[list[tuple[str, str]]]
"""For every state the concepts that it shows, as block and name; the narrower first."""
JOINED = 6
"""Sentences that speak of two concepts at once, for every pair."""
DRAWN = 4
"""States drawn per frame wanted: those that show no concept are left out."""
BATCHES = 20


def write_captions(scene: str, folder: Path, count: int, seed: int) -> int:
    """Write `count` pictures of a scene and the sentences that are true of them, as ``captions.csv``.

    Returns:
        The number of rows in the table.

    Raises:
        FileExistsError: the folder holds something already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; name another folder")
    frames, captions = draw_captions(scene, count, seed)
    rows = [(f"{number:05d}.png", text) for number, texts in enumerate(captions) for text in texts]
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:05d}.png")
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([("file", "caption"), *rows])
    return len(rows)


def draw_captions(scene: str, count: int, seed: int) -> tuple[NDArray[np.uint8], list[list[str]]]:
    """Draw states of a scene that show some concept.

    Args:
        scene: one of `SCENES`.
        count: number of frames N.
        seed: draws states, their looks and sentences.

    Returns:
        Frames (N, FRAME_SIZE, FRAME_SIZE, 3) and for each every bare sentence about every concept that it shows.
    """
    states, concepts = SCENES[scene](count, seed)
    grammar = Grammar()
    rng = np.random.default_rng(seed)
    joined: dict[tuple[str, ...], list[str]] = {}
    captions = []
    for named in concepts:
        # Every phrase of a concept is a caption of every frame that shows it, so none counts as wrong by accident.
        phrases = [(block, grammar.concept(scene, block, name)) for block, name in named]
        key = tuple(name for _, name in named)
        if key not in joined:
            joined[key] = _join(dict(reversed(phrases)), rng)
        captions.append(list(dict.fromkeys([*(text for _, texts in phrases for text in texts), *joined[key]])))
    return render_now(scene, states, seed), captions


def _join(phrases: dict[str, list[str]], rng: np.random.Generator) -> list[str]:
    """Return sentences that say two blocks' phrases; none where only one is known."""
    if len(phrases) != 2:
        return []
    blocks = [block for block in ("legs", "arms", "angle", "cart") if block in phrases]
    first, second = ([phrases[block][i] for i in rng.integers(len(phrases[block]), size=JOINED)] for block in blocks)
    return [f"{left}, {right.removeprefix('a humanoid robot ')}" for left, right in zip(first, second, strict=True)]


def _humanoid(count: int, seed: int) -> tuple[Floats, Named]:
    """Draw bodies; whoever has no name by its making gets those whose definitions it meets, or is left out."""
    kept: list[Floats] = []
    concepts: Named = []
    phrases = Grammar().humanoid
    for batch in range(BATCHES):
        drawn = humanoid_states(count, seed + batch)
        measured = measure_bodies(drawn.qpos)
        fits = {name: graded_scores(definition, measured)[1] for name, definition in DEFINITIONS.items()}
        for row, qpos in enumerate(drawn.qpos):
            names = {"legs": str(drawn.legs[row]), "arms": str(drawn.arms[row])}
            for name, definition in DEFINITIONS.items():
                if fits[name][row] and not names[definition.block]:
                    names[definition.block] = name
            named = [
                (block, name)
                for block, known in names.items()
                for name in (known, *(generic for generic, members in GENERIC.items() if known in members))
                if name in phrases[block]
            ]
            if named:
                kept.append(qpos)
                concepts.append(named)
        if len(kept) >= count:
            break
    return np.stack(kept[:count]), concepts[:count]


def _cartpole(count: int, seed: int) -> tuple[Floats, Named]:
    # Angles from -180 to 180, and once more a turn lower.
    turned = {
        name: [(low - turn, high - turn) for low, high in spans for turn in (0, 360)] for name, spans in ANGLES.items()
    }
    for side in ("leaning_slightly", "tilted", "horizontal"):
        turned[side] = [*turned[f"{side}_left"], *turned[f"{side}_right"]]
    carts = {f"cart_{name}": [span] for name, span in CARTS.items()}
    states = cartpole_states(DRAWN * count, seed)
    named = [[*_within(turned, "angle", np.degrees(state[1])), *_within(carts, "cart", state[0])] for state in states]
    return _first(count, states, named)


def _mountain_car(count: int, seed: int) -> tuple[Floats, Named]:
    cars = {name: [span] for name, span in CARS.items()}
    states = mountain_car_states(DRAWN * count, seed)
    return _first(count, states, [_within(cars, "car", state[0]) for state in states])


def _within(spans: Mapping[str, Sequence[tuple[float, float]]], block: str, value: float) -> list[tuple[str, str]]:
    return [(block, name) for name, ranges in spans.items() if any(low <= value <= high for low, high in ranges)]


def _first(count: int, states: Floats, named: Named) -> tuple[Floats, Named]:
    """Return the first states that show a concept."""
    kept = [index for index, concepts in enumerate(named) if concepts][:count]
    return states[kept], [named[index] for index in kept]


SCENES: dict[str, Callable[[int, int], tuple[Floats, Named]]] = {
    "humanoid": _humanoid,
    "cartpole": _cartpole,
    "mountain-car": _mountain_car,
}
"""What draws states and their concepts, by scene."""
