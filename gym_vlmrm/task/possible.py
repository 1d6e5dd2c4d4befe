"""Whether a rule can hold at all: tried on states that are made of the numbers which rules and grades compare with.

Every quantity is taken by itself, so a state here may be one that no physics allows: what holds in none of them holds
nowhere, and what holds in one may still not be reached.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from gym_vlmrm.task.captions import CaptionSpec
from gym_vlmrm.task.names import turn
from gym_vlmrm.task.rules import Quantities, Rule, comparisons, parse_rule

__all__ = ["Bounds", "conceivable_states", "marks_of", "marks_of_caption"]

Bounds: TypeAlias = Mapping[str, tuple[float, float]]
"""Least and largest value of quantities, where they are known."""
Marks: TypeAlias = Iterable[tuple[str, float]]
MOST = 20_000
"""Most states that are tried."""
MOST_TURNS = 2
"""How often an angle with bounds is taken round, either way: its bounds are seldom wider."""


def marks_of(rule: Rule) -> Iterator[tuple[str, float]]:
    """Yield what a rule compares, and with which number."""
    return ((comparison.name, comparison.number) for comparison in comparisons(rule))


def marks_of_caption(caption: CaptionSpec) -> Iterator[tuple[str, float]]:
    """Yield what a caption reads, and the numbers at which its truth changes."""
    if caption.when is not None:
        yield from marks_of(parse_rule(caption.when))
    for grade in caption.grades:
        yield from ((grade.quantity, grade.start), (grade.quantity, grade.end))


def conceivable_states(marks: Marks, bounds: Bounds) -> list[Quantities] | None:
    """Return states on, between and beyond the numbers at which something changes, in every combination.

    Args:
        marks: names of quantities, each with such a number.
        bounds: where quantities must lie; of an angle, not of its sine.

    Returns:
        The states, or ``None`` where they are more than 20,000.
    """
    turns: dict[str, tuple[Callable[[float], float], str]] = {}
    numbers: dict[str, set[float]] = {}
    for name, number in marks:
        found = turn(name)
        if found is None:
            numbers.setdefault(name, set()).add(number)
        else:
            turns[name] = found
            numbers.setdefault(found[1], set()).update(_angles(name, number))
    angles = {angle for _, angle in turns.values()}
    values = {}
    for name, those in numbers.items():
        low, high = bounds.get(name, (-math.inf, math.inf))
        values[name] = _values(_all_around(those, low, high) if name in angles else those, low, high)
    if math.prod(map(len, values.values())) > MOST:
        return None
    states: list[Quantities] = []
    for state in itertools.product(*values.values()):
        quantities = dict(zip(values, state, strict=True))
        states.append(quantities | {name: function(quantities[angle]) for name, (function, angle) in turns.items()})
    return states


def _angles(name: str, number: float) -> tuple[float, ...]:
    """Angles around the circle at which a sine or cosine passes a number."""
    if abs(number) > 1:
        return (-math.pi, math.pi)
    first = math.asin(number) if name.startswith("sin") else math.acos(number)
    other = math.pi - first if name.startswith("sin") else -first
    return (-math.pi, first, math.remainder(other, 2 * math.pi), math.pi)


def _all_around(numbers: set[float], low: float, high: float) -> set[float]:
    """Return numbers and what they are a turn later and earlier, as far as an angle's bounds ask for it."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return numbers
    turns = range(-MOST_TURNS, MOST_TURNS + 1)
    around = {number + 2 * math.pi * turn for number in numbers for turn in turns}
    return {number for number in around if low <= number <= high} or numbers


def _values(numbers: set[float], low: float, high: float) -> list[float]:
    """Return the numbers that lie within bounds, the bounds or what lies beyond all numbers, and what lies between."""
    ends = (low if math.isfinite(low) else min(numbers) - 1, high if math.isfinite(high) else max(numbers) + 1)
    inside = sorted({number for number in (*numbers, *ends) if low <= number <= high})
    return sorted({*inside, *((a + b) / 2 for a, b in itertools.pairwise(inside))})
