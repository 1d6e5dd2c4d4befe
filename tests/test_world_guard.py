"""Environments that fail: whatever they raise, and wherever, it is one line that names them."""

import enum
import pickle
import re
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import strangers
from command_line import vlmrm

from gym_vlmrm.reward.clip import towers  # isort: skip  # noqa: F401  (loads triton apart from Mesa)
import gym_vlmrm
from gym_vlmrm.errors import RenderingError, TaskError, TrainingError, VLMRMError, WorldError
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.world import make_world, make_worlds
from gym_vlmrm.wrappers import VLMReward


def spec(env_id: str, success: Any = None, **kwargs: Any) -> TaskSpec:
    data = {"id": "Test/Stranger-v0", "env": {"id": f"strangers:{env_id}", "kwargs": kwargs}}
    return TaskSpec.model_validate(data | {"reward": {"goal": "a", "model": "brightness"}, "success": success})


def world(env_id: str, success: Any = None, **kwargs: Any) -> gym.Env[Any, Any]:
    return make_world(spec(env_id, success, **kwargs), render_size=16)


CONSTRUCTORS: list[tuple[str, dict[str, Any], type[VLMRMError], str]] = [
    ("BareAssert-v0", {}, TaskError, "'strangers:BareAssert-v0' cannot be made: AssertionError without a word"),
    ("NoAsset-v0", {}, TaskError, "FileNotFoundError: .*scene.xml"),
    ("WrongVersion-v0", {}, RenderingError, "lacks a package: ImportError: mujoco 2.1.0 is needed"),
    ("Silent-v0", {}, TaskError, "cannot be made: Mute without a word"),
    ("Clumsy-v0", {"fail": "init"}, TaskError, r"with env.kwargs {'fail': 'init'}: RuntimeError: the wheel came off"),
    ("Clumsy-v0", {"fail": "init", "error": SystemExit}, TaskError, "SystemExit: the wheel came off"),
    ("Clumsy-v0", {"fail": "spaces"}, TaskError, "action_space is None and not a space"),
    ("Fine-v0", {"colour": 3}, TaskError, "env.kwargs {'colour': 3}: TypeError: .*unexpected keyword"),
]


@pytest.mark.parametrize(("env_id", "kwargs", "kind", "words"), CONSTRUCTORS)
def test_constructors_fail_by_one_line(env_id: str, kwargs: Any, kind: type[VLMRMError], words: str) -> None:
    with pytest.raises(kind, match=words) as raised:
        world(env_id, **kwargs)
    assert "\n" not in str(raised.value)
    assert ("env.kwargs" in str(raised.value)) == bool(kwargs and env_id != "Silent-v0" and "spaces" not in str(kwargs))


def test_scenes_of_ours_blame_arguments_only_if_there_are_some() -> None:
    data = {"id": "T-v0", "env": {"id": "Humanoid-v5", "kwargs": {"frame_skip": "x"}}, "reward": {"goal": "a"}}
    with pytest.raises(TaskError, match=r"cannot be made with env.kwargs .*frame_skip.*: [A-Za-z]+Error"):
        make_world(TaskSpec.model_validate(data), render_size=16)


def drive(env: gym.Env[Any, Any]) -> None:
    env.reset(seed=0)
    env.step(0)
    env.render()


@pytest.mark.parametrize(
    ("fail", "kind", "words"),
    [
        ("reset", WorldError, "'strangers:Clumsy-v0' failed when it was reset: KeyError: .*the wheel"),
        ("step", WorldError, "failed when it was stepped: KeyError"),
        ("render", RenderingError, "failed when it was drawn: KeyError"),
        ("old reset", WorldError, "returned ndarray instead of the 2 values"),
        ("old step", WorldError, "returned 4 instead of the 5 values"),
    ],
)
def test_resets_steps_and_pictures_fail_by_one_line(fail: str, kind: type[VLMRMError], words: str) -> None:
    env = world("Clumsy-v0", fail=fail, error=KeyError)
    with pytest.raises(kind, match=words) as raised:
        drive(env)
    assert "\n" not in str(raised.value)
    twin = pickle.loads(pickle.dumps(raised.value))
    assert (type(twin), str(twin), twin.field) == (kind, str(raised.value), ("env", "id"))


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, strangers.Outcast])
@pytest.mark.parametrize("fail", ["reset", "step", "render"])
def test_an_environment_does_not_end_the_program(fail: str, error: type[BaseException]) -> None:
    with pytest.raises(VLMRMError, match=f"'strangers:Clumsy-v0' failed when it was .*: {error.__name__}: the wheel"):
        drive(world("Clumsy-v0", fail=fail, error=error))


@pytest.mark.parametrize(
    ("fail", "error"), [("reset", SystemExit), ("step", KeyboardInterrupt), ("render", strangers.Outcast)]
)
def test_nor_that_of_a_worker(fail: str, error: type[BaseException]) -> None:
    envs = make_worlds(spec("Clumsy-v0", fail=fail, error=error), 2, render_size=16, workers=2, frames=False)
    words = f"'strangers:Clumsy-v0' failed when it was .*: {error.__name__}: the wheel"

    def use() -> None:
        envs.reset(seed=0)
        envs.step(np.zeros(2, int))
        envs.call("render")

    with pytest.raises(VLMRMError, match=words) as raised:
        use()
    assert "\n" not in str(raised.value)
    envs.close()


class TimeIsUp(Exception):
    pass


def stop(*_: Any) -> None:
    raise TimeIsUp


class Stopper:
    def __call__(self, *_: Any) -> None:
        stop()

    def stop(self, *_: Any) -> None:
        stop()


@pytest.mark.parametrize("handler", [stop, Stopper(), Stopper().stop, partial(stop, 1), lambda *_: sys.exit(4)])
@pytest.mark.parametrize("place", ["init", "reset", "step", "render"])
def test_what_a_handler_of_a_signal_raises_reaches_its_owner(place: str, handler: Any) -> None:
    before = signal.signal(signal.SIGALRM, handler)
    kind = TimeIsUp if "lambda" not in getattr(handler, "__name__", "") else SystemExit
    try:
        with pytest.raises(kind):
            drive(world("Clumsy-v0", fail=place, error=strangers.Alarm))
    finally:
        signal.signal(signal.SIGALRM, before)


class Colour(enum.Enum):
    RED = 1


def test_an_environments_own_exception_is_never_taken_for_a_handlers() -> None:
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for error in (TimeIsUp, Colour):
            with pytest.raises(WorldError, match=r"failed when it was stepped: (TimeIsUp|ValueError)"):
                drive(world("Clumsy-v0", fail="step", error=error))
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_module_that_exits_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    data = {"id": "T-v0", "env": {"id": "leaving:Any-v0"}, "reward": {"goal": "a"}}
    with pytest.raises(TaskError, match=r"module 'leaving' cannot be imported .SystemExit: no licence"):
        make_world(TaskSpec.model_validate(data), render_size=16)


def test_other_methods_fail_by_one_line_too() -> None:
    assert world("Clumsy-v0").get_wrapper_attr("action_masks")().all()
    with pytest.raises(WorldError, match=r"Clumsy-v0' failed when it was asked for action_masks\(\): RuntimeError"):
        world("Clumsy-v0", fail="masks").get_wrapper_attr("action_masks")()
    with pytest.raises(AttributeError):
        world("Clumsy-v0").get_wrapper_attr("nothing")


def test_a_failing_close_is_a_warning() -> None:
    env = world("Clumsy-v0", fail="close")
    with pytest.warns(UserWarning, match="failed when it was closed: RuntimeError"):
        env.close()


def test_ctrl_c_our_own_errors_and_gymnasiums_signals_pass_through() -> None:
    for error in (KeyboardInterrupt, TaskError):
        env = world("Clumsy-v0", fail="step", error=error)
        env.reset()
        with pytest.raises(error, match="the wheel"):
            env.step(0)
    with pytest.raises(gym.error.ResetNeeded, match="'strangers:Fine-v0' failed when it was stepped: ResetNeeded"):
        world("Fine-v0").step(0)
    env = world("Clumsy-v0", fail="step", error=gym.error.InvalidAction)
    env.reset()
    with pytest.raises(gym.error.InvalidAction) as raised:
        env.step(0)
    assert isinstance(raised.value, VLMRMError)
    assert type(pickle.loads(pickle.dumps(raised.value))) is type(raised.value)


def test_a_worker_process_sends_the_line() -> None:
    envs = make_worlds(spec("Clumsy-v0", fail="step"), 2, render_size=16, workers=2)
    try:
        envs.reset(seed=0)
        with pytest.raises(WorldError, match=r"Clumsy-v0' failed when it was stepped: RuntimeError: the wheel"):
            envs.step(np.zeros(2, int))
    finally:
        envs.close()


def write(path: Path, env: str, more: str = "") -> Path:
    recipe = "{algorithm: PPO, steps: 8, num_envs: 1, hyperparameters: {n_steps: 8, batch_size: 8}}"
    text = (
        f"id: Test/S-v0\nreward: {{goal: a, model: brightness}}\nenv:\n  {env}\n{more}training:\n  default: {recipe}\n"
    )
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ("id: strangers:BareAssert-v0", "AssertionError without a word"),
        ("id: strangers:WrongVersion-v0", "mujoco 2.1.0 is needed"),
        ("{id: strangers:Clumsy-v0, kwargs: {fail: init}}", "the wheel came off"),
        ("{id: strangers:Clumsy-v0, kwargs: {fail: reset}}", "failed when it was reset"),
        ("{id: strangers:Clumsy-v0, kwargs: {fail: render}}", "failed when it was drawn"),
    ],
)
def test_commands_say_it_in_one_line(env: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gym_vlmrm.worlds.pools.pool.usable_cores", lambda: 1)
    path = write(tmp_path / "mine.yaml", env)
    for command in (["check"], ["train", "--output", str(tmp_path / "run"), "--quiet"]):
        result = vlmrm(command[0], path, *command[1:])
        assert result.exit_code == 1, result.output
        assert words in result.stderr
        assert result.stderr.count("\n") == 1
    assert "mine.yaml:4: environment" in vlmrm("check", path).stderr
    task = gym_vlmrm.load_task(path)
    gym_vlmrm.register_task(task)
    try:
        with pytest.raises(VLMRMError, match=words):
            drive(gym.make(task.id))
    finally:
        del gym.registry[task.id]


@pytest.mark.parametrize(
    ("env", "more", "place"),
    [
        (
            "{id: strangers:Fine-v0}",
            "success:\n  all:\n    - obs[0] > 1\n    - obs[7] > 1\n",
            "mine.yaml:8: .*'obs.7.'",
        ),
        ("{id: CartPole-v1,\n    kwargs: {terminate: true,\n      gravity: 2}}", "", "mine.yaml:6: .*gravity"),
        (
            "{id: Ant-v5}",
            "scene:\n  quality: draft\n  camera:\n    name: trak\n",
            "yaml:8: .*did you mean 'track'",
        ),
        ("{id: Pendulum-v1}", "scene:\n  camera: {}\n", "mine.yaml:6: scene.camera"),
        ("{id: Pendulum-v1,\n    kwargs:\n      {g: 1,\n       mass: 2}}", "", "mine.yaml:7: .*'mass'"),
    ],
)
def test_check_points_at_the_line(env: str, more: str, place: str, tmp_path: Path) -> None:
    result = vlmrm("check", write(tmp_path / "mine.yaml", env, more))
    assert result.exit_code == 1
    assert re.search(place, result.stderr), result.stderr


@pytest.mark.parametrize(
    ("reward", "number"),
    [
        (np.array([0.25]), 0.25),
        ([[0.25]], 0.25),
        (np.float32(0.25), 0.25),
        (np.array(2), 2.0),
        (True, 1.0),
        (-np.inf, -np.inf),
        (np.nan, np.nan),
        (None, np.nan),
        ([np.inf], np.inf),
    ],
)
@pytest.mark.parametrize("judged", [False, True])
def test_odd_rewards_become_a_number(reward: Any, number: float, judged: bool) -> None:
    env = world("Fine-v0", reward=reward)
    if judged:
        env = VLMReward(env, gym_vlmrm.load_reward_model(spec("Fine-v0")))
    env.reset(seed=0)
    _, given, _, _, info = env.step(0)
    np.testing.assert_equal(info["task_reward"], number)
    assert type(info["task_reward"]) is np.float64
    if not judged:
        np.testing.assert_equal(float(given), number)


@pytest.mark.parametrize("reward", [[1.0, 2.0], [], "much", {"a": 1}, [None], [[1], [2, 3]], 1j])
def test_what_is_no_number_is_refused_by_one_line(reward: Any) -> None:
    env = world("Fine-v0", reward=reward)
    env.reset(seed=0)
    with pytest.raises(WorldError, match=r"'strangers:Fine-v0' rewards a step by .*not one number"):
        env.step(0)


def test_an_environments_own_success_is_passed_on_and_never_judged() -> None:
    for own in ("no", True, np.array([1.0])):
        env = world("Fine-v0", info={"success": own})
        env.reset(seed=0)
        assert env.step(0)[4]["success"] is own
    env = world("Fine-v0", "info.success > 0.5", info={"success": np.array([1.0])})
    env.reset(seed=0)
    assert env.step(0)[4]["success"] is np.True_
    env = world("Fine-v0", "info.success > 0.5", info={"success": "no"})
    env.reset(seed=0)
    with pytest.raises(TaskError, match="not one number"):
        env.step(0)


@pytest.mark.parametrize(("picture", "words"), [("empty", "renders 0 x 24 pixels"), ("strip", "renders 1 x 50000")])
def test_pictures_without_pixels_or_with_far_too_many_are_refused(picture: str, words: str) -> None:
    env = world("Fine-v0", picture=picture)
    env.reset(seed=0)
    with pytest.raises(RenderingError, match=words):
        env.render()


class Goals(strangers.Fine):
    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> float:
        return 0.318


def test_hindsight_is_refused_where_pictures_reward() -> None:
    gym.register("Goals-v0", Goals)
    try:
        data = {"id": "T-v0", "env": {"id": "Goals-v0"}, "reward": {"goal": "a", "model": "brightness"}}
        task = TaskSpec.model_validate(data)
        plain = make_world(task, render_size=16)
        assert plain.get_wrapper_attr("compute_reward")(0, 0, {}) == 0.318
        env = VLMReward(plain, gym_vlmrm.load_reward_model(task))
        for outer in (env, gym.wrappers.TimeLimit(env, 9)):
            with pytest.raises(TrainingError, match="hindsight needs frames"):
                outer.get_wrapper_attr("compute_reward")(0, 0, {})
        envs = make_worlds(task, 2, render_size=16, workers=1)
        with pytest.raises(TrainingError, match="hindsight needs frames"):
            envs.call("compute_reward", 0, 0, {})
        assert not hasattr(VLMReward(world("Fine-v0"), env.reward_model), "compute_reward")
    finally:
        del gym.registry["Goals-v0"]
