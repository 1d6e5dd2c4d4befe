"""Task specifications are strict and frozen."""

from typing import Any

import pytest
from pydantic import ValidationError

from gym_vlmrm.spec import RewardSpec, SceneSpec, TaskSpec

MINIMAL: dict[str, Any] = {"id": "Test/Mine-v0", "env": {"id": "CartPole-v1"}, "reward": {"goal": "a pole upright"}}


def changed(**changes: Any) -> dict[str, Any]:
    return {**MINIMAL, **changes}


def test_a_minimal_task() -> None:
    task = TaskSpec.model_validate(MINIMAL)
    assert task.reward == RewardSpec(goal="a pole upright", baseline=None, alpha=0.0, model="embedded", every=1)
    assert task.scene == SceneSpec(look="textured", camera=None, render_size=None)
    assert task.success_rule is None
    assert task.training == {}


def test_tasks_are_frozen() -> None:
    task = TaskSpec.model_validate(MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        task.id = "Test/Other-v0"


def test_the_scene_has_a_short_form() -> None:
    assert TaskSpec.model_validate(changed(scene="original")).scene.look == "original"


def test_json_brings_back_the_same_task() -> None:
    task = TaskSpec.model_validate(
        changed(success={"all": ["pole_tilt < 12"]}, training={"default": {"algorithm": "PPO", "steps": 5}})
    )
    assert TaskSpec.model_validate_json(task.model_dump_json()) == task
    assert TaskSpec.model_validate(task.model_dump(mode="json", exclude_unset=True)) == task


@pytest.mark.parametrize("id_", ["Mine-v0", "A/Mine-v12", "a-b_c/Mine.x-y-v3"])
def test_good_ids(id_: str) -> None:
    assert TaskSpec.model_validate(changed(id=id_)).id == id_


@pytest.mark.parametrize(
    "id_",
    ["", "Mine", "A/B/Mine-v0", "A.b/Mine-v0", "Mine-v", "Mine -v0", "/Mine-v0", "Mine-v0\n", "-v0", "CartPole-v1"],
)
def test_bad_ids(id_: str) -> None:
    with pytest.raises(ValidationError, match=r"environment ID|env\.id"):
        TaskSpec.model_validate(changed(id=id_))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"reward": {"goal": ""}}, "at least 1 character"),
        ({"reward": {"goal": []}}, "at least one sentence"),
        ({"reward": {"goal": "a", "alpha": 0.5}}, "no baseline"),
        ({"reward": {"goal": "a", "alpha": 1.5, "baseline": "b"}}, "less than or equal to 1"),
        ({"reward": {"goal": "a", "alpha": float("nan"), "baseline": "b"}}, "finite"),
        ({"reward": {"goal": "a", "alpha": "0.5"}}, "valid number"),
        ({"reward": {"goal": "a", "every": 0}}, "greater than or equal to 1"),
        ({"reward": {"goal": "a", "precision": "int4"}}, "fp32"),
        ({"scene": {"render_size": 8}}, "greater than or equal to 16"),
        ({"scene": {"camera": {"lookat": [0.0, 0.0]}}}, "at least 3 items"),
        ({"scene": "pretty"}, "textured"),
        ({"env": {"id": "CartPole-v1", "max_episode_steps": 0}}, "greater than or equal to 1"),
        ({"env": {"id": "CartPole-v1", "max_episode_steps": 2.5}}, "valid integer"),
        ({"success": "upright"}, "no comparison"),
        ({"training": {"default": {"algorithm": "PPO", "steps": 0}}}, "greater than or equal to 1"),
        ({"surprise": 1}, "Extra inputs"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        TaskSpec.model_validate(changed(**changes))


@pytest.mark.parametrize(
    ("goal", "baseline", "goals", "baselines"),
    [("a", None, ["a"], []), ("a", "b", ["a"], ["b"]), (["a", "b"], ["c", "d"], ["a", "b"], ["c", "d"])],
)
def test_prompts_are_lists_whatever_the_file_says(
    goal: Any, baseline: Any, goals: list[str], baselines: list[str]
) -> None:
    reward = RewardSpec(goal=goal, baseline=baseline)
    assert (reward.goals, reward.baselines) == (goals, baselines)
    reward.goals.clear()
    assert reward.goals == goals
