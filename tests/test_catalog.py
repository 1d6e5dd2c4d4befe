"""Tasks are found by name, ID and path, and overridden by keyword."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gym_vlmrm.errors import TaskError, UnknownTaskError
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.task.builtin import builtin_folder, builtin_headers
from gym_vlmrm.task.catalog import MODEL_VARIABLE, builtin_tasks, load_task, override, task_from_dict
from gym_vlmrm.task.spec import EnvSpec, Recipe, RewardSpec, TaskSpec

SPLITS = "VLMRM/Humanoid-Splits-v0"
DATA = Path(__file__).parent / "data"


def test_the_ten_tasks_of_the_paper() -> None:
    ten = {
        "arms-crossed": "VLMRM/Humanoid-ArmsCrossed-v0",
        "arms-raised": "VLMRM/Humanoid-ArmsRaised-v0",
        "cartpole": "VLMRM/CartPole-Balance-v0",
        "hands-on-hips": "VLMRM/Humanoid-HandsOnHips-v0",
        "kneeling": "VLMRM/Humanoid-Kneeling-v0",
        "lotus": "VLMRM/Humanoid-Lotus-v0",
        "mountain-car": "VLMRM/MountainCar-Summit-v0",
        "one-leg": "VLMRM/Humanoid-OneLeg-v0",
        "splits": "VLMRM/Humanoid-Splits-v0",
        "standing": "VLMRM/Humanoid-StandingUp-v0",
    }
    motions = {
        "jumping": "VLMRM/Humanoid-Jumping-v0",
        "standing-still": "VLMRM/Humanoid-StandingStill-v0",
        "turning": "VLMRM/Humanoid-TurningAround-v0",
        "walking": "VLMRM/Humanoid-WalkingForward-v0",
        "waving": "VLMRM/Humanoid-Waving-v0",
    }
    tasks = builtin_tasks()
    assert (ten | motions).items() <= {name: task.id for name, task in tasks.items()}.items()
    assert {name for name, task in tasks.items() if task.reward.sees_films} == set(motions)


def test_headers_agree_with_the_tasks() -> None:
    tasks = builtin_tasks()
    assert {name: (id_, limit) for name, id_, limit in builtin_headers()} == {
        name: (task.id, task.env.max_episode_steps) for name, task in tasks.items()
    }
    assert all(limit is not None for _, _, limit in builtin_headers())


def test_a_task_by_name_id_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = load_task("splits")
    assert expected.id == SPLITS
    for name in (
        SPLITS,
        f"gym_vlmrm:{SPLITS}",
        builtin_folder() / "splits.yaml",
        str(builtin_folder() / "splits.yaml"),
    ):
        assert load_task(name) == expected


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("split", "did you mean 'splits'"),
        ("VLMRM/Humanoid-Splits-v1", f"did you mean '{SPLITS}'"),
        ("tasks/split.yaml", "did you mean 'splits'"),
        ("xyzzy", "arms-crossed, arms-raised, cart-left, cartpole"),
        ("", "arms-crossed, arms-raised, cart-left, cartpole"),
        ("/nowhere/at/all.yaml", "no task file at"),
        ("a\0b", "unknown task"),
    ],
)  # fmt: skip
def test_unknown_names_come_with_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(UnknownTaskError) as raised:
        load_task(name)
    assert hint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_override_replaces_what_is_given_and_keeps_the_rest() -> None:
    task = load_task("splits")
    assert override(task) is task
    changed = override(task, model="brightness", goal=["a", "b"], baseline="c", alpha=1, device="cpu", precision="fp32")
    judge = changed.reward
    assert (judge.model, judge.goal, judge.baseline, judge.alpha) == ("brightness", ["a", "b"], "c", 1.0)
    assert (judge.device, judge.precision, judge.every) == ("cpu", "fp32", task.reward.every)
    changed = override(task, scene="original", render_size=64, max_episode_steps=7)
    assert (changed.scene.look, changed.scene.render_size, changed.env.max_episode_steps) == ("original", 64, 7)
    assert (changed.scene.camera, changed.reward, changed.training) == (task.scene.camera, task.reward, task.training)
    changed = override(task, scene={"camera": {"distance": 9.0}, "quality": "paper"})
    assert task.scene.camera is not None
    assert changed.scene.camera == task.scene.camera.model_copy(update={"distance": 9.0})


def test_override_takes_numpy_numbers() -> None:
    assert override(load_task("splits"), alpha=np.float32(0.25)).reward.alpha == 0.25  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"alpha": 2}, "reward.alpha"),
        ({"alpha": "high"}, "reward.alpha"),
        ({"goal": ""}, "reward.goal"),
        ({"goal": []}, "reward.goal"),
        ({"precision": "fp8"}, "reward.precision"),
        ({"scene": "pretty"}, "scene.look"),
        ({"scene": {"colour": 1}}, "scene.colour"),
        ({"render_size": 1}, "scene.render_size"),
        ({"max_episode_steps": -1}, "env.max_episode_steps"),
    ],
)  # fmt: skip
def test_override_refuses_what_a_file_could_not_say(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(TaskError, match=rf"^{SPLITS}: {field}"):
        override(load_task("splits"), **changes)


def test_the_environment_variable_chooses_the_model_where_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def models() -> set[str]:
        rewards = [task.reward for task in builtin_tasks().values()]
        return {reward.model for reward in rewards if "model" not in reward.model_fields_set}

    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    assert models() == {"embedded", "embedded-gymnasium", "embedded-mujoco"}
    monkeypatch.setenv(MODEL_VARIABLE, "brightness")
    assert models() == {"brightness"}
    assert override(load_task("splits"), model="RN50/openai").reward.model == "RN50/openai"
    path = tmp_path / "own.yaml"
    path.write_text("include: _humanoid.yaml\nid: A/B-v0\nreward: {goal: x, model: RN50/openai}\n")
    assert load_task(path).reward.model == "RN50/openai"
    monkeypatch.setenv(MODEL_VARIABLE, "")
    assert load_task("splits").reward.model == "embedded"


def test_the_environment_variable_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task keeps the model that it got when it was made, however it was made and whatever is overridden later."""
    data = {"id": "A/B-v0", "env": {"id": "CartPole-v1"}, "reward": {"goal": "x"}}
    makers: list[Callable[[], TaskSpec]] = [
        lambda: load_task("splits"),
        lambda: load_task(SPLITS),
        lambda: load_task(builtin_folder() / "splits.yaml"),
        lambda: task_from_dict(data),
        lambda: TaskSpec.model_validate(data),
        lambda: TaskSpec(id="A/B-v0", env=EnvSpec(id="CartPole-v1"), reward=RewardSpec(goal="x")),
    ]
    monkeypatch.setenv(MODEL_VARIABLE, "brightness")
    tasks = [make() for make in makers]
    monkeypatch.setenv(MODEL_VARIABLE, "RN50/openai")
    for task in tasks:
        copy = pickle.loads(pickle.dumps(task))
        assert {each.reward.model for each in (task, copy, override(task), override(task, alpha=0.0))} == {"brightness"}
        assert load_reward_model(task).name == "brightness"
    assert {make().reward.model for make in makers} == {"RN50/openai"}


def test_what_trains_is_what_is_recorded_and_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gym_vlmrm.learning import train
    from gym_vlmrm.learning.evaluation import evaluate
    from gym_vlmrm.learning.run_folder import RunFolder

    monkeypatch.setenv(MODEL_VARIABLE, "brightness")
    recipe = Recipe(algorithm="PPO", steps=16, num_envs=1, hyperparameters={"n_steps": 16, "batch_size": 16})
    path = tmp_path / "own.yaml"
    path.write_text("id: A/B-v0\nenv: {id: CartPole-v1, max_episode_steps: 5}\nreward: {goal: x}\n")
    trained = train(load_task(path), recipe, output=tmp_path / "run", workers=1)
    monkeypatch.delenv(MODEL_VARIABLE)
    assert trained.best is not None
    assert RunFolder.open(tmp_path / "run").task.reward.model == "brightness"
    monkeypatch.setenv(MODEL_VARIABLE, "RN50/openai")
    evaluation = evaluate(tmp_path / "run", episodes=1, workers=1, video=False)
    assert evaluation.model == "brightness"


def test_overriding_keeps_infinite_bounds() -> None:
    hopper = {"id": "A/B-v0", "env": {"id": "Hopper-v5", "kwargs": {"healthy_z_range": [0.5, float("inf")]}}}
    task = task_from_dict({**hopper, "reward": {"goal": "x"}})
    assert override(task, alpha=0.0, device="cpu").env == task.env


def test_plain_data_names_its_origin() -> None:
    with pytest.raises(TaskError, match=r"^run\.json: env: missing"):
        task_from_dict({"id": "A/B-v0", "reward": {"goal": "x"}}, origin="run.json")


def test_paths_are_objects_too() -> None:
    assert load_task(DATA / "ant.yaml").env.id == "Ant-v5"
    assert load_task(os.fspath(DATA / "pendulum.yaml")).success == "obs[0] > 0.9"


def test_functions_of_numbers_need_no_quotes_within_brackets(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "id: Mine/M-v0\nenv: {id: Pendulum-v1}\nreward: {goal: a}\n"
        "success: {all: [obs[1] > 0.3, cos(obs[2]) > 0.9, mean(obs[0], 5) > 0]}\n"
        'captions:\n  - say: [a, "b, c"]\n'
        "    grade: [{quantity: cos(obs[2]), from: 0, to: 1}, {quantity: sin(obs[1]), from: 0, to: 1}]\n"
    )
    task = load_task(path)
    assert task.success == {"all": ["obs[1] > 0.3", "cos(obs[2]) > 0.9", "mean(obs[0], 5) > 0"]}
    assert task.captions[0].sentences == ["a", "b, c"]
    assert [grade.quantity for grade in task.captions[0].grades] == ["cos(obs[2])", "sin(obs[1])"]
