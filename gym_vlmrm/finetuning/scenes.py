"""Captioned frames of the built-in scenes, drawn when asked for."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_model.concepts import ANGLES, CARS, CARTS, GENERIC
from embedded_model.definitions import DEFINITIONS, graded_scores, measure_bodies
from embedded_model.grammar import Grammar
from embedded_model.rendering import render_now
from embedded_model.states import cartpole_states, humanoid_states, mountain_car_states
from gym_vlmrm.errors import did_you_mean
from gym_vlmrm.finetuning.captions import Captioned, CaptionError, read_captions

__all__ = ["SCENE_NAMES", "gather"]

Floats = NDArray[np.float64]
JOINED = 6
"""Sentences that speak of two concepts at once, for every pair."""


def gather(captions: str, frames: int, seed: int) -> Captioned:
    """Read a folder of captioned frames, or draw `frames` of a built-in scene.

    Raises:
        CaptionError: neither a path nor a scene; or see `read_captions`.
    """
    path = Path(captions)
    if path.exists():
        return read_captions(path)
    if captions in SCENE_NAMES:
        return _draw(captions, frames, seed)
    guess = did_you_mean(captions, SCENE_NAMES)
    scenes = guess if "did you mean" in guess else f"; the built-in scenes are {', '.join(SCENE_NAMES)}"
    raise CaptionError(f"no folder '{captions}'{scenes}")


def _draw(scene: str, count: int, seed: int) -> Captioned:
    states, concepts = _SCENES[scene](count, seed)
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
    return Captioned(render_now(scene, states, seed), captions, complete=True)


def _join(phrases: dict[str, list[str]], rng: np.random.Generator) -> list[str]:
    """Return sentences that say two blocks' phrases; none where only one is known."""
    if len(phrases) != 2:
        return []
    blocks = [block for block in ("legs", "arms", "angle", "cart") if block in phrases]
    first, second = ([phrases[block][i] for i in rng.integers(len(phrases[block]), size=JOINED)] for block in blocks)
    return [f"{left}, {right.removeprefix('a humanoid robot ')}" for left, right in zip(first, second, strict=True)]


Named = list[list[tuple[str, str]]]
"""For every state the concepts that it shows, as block and name; the narrower first."""


def _humanoid(count: int, seed: int) -> tuple[Floats, Named]:
    """Draw bodies; whoever has no name by its making gets those whose definitions it meets, or is left out."""
    kept: list[Floats] = []
    concepts: Named = []
    phrases = Grammar().humanoid
    for batch in range(20):
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
                for name in _with_generic(known)
                if name in phrases[block]
            ]
            if named:
                kept.append(qpos)
                concepts.append(named)
        if len(kept) >= count:
            break
    return np.stack(kept[:count]), concepts[:count]


def _with_generic(name: str) -> list[str]:
    return [name, *(generic for generic, members in GENERIC.items() if name in members)]


def _cartpole(count: int, seed: int) -> tuple[Floats, Named]:
    # Angles from -180 to 180, and once more a turn lower.
    turned = {
        name: [(low - turn, high - turn) for low, high in spans for turn in (0, 360)] for name, spans in ANGLES.items()
    }
    for side in ("leaning_slightly", "tilted", "horizontal"):
        turned[side] = [*turned[f"{side}_left"], *turned[f"{side}_right"]]
    carts = {f"cart_{name}": [span] for name, span in CARTS.items()}
    states, concepts = [], []
    for state in cartpole_states(4 * count, seed):
        named = [*_within(turned, "angle", np.degrees(state[1])), *_within(carts, "cart", state[0])]
        if named:
            states.append(state)
            concepts.append(named)
    return np.stack(states[:count]), concepts[:count]


def _mountain_car(count: int, seed: int) -> tuple[Floats, Named]:
    cars = {name: [span] for name, span in CARS.items()}
    named = [(state, _within(cars, "car", state[0])) for state in mountain_car_states(4 * count, seed)]
    kept = [(state, names) for state, names in named if names][:count]
    return np.stack([state for state, _ in kept]), [names for _, names in kept]


def _within(spans: Mapping[str, Sequence[tuple[float, float]]], block: str, value: float) -> list[tuple[str, str]]:
    return [(block, name) for name, ranges in spans.items() if any(low <= value <= high for low, high in ranges)]


_SCENES: dict[str, Callable[[int, int], tuple[Floats, Named]]] = {
    "humanoid": _humanoid,
    "cartpole": _cartpole,
    "mountain-car": _mountain_car,
}
SCENE_NAMES = tuple(_SCENES)
