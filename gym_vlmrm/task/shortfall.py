"""How far a state is from a task's success: what the comparisons of its rule lack, in units of their spread."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.task.rules import All, Comparison, Not, Rule, quantity_names

__all__ = ["Quantities", "quantity_scales", "shortfall", "shortfalls", "unmet"]

Quantities = Mapping[str, float]
_OPPOSITE = {"<": ">=", ">": "<=", "<=": ">", ">=": "<", "==": "!=", "!=": "=="}
MISS = 1.0
"""What an inequality lacks that can only be met or not, in units of spread."""
TOUCH = 1e-6
"""What a state on the very edge of a strict comparison lacks: no success has a shortfall, every other state has one."""


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


def shortfalls(rule: Rule, states: Sequence[Quantities], scales: Mapping[str, float]) -> NDArray[np.float64]:
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
    return sum(lacks) if isinstance(rule, All) != negated else min(lacks)


def _unmet(rule: Rule, state: Quantities, negated: bool) -> list[str]:
    if isinstance(rule, Comparison):
        holds = rule.holds(state) != negated
        words = f"{rule.name} {_OPPOSITE[rule.op] if negated else rule.op} {rule.number:g}"
        return [] if holds else [f"{words} (is {state[rule.name]:.3g})"]
    if isinstance(rule, Not):
        return _unmet(rule.part, state, not negated)
    parts = [_unmet(part, state, negated) for part in rule.parts]
    if isinstance(rule, All) != negated:
        return [words for part in parts for words in part]
    return [] if any(not part for part in parts) else [words for part in parts for words in part]
