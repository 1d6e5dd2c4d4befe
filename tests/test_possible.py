"""Rules that can never hold, and goals that contradict success: found before anything is taught."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_vlmrm.learning.caption_check import impossible_notes
from gym_vlmrm.task.possible import conceivable_states, marks_of
from gym_vlmrm.task.rules import parse_rule
from gym_vlmrm.task.spec import TaskSpec

TURNS = gym.spaces.Box(0.0, 2 * np.pi, (4,), np.float64)
SPACE = gym.spaces.Box(np.array([-1.0, -1.0, -8.0, -np.inf]), np.array([1.0, 1.0, 8.0, np.inf]), dtype=np.float64)
UPRIGHT: dict[str, Any] = {
    "say": "upright",
    "when": "obs[0] > 0.9",
    "grade": {"quantity": "obs[0]", "from": -1.0, "to": 1.0},
}


def notes(
    success: Any = "obs[0] > 0.9", space: gym.Space[Any] = SPACE, terminate: bool = True, **caption: Any
) -> list[str]:
    data = {
        "id": "T-v0", "env": {"id": "Pendulum-v1", "terminate": terminate}, "reward": {"goal": "upright"},
        "captions": [{**UPRIGHT, **caption}], "success": success,
    }  # fmt: skip
    return [text for text, _ in impossible_notes(TaskSpec.model_validate(data), space)]


def test_what_fits_is_not_spoken_of() -> None:
    assert notes() == []
    assert notes(success="info.score > 3") == []
    assert notes(when=None, grade={"quantity": "sin(obs[3])", "from": 0, "to": 1}, success="sin(obs[3]) > 0.8") == []
    assert notes("obs[0] > 1.2", terminate=False, when="obs[0] > 1.1") == []  # beyond its end a world leaves its bounds
    edge = gym.spaces.Box(-0.7, 0.7, (1,), np.float32)
    assert notes("obs[0] >= 0.7", edge, when=None, grade={"quantity": "obs[0]", "from": 0, "to": 0.7}) == []
    angle = {"when": None, "grade": {"quantity": "sin(obs[0])", "from": 1, "to": -0.6}}
    assert notes({"all": ["sin(obs[0]) < -0.5", "sin(obs[0]) > -0.9"]}, TURNS, **angle) == []
    assert notes({"all": ["sin(obs[0]) < -0.2", "cos(obs[0]) > 0.6"]}, TURNS, **angle) == []
    assert notes({"any": ["obs[0] >= 1", "obs[0] == 0"]}, when="obs[0] >= 1.0") == []


@pytest.mark.parametrize(
    ("said", "given"),
    [
        (
            "'upright' is never wholly true: nothing meets 'obs[0] > 1.5': obs[0] is declared to lie in [",
            {"when": "obs[0] > 1.5"},
        ),
        ("nothing meets 'cos(obs[3]) < -1.5'", {"when": "cos(obs[3]) < -1.5"}),
        ("nothing meets 'obs[3] > 1 and obs[3] < 0'", {"when": {"all": ["obs[3] > 1", "obs[3] < 0"]}}),
        (
            "nothing is ever a success",
            {"success": {"all": ["obs[3] > 1", *(f"info.{name} > 0" for name in "abcdefghijkl"), "obs[3] < 0"]}},
        ),
        ("nothing is ever a success: nothing meets 'obs[2] > 9'", {"success": "obs[2] > 9"}),
        ("'upright' is never wholly true where success holds", {"success": "obs[0] < -0.9"}),
        ("less true where success holds", {"success": {"any": ["obs[0] < 0", "obs[0] >= 1"]}}),
        ("the grade of 'upright' is lower where its rule holds", {"grade": {**UPRIGHT["grade"], "from": 1, "to": -1}}),
    ],
)
def test_what_contradicts_is_a_note(said: str, given: dict[str, Any]) -> None:
    found = notes(**given)
    assert len(found) == 1
    assert said in found[0]


NUMBERS = st.integers(-3, 3).map(float)
COMPARISONS = st.builds(
    "{} {} {}".format,
    st.sampled_from(["obs[0]", "obs[1]"]),
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    NUMBERS,
)
RULES = st.recursive(
    COMPARISONS,
    lambda rule: st.dictionaries(
        st.sampled_from(["all", "any"]), st.lists(rule, min_size=1, max_size=3), min_size=1, max_size=1
    ),
)


@given(rule=RULES)
def test_whatever_holds_somewhere_is_found(rule: Any) -> None:
    parsed = parse_rule(rule)
    states = conceivable_states(marks_of(parsed), {"obs[0]": (-3.0, 3.0)})
    if states is None:
        return
    somewhere = [{"obs[0]": a / 4, "obs[1]": b / 4} for a in range(-12, 13) for b in range(-17, 18)]
    assert any(map(parsed.holds, somewhere)) == any(map(parsed.holds, states))


def test_more_than_can_be_tried_is_left_alone() -> None:
    rule = parse_rule({"all": [f"obs[{index}] > {number}" for index in range(9) for number in (0, 1)]})
    assert conceivable_states(marks_of(rule), {}) is None
