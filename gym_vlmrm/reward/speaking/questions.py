"""What a judge that speaks is asked, and what its answer is worth."""

import json
import math
import re
from typing import Any

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.speaking.address import Answer

__all__ = ["LEAST", "NoLogProbabilities", "UnusableAnswer", "options_of", "question_of", "read_answer", "worst"]

LEAST = -10.0
"""Log-probabilities below this count as this (1 in 22,000): further down rounding would rule the rewards."""
LISTED = 20
"""Tokens whose log-probabilities are asked for: the most that OpenAI's protocol knows."""
_QUESTIONS: dict[Answer, str] = {
    "yes": "Does this picture show: {sentence}? Answer with one word, yes or no.",
    "grade": (
        "How well does this picture show: {sentence}? Answer with one whole number from 0 (not at all) to 100 "
        "(perfectly), and nothing else."
    ),
}
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
_AROUND = " \t\r\n\"'`*.,:;!()[]▁Ġ"
"""What tokenizers and models put around a word."""


class UnusableAnswer(Exception):
    """An answer that is neither yes nor no, or no grade."""


class NoLogProbabilities(ModelError):
    """The server answers, but tells no log-probabilities."""


def question_of(kind: Answer, sentence: str) -> str:
    """Return the question about a picture."""
    return _QUESTIONS[kind].format(sentence=sentence)


def options_of(kind: Answer) -> dict[str, Any]:
    """Return how the answer is asked for: as determined as the protocol allows."""
    options: dict[str, Any] = {"temperature": 0, "seed": 0, "stream": False}
    if kind == "yes":
        return {**options, "max_tokens": 1, "logprobs": True, "top_logprobs": LISTED}
    return {**options, "max_tokens": 16}


def worst(kind: Answer) -> float:
    """Return what an answer that cannot be used counts as."""
    return LEAST if kind == "yes" else 0.0


def read_answer(kind: Answer, body: bytes) -> float:
    """Return what the body of a chat completion is worth: a log-probability in [`LEAST`, 0], or a grade in [0, 1].

    Raises:
        ModelError: it is no chat completion.
        NoLogProbabilities: it tells none.
        UnusableAnswer: it answers something else.
    """
    try:
        choice = json.loads(body)["choices"][0]
        said = choice["message"].get("content")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        start = body[:80].decode("utf-8", "replace")
        raise ModelError(f"answers with something else than a chat completion: {start!r}") from None
    return _log_yes(choice) if kind == "yes" else _grade(said)


def _log_yes(choice: dict[str, Any]) -> float:
    """Return log P("yes"), over all its spellings that are listed.

    Where none is listed it is at most that of the least likely token that is, which is taken.
    """
    told: Any = choice.get("logprobs")
    try:
        first = told["content"][0]
        tokens = {str(token["token"]): float(token["logprob"]) for token in (*first.get("top_logprobs", ()), first)}
    except (LookupError, TypeError, ValueError, AttributeError):
        tokens = {}
    if not tokens:
        raise NoLogProbabilities("tells no log-probabilities; ask it for a grade by openai-grade:NAME@URL")
    if any(math.isnan(number) or number > 1e-3 for number in tokens.values()):
        raise ModelError("tells log-probabilities that are none")
    words = {token: token.strip(_AROUND).lower() for token in tokens}
    yes = [tokens[token] for token, word in words.items() if word == "yes"]
    if not yes and "no" not in words.values():
        likely = max(tokens, key=lambda token: tokens[token])
        raise UnusableAnswer(f"{likely!r:.40} instead of yes or no")
    chance = math.fsum(math.exp(number) for number in yes) if yes else math.exp(min(tokens.values()))
    return max(LEAST, min(0.0, math.log(chance))) if chance > 0 else LEAST


def _grade(said: Any) -> float:
    text = said if isinstance(said, str) else ""
    numbers = [float(number) for number in _NUMBER.findall(text)]
    if len(numbers) == 2 and re.search(r"\d\s*(/|out of)\s*100\b", text):
        numbers.pop()
    if len(numbers) != 1 or not 0 <= numbers[0] <= 100:
        raise UnusableAnswer(f"{text[:60]!r} instead of one number from 0 to 100")
    return numbers[0] / 100
