"""Whether a task's captions fit its environment, prompts and success: what `vlmrm check` asks beside all else."""

from statistics import fmean
from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.task.captions import CaptionSpec
from gym_vlmrm.task.possible import Bounds, conceivable_states, marks_of, marks_of_caption
from gym_vlmrm.task.rules import AllOf, Rule, parse_rule, quantity_names, rule_text
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.task.yaml_file import Location, shorten
from gym_vlmrm.worlds.readings import Readings, readable_parts
from gym_vlmrm.worlds.world import make_world

__all__ = ["caption_notes", "check_captions", "impossible_notes"]

TRIAL_FRAME = 16
EDGE = 1e-6
"""How far beyond declared bounds a value may lie, as a share of their width."""
CLEARLY = 0.02
"""A difference of truths that is none of rounding."""


def check_captions(task: TaskSpec) -> None:
    """Read every quantity of the captions once, after one step.

    Raises:
        TaskError: the environment has no such quantity; `field` says where it is read.
        RenderingError, WorldError: the environment cannot be made, or fails.
    """
    if not task.captions:
        return
    world = make_world(task, render_size=TRIAL_FRAME, limited=True)
    try:
        written = [caption.model_dump(mode="json") for caption in task.captions]
        names = [name for caption in task.captions for name in caption.reads()]
        read = Readings(world, names, task_id=task.id, written=written, field="captions")
        world.reset(seed=0)
        world.action_space.seed(0)
        observation, _, _, _, info = world.step(world.action_space.sample())
        read(observation, info)
    finally:
        world.close()


def caption_notes(task: TaskSpec) -> list[tuple[str, Location]]:
    """Return what is allowed and hardly meant, each with its place: prompts without caption, goals without slope."""
    if not task.captions:
        return []
    notes: list[tuple[str, Location]] = []
    said = {text: number for number, caption in enumerate(task.captions) for text in caption.sentences}
    for part in task.reward.all_parts:
        for sentence in dict.fromkeys(" ".join(text.split()) for text in (*part.goals, *part.baselines)):
            if sentence not in said:
                message = f"no caption says '{shorten(sentence)}': `vlmrm teach` teaches its single words alone"
                notes.append((message, ("reward", *part.at)))
        for number in dict.fromkeys(said[text] for text in part.goals if text in said):
            caption = task.captions[number]
            if not caption.grades:
                message = (
                    f"'{shorten(caption.sentences[0])}' has no grade: taught by `vlmrm teach` it is a step, no slope"
                )
                notes.append((message, ("captions", number)))
    return notes


def impossible_notes(task: TaskSpec, space: gym.Space[Any]) -> list[tuple[str, Location]]:
    """Return what can hardly be meant, each with its place: rules that never hold, goals that contradict success.

    Args:
        task: the task.
        space: of its environment's observations, whose bounds count.
    """
    bounds: dict[str, tuple[float, float]] = {}
    # Beyond its end a world leaves the bounds it declares.
    for part, box in readable_parts(space) if task.env.terminate else ():
        if not isinstance(box, gym.spaces.Box):
            continue
        low, high = np.ravel(box.low).astype(np.float64), np.ravel(box.high).astype(np.float64)
        width = np.where(np.isfinite(low) & np.isfinite(high), high - low, 0.0)  # of float32 the last digits are chance
        ends = zip((low - EDGE * width).tolist(), (high + EDGE * width).tolist(), strict=True)
        bounds.update((f"{part}[{index}]", pair) for index, pair in enumerate(ends))
    notes: list[tuple[str, Location]] = []
    for number, caption in enumerate(task.captions):
        if caption.when is not None and _never(parse_rule(caption.when), bounds):
            what = f"'{shorten(caption.sentences[0])}' is never wholly true: nothing"
            notes.append((_impossible(what, caption.when, bounds), ("captions", number)))
        elif caption.when is not None and caption.grades:
            slope = caption.model_copy(update={"when": None})
            if _is_turned_around(_truths(slope, caption.when, bounds)):
                text = f"the grade of '{shorten(caption.sentences[0])}' is lower where its rule holds than elsewhere"
                notes.append((f"{text}; is an end turned around?", ("captions", number)))
    if task.success_rule is None:
        return notes
    if _never(task.success_rule, bounds):
        return [*notes, (_impossible("nothing is ever a success: nothing", task.success, bounds), ("success",))]
    goals = [text for part in task.reward.all_parts if part.weight > 0 for text in part.goals]
    for number, caption in enumerate(task.captions):
        if set(caption.sentences) & set(goals):
            found = _contradiction(caption, task.success, bounds)
            notes += [] if found is None else [(found, ("captions", number))]
    return notes


def _never(rule: Rule, bounds: Bounds) -> bool:
    states = conceivable_states(marks_of(rule), bounds)
    if states is not None:
        return not any(rule.holds(state) for state in states)
    if not isinstance(rule, AllOf):
        return False
    # Too many quantities at a time: what cannot hold of one of them cannot hold.
    by_names: dict[frozenset[str], list[Rule]] = {}
    for part in rule.parts:
        by_names.setdefault(frozenset(quantity_names(part)), []).append(part)
    return any(_never(AllOf(tuple(parts)), bounds) for parts in by_names.values() if len(parts) < len(rule.parts))


def _impossible(what: str, source: Any, bounds: Bounds) -> str:
    names = dict.fromkeys(quantity_names(parse_rule(source)))
    known = [
        f"{name} is declared to lie in [{low:g}, {high:g}]"
        for name in names
        if name in bounds
        for low, high in [bounds[name]]
    ]
    return f"{what} meets '{shorten(rule_text(source))}'{': ' if known else ''}{', '.join(known)}"


def _truths(caption: CaptionSpec, source: Any, bounds: Bounds) -> tuple[list[float], list[float]] | None:
    """Return how true a caption is of states in which a rule holds, and of others; ``None`` where they are too many."""
    rule = parse_rule(source)
    states = conceivable_states([*marks_of(rule), *marks_of_caption(caption)], bounds)
    if states is None:
        return None
    inside, outside = (
        [caption.truth(state) for state in states if rule.holds(state) == holds] for holds in (True, False)
    )
    return inside, outside


def _is_turned_around(truths: tuple[list[float], list[float]] | None) -> bool:
    return truths is not None and all(truths) and fmean(truths[0]) < fmean(truths[1]) - CLEARLY


def _contradiction(caption: CaptionSpec, success: Any, bounds: Bounds) -> str | None:
    """Say so where a goal's caption is no truer in success than elsewhere."""
    truths, said = _truths(caption, success, bounds), f"'{shorten(caption.sentences[0])}'"
    if truths is not None and truths[0] and max(truths[0]) < 1:
        return f"{said} is never wholly true where success holds ('{shorten(rule_text(success))}'); do they agree?"
    if _is_turned_around(truths):
        return f"{said} is less true where success holds than elsewhere; is an end of a grade turned around?"
    return None
