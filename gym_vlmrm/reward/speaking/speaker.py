"""Asks a judge that speaks about pictures: many questions at a time, each of them once, and answers kept on disk."""

import base64
import hashlib
import io
import logging
import os
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import ModelError, number_of_variable
from gym_vlmrm.reward.cache import cache_folder
from gym_vlmrm.reward.notices import first_to_say
from gym_vlmrm.reward.speaking.address import find_address
from gym_vlmrm.reward.speaking.answers import Answers
from gym_vlmrm.reward.speaking.questions import NoLogProbabilities, UnusableAnswer, question_of, read_answer, worst
from gym_vlmrm.reward.speaking.server import Server
from gym_vlmrm.reward.speaking.spending import spent

__all__ = ["CONCURRENCY_VARIABLE", "Picture", "Speaker", "concurrency"]

CONCURRENCY_VARIABLE = "GYM_VLMRM_CONCURRENCY"
"""Environment variable: questions that are on their way at a time."""
CONCURRENCY = 16
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
        weakref.finalize(self, _close, self._server, self._answers, self._team).atexit = False

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


def _close(server: Server, answers: Answers, team: ThreadPoolExecutor) -> None:
    """End what a speaker that nobody needs any more has opened."""
    team.shutdown(wait=False, cancel_futures=True)
    server.close()
    answers.close()


def concurrency() -> int:
    """Return how many questions may be on their way at a time; raises ModelError where the variable is no number."""
    return number_of_variable(CONCURRENCY_VARIABLE, CONCURRENCY, 1, 1024, ModelError)
