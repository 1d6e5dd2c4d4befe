"""``sin(obs[1])`` in rules and captions: an angle that has gone round is the angle that it was."""

import math
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.captions import CaptionSpec
from gym_vlmrm.task.catalog import task_from_dict
from gym_vlmrm.task.names import observed_number, turn
from gym_vlmrm.task.past import look_back
from gym_vlmrm.task.rules import parse_rule
from gym_vlmrm.worlds.readings import Readings
from gym_vlmrm.worlds.world import make_world


class _Wheel(gym.Env[Any, Any]):
    """Turns on and on; tells its angle in radians, in the observation and in the info."""

    observation_space = gym.spaces.Box(-math.inf, math.inf, (2,), np.float64)
    action_space = gym.spaces.Discrete(1)
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.angle = render_mode, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.angle = 0.0
        return np.array([0.0, self.angle]), {"angle": self.angle}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.angle += math.pi / 2
        return np.array([0.0, self.angle]), 0.0, False, False, {"angle": self.angle}

    def render(self) -> Any:
        return np.zeros((32, 32, 3), np.uint8)


def task(rule: Any, **more: Any) -> Any:
    gym.registry.pop("Test/Wheel-v0", None)
    gym.register("Test/Wheel-v0", _Wheel, max_episode_steps=50)
    written = {"id": "Test/Turning-v0", "env": {"id": "Test/Wheel-v0"}, "success": rule, **more}
    return task_from_dict({**written, "reward": {"goal": "a wheel", "model": "brightness"}})


@given(angle=st.floats(-50, 50), rounds=st.integers(-9, 9))
def test_an_angle_that_has_gone_round_is_what_it_was(angle: float, rounds: int) -> None:
    read = Readings(_Wheel(), ["sin(obs[1])", "cos(info.angle)"], task_id="t", written="")
    turned = angle + 2 * math.pi * rounds
    values = read(np.array([0.0, turned]), {"angle": turned})
    assert values["sin(obs[1])"] == pytest.approx(math.sin(angle), abs=1e-9)
    assert values["cos(info.angle)"] == pytest.approx(math.cos(angle), abs=1e-9)


def test_success_is_judged_by_it_and_looks_back_over_it() -> None:
    world = make_world(task({"any": ["sin(obs[1]) > 0.9", "mean(cos(info.angle), 2) < -0.4"]}), render_size=32)
    world.reset(seed=0)
    seen = [bool(world.step(0)[-1]["success"]) for _ in range(8)]
    # Sines 1, 0, -1, 0 and so on; means of the cosines of two states 0.5, -0.5, -0.5, 0.5.
    assert seen == [True, True, True, False] * 2
    world.close()


def test_what_is_not_finite_is_no_success() -> None:
    read = Readings(_Wheel(), ["sin(obs[1])"], task_id="t", written="")
    values = read(np.array([0.0, math.inf]), {"angle": 0.0})
    assert not parse_rule("sin(obs[1]) > -2").holds(values)


def test_captions_are_graded_by_it() -> None:
    caption = CaptionSpec.model_validate(
        {"say": "up", "when": "cos(obs[1]) > 0.99", "grade": {"quantity": "cos(obs[1])", "from": -1, "to": 1}}
    )
    assert list(caption.reads()) == ["cos(obs[1])", "cos(obs[1])"]
    assert [caption.truth({"cos(obs[1])": value}) for value in (-1.0, 0.0, 0.995)] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    "rule", ["sin(torso_up) > 1", "tan(obs[1]) > 1", "sin(sin(obs[1])) > 0", "sin() > 0", "sin(1) > 0"]
)
def test_other_words_are_one_line(rule: str) -> None:
    with pytest.raises(TaskError, match="is no comparison") as caught:
        task(rule)
    assert "\n" not in str(caught.value).strip()


def test_an_angle_that_is_not_there_is_named() -> None:
    with pytest.raises(TaskError, match=r"reads 'obs\[7\]'; obs\[0\] to obs\[1\] exist"):
        make_world(task("sin(obs[7]) > 0"), render_size=32)


def test_it_is_one_state_and_no_look_back() -> None:
    assert turn("sin(obs[1])") == (math.sin, "obs[1]")
    assert turn("obs[1]") is None
    assert look_back("sin(obs[1])") is None
    found = look_back("mean(sin(obs[1]), 33)")
    assert found is not None
    assert found.name == "sin(obs[1])"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("obs[12]", ((), 12)),
        ("obs.achieved_goal[2]", (("achieved_goal",), 2)),
        ("obs.inner.0[7]", (("inner", "0"), 7)),
        ("obs['slide cabinet'][2]", (("slide cabinet",), 2)),
        ("obs.arm['a-b.c'][0]", (("arm", "a-b.c"), 0)),
        ("obs.achieved_goal", None),
        ("observed[1]", None),
        ("info.x", None),
    ],
)
def test_a_number_of_an_observation_is_told_by_its_name(name: str, found: Any) -> None:
    assert observed_number(name) == found


@pytest.mark.parametrize(
    ("observation", "name", "number"),
    [
        ("goal", "obs.achieved_goal[2]", lambda seen: seen["achieved_goal"][2]),
        ("goal", "sin(obs.desired_goal[0])", lambda seen: math.sin(seen["desired_goal"][0])),
        ("goal", "min(obs.desired_goal[0], 2)", lambda seen: seen["desired_goal"][0]),
        ("Dict", "obs.inner.a[1]", lambda seen: seen["inner"]["a"][1]),
        ("Dict of odd keys", "obs['slide cabinet'][1]", lambda seen: seen["slide cabinet"][1]),
        ("Dict of odd keys", "obs['a-b.c'].d[0]", lambda seen: seen["a-b.c"]["d"][0]),
        ("Dict", "obs.eye[131]", lambda seen: seen["eye"].ravel()[131]),
        ("Tuple", "obs.1[0]", lambda seen: seen[1][0]),
        ("Box ()", "obs[0]", float),
        ("Discrete from -2", "obs[0]", float),
        ("Tuple", "obs.2[1]", lambda seen: seen[2][1]),
        ("MultiDiscrete 2-D from 7", "obs[3]", lambda seen: seen.ravel()[3]),
    ],
)
def test_parts_of_observations_are_read(observation: str, name: str, number: Any) -> None:
    data = {"id": "Test-v0", "env": {"id": "toys:Toy-v0", "kwargs": {"observation": observation}}}
    task = task_from_dict({**data, "reward": {"goal": "a thing"}, "success": f"{name} > 0.25"})
    world = make_world(task, render_size=16)
    world.reset(seed=1)
    verdicts = set()
    for _ in range(20):
        world.reset()
        seen, _, _, _, info = world.step(world.action_space.sample())
        if not name.startswith("min"):
            assert info["success"] == (number(seen) > 0.25)
        verdicts.add(info["success"])
    world.close()
    assert len(verdicts) == 2 or "picture" in observation or "eye" in name or "Multi" in observation


@pytest.mark.parametrize(
    ("observation", "name", "words"),
    [
        ("goal", "obs[0]", r"obs.achieved_goal\[0\] to obs.achieved_goal\[2\].* exist"),
        ("Dict of odd keys", "obs.a-b.c[0]", r"a key that is no word is written obs\['a key'\]\[0\]"),
        ("Dict of odd keys", "obs[0]", r"obs\['a-b.c'\].d\[0\], obs\['slide cabinet'\]\[0\] to"),
        ("goal", "obs.achieved[0]", r"obs.achieved_goal\[0\] to obs.achieved_goal\[2\].* exist"),
        ("goal", "obs.achieved_goal[3]", r"obs.achieved_goal\[0\] to obs.achieved_goal\[2\].* exist"),
        ("goal", "obs.achieved_goal", "does not have"),
        ("Dict", "obs.kind[1]", r"obs.inner.a\[0\] to obs.inner.a\[1\].* exist"),
        ("Discrete from -2", "obs[1]", r"obs\[0\] exist"),
        ("sequence", "obs[0]", "no observation of this environment is made of numbers"),
    ],
)
def test_parts_that_there_are_not_are_told_apart(observation: str, name: str, words: str) -> None:
    data = {"id": "Test-v0", "env": {"id": "toys:Toy-v0", "kwargs": {"observation": observation}}}
    with pytest.raises(TaskError, match=words) as raised:
        make_world(task_from_dict({**data, "reward": {"goal": "a thing"}, "success": f"{name} > 0.25"}), render_size=16)
    assert "\n" not in str(raised.value)
