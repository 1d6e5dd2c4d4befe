"""The reward of a judge that speaks: its answer about the goal prompt, less alpha times that about the baseline."""

import base64
import hashlib
import io
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import ModelError, whole_number
from gym_vlmrm.reward.cache import cache_folder
from gym_vlmrm.reward.notices import first_to_say
from gym_vlmrm.reward.protocol import check_frames, check_rewards
from gym_vlmrm.reward.speaking.address import find_address
from gym_vlmrm.reward.speaking.answers import Answers
from gym_vlmrm.reward.speaking.questions import NoLogProbabilities, UnusableAnswer, question_of, read_answer, worst
from gym_vlmrm.reward.speaking.server import Server
from gym_vlmrm.reward.speaking.spending import spent

__all__ = ["CONCURRENCY_VARIABLE", "FRAME_SIZE", "Picture", "Speaker", "SpeakingReward", "contrast"]

CONCURRENCY_VARIABLE = "GYM_VLMRM_CONCURRENCY"
"""Environment variable: questions that are on their way at a time."""
CONCURRENCY = 16
FRAME_SIZE = 224
"""Side of frames [px], where the scene says nothing; the server scales what it gets."""
FORGIVEN = 0.05
"""Share of answers that may be unusable before that is an error, besides one."""
_SCHEME = 1
"""Part of every key of the cache; raised when equal questions would be asked in another way."""
logger = logging.getLogger("gym_vlmrm")


@dataclass(frozen=True)
class Picture:
    """A frame as it is sent."""

    digest: bytes
    png: bytes

    @classmethod
    def of(cls, frame: NDArray[np.uint8]) -> "Picture":
        """Encode a frame, uint8 (H, W, 3), without loss."""
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(frame).save(file, "PNG", compress_level=1)
        return cls(hashlib.sha256(f"{frame.shape}".encode() + frame.tobytes()).digest(), file.getvalue())

    @property
    def uri(self) -> str:
        """As a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


class Speaker:
    """Asks questions about pictures, many at a time, and each of them once."""

    def __init__(self, model: str) -> None:
        """Prepare to ask a model by its name; raises ModelError where that is no address or the client is missing."""
        self.model, self.address = model, find_address(model)
        self.account = spent()
        self._concurrency = concurrency()
        self._pid = 0
        self._open()

    def _open(self) -> None:
        """Connect; in a process that was forked, or got a copy, anew."""
        if self._pid == os.getpid():
            return
        self._server, self._answers = Server(self.address, self.model), Answers(cache_folder())
        self._team = ThreadPoolExecutor(self._concurrency, thread_name_prefix="asking")
        self._pid = os.getpid()

    def ask(self, pictures: Sequence[Picture], sentences: Sequence[str]) -> Floats:
        """Return the answers (N, S) about N pictures and S sentences.

        Raises:
            ModelError: the server does not answer usably, or the budget is spent. What was answered is in the cache.
        """
        self._open()
        keys = [[self._key(picture, sentence) for sentence in sentences] for picture in pictures]
        wanted = {
            key: (picture, sentence)
            for picture, row in zip(pictures, keys, strict=True)
            for key, sentence in zip(row, sentences, strict=True)
        }
        known = self._answers.find(list(wanted))
        self.account.find(len(known))
        todo = [key for key in wanted if key not in known]
        asked = [self._team.submit(self._ask, key, *wanted[key]) for key in todo]
        try:
            for key, answer in zip(todo, asked, strict=True):
                known[key] = answer.result()
        except BaseException:
            for answer in asked:
                answer.cancel()
            raise
        return np.array([[known[key] for key in row] for row in keys], np.float64).reshape(len(keys), len(sentences))

    def _ask(self, key: bytes, picture: Picture, sentence: str) -> float:
        self.account.take()
        body = self._server.ask(picture.uri, sentence)
        try:
            value = read_answer(self.address.answer, body)
        except UnusableAnswer as error:
            return self._forgive(error)
        except NoLogProbabilities as error:
            raise NoLogProbabilities(f"'{self.model}' {error}") from None
        except ModelError as error:
            raise ModelError(f"'{self.model}' {error}") from None
        self._answers.keep(key, value)
        return value

    def _forgive(self, error: UnusableAnswer) -> float:
        """Let a few answers count as the lowest one, so that one odd frame of a million stops no training."""
        unusable, asked = self.account.fail()
        if unusable > 1 + FORGIVEN * asked or asked == 1:
            raise ModelError(
                f"'{self.model}' answers {error}; {unusable:,} of {asked:,} answers could not be used: ask another "
                "model, or in the other way (openai:, openai-grade:)"
            )
        message = f"'{self.model}' answers {error}; up to {FORGIVEN:.0%} of such answers count as the lowest"
        if unusable == 1 and first_to_say(message):
            logger.warning(message)
        return worst(self.address.answer)

    def _key(self, picture: Picture, sentence: str) -> bytes:
        address = self.address
        asked = (address.answer, address.url, address.name, question_of(address.answer, sentence))
        return hashlib.sha256(f"{_SCHEME} {asked!r} ".encode() + picture.digest).digest()

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Speaker.__init__(self, state["model"])


def concurrency() -> int:
    """Return how many questions may be on their way at a time; raises ModelError where the variable is no number."""
    text = os.environ.get(CONCURRENCY_VARIABLE, "").strip()
    if not text:
        return CONCURRENCY
    number: Any = int(text) if text.isdecimal() else text
    return whole_number(CONCURRENCY_VARIABLE, number, 1, 1024, error=ModelError)


def contrast(answers: Floats, goals: int, alpha: float) -> Floats:
    """Return the rewards (N,) of answers (N, S) about goal prompts, the first `goals`, and baseline prompts.

    The mean answer about the goal, less `alpha` times that about the baseline: at alpha 1 a log-likelihood ratio (or a
    difference of grades), to which whatever the frame shows of both adds nothing.
    """
    rewards = answers[:, :goals].mean(axis=1)
    return rewards - alpha * answers[:, goals:].mean(axis=1) if alpha else rewards


class SpeakingReward:
    """A `RewardModel` whose frames go to a server; see `contrast` for what goal, baseline and alpha mean.

    Nobody knows which weights answer there, so there is no digest. Equal questions have equal answers as long as the
    cache is kept; a server is asked at temperature 0, which makes most of them nearly so.
    """

    concurrent = False  # one call asks about its frames beside each other
    small = True

    def __init__(self, name: str, goal: Sequence[str], baseline: Sequence[str] | None = None, alpha: float = 0.0):
        """Ask one question about a grey picture, so that a wrong address, key or model is known at once.

        Raises:
            ModelError: it is not answered usably.
        """
        if alpha and not baseline:
            raise ModelError(f"alpha is {alpha} but there is no baseline prompt to ask '{name}' about")
        self.name, self.alpha, self.frame_size = name, alpha, FRAME_SIZE
        self.goals, self.baselines = list(goal), list(baseline or []) if alpha else []
        self.speaker = Speaker(name)
        if self.speaker.account.max_queries != 0:  # nothing but the cache is asked
            self.ask(np.full((1, 64, 64, 3), 127, np.uint8), self.goals[:1])

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 RGB frames (N, H, W, 3).

        Raises:
            ModelError: they are no such frames, the server does not answer usably, or the budget is spent.
        """
        frames = check_frames(frames)
        if len(frames) == 0:
            return np.zeros(0, np.float32)
        answers = self.ask(frames, [*self.goals, *self.baselines])
        rewards = contrast(answers, len(self.goals), self.alpha).astype(np.float32)
        return check_rewards(rewards, len(frames), self.name)

    def ask(self, frames: NDArray[np.uint8], sentences: Sequence[str]) -> Floats:
        """Return the answers (N, S) about frames (N, H, W, 3) and sentences; raises ModelError as calling does."""
        return self.speaker.ask([Picture.of(frame) for frame in frames], sentences)
