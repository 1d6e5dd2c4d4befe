"""What is to be learned: the worlds of some tasks, what their captions mean, and frames with how true each is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.captions import CaptionSpec
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.task.yaml_file import shorten
from gym_vlmrm.worlds.explore import Sight

__all__ = [
    "FEWEST_TRUE", "LEAST_FRAMES", "TRUE", "Curriculum", "Lesson", "World", "check_sights", "join_lessons",
    "plan_curriculum",
]  # fmt: skip

MOST_MEANINGS = 300
"""Most meanings that one model is taught; each has a direction of its own in the embedding space."""

LEAST_FRAMES = 40
"""Of each world."""
TRUE = 0.9
"""Truth from which a frame counts as showing a caption."""
FALSE, FLAT = 0.02, 0.9
"""A goal whose truth is below the first in this share of the frames has no slope where agents begin."""
FEWEST_TRUE = 20
"""Frames that show a goal, below which it is hardly learned."""


@dataclass
class World:
    """An environment as tasks show it, with the captions of all of them."""

    tasks: list[TaskSpec]
    captions: list[CaptionSpec] = field(default_factory=list)
    meanings: list[int] = field(default_factory=list)
    """Number of each caption's meaning."""

    @property
    def task(self) -> TaskSpec:
        """The task in whose scene frames are drawn."""
        return self.tasks[0]

    @property
    def goals(self) -> list[int]:
        """Captions that say what a goal prompt of the tasks says; all captions where none does."""
        wanted = {
            " ".join(goal.split()) for task in self.tasks for part in task.reward.all_parts for goal in part.goals
        }
        named = [index for index, caption in enumerate(self.captions) if wanted & set(caption.sentences)]
        return named or list(range(len(self.captions)))


@dataclass(frozen=True)
class Curriculum:
    """Worlds, and the K meanings that their captions share."""

    worlds: list[World]
    meanings: list[list[str]]
    """Sentences of each meaning."""

    @property
    def sentences(self) -> list[str]:
        """All sentences."""
        return [sentence for meaning in self.meanings for sentence in meaning]

    @property
    def goals(self) -> list[int]:
        """Meanings of the goals of all tasks."""
        return sorted({world.meanings[index] for world in self.worlds for index in world.goals})

    def lesson(self, world: World, sights: Sequence[Sight]) -> "Lesson":
        """Return frames of one world as a lesson: what is said of other worlds is not true there."""
        truths = np.zeros((len(sights), len(self.meanings)), np.float32)
        if sights:
            truths[:, world.meanings] = np.array([sight.truths for sight in sights], np.float32)
        size = sights[0].frame.shape if sights else (0, 0, 3)
        frames = np.stack([sight.frame for sight in sights]) if sights else np.zeros((0, *size), np.uint8)
        return Lesson(frames, truths)


@dataclass(frozen=True)
class Lesson:
    """N frames, and how true each of the K meanings is of them."""

    frames: NDArray[np.uint8]
    """(N, S, S, 3)."""
    truths: NDArray[np.float32]
    """(N, K), in [0, 1]."""

    def __len__(self) -> int:
        return len(self.truths)

    def pick(self, rows: NDArray[np.intp]) -> "Lesson":
        """Return some of the frames."""
        return Lesson(self.frames[rows], self.truths[rows])


def join_lessons(lessons: Iterable[Lesson]) -> Lesson:
    """Put lessons one behind the other."""
    known = [lesson for lesson in lessons if len(lesson)]
    return Lesson(np.concatenate([each.frames for each in known]), np.concatenate([each.truths for each in known]))


def plan_curriculum(tasks: Sequence[TaskSpec]) -> Curriculum:
    """Sort tasks into worlds, and their captions into meanings: captions that share a sentence mean the same.

    Raises:
        TaskError: a task without captions, one sentence with two rules in one world, or too many meanings.
    """
    worlds: dict[str, World] = {}
    for task in tasks:
        if not task.captions:
            message = f"task '{task.id}' has no captions; write under 'captions:' what is seen when (docs/teaching.md)"
            raise TaskError(message, field=("captions",))
        key = repr((task.env.model_dump(), task.scene.model_dump()))
        world = worlds.setdefault(key, World([]))
        world.tasks.append(task)
        world.captions += [caption for caption in task.captions if caption not in world.captions]
    meanings: list[list[str]] = []
    for world in worlds.values():
        of_world: dict[int, CaptionSpec] = {}
        for caption in world.captions:
            meaning = _meaning(caption, meanings)
            if meaning in of_world:
                shared = next(text for text in caption.sentences if text in meanings[meaning])
                message = f"task '{world.task.id}': the caption '{shorten(shared)}' has two rules in one world"
                raise TaskError(message, field=("captions",))
            of_world[meaning] = caption
            meanings[meaning] += [text for text in caption.sentences if text not in meanings[meaning]]
            world.meanings.append(meaning)
    if len(meanings) > MOST_MEANINGS:
        raise TaskError(
            f"the tasks' captions have {len(meanings)} meanings; one model is taught {MOST_MEANINGS} at most"
        )
    return Curriculum(list(worlds.values()), meanings)


def _meaning(caption: CaptionSpec, meanings: list[list[str]]) -> int:
    """Return the number of a caption's meaning, a new one where no sentence of it is known."""
    found = [index for index, known in enumerate(meanings) if set(known) & set(caption.sentences)]
    if len(found) > 1:
        first, second = (next(text for text in caption.sentences if text in meanings[index]) for index in found[:2])
        raise TaskError(
            f"a caption says '{shorten(first)}' and '{shorten(second)}', which elsewhere mean different things",
            field=("captions",),
        )
    if not found:
        meanings.append([])
    return found[0] if found else len(meanings) - 1


def check_sights(
    world: World, sights: Sequence[Sight], on_notice: Callable[[str], None], odd: Mapping[str, int] | None = None
) -> None:
    """Check that what was drawn can be learned from: pictures that differ, captions that are true of some.

    Args:
        world: the world.
        sights: what was drawn.
        on_notice: called with what the user should know.
        odd: in how many further states a quantity was no finite number.

    Raises:
        TaskError: a goal is true of no frame, or all frames are alike.
    """
    task = world.task
    if len(sights) < LEAST_FRAMES // 2 and odd:
        name = max(odd, key=lambda name: odd[name])
        message = f"task '{task.id}': {name} was no finite number in {odd[name]:,} states, so only {len(sights)} frames"
        raise TaskError(f"{message} could be drawn; let the environment give a number, or read another one")
    if len(sights) < LEAST_FRAMES // 2:
        message = f"task '{task.id}': only {len(sights)} frames could be drawn that captions tell apart"
        raise TaskError(f"{message}; give graded captions, or --policy RUN", field=("captions",))
    if all(np.array_equal(sight.frame, sights[0].frame) for sight in sights[1:]):
        raise TaskError(f"task '{task.id}': all {len(sights)} frames look alike; move scene.camera", field=("scene",))
    truths = np.array([sight.truths for sight in sights])
    for index, caption in enumerate(world.captions):
        most, shown = float(truths[:, index].max()), int((truths[:, index] >= TRUE).sum())
        flat = float((truths[:, index] <= FALSE).mean())
        if index in world.goals and caption.grade and flat >= FLAT:
            on_notice(
                f"task '{task.id}': the goal '{shorten(caption.sentences[0])}' is graded and yet wholly false of "
                f"{flat:.0%} of {len(sights):,} frames, so nothing leads there; grade the way to it too "
                "(docs/teaching.md, 'Grade your goal')"
            )
        if shown:
            if index in world.goals and shown < FEWEST_TRUE:
                what = f"the goal '{shorten(caption.sentences[0])}' is true of only {shown} of {len(sights):,} frames"
                cure = "give more --minutes, --policy RUN that shows it, or another rule"
                on_notice(f"task '{task.id}': {what}, so it is hardly learned; {cure}")
            continue
        ranges = ", ".join(_range(name, sights) for name in dict.fromkeys(caption.reads()))
        seen = f"{len(sights):,} frames (at most {most:.2f}; {ranges})"
        what = f"'{shorten(caption.sentences[0])}' is true of none of {seen}"
        if index in world.goals:
            raise TaskError(
                f"task '{task.id}': the goal {what}; give --policy RUN that shows it, more --minutes, or another rule",
                field=("captions", index),
            )
        on_notice(f"task '{task.id}': {what}, so it is taught only what it is not")


def _range(name: str, sights: Sequence[Sight]) -> str:
    values = [sight.quantities[name] for sight in sights]
    return f"{name} was {min(values):.3g} to {max(values):.3g}"
