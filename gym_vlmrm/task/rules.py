"""Success rules: comparisons of named quantities, joined by `all`, `any` and `not`. Nothing is evaluated as Python.

A comparison is ``"name op number"`` such as ``"feet_distance > 1.0"``. A name is a quantity of the scene, ``obs[3]``,
or ``info.x_position``. A rule is a comparison, or a mapping with exactly one of the keys ``all``, ``any``, ``not``.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Comparison", "Rule", "parse_rule", "quantity_names"]

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_COMPARISON = re.compile(
    r"\s*(?P<name>obs\[\d+\]|[A-Za-z_][\w.]*)\s*(?P<op><=|>=|==|!=|<|>)\s*"
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
)
MAX_DEPTH = 8


@dataclass(frozen=True)
class Comparison:
    """One comparison of a named quantity with a number."""

    name: str
    op: str
    number: float

    def holds(self, quantities: Mapping[str, float]) -> bool:
        """Say whether the comparison holds; raises KeyError for an unknown quantity."""
        return OPERATORS[self.op](quantities[self.name], self.number)


@dataclass(frozen=True)
class All:
    """Holds when every part holds."""

    parts: tuple["Rule", ...]

    def holds(self, quantities: Mapping[str, float]) -> bool:
        return all(part.holds(quantities) for part in self.parts)


@dataclass(frozen=True)
class Any_:
    """Holds when at least one part holds."""

    parts: tuple["Rule", ...]

    def holds(self, quantities: Mapping[str, float]) -> bool:
        return any(part.holds(quantities) for part in self.parts)


@dataclass(frozen=True)
class Not:
    """Holds when its part does not."""

    part: "Rule"

    def holds(self, quantities: Mapping[str, float]) -> bool:
        return not self.part.holds(quantities)


Rule: TypeAlias = Comparison | All | Any_ | Not


def parse_rule(source: Any, depth: int = 0) -> Rule:
    """Build a rule from its YAML form (string, list or mapping).

    Raises:
        ValueError: the source is no rule; the message says what would be one.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"rule is nested more than {MAX_DEPTH} deep")
    if isinstance(source, str):
        match = _COMPARISON.fullmatch(source)
        if match is None:
            raise ValueError(f"{source!r} is no comparison; write 'name op number' with one of {', '.join(OPERATORS)}")
        return Comparison(match["name"], match["op"], float(match["number"]))
    if isinstance(source, Mapping) and len(source) == 1:
        key, value = next(iter(source.items()))
        if key in ("all", "any"):
            if not isinstance(value, Sequence) or isinstance(value, str) or not value:
                raise ValueError(f"'{key}' needs a non-empty list of rules, got {value!r}")
            parts = tuple(parse_rule(part, depth + 1) for part in value)
            return All(parts) if key == "all" else Any_(parts)
        if key == "not":
            return Not(parse_rule(value, depth + 1))
    raise ValueError(f"{source!r} is no rule; write a comparison, or one of 'all: [...]', 'any: [...]', 'not: ...'")


def quantity_names(rule: Rule) -> Iterator[str]:
    """Yield the name of every quantity that the rule reads, in order, with repeats."""
    if isinstance(rule, Comparison):
        yield rule.name
    elif isinstance(rule, Not):
        yield from quantity_names(rule.part)
    else:
        for part in rule.parts:
            yield from quantity_names(part)
