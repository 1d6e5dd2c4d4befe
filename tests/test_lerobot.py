"""Environments as LeRobot knows them: IDs, observations, success, attributes, and what is refused."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import gym_vlmrm  # noqa: F401
from gym_vlmrm.errors import TaskError

FAST = {"model": "brightness", "render_size": 32}


def make(name: str = "Humanoid-Kneeling-v0", **kwargs: object) -> gym.Env:
    return gym.make(f"gym_vlmrm/{name}", disable_env_checker=True, **{**FAST, **kwargs})


def test_every_built_in_task_has_an_id_for_lerobot() -> None:
    ours = [name.rpartition("/")[2] for name in gym.registry if name.startswith("VLMRM/")]
    assert {f"gym_vlmrm/{name}" for name in ours} < set(gym.registry)


def test_observations_are_the_frame_that_was_scored_and_the_state() -> None:
    env = make()
    plain = gym.make("VLMRM/Humanoid-Kneeling-v0", **FAST)
    observation, _ = env.reset(seed=3)
    state, _ = plain.reset(seed=3)
    for _ in range(2):
        assert env.observation_space.contains(observation)
        np.testing.assert_array_equal(observation["agent_pos"], np.float32(state))
        np.testing.assert_array_equal(observation["pixels"], plain.render())
        action = np.full(env.action_space.shape, 0.1, np.float32)
        observation, reward, *_ = env.step(action)
        state, expected, *_ = plain.step(action)
        assert reward == expected
    env.close()
    plain.close()


def test_the_outermost_wrapper_has_what_lerobot_reads() -> None:
    env = make(episode_length=2, goal="a robot on its knees")
    assert vars(env)["task_description"] == "a robot on its knees"
    assert vars(env)["task"] == "VLMRM/Humanoid-Kneeling-v0"
    assert env._max_episode_steps == 2
    env.close()


def test_success_is_there_at_every_end_of_a_vector_environment() -> None:
    envs = SyncVectorEnv([lambda: make(episode_length=2)] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    assert envs.call("_max_episode_steps") == (2, 2)
    envs.reset(seed=[0, 1])
    for step in range(4):
        *_, info = envs.step(envs.action_space.sample())
        assert ("final_info" in info) == (step % 2 == 1)
        if step % 2:
            assert info["final_info"]["is_success"].tolist() == [False, False]
    envs.close()


def test_success_is_the_tasks_rule() -> None:
    env = make("MountainCar-Summit-v0", episode_length=300)
    env.reset(seed=0)
    seen = set()
    for _ in range(300):
        velocity = env.unwrapped.state[1]
        *_, info = env.step(np.array([1.0 if velocity >= 0 else -1.0], np.float32))
        assert info["is_success"] == info["success"]
        assert isinstance(info["is_success"], np.bool_)
        seen.add(bool(info["is_success"]))
    assert seen == {False, True}
    env.close()


@pytest.mark.parametrize("kind", ["state", "pixels", "pixels_agent_pos"])
def test_kinds_of_observations(kind: str) -> None:
    env = make("MountainCar-Summit-v0", obs_type=kind)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert ("pixels" in observation, "agent_pos" in observation) == (kind != "state", kind != "pixels")
    env.close()


def test_any_task_by_its_name_id_or_path(tmp_path) -> None:
    path = tmp_path / "hill.yaml"
    path.write_text("id: Mine/Hill-v0\nenv: {id: MountainCarContinuous-v0}\nreward: {goal: a car}\n")
    for task, limit in (("mountain-car", 200), ("VLMRM/MountainCar-Summit-v0", 200), (str(path), 999)):
        env = make("Task-v0", task=task)
        assert env._max_episode_steps == limit
        env.close()


def test_a_task_without_a_rule_says_so(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "hill.yaml"
    path.write_text("id: Mine/Hill-v0\nenv: {id: MountainCarContinuous-v0}\nreward: {goal: a car}\n")
    make("Task-v0", task=str(path)).close()
    assert "no rule of success" in caplog.text


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("CartPole-Balance-v0", {}, r"actions Discrete\(2\); LeRobot's policies give vectors of numbers"),
        ("Humanoid-Kneeling-v0", {"obs_type": "picture"}, "obs_type must be one of state, pixels, pixels_agent_pos"),
        ("Humanoid-Kneeling-v0", {"obs_type": ["pixels"]}, "obs_type must be one of"),
        ("Humanoid-Kneeling-v0", {"episode_length": 0}, "episode_length must be at least 1"),
        ("Humanoid-Kneeling-v0", {"episode_length": 2.5}, "episode_length must be a whole number"),
        ("Humanoid-Kneeling-v0", {"gaol": "x"}, "no argument of a task's environment"),
        ("Task-v0", {}, "which task"),
        ("Task-v0", {"task": "kneelin"}, "kneeling"),
    ],
)
def test_what_is_refused_in_one_line(name: str, kwargs: dict, message: str) -> None:
    with pytest.raises((TaskError, TypeError), match=message):
        make(name, **kwargs)
