"""A small new model whose targets are known, so that each tower learns by itself."""

import copy
import shutil
from functools import partial
from pathlib import Path

import numpy as np

# Before open_clip, whose import may crash where OpenGL runs already.
import gym_vlmrm.reward.clip  # isort: skip  # noqa: F401
import torch
from numpy.typing import NDArray

from gym_vlmrm.finetuning.base import SCRATCH_PREPROCESSING, build_scratch
from gym_vlmrm.finetuning.data import resized
from gym_vlmrm.finetuning.norms import settle_norms
from gym_vlmrm.finetuning.scenes import scene_captions, scene_names
from gym_vlmrm.finetuning.scratch import EMBEDDING_SIZE, FRAME_SIZE, save_folder
from gym_vlmrm.reward.clip.preprocessing import Preprocessing
from gym_vlmrm.reward.folders import MERGES_FILE, WORDS_FILE
from gym_vlmrm.teaching.image_tower import OVERRATING, PEAK_RATE, mean_weights, train_image_tower
from gym_vlmrm.teaching.lessons import Curriculum, Lesson
from gym_vlmrm.teaching.pupil import CAUTION, REVISION_EPOCHS, OnStep
from gym_vlmrm.teaching.text_tower import train_text_tower

__all__ = ["SmallPupil"]

PREFIXES = ("", "", "", "a picture of ", "a photo of ", "a rendering of ", "an image of ", "this is ", "we see ")
"""What a sentence may begin with and still say the same."""
TEXT_BATCHES, TEXT_EPOCHS = 30, 4
FOREIGN = 0.15
"""Share of the sentences that the text tower reads which are about other worlds."""
GOAL_WEIGHT = (2, 4, 10)
"""How much more the goals count than other captions, likewise."""
REVISION_RATE = PEAK_RATE / 2
FILLED = 0.95
"""Length of the longest target without its doubt."""
AVERAGED = 2
"""Last states of the image tower whose mean is the model's."""
SETTLING = 8
"""Batches over which running means are taken."""
MOST_SCORED = 64
"""Frames that are rated at once."""


class SmallPupil:
    """A small CLIP model whose embedding space is laid out beforehand, as the built-in model's is.

    Every meaning has a direction of its own; a frame's target goes as far along each as that is true of it. The rest of
    its unit length is doubt, a coordinate that no sentence uses. So a reward is as graded as the truth, and each tower
    learns by itself.
    """

    frame_size = FRAME_SIZE

    def __init__(self, seed: int, scratch: Path) -> None:
        """Draw by `seed`; the vocabulary is kept in `scratch`."""
        self._seed, self._scratch = seed, scratch
        self._towers: list[dict[str, torch.Tensor]] = []
        self._size = 1.0

    def begin(self, curriculum: Curriculum, lesson: Lesson, epochs: int, on_step: OnStep) -> None:
        """Learn the sentences, and a first lesson."""
        self._count = len(curriculum.meanings)
        self._goals = np.isin(np.arange(self._count), curriculum.goals)
        base = build_scratch(self._scratch, curriculum.sentences, "cpu", self._seed, learn_words=True)
        self._model, self._tokenizer = base.model.requires_grad_(True), base.tokenizer
        rng = np.random.default_rng([self._seed, 11])
        texts, targets = self._reading(curriculum, rng)
        images = epochs * (len(lesson) // 64)
        words = TEXT_EPOCHS * TEXT_BATCHES
        train_text_tower(
            self._model, self._tokenizer, texts, targets, epochs=TEXT_EPOCHS, seed=self._seed,
            report=lambda step, steps, loss: on_step(step, words + 4 * images),
        )  # fmt: skip
        longest = float(np.sqrt(np.square(lesson.truths).sum(axis=1)).max())
        self._size = FILLED / max(longest, 1.0)
        self._learn(lesson, 0, epochs, PEAK_RATE, lambda step, steps: on_step(words + 4 * step, words + 4 * steps))

    def revise(self, lesson: Lesson, number: int, on_step: OnStep) -> None:
        """Learn all lessons so far, as joined, after round `number`."""
        self._learn(lesson, number, REVISION_EPOCHS, REVISION_RATE, on_step)

    def _learn(self, lesson: Lesson, number: int, epochs: int, rate: float, on_step: OnStep) -> None:
        place = min(number, len(CAUTION) - 1)
        concepts = np.eye(self._count, EMBEDDING_SIZE, dtype=np.float32)
        goals = concepts[self._goals]
        weight = GOAL_WEIGHT[place]
        caution = np.full(self._count, OVERRATING), np.full(len(goals), CAUTION[place])
        train_image_tower(
            self._model.visual, [self._fit(lesson.frames)], self._targets(lesson.truths),
            np.concatenate([concepts, *[goals] * (weight - 1)]), epochs=epochs, seed=self._seed + number,
            report=lambda step, steps, loss: on_step(step, steps), peak_rate=rate,
            overrating=np.concatenate([caution[0], *[caution[1]] * (weight - 1)]).astype(np.float32),
        )  # fmt: skip
        # From all worlds alike: a lesson has one behind the other.
        rows = np.random.default_rng([self._seed, 31]).permutation(len(lesson))
        passes = min(SETTLING, len(lesson) // MOST_SCORED)
        self._settling = [lesson.frames[rows[batch::passes][: 2 * MOST_SCORED]] for batch in range(passes)]
        self._settle()
        self._towers.append(copy.deepcopy(self._model.visual.state_dict()))

    def _settle(self) -> None:
        visual = self._model.visual
        settle_norms(visual, (partial(visual, self._see(frames)) for frames in self._settling))

    def _targets(self, truths: NDArray[np.float32]) -> NDArray[np.float32]:
        targets = np.zeros((len(truths), EMBEDDING_SIZE), np.float32)
        targets[:, : self._count] = self._size * truths
        length = np.sqrt(np.square(targets).sum(axis=1, keepdims=True))
        targets /= np.maximum(length, 1.0)
        targets[:, -1] = np.sqrt(np.maximum(1 - np.square(targets).sum(axis=1), 0.0))
        return targets

    def _reading(self, curriculum: Curriculum, rng: np.random.Generator) -> tuple[list[str], NDArray[np.float32]]:
        """Sentences and where they point: those of other worlds where no frame's target does."""
        foreign = [text for name in scene_names() for row in scene_captions(name) for text in row.say]
        foreign = [text for text in foreign if text not in curriculum.sentences]
        texts, directions = [], []
        for _ in range(128 * TEXT_BATCHES):
            if rng.random() < FOREIGN:
                text, direction = foreign[rng.integers(len(foreign))], self._count
            else:
                direction = int(rng.integers(self._count))
                said = curriculum.meanings[direction]
                text = said[rng.integers(len(said))]
            texts.append(PREFIXES[rng.integers(len(PREFIXES))] + text)
            directions.append(direction)
        return texts, np.eye(EMBEDDING_SIZE, dtype=np.float32)[directions]

    def _fit(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return resized(frames, Preprocessing(SCRATCH_PREPROCESSING, torch.device("cpu")))

    def _see(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        preprocessing = Preprocessing(SCRATCH_PREPROCESSING, torch.device("cpu"))
        images = preprocessing(torch.from_numpy(np.ascontiguousarray(frames)))
        return images.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def rate(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return how true (N, K) the meanings seem of frames (N, H, W, 3)."""
        visual = self._model.visual.eval()
        parts = [
            torch.nn.functional.normalize(visual(self._see(part)), dim=-1)[:, : self._count].numpy()
            for part in np.split(frames, range(MOST_SCORED, len(frames), MOST_SCORED))
        ]
        return (np.concatenate(parts) / np.float32(self._size)).astype(np.float32, copy=False)

    def write(self, folder: Path) -> None:
        """Write a folder that ``local-dir:`` loads."""
        kept = copy.deepcopy(self._model.visual.state_dict())
        self._model.visual.load_state_dict(mean_weights(self._towers[-AVERAGED:]))
        self._settle()  # the mean of running means is not that of the mean's
        # Neither frames nor sentences point along the others but by mistake.
        told = [*range(self._count + 1), EMBEDDING_SIZE - 1]
        save_folder(self._model, self._tokenizer.vocab_size, folder, told)
        self._model.visual.load_state_dict(kept)
        for name in (MERGES_FILE, WORDS_FILE):
            shutil.copyfile(self._scratch / name, folder / name)
