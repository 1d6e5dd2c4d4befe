"""Names: what `gym.make` and `gym.make_vec` understand."""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import HumanRendering

import gym_vlmrm
from gym_vlmrm.errors import ModelError, RenderingError, TaskError, UnknownTaskError
from gym_vlmrm.task.catalog import builtin_tasks, override
from gym_vlmrm.task.spec import TaskSpec

CARTPOLE = "VLMRM/CartPole-Balance-v0"
DATA = Path(__file__).parent / "data"
MINE: dict[str, Any] = {
    "id": "Test/Mine-v0",
    "env": {"id": "CartPole-v1"},
    "reward": {"goal": "a pole", "model": "brightness"},
}


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    before = dict(gym.registry)
    yield
    gym.registry.clear()
    gym.registry.update(before)


def mine(**changes: Any) -> TaskSpec:
    return TaskSpec.model_validate({**MINE, **changes})


def test_importing_again_is_harmless() -> None:
    from gym_vlmrm.registry import register_builtin_tasks

    before = dict(gym.registry)
    register_builtin_tasks()
    assert gym.registry == before


def test_the_id_imports_the_package() -> None:
    code = (
        "import gymnasium as gym\n"
        f"env = gym.make('gym_vlmrm:{CARTPOLE}', model='brightness')\n"
        f"envs = gym.make_vec('gym_vlmrm:{CARTPOLE}', num_envs=2, workers=1, model='brightness')\n"
        "env.reset(seed=0); envs.reset(seed=0)\n"
        "import sys; assert 'torch' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha": 0.5, "goal": "a", "baseline": "b", "device": "cpu", "precision": "fp32"},
        {"scene": "original"},
        {"scene": {"look": "original"}, "render_size": 48},
        {"reward": "task"},
        {"render_mode": "rgb_array"},
        {"max_episode_steps": 7},
    ],
)  # fmt: skip
def test_overrides_by_keyword(changes: dict[str, Any]) -> None:
    env = gym.make(CARTPOLE, model="brightness", **changes)
    env.reset(seed=0)
    frame = env.render()
    assert isinstance(frame, np.ndarray)
    assert frame.shape == (changes.get("render_size", 32),) * 2 + (3,)
    _, reward, *_, info = env.step(0)
    assert (float(reward) == info["task_reward"]) == (changes.get("reward") == "task")
    assert env.spec is not None
    assert env.spec.max_episode_steps == changes.get("max_episode_steps", 200)
    env.close()
    envs = gym.make_vec(CARTPOLE, num_envs=2, workers=1, model="brightness", **changes)
    envs.reset(seed=0)
    assert envs.step(np.zeros(2, int))[1][0] == np.float32(reward)
    frames = envs.render()
    assert frames is not None
    np.testing.assert_array_equal(frames[0].shape, frame.shape)
    envs.close()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"modle": "x"}, TaskError, r"'modle' is no argument of a task's environment; did you mean 'model'\?"),
        ({"reward": "both"}, TaskError, "reward must be 'vlm' or 'task', got 'both'"),
        ({"alpha": 2}, TaskError, "reward.alpha"),
        ({"scene": "pretty"}, TaskError, "scene.look"),
        ({"model": "nonsense"}, ModelError, "unknown model 'nonsense'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_wrong_keywords(make: Any, changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(CARTPOLE, **changes)


def test_the_variable_chooses_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYM_VLMRM_MODEL", "brightness")
    env: Any = gym.make(CARTPOLE)
    assert env.get_wrapper_attr("reward_model").name == "brightness"
    envs: Any = gym.make_vec(CARTPOLE, num_envs=2, workers=1)
    assert envs.reward_model.name == "brightness"
    envs.close()
    with pytest.raises(ModelError, match="nonsense"):
        gym.make(CARTPOLE, model="nonsense")


def test_the_variable_chooses_the_model_of_registered_tasks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that name none; a registration is a name, and each `gym.make` asks anew, as it does for built-in names."""
    gym_vlmrm.register_task(mine(reward={"goal": "a pole"}))
    gym_vlmrm.register_task(mine(id="Test/Fixed-v0"))
    monkeypatch.setenv("GYM_VLMRM_MODEL", "brightness")
    env: Any = gym.make("Test/Mine-v0")
    assert env.get_wrapper_attr("reward_model").name == "brightness"
    monkeypatch.setenv("GYM_VLMRM_MODEL", "nonsense")
    with pytest.raises(ModelError, match="nonsense"):
        gym.make("Test/Mine-v0")
    fixed: Any = gym.make("Test/Fixed-v0")
    assert fixed.get_wrapper_attr("reward_model").name == "brightness"


def test_registered_tasks_are_found_by_their_ids() -> None:
    task = gym_vlmrm.register_task(mine())
    for name in (task.id, f"gym_vlmrm:{task.id}"):
        assert gym_vlmrm.load_task(name) == task
    assert gym_vlmrm.load_reward_model(task.id).name == "brightness"
    with pytest.raises(UnknownTaskError, match="did you mean 'Test/Mine-v0'"):
        gym_vlmrm.load_task("Test/Mime-v0")
    with pytest.raises(UnknownTaskError):
        gym_vlmrm.load_task("CartPole-v1")  # registered, but no task


@pytest.mark.parametrize("name", list(builtin_tasks()))
def test_a_built_in_task_stays_what_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = gym_vlmrm.load_task(name)
    before = gym.spec(task.id)
    changed = [
        mine(id=task.id),
        override(task, goal="something else"),
        override(task, max_episode_steps=7),
    ]
    for other in changed:
        with pytest.raises(TaskError, match=f"id '{task.id}' is a built-in task's, .* choose another, such as 'Mine/"):
            gym_vlmrm.register_task(other)
    (tmp_path / "a.yaml").write_text(f"id: {task.id}\nenv: {{id: CartPole-v1}}\nreward: {{goal: x}}\n")
    write(tmp_path, "b.yaml", "Test/B-v0")
    with pytest.raises(TaskError, match="is a built-in task's"):
        gym_vlmrm.register_tasks(tmp_path)
    assert "Test/B-v0" not in gym.registry
    for same in (task, name, task.id, override(task, alpha=task.reward.alpha)):
        assert gym_vlmrm.register_task(same).id == task.id
    monkeypatch.setenv("GYM_VLMRM_MODEL", "brightness")
    gym_vlmrm.register_task(task)  # loaded before the variable was set
    assert gym.spec(task.id) == before


def test_an_infinite_bound_survives_registration() -> None:
    kwargs = {"healthy_z_range": [0.5, float("inf")]}
    task = gym_vlmrm.register_task(mine(env={"id": "Hopper-v5", "kwargs": kwargs}))
    assert gym_vlmrm.load_task(task.id) == task
    copy = gym.envs.registration.EnvSpec.from_json(gym.spec(task.id).to_json())
    assert copy.kwargs["task"]["env"]["kwargs"] == kwargs


@pytest.mark.parametrize("mode", [*AutoresetMode, "SameStep"])
def test_make_vec_passes_the_autoreset_mode(mode: Any) -> None:
    envs = gym.make_vec(CARTPOLE, num_envs=2, workers=1, model="brightness", autoreset_mode=mode)
    assert envs.metadata["autoreset_mode"] is AutoresetMode(mode)
    envs.close()


def test_the_vector_environment_has_the_limit() -> None:
    envs = gym.make_vec(CARTPOLE, num_envs=2, workers=2, model="brightness", max_episode_steps=3)
    envs.reset(seed=0)
    ends = [envs.step(np.zeros(2, int))[2:4] for _ in range(4)]
    assert [bool(truncated.all()) for _, truncated in ends] == [False, False, True, False]
    assert not any(terminated.any() for terminated, _ in ends)
    envs.close()


def test_gymnasiums_own_vectorisation_works_too() -> None:
    ours = gym.make_vec(CARTPOLE, num_envs=2, workers=2, model="brightness", max_episode_steps=4)
    theirs = gym.make_vec(CARTPOLE, num_envs=2, vectorization_mode="sync", model="brightness", max_episode_steps=4)
    np.testing.assert_array_equal(ours.reset(seed=5)[0], theirs.reset(seed=5)[0])
    for step in range(10):
        actions = np.array([step % 2, 1])
        for mine_, theirs_ in zip(ours.step(actions)[:4], theirs.step(actions)[:4], strict=True):
            np.testing.assert_allclose(mine_, theirs_, atol=1e-7)
    ours.close()
    theirs.close()


def test_human_rendering_is_gymnasiums_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with pytest.warns(UserWarning, match="human"):
        env = gym.make(CARTPOLE, render_mode="human", model="brightness")
    wrapped: Any = env
    while not isinstance(wrapped, HumanRendering):
        wrapped = wrapped.env
    env.close()


@pytest.mark.parametrize("file", ["ant.yaml", "pendulum.yaml"])
def test_a_task_on_any_environment_needs_no_python(file: str) -> None:
    task = gym_vlmrm.register_task(DATA / file)
    env = gym.make(task.id)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(3):
        _, reward, _, _, info = env.step(env.action_space.sample())
        frame = env.render()
        assert isinstance(frame, np.ndarray)
        assert (frame.shape, frame.dtype) == ((32, 32, 3), np.uint8)
        assert len(np.unique(frame)) > 5
        assert reward == pytest.approx(frame.mean() / 255, abs=1e-6)
        assert isinstance(info["success"], np.bool_)
        assert isinstance(info["task_reward"], np.float64)
    assert env.spec is not None
    assert env.spec.max_episode_steps == (20 if file == "ant.yaml" else 200)
    copies = [gym.make(env.spec), gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))]
    for copy in [*copies, pickle.loads(pickle.dumps(env))]:
        assert copy.reset(seed=1)[0] == pytest.approx(env.reset(seed=1)[0])
        copy.close()
    env.close()


def test_registering_again_replaces() -> None:
    for goal in ("one", "two"):
        gym_vlmrm.register_task(mine(reward={"goal": goal, "model": "brightness"}))
    assert gym.spec("Test/Mine-v0").kwargs["task"]["reward"]["goal"] == "two"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (mine(id="Ant-v5"), "id 'Ant-v5' is taken by another environment"),
        (
            mine(env={"id": "CartPoel-v1"}),
            "'CartPoel-v1' is no registered Gymnasium environment; did you mean 'CartPole-v1'",
        ),
        (mine(env={"id": "nowhere:X-v0"}), "module 'nowhere' cannot be imported"),
    ],
)
def test_what_cannot_be_registered(task: TaskSpec, message: str) -> None:
    before = dict(gym.registry)
    with pytest.raises(TaskError, match=message):
        gym_vlmrm.register_task(task)
    assert gym.registry == before


def test_an_environment_that_cannot_draw() -> None:
    class Blind(gym.Env[Any, Any]):
        metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012

    gym.register("Test/Blind-v0", Blind)
    gym_vlmrm.register_task(mine(env={"id": "Test/Blind-v0"}))
    with pytest.raises(RenderingError, match="cannot render 'rgb_array'; it renders ansi"):
        gym.make("Test/Mine-v0")


def write(folder: Path, name: str, task_id: str) -> None:
    text = f"id: {task_id}\nenv: {{id: CartPole-v1}}\nreward: {{goal: a pole, model: brightness}}\n"
    (folder / name).write_text(text)


def test_a_folder_of_tasks(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "Test/A-v0")
    write(tmp_path, "b.yaml", "Test/B-v0")
    (tmp_path / "_base.yaml").write_text("no: task")
    assert [task.id for task in gym_vlmrm.register_tasks(tmp_path)] == ["Test/A-v0", "Test/B-v0"]
    gym.make("Test/B-v0").close()


def test_one_wrong_file_registers_none(tmp_path: Path) -> None:
    before = dict(gym.registry)
    write(tmp_path, "a.yaml", "Test/A-v0")
    write(tmp_path, "b.yaml", "Test/A-v0")
    with pytest.raises(TaskError, match=r"b\.yaml: id: 'Test/A-v0' is also the ID of a\.yaml"):
        gym_vlmrm.register_tasks(tmp_path)
    (tmp_path / "b.yaml").write_text("id: Test/B-v0\nenv: {id: None-v0}\nreward: {goal: x}\n")
    with pytest.raises(TaskError, match="no registered Gymnasium environment"):
        gym_vlmrm.register_tasks(tmp_path)
    assert gym.registry == before
    for folder in (tmp_path / "empty", tmp_path / "a.yaml"):
        with pytest.raises(TaskError, match="no task files"):
            gym_vlmrm.register_tasks(folder)
