"""What questions to judges that speak may cost, and what they did cost: one account for the whole process."""

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gym_vlmrm.errors import ModelError

__all__ = ["MAX_VARIABLE", "PRICE_VARIABLE", "Spending", "spending", "spent"]

MAX_VARIABLE, PRICE_VARIABLE = "GYM_VLMRM_MAX_QUERIES", "GYM_VLMRM_PRICE_PER_QUERY"
"""Environment variables: the same as ``--max-queries`` and ``--price-per-query``, where those are not given."""


@dataclass
class Spending:
    """An account of questions; threads may share it."""

    max_queries: int | None = None
    """Questions that may be asked; ``None`` is no limit."""
    price: float | None = None
    """Money for one question, in whatever currency."""
    asked: int = 0
    """Questions that the server was asked; one that had to be sent again counts once."""
    cached: int = 0
    """Questions that the cache knew the answer to."""
    unusable: int = 0
    """Answers that could not be used."""
    lock: Any = field(default_factory=threading.Lock, repr=False)

    def take(self) -> None:
        """Pay for one question; raises ModelError where the budget is spent."""
        with self.lock:
            if self.max_queries is not None and self.asked >= self.max_queries:
                money = f", {self.asked * self.price:,.2f} in money" if self.price else ""
                raise ModelError(
                    f"the budget of {self.max_queries:,} queries is spent{money}; the cache keeps their answers, so "
                    "go on with a higher --max-queries"
                )
            self.asked += 1

    def find(self, count: int) -> None:
        """Count answers of the cache."""
        with self.lock:
            self.cached += count

    def fail(self) -> tuple[int, int]:
        """Count an answer that cannot be used; returns how many there are, and of how many."""
        with self.lock:
            self.unusable += 1
            return self.unusable, self.asked

    @property
    def said(self) -> str | None:
        """The account in words; ``None`` where nobody asked anything."""
        if not self.asked and not self.cached:
            return None
        words = [f"{self.asked:,} queries asked"]
        if self.price is not None:
            words[0] += f" for {self.asked * self.price:,.2f}"
        words.append(f"{self.cached:,} answered by the cache")
        if self.unusable:
            words.append(f"{self.unusable:,} answers could not be used and count as the lowest")
        return ", ".join(words)


_now: Spending | None = None


def spent() -> Spending:
    """Return the account of this process; made of what the environment variables say where there is none.

    Raises:
        ModelError: an environment variable is no number.
    """
    global _now
    if _now is None:
        _now = Spending(_number(MAX_VARIABLE, whole=True), _number(PRICE_VARIABLE))
    return _now


@contextlib.contextmanager
def spending(max_queries: int | None = None, price: float | None = None) -> Iterator[Spending]:
    """Open a new account for the block; what is not given, the environment variables say.

    Raises:
        ModelError: a number is below 0, or an environment variable is none.
    """
    global _now
    most: Any = _number(MAX_VARIABLE, whole=True) if max_queries is None else _checked("max_queries", max_queries)
    cost = _number(PRICE_VARIABLE) if price is None else _checked("price", price)
    before, _now = _now, Spending(None if most is None else int(most), cost)
    try:
        yield _now
    finally:
        _now = before


def _number(variable: str, *, whole: bool = False) -> Any:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        return _checked(variable, int(text) if whole else float(text))
    except ValueError:
        raise ModelError(f"{variable} is {text!r:.40}; give a {'whole ' if whole else ''}number from 0 on") from None


def _checked(name: str, number: float) -> float:
    if not (math.isfinite(number) and number >= 0):
        raise ModelError(f"{name} is {number}; give a number from 0 on")
    return number
