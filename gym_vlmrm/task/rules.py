"""Success rules: comparisons of named quantities, joined by `all`, `any` and `not`. Nothing is evaluated as Python.

A comparison is ``"name op number"`` such as ``"feet_distance > 1.0"``. A name is a quantity of the scene, ``obs[3]``,
or ``info.x_position``, the sine or cosine of one of the last two (see `gym_vlmrm.task.names`), or what several states
say of one of these (see `gym_vlmrm.task.past`). A rule is a comparison, or a mapping with exactly one of the keys
``all``, ``any``, ``not``.

A rule can be asked whether a state holds, what it reads, how far a state is from it, and what keeps a state from it.
"""

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gym_vlmrm.arrays import Floats
from gym_vlmrm.task.names import QUANTITY_NAME
from gym_vlmrm.task.past import LOOK_BACK, look_back

__all__ = [
    "AllOf", "Comparison", "Quantities", "Rule", "comparisons", "parse_rule", "quantity_names", "quantity_scales",
    "rule_text", "shortfall", "shortfalls", "unmet", "well_formed",
]  # fmt: skip

Quantities: TypeAlias = Mapping[str, float]
"""A state, as the named quantities that rules read."""

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_COMPARISON = re.compile(
    rf"(?P<name>{LOOK_BACK}|{QUANTITY_NAME})"
    r"\s*(?P<op><=|>=|==|!=|<|>)\s*"
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
)
MAX_DEPTH = 8
MAX_LENGTH = 200
"""Longest comparison [characters]."""
MAX_PARTS = 1000
"""Most comparisons of a rule."""
_OPPOSITE = {"<": ">=", ">": "<=", "<=": ">", ">=": "<", "==": "!=", "!=": "=="}
MISS = 1.0
"""What an inequality lacks that can only be met or not, in units of spread."""
TOUCH = 1e-6
"""What a state on the very edge of a strict comparison lacks: no success has a shortfall, every other state has one."""


@dataclass(frozen=True)
class Comparison:
    """One comparison of a named quantity with a number."""

    name: str
    op: str
    number: float

    def holds(self, quantities: Quantities) -> bool:
        """Say whether the comparison holds; raises KeyError for an unknown quantity."""
        return OPERATORS[self.op](quantities[self.name], self.number)


@dataclass(frozen=True)
class AllOf:
    """Holds when every part holds."""

    parts: tuple["Rule", ...]

    def holds(self, quantities: Quantities) -> bool:
        """Say whether all parts hold; raises KeyError for an unknown quantity."""
        return all(part.holds(quantities) for part in self.parts)


@dataclass(frozen=True)
class AnyOf:
    """Holds when at least one part holds."""

    parts: tuple["Rule", ...]

    def holds(self, quantities: Quantities) -> bool:
        return any(part.holds(quantities) for part in self.parts)


@dataclass(frozen=True)
class Not:
    """Holds when its part does not."""

    part: "Rule"

    def holds(self, quantities: Quantities) -> bool:
        return not self.part.holds(quantities)


Rule: TypeAlias = Comparison | AllOf | AnyOf | Not


def well_formed(source: Any) -> Any:
    """Return a rule as it is written, or ``None``; raises as `parse_rule` does."""
    if source is not None:
        parse_rule(source)
    return source


def parse_rule(source: Any) -> Rule:
    """Build a rule from its YAML form (string, list or mapping).

    Raises:
        ValueError: the source is no rule; the message says what would be one.
    """
    rule = _parse(source, 0)
    if sum(1 for _ in quantity_names(rule)) > MAX_PARTS:
        raise ValueError(f"rule has more than {MAX_PARTS:,} comparisons")
    return rule


def _parse(source: Any, depth: int) -> Rule:
    if depth > MAX_DEPTH:
        raise ValueError(f"rule is nested more than {MAX_DEPTH} deep")
    if isinstance(source, str):
        return _comparison(source)
    if isinstance(source, Mapping) and len(source) == 1:
        key, value = next(iter(source.items()))
        if key in ("all", "any"):
            if not isinstance(value, Sequence) or isinstance(value, str) or not value:
                raise ValueError(f"'{key}' needs a non-empty list of rules, got {_quoted(value)}")
            if len(value) > MAX_PARTS:
                raise ValueError(f"'{key}' has more than {MAX_PARTS:,} parts")
            parts = tuple(_parse(part, depth + 1) for part in value)
            return AllOf(parts) if key == "all" else AnyOf(parts)
        if key == "not":
            return Not(_parse(value, depth + 1))
    raise ValueError(
        f"{_quoted(source)} is no rule; write a comparison, or one of 'all: [...]', 'any: [...]', 'not: ...'"
    )


def _comparison(source: str) -> Comparison:
    match = _COMPARISON.fullmatch(source.strip()) if len(source) <= MAX_LENGTH else None
    if match is None:
        raise ValueError(
            f"{_quoted(source)} is no comparison; write 'name op number' with one of {', '.join(OPERATORS)}; "
            "a name may be 'mean(name, states)', and so with min, max and span, or 'sin(obs[1])', and so with cos; "
            "a key that is no word is written obs['a key'][0]"
        )
    number = float(match["number"])
    if not math.isfinite(number):
        raise ValueError(f"{_quoted(source)} compares with a number that is not finite")
    name = match["name"]
    return Comparison(str(look_back(name) or name), match["op"], number)


def _quoted(source: Any) -> str:
    """A value for a message, no longer than one can read."""
    text = repr(source[:MAX_LENGTH] if isinstance(source, str) else source)
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 4] + " ..."


def quantity_names(rule: Rule) -> Iterator[str]:
    """Yield the name of every quantity that the rule reads, in order, with repeats."""
    return (comparison.name for comparison in comparisons(rule))


def comparisons(rule: Rule) -> Iterator[Comparison]:
    """Yield every comparison of a rule, in order."""
    if isinstance(rule, Comparison):
        yield rule
    elif isinstance(rule, Not):
        yield from comparisons(rule.part)
    else:
        for part in rule.parts:
            yield from comparisons(part)


def rule_text(source: Any) -> str:
    """Return a well-formed rule in its YAML form as one line, such as ``a > 1 and (b < 2 or (not (c == 0)))``."""
    if isinstance(source, str):
        return source
    key, value = next(iter(source.items()))
    if key == "not":
        return f"not ({rule_text(value)})"
    return (" and " if key == "all" else " or ").join(
        rule_text(part) if isinstance(part, str) else f"({rule_text(part)})" for part in value
    )


def quantity_scales(rule: Rule, states: Sequence[Quantities]) -> dict[str, float]:
    """Return the standard deviation of every quantity of a rule over states; 1 where it does not vary."""
    scales = {}
    for name in dict.fromkeys(quantity_names(rule)):
        spread = float(np.std([state[name] for state in states]))
        scales[name] = spread if spread > 1e-9 else 1.0
    return scales


def shortfall(rule: Rule, state: Quantities, scales: Mapping[str, float]) -> float:
    """Return the distance of a state from success: 0 inside, else what is lacking, in standard deviations.

    Parts of an ``all`` add up, of an ``any`` the nearest counts.
    """
    return 0.0 if rule.holds(state) else _lack(rule, state, scales, negated=False)


def shortfalls(rule: Rule, states: Sequence[Quantities], scales: Mapping[str, float]) -> Floats:
    """Return the shortfall (N,) of each state."""
    return np.array([shortfall(rule, state, scales) for state in states])


def unmet(rule: Rule, state: Quantities) -> list[str]:
    """Return the comparisons that keep a state from success, each with the value that it has; empty for a success."""
    return [] if rule.holds(state) else _unmet(rule, state, negated=False)


def _lack(rule: Rule, state: Quantities, scales: Mapping[str, float], negated: bool) -> float:
    if isinstance(rule, Comparison):
        op = _OPPOSITE[rule.op] if negated else rule.op
        if Comparison(rule.name, op, rule.number).holds(state):
            return 0.0
        missing = max(TOUCH, abs(state[rule.name] - rule.number) / scales[rule.name])
        return missing if op != "!=" else MISS
    if isinstance(rule, Not):
        return _lack(rule.part, state, scales, not negated)
    lacks = [_lack(part, state, scales, negated) for part in rule.parts]
    return sum(lacks) if isinstance(rule, AllOf) != negated else min(lacks)


def _unmet(rule: Rule, state: Quantities, negated: bool) -> list[str]:
    if isinstance(rule, Comparison):
        holds = rule.holds(state) != negated
        words = f"{rule.name} {_OPPOSITE[rule.op] if negated else rule.op} {rule.number:g}"
        return [] if holds else [f"{words} (is {state[rule.name]:.3g})"]
    if isinstance(rule, Not):
        return _unmet(rule.part, state, not negated)
    parts = [_unmet(part, state, negated) for part in rule.parts]
    if isinstance(rule, AllOf) != negated:
        return [words for part in parts for words in part]
    return [] if any(not part for part in parts) else [words for part in parts for words in part]
