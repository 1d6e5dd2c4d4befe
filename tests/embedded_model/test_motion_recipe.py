"""The recipe of the motion head: what counts as a motion, puppets, and sentences about them."""

from typing import Any

import numpy as np
import pytest

from embedded_model import puppets
from embedded_model.motion_concepts import MOTIONS, grade, measure_motion
from embedded_model.motion_sentences import MotionGrammar, axes_of
from embedded_model.puppets import FILMED, STEP, Bank, draw_films
from gym_vlmrm.reward.loading import load_reward_model
from gym_vlmrm.worlds.poses.kinematics import set_down, to_quaternion, to_rotation
from gym_vlmrm.worlds.poses.poses import reference_pose

STEPS = 25


def led(**speeds: float) -> Any:
    """A standing body that is led at speeds: forward, leftward, upward [m/s], turn [rad/s], tilt [rad/s]."""
    from scipy.spatial.transform import Rotation

    states = []
    for time in np.arange(STEPS) * STEP:
        pose = np.array(reference_pose("standing"))
        pose[:3] += np.array([speeds.get(name, 0.0) for name in ("forward", "leftward", "upward")]) * time
        spin = Rotation.from_euler("z", speeds.get("turn", 0.0) * time)
        tip = Rotation.from_euler("x", speeds.get("tilt", 0.0) * time)
        pose[3:7] = to_quaternion(spin * tip * to_rotation(pose[3:7]))
        states.append(set_down(pose) if "tilt" in speeds else pose)
    return np.stack(states)


def grades(states: Any, span: int = STEPS - 1) -> dict[str, float]:
    told = grade(measure_motion(states), 0, len(states) - 1, span)
    return dict(zip(MOTIONS, told.tolist(), strict=True))


@pytest.mark.parametrize(
    ("speeds", "motion"),
    [
        ({}, "still"),
        ({"forward": 1.0}, "walking_forward"),
        ({"forward": -1.0}, "walking_backward"),
        ({"leftward": 1.0}, "stepping_left"),
        ({"leftward": -1.0}, "stepping_right"),
        ({"turn": 2.0}, "turning_left"),
        ({"turn": -2.0}, "turning_right"),
        ({"upward": 1.2}, "jumping"),
        ({"tilt": 2.5}, "falling"),
    ],
)
def test_plain_motions_are_graded_as_what_they_are(speeds: dict[str, float], motion: str) -> None:
    told = grades(led(**speeds))
    assert told[motion] > 0.6
    assert max(told, key=lambda name: told[name]) == motion


def test_faster_is_more_and_a_window_that_reaches_before_the_film_has_less() -> None:
    slow, fast = grades(led(forward=0.3)), grades(led(forward=0.8))
    assert 0 < slow["walking_forward"] < fast["walking_forward"] < 1
    young = grades(led(forward=0.8), span=2 * (STEPS - 1))
    assert young["walking_forward"] == pytest.approx(grades(led(forward=0.4))["walking_forward"], abs=0.05)


def test_equal_seeds_draw_equal_films(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_STANDING", "_OTHERS", "_SWINGS"):
        monkeypatch.setattr(puppets, name, 3)
    one, other = (draw_films(Bank(5), 6, np.random.default_rng(2)) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert a.spacing == b.spacing
        assert len(a.states[:: a.spacing]) == FILMED
        np.testing.assert_array_equal(a.states, b.states)


def test_the_head_understands_phrases_that_it_never_read() -> None:
    model: Any = load_reward_model("waving", device="cpu")
    embed, grammar = model.sights[0].model.head.sentences.embed, MotionGrammar()
    right = [
        max(MOTIONS, key=lambda axis: embed([text])[0][list(MOTIONS).index(axis)]) in axes_of(name)
        for name, text in grammar.held_out()
    ]
    assert np.mean(right) > 0.9
    rng = np.random.default_rng(0)
    drawn = [grammar.draw(rng) for _ in range(300)]
    close = [float(embed([said.text])[0] @ said.place) for said in drawn]
    assert np.mean(close) > 0.95
