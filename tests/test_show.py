"""A task's world in words and as a picture: `vlmrm show`."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import vlmrm

from gym_vlmrm.files import open_picture
from gym_vlmrm.task.catalog import builtin_tasks, load_task, override
from gym_vlmrm.worlds.description import describe_world, describing
from gym_vlmrm.worlds.scene import SCENES, find_scene


@pytest.mark.parametrize("env_id", SCENES)
def test_every_quantity_that_has_a_unit_names_it(env_id: str) -> None:
    scene = find_scene(env_id)
    assert set(scene.quantity_units) <= set(scene.quantity_names)
    assert scene.quantity_units


@pytest.mark.parametrize("name", ["kneeling", "cartpole", "mountain-car"])
def test_numbers_have_names_values_and_bounds(name: str) -> None:
    task = load_task(name)
    world, described = describing(task, seed=3)
    try:
        observation, _ = world.reset(seed=3)
        assert [number.value for number in described.observation] == pytest.approx(observation.tolist())
        assert [number.place for number in described.observation][:2] == ["obs[0]", "obs[1]"]
        assert all(number.name for number in (*described.observation, *described.action))
        assert {quantity.name: quantity.value for quantity in described.quantities} == pytest.approx(
            world.unwrapped.quantities()  # type: ignore[attr-defined]
        )
        assert described.max_episode_steps == task.env.max_episode_steps
    finally:
        world.close()


def test_where_a_task_sets_no_limit_the_environments_own_is_said() -> None:
    env = load_task("cartpole").env.model_copy(update={"max_episode_steps": None})
    task = load_task("cartpole").model_copy(update={"env": env})
    assert describe_world(task).max_episode_steps == 500


def test_names_are_those_of_the_model_s_joints_and_motors() -> None:
    world, described = describing(load_task("kneeling"), seed=1)
    try:
        env = world.unwrapped
        places = {number.name: int(number.place[4:-1]) for number in described.observation}
        qpos = env.data.qpos.copy()  # type: ignore[attr-defined]
        qpos[env.model.joint("left_knee").qposadr[0]] = -1.25  # type: ignore[attr-defined]
        env.place(qpos)  # type: ignore[attr-defined]
        assert env._get_obs()[places["left_knee"]] == -1.25  # type: ignore[attr-defined]
        assert [n.name for n in described.action].index("left_knee") == env.model.actuator("left_knee").id  # type: ignore[attr-defined]
    finally:
        world.close()


def test_success_and_what_is_lacking_are_said() -> None:
    standing = describe_world(load_task("standing"))
    kneeling = describe_world(load_task("kneeling"))
    assert kneeling.success is False
    assert any(text.startswith("least_knee_bend > 60 (is ") for text in kneeling.lacks)
    assert standing.success is (not standing.lacks)
    balanced = describe_world(load_task("cartpole"))
    assert (balanced.success, balanced.lacks) == (True, [])
    fallen = describe_world(load_task("cartpole"), steps=150)
    assert fallen.success is False


def test_a_rule_about_info_is_known_after_a_step() -> None:
    from gym_vlmrm.task.catalog import task_from_dict

    reward = {"goal": "up", "model": "brightness"}
    env = {"id": "strangers:Fine-v0", "kwargs": {"info": {"told": 1.0}}}
    task = task_from_dict({"id": "T/Told-v0", "env": env, "reward": reward, "success": "info.told < 99"})
    assert describe_world(task).success is None
    assert describe_world(task, steps=1).success is True
    dictionary = task_from_dict({"id": "T/B-v0", "env": {"id": "Blackjack-v1"}, "reward": reward})
    assert [number.place for number in describe_world(dictionary).observation] == ["obs.0[0]", "obs.1[0]", "obs.2[0]"]


def test_the_picture_has_every_quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = vlmrm("show", "kneeling", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["picture"] == "kneeling.png"
    assert list(told["milliseconds"])[:3] == ["draft", "standard", "paper"]
    picture = open_picture(Path("kneeling.png")).astype(int)
    parts = np.array_split(picture[30:], len(told["milliseconds"]), axis=1)
    assert all(np.abs(parts[0] - part).max() > 50 for part in parts[1:])
    text = vlmrm("show", "cartpole", "--output", "c.png").stdout
    assert "pole_tilt < 12 and cart_distance < 2.4" in text
    assert open_picture(Path("c.png")).shape == (414, 384, 3)  # flat: every quality is the same
    assert vlmrm("show", "cartpole", "--quiet").stdout == ""


def test_wrong_uses_of_show_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, words in (
        (("kneelin",), "did you mean 'kneeling'"),
        (("cartpole", "--output", "c.jpg"), "end it with .png"),
        (("cartpole", "--output", "no/c.png"), "cannot write"),
    ):
        result = vlmrm("show", *arguments)
        assert result.exit_code == 1
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", builtin_tasks())
def test_every_task_can_be_described(name: str) -> None:
    described = describe_world(override(load_task(name)), steps=3)
    assert described.rule
    assert described.success is not None
