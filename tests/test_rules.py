"""Rules of success: comparisons and their combinations, nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_vlmrm.task.rules import OPERATORS, Comparison, parse_rule, quantity_names, rule_text

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("height > 1.0", Comparison("height", ">", 1.0)),
        ("  height<=-.5 ", Comparison("height", "<=", -0.5)),
        ("obs[12] == 3", Comparison("obs[12]", "==", 3.0)),
        ("info.x_position != 6e-4", Comparison("info.x_position", "!=", 6e-4)),
        ("a_1>=+2.", Comparison("a_1", ">=", 2.0)),
    ],
)
def test_comparisons(source: str, expected: Comparison) -> None:
    assert parse_rule(source) == expected


NAMES = st.sampled_from(["x", "obs[3]", "info.a.b"])


@given(name=NAMES, op=st.sampled_from(sorted(OPERATORS)), number=NUMBERS, value=NUMBERS)
def test_a_comparison_compares(name: str, op: str, number: float, value: float) -> None:
    rule = parse_rule(f"{name} {op} {number!r}")
    assert rule.holds({name: value}) is bool(eval(f"{value!r} {op} {number!r}"))


def test_rules_combine() -> None:
    rule = parse_rule({"all": ["a > 0", {"any": ["b > 0", {"not": "c > 0"}]}]})
    assert list(quantity_names(rule)) == ["a", "b", "c"]
    truth = {(a, b, c): rule.holds({"a": a, "b": b, "c": c}) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    assert truth == {(a, b, c): bool(a and (b or not c)) for a, b, c in truth}


def test_an_unknown_quantity_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="height"):
        parse_rule("height > 1").holds({"depth": 2.0})


@pytest.mark.parametrize(
    "source",
    [
        "height", "height > ", "height > width", "1 > height", "height => 1", "a > 1 and 1 > 0", "__import__('os')",
        "obs[-1] > 0", "obs[x] > 0", "a > nan", "a > 1_000", 5, None, True, [], ["a > 1"], {}, {"all": []},
        {"all": "a > 1"},
        {"all": ["a > 1"], "any": ["a > 1"]}, {"none": ["a > 1"]}, {"not": ["a > 1"]}, {"any": [5]}, {5: "a > 1"},
    ],
)  # fmt: skip
def test_what_is_no_rule_says_what_would_be_one(source: Any) -> None:
    with pytest.raises(ValueError, match=r"name op number|is no rule|needs a non-empty list") as raised:
        parse_rule(source)
    assert "\n" not in str(raised.value)


def test_nesting_has_a_limit() -> None:
    source: Any = "a > 0"
    for _ in range(20):
        source = {"not": source}
    with pytest.raises(ValueError, match="nested more than"):
        parse_rule(source)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=12) | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=8,
    )
)
def test_anything_else_is_a_value_error(source: Any) -> None:
    try:
        rule = parse_rule(source)
    except ValueError:
        return
    assert list(quantity_names(rule))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("height > 1.0", "height > 1.0"),
        ({"not": "height > 1"}, "not (height > 1)"),
        ({"all": ["a > 1", {"any": ["b < 2", {"not": "c == 0"}]}]}, "a > 1 and (b < 2 or (not (c == 0)))"),
    ],
)
def test_a_rule_is_told_in_one_line(source: object, text: str) -> None:
    assert rule_text(source) == text
