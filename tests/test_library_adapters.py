"""`gym_vlmrm.sb3.make_vec_env` and `gym_vlmrm.tianshou.make_vec_env`: many environments, one model, in their words."""

import csv
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecMonitor, VecNormalize, VecVideoRecorder

import gym_vlmrm
import gym_vlmrm.sb3
import gym_vlmrm.tianshou
from gym_vlmrm.entry_points import build_vec_env, make_env
from gym_vlmrm.errors import TaskError, TrainingError, VLMRMError
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.wrappers.separate import SeparateEnvs

CARTPOLE = {"model": "brightness", "max_episode_steps": 5, "render_size": 32}
ACTIONS = np.array([0, 1, 0])
PARTS = """
include: cartpole.yaml
id: Tests/Parts-v0
reward:
  model: embedded
  parts:
    - {name: upright, goal: pole vertically upright on top of the cart}
    - {name: settled, goal: pole vertically upright on top of the cart, window: {frames: 2, stride: 1}}
  combine: sum
  success_seen: {above: 0.5, hold: 2}
"""


class Masked(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that says which actions are allowed, and has something to set."""

    level = 1

    def action_masks(self) -> list[bool]:
        return [True, self.level == 1]


class Doubled(gym.RewardWrapper[Any, Any]):
    def reward(self, reward: Any) -> Any:
        return 2 * reward


def single_rewards(seed: int, actions: list[int], **kwargs: Any) -> list[float]:
    env = gym.make("VLMRM/CartPole-Balance-v0", **kwargs)
    env.reset(seed=seed)
    rewards = [float(env.step(action)[1]) for action in actions]
    env.close()
    return rewards


@pytest.fixture(scope="module", params=[1, 2])
def sb3_env(request: pytest.FixtureRequest) -> Iterator[VecEnv]:
    env = gym_vlmrm.sb3.make_vec_env(
        "cartpole", 3, vec_env_kwargs={"workers": request.param}, wrapper_class=Masked, env_kwargs=CARTPOLE
    )
    yield env
    env.close()


def test_sb3_sees_the_models_rewards_and_whole_episodes(sb3_env: VecEnv) -> None:
    sb3_env.seed(3)
    first = sb3_env.reset()
    assert first.shape == (3, 4)
    rewards, last = [], {}
    for _ in range(5):
        observations, reward, dones, infos = sb3_env.step(ACTIONS)
        rewards.append(reward)
        assert all(info["task_reward"] == 1.0 and isinstance(bool(info["success"]), bool) for info in infos)
    assert dones.all()
    for row, action in enumerate(ACTIONS):
        assert single_rewards(3 + row, [int(action)] * 5, **CARTPOLE) == [step[row] for step in rewards]
        assert infos[row]["TimeLimit.truncated"] is True
        assert infos[row]["terminal_observation"].shape == (4,)
        assert not np.array_equal(infos[row]["terminal_observation"], observations[row])
        last = infos[row]["episode"]
        assert last["l"] == 5
        assert last["r"] == pytest.approx(sum(step[row] for step in rewards), abs=1e-5)
    infos = sb3_env.step(ACTIONS)[3]
    assert not any("terminal_observation" in info or info["TimeLimit.truncated"] for info in infos)


def test_sb3_reaches_single_environments(sb3_env: VecEnv) -> None:
    sb3_env.reset()
    assert sb3_env.env_is_wrapped(gym.wrappers.TimeLimit) == [True] * 3
    assert sb3_env.env_is_wrapped(gym.wrappers.RecordVideo, [0]) == [False]
    assert sb3_env.has_attr("action_masks")
    assert not sb3_env.has_attr("nothing")
    sb3_env.set_attr("level", 2, [1])
    assert sb3_env.get_attr("level") == [1, 2, 1]
    assert sb3_env.env_method("action_masks", indices=[2, 1]) == [[True, True], [True, False]]
    sb3_env.set_attr("level", 1)
    assert sb3_env.env_method("action_masks", indices=-1) == [[True, True]]
    with pytest.raises(AttributeError, match="nothing"):
        sb3_env.get_attr("nothing")
    with pytest.raises(IndexError, match="no environment 3"):
        sb3_env.get_attr("level", 3)
    images = sb3_env.get_images()
    assert [image.shape for image in images] == [(32, 32, 3)] * 3
    assert sb3_env.render().shape == (64, 64, 3)
    assert sb3_env.get_attr("spec")[0].id == "VLMRM/CartPole-Balance-v0"
    sb3_env.set_options([{}, {"low": -0.01, "high": 0.01}, {}])
    with pytest.raises(TrainingError, match="equal options"):
        sb3_env.reset()
    sb3_env.set_options({"low": -0.01, "high": 0.01})
    assert np.abs(sb3_env.reset()).max() <= 0.01


def test_masked_actions_are_never_taken(sb3_env: VecEnv) -> None:
    from sb3_contrib import MaskablePPO

    taken = []
    sb3_env.set_attr("level", 2)
    model = MaskablePPO("MlpPolicy", sb3_env, n_steps=6, batch_size=6, n_epochs=1, device="cpu")
    model.learn(18, callback=lambda variables, _: taken.extend(variables["actions"]) or True)
    sb3_env.set_attr("level", 1)
    assert len(taken) == 18
    assert not any(taken)


def test_wrappers_of_sb3_stand_on_top(tmp_path: Path) -> None:
    from stable_baselines3 import PPO

    env = gym_vlmrm.sb3.make_vec_env("cartpole", 2, 7, monitor_dir=tmp_path / "monitor", workers=1, **CARTPOLE)
    assert isinstance(env, VecMonitor)
    filmed: VecEnv = VecFrameStack(VecNormalize(env), 2)
    if importlib.util.find_spec("moviepy") is not None:  # without it, this recorder of SB3's refuses
        filmed = VecVideoRecorder(filmed, str(tmp_path), record_video_trigger=lambda step: step == 0, video_length=3)
    model = PPO("MlpPolicy", filmed, n_steps=8, batch_size=8, n_epochs=1, device="cpu").learn(32)
    assert model.ep_info_buffer is not None
    assert {episode["l"] for episode in model.ep_info_buffer} == {5}
    filmed.close()
    assert len(list(tmp_path.glob("*.mp4"))) == isinstance(filmed, VecVideoRecorder)
    with (tmp_path / "monitor/monitor.csv").open() as file:
        assert json.loads(file.readline()[1:])["env_id"] == "VLMRM/CartPole-Balance-v0"
        table = list(csv.DictReader(file))
    assert [row["l"] for row in table] == ["5"] * 6
    assert all(0 < float(row["r"]) < 5 for row in table)


def test_a_model_of_sb3_goes_on_in_a_single_environment(tmp_path: Path) -> None:
    env = gym_vlmrm.sb3.make_vec_env("kneeling", 2, workers=1, reward="task", render_size=32)
    SAC("MlpPolicy", env, buffer_size=10, policy_kwargs={"net_arch": [4]}).save(tmp_path / "model.zip")
    assert env.reset().dtype == env.observation_space.dtype == np.float64
    env.close()
    single = gym.make("VLMRM/Humanoid-Kneeling-v0", reward="task", render_size=32)
    SAC.load(tmp_path / "model.zip", env=single).predict(single.reset(seed=0)[0])
    single.close()


def test_what_sb3_users_get_wrong_is_one_line() -> None:
    make = gym_vlmrm.sb3.make_vec_env
    cases: list[tuple[dict[str, Any], str]] = [
        ({"n_envs": 0}, "n_envs must be at least 1, got 0"),
        ({"vec_env_cls": VecMonitor}, "has workers of its own"),
        ({"env_kwargs": {"gaol": "a pole"}}, "did you mean 'goal'"),
        ({"wrapper_class": Doubled}, "Doubled, which changes the environment's own reward"),
        ({"monitor_kwargs": {"info_keyword": ()}}, "did you mean 'info_keywords'"),
        ({"reward": "clip"}, "reward must be 'vlm' or 'task'"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"timeout": -1, "workers": 2}, "timeout is -1"),
        (
            {"vec_env_kwargs": {"start_method": "fork"}},
            "has 'start_method'; this VecEnv takes workers, timeout",
        ),
        ({"workers": "two"}, "workers must be a whole number, got 'two'"),
        ({"start_index": "a"}, "start_index must be a whole number"),
        ({"env_kwargs": ["goal"]}, "env_kwargs must be a dict of arguments"),
        ({"env_kwargs": {"alpha": 0.1}, "alpha": 0.2}, "'alpha' is given twice, as 0.1 and as 0.2"),
        ({"wrapper_class": 3}, "wrapper_class must be a class or function"),
        ({"wrapper_kwargs": {"skip": 2}}, "no wrapper_class to take it"),
        ({"monitor_dir": "/dev/null/monitors"}, "monitor_dir '/dev/null/monitors' cannot be made"),
    ]
    for wrong, words in cases:
        with pytest.raises(VLMRMError, match=words) as caught:
            make("cartpole", **{**CARTPOLE, **wrong})
        assert "\n" not in str(caught.value)
    with pytest.raises(TaskError, match=r"a task is a name, .* got function"):
        make(lambda: None)  # type: ignore[arg-type]


def test_a_task_is_a_name_a_path_or_a_specification(tmp_path: Path) -> None:
    spec = gym_vlmrm.load_task("cartpole")
    assert isinstance(spec, TaskSpec)
    for task in (spec, "gym_vlmrm:VLMRM/CartPole-Balance-v0", Path("tasks/cartpole.yaml")):
        env = gym_vlmrm.sb3.make_vec_env(task, workers=1, reward="task", render_size=32)
        env.reset()
        assert env.step(np.array([0]))[1].tolist() == [1.0]
        env.close()


@pytest.mark.skipif(importlib.util.find_spec("tianshou") is not None, reason="Tianshou is installed")
def test_without_tianshou_one_line_says_so() -> None:
    with pytest.raises(ImportError, match="pip install tianshou"):
        gym_vlmrm.tianshou.make_vec_env("cartpole", **CARTPOLE)


@pytest.fixture(scope="module", params=[1, 2])
def venv(request: pytest.FixtureRequest) -> Iterator[Any]:
    pytest.importorskip("tianshou", reason="Tianshou is not installed")
    envs = gym_vlmrm.tianshou.make_vec_env("cartpole", 3, 3, workers=request.param, wrapper_class=Masked, **CARTPOLE)
    yield envs
    envs.close()


def test_tianshou_steps_and_resets_any_of_them(venv: Any) -> None:
    assert len(venv) == 3
    venv.seed(3)
    observations, infos = venv.reset()
    assert observations.shape == (3, 4)
    rewards = []
    for _ in range(2):
        rewards.append(venv.step(ACTIONS)[1])
    for _ in range(3):
        observations, reward, terminated, truncated, infos = venv.step(ACTIONS[1:], [1, 2])
        rewards.append(reward)
        assert [info["env_id"] for info in infos] == [1, 2]
    assert not terminated.any()
    assert truncated.all()
    expected = single_rewards(4, [1] * 5, **CARTPOLE)
    assert [rewards[0][1], rewards[1][1], *(reward[0] for reward in rewards[2:])] == expected
    again = venv.reset([1], seed=4)[0]
    assert again.shape == (1, 4)
    assert venv.step(ACTIONS[1:2], [1])[1][0] == expected[0]
    assert venv.step(ACTIONS[:1], [0])[1][0] == single_rewards(3, [0] * 3, **CARTPOLE)[-1]


def test_tianshou_reaches_single_environments(venv: Any) -> None:
    venv.set_env_attr("level", 2, [1])
    assert venv.get_env_attr("level") == [1, 2, 1]
    assert [space.n for space in venv.action_space] == [2, 2, 2]
    assert [picture.shape for picture in venv.render()] == [(32, 32, 3)] * 3


def test_tianshou_collects(venv: Any) -> None:
    from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import VectorEnvNormObs
    from tianshou.utils.net.common import Net

    policy = DiscreteQLearningPolicy(model=Net(state_shape=(4,), action_shape=2), action_space=venv.action_space[0])
    collector = Collector(policy, VectorEnvNormObs(venv), VectorReplayBuffer(100, 3))
    collector.reset()
    assert collector.collect(n_episode=4).lens.tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("workers", [1, 2])
def test_environments_stepped_apart_pay_a_reward_of_parts_as_one_alone(tmp_path: Path, workers: int) -> None:
    file = tmp_path / "parts.yaml"
    file.write_text(PARTS)
    spec = gym_vlmrm.load_task(file)
    alone = make_env(spec)
    apart = SeparateEnvs(build_vec_env(spec, 3, "vlm", autoreset_mode="Disabled", workers=workers))
    _, info = alone.reset(seed=4)
    answers = apart.reset([0, 2], [{"seed": 1}, {"seed": 4}])
    assert answers[1][1] == info
    assert {"reward_parts", "success_seen"} <= info.keys()
    apart.step([0], [1])
    for action in (0, 1, 1):
        _, reward, *_, info = alone.step(action)
        ((_, paid, *_, told),) = apart.step([2], [action])
        assert paid == pytest.approx(reward, abs=1e-6)
        assert told.keys() == info.keys()
        assert told["reward_parts"] == pytest.approx(info["reward_parts"], abs=1e-6)
    alone.close()
    apart.close()
