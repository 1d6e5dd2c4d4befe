"""An open_clip model that goes on learning."""

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.finetuning.base import load_base, write_model
from gym_vlmrm.finetuning.captions import Captioned
from gym_vlmrm.finetuning.data import prepare
from gym_vlmrm.finetuning.learner import Learner, default_rate
from gym_vlmrm.finetuning.session import memory_in_one_line
from gym_vlmrm.finetuning.settings import Settings
from gym_vlmrm.reward.clip.preprocessing import Preprocessing
from gym_vlmrm.teaching.lessons import Curriculum, Lesson
from gym_vlmrm.teaching.pupil import CAUTION, REVISION_EPOCHS, OnStep

__all__ = ["FinetunedPupil"]


class FinetunedPupil:
    """An open_clip model that goes on learning by `vlmrm finetune`'s loss, with graded scores."""

    def __init__(self, model: str, device: str, seed: int) -> None:
        """Load the model.

        Raises:
            ModelError: it cannot be had or trained here.
        """
        self._settings = Settings(captions="", model=model, seed=seed, device=device, batch_size=32)
        self._base = load_base(model, device)
        preprocessing = Preprocessing(self._base.preprocess_cfg, self._base.device)
        self.frame_size = max(preprocessing.image_size)

    def begin(self, curriculum: Curriculum, lesson: Lesson, epochs: int, on_step: OnStep) -> None:
        """Learn the sentences, and a first lesson."""
        self._curriculum = curriculum
        self._learn(lesson, 0, epochs, on_step)

    def revise(self, lesson: Lesson, number: int, on_step: OnStep) -> None:
        """Learn all lessons so far, as joined, after round `number`."""
        self._learn(lesson, number, REVISION_EPOCHS, on_step)

    def _learn(self, lesson: Lesson, number: int, epochs: int, on_step: OnStep) -> None:
        said = self._curriculum.meanings
        texts = [list(self._curriculum.sentences)] * len(lesson)
        scores = [[float(truth) for truth, says in zip(row, said, strict=True) for _ in says] for row in lesson.truths]
        data = Captioned(lesson.frames, texts, scores=scores, complete=True)
        frames = prepare(data, self._base.preprocess_cfg)
        rate = default_rate(self._settings, self._base) * (0.5 if number else 1.0)
        with memory_in_one_line(self._settings):
            learner = Learner(
                self._base, frames, np.arange(len(lesson)), self._settings, rate,
                overrating=CAUTION[min(number, len(CAUTION) - 1)],
            )  # fmt: skip
            steps = max(epochs * learner.per_epoch, 1)
            for step in range(steps):
                learner.step(step, steps)
                on_step(step + 1, steps)
        learner.finish()
        self._learner = learner

    def rate(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return how true (N, K) the meanings seem of frames (N, H, W, 3)."""
        said = self._curriculum.meanings
        edges = np.cumsum([0, *map(len, said)])
        truths = self._learner.believed(frames, self._curriculum.sentences)
        means = [truths[:, a:b].mean(axis=1) for a, b in itertools.pairwise(edges)]
        return np.stack(means, axis=1).astype(np.float32)

    def write(self, folder: Path) -> None:
        """Write a folder that ``local-dir:`` loads."""
        write_model(self._base, folder, self._curriculum.sentences)
