"""Captioned frames of the built-in scenes, drawn when asked for: sentences that are true where their rule holds."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from gym_vlmrm.errors import did_you_mean
from gym_vlmrm.finetuning.captions import Captioned, CaptionError, read_captions
from gym_vlmrm.finetuning.scratch import FRAME_SIZE
from gym_vlmrm.task.rules import Rule, parse_rule
from gym_vlmrm.worlds.configurations import configurations
from gym_vlmrm.worlds.scene import SCENES, find_scene

__all__ = ["SceneCaption", "gather", "scene_captions", "scene_names"]

TRIES = 20
"""States drawn per frame wanted, at most: those of which no sentence is true are left out."""


@dataclass(frozen=True)
class SceneCaption:
    """Sentences that mean the same, and when they are true."""

    say: tuple[str, ...]
    when: Rule


@cache
def scene_captions(name: str) -> tuple[SceneCaption, ...]:
    """Return the captions of a scene that has some (see `scene_names`)."""
    text = _caption_file(name).read_text(encoding="utf-8")
    return tuple(SceneCaption(tuple(row["say"]), parse_rule(row["when"])) for row in yaml.safe_load(text))


def _caption_file(name: str) -> Any:
    return files("gym_vlmrm.finetuning").joinpath(f"scene_captions/{name}.yaml")


@cache
def _scenes() -> dict[str, Any]:
    return {scene.name: scene for scene in map(find_scene, SCENES) if _caption_file(scene.name).is_file()}


def scene_names() -> tuple[str, ...]:
    """Return the names of the scenes that have captions, so that their frames can be drawn and captioned."""
    return tuple(_scenes())


def gather(captions: str, frames: int, seed: int) -> Captioned:
    """Read a folder of captioned frames, or draw `frames` of a built-in scene.

    Raises:
        CaptionError: neither a path nor a scene; or see `read_captions`.
    """
    path = Path(captions)
    if path.exists():
        return read_captions(path)
    if captions in scene_names():
        return _draw(captions, frames, seed)
    guess = did_you_mean(captions, scene_names())
    scenes = guess if "did you mean" in guess else f"; the built-in scenes are {', '.join(scene_names())}"
    raise CaptionError(f"no folder '{captions}'{scenes}")


def _draw(name: str, count: int, seed: int) -> Captioned:
    scene: Any = _scenes()[name](render_size=FRAME_SIZE)
    scene.reset(seed=seed)
    pictures: list[NDArray[np.uint8]] = []
    captions: list[list[str]] = []
    try:
        for _, state in zip(range(TRIES * count), configurations(scene, np.random.default_rng(seed)), strict=False):
            scene.place(state)
            known = scene.quantities()
            true = [sentence for row in scene_captions(name) if row.when.holds(known) for sentence in row.say]
            if true:
                pictures.append(scene.render())
                captions.append(true)
            if len(pictures) == count:
                break
    finally:
        scene.close()
    return Captioned(np.stack(pictures), captions, complete=True)
