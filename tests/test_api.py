"""The Python face: what the command line does, as functions of the package itself."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import gym_vlmrm
from gym_vlmrm.errors import RunError, TaskError, TrainingError, UnknownTaskError

SMALL: dict[str, Any] = {"model": "brightness", "render_size": 32, "workers": 1}
OLD = Path(__file__).parent / "data" / "run-0.1.0"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("api") / "run"
    return gym_vlmrm.train(
        "cartpole", algorithm="A2C", steps=64, num_envs=2, seed=1, output=folder, max_episode_steps=20, **SMALL
    )


def test_a_task_by_name_becomes_a_run(result: Any) -> None:
    assert result.step >= 64
    assert result.run.task.reward.model == "brightness"
    assert result.run.task.env.max_episode_steps == 20
    assert result.run.record.recipe.algorithm == "A2C"


def test_a_run_goes_on_and_is_evaluated(result: Any) -> None:
    more = gym_vlmrm.resume(result.run.path, steps=result.step + 64, workers=1)
    assert more.step >= result.step + 64
    found = gym_vlmrm.evaluate(result.run.path, episodes=2, workers=1, video=False)
    assert found.policy.episodes == found.random.episodes == 2


def test_a_policy_acts_on_observations_as_the_environment_gives_them(result: Any) -> None:
    policy = gym_vlmrm.load_policy(result.run.path)
    env = gym.make("VLMRM/CartPole-Balance-v0", model="brightness", render_size=32)
    observation, _ = env.reset(seed=0)
    action, state = policy.predict(observation)
    assert state is None
    assert env.action_space.contains(action)
    assert policy.action_space == env.action_space
    env.step(action)
    env.close()
    batch = np.stack([observation, observation])
    actions, _ = policy.predict(batch)
    assert actions.tolist() == [action, action]
    drawn = {int(policy.predict(observation, deterministic=False)[0]) for _ in range(200)}
    assert drawn == {0, 1}
    with pytest.raises(TrainingError, match="no observation"):
        policy.predict(np.zeros(3))
    with pytest.raises(TrainingError, match="finite"):
        policy.predict(np.full(4, np.nan, np.float32))


@pytest.mark.parametrize("wrong", [None, "hello", ["a", "b", "c", "d"], [[1], [1, 2]], np.zeros((2, 2, 4))])
def test_what_is_no_observation_is_one_line(result: Any, wrong: Any) -> None:
    with pytest.raises(TrainingError, match="is no observation of Box") as raised:
        gym_vlmrm.load_policy(result.run.path).predict(wrong)
    assert "\n" not in str(raised.value)


def test_errors_of_a_policy_name_its_environment(result: Any) -> None:
    with pytest.raises(TrainingError, match="'CartPole-v1' gives nan"):
        gym_vlmrm.load_policy(result.run.path).predict(np.full(4, np.nan))


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    n = np.int64
    run = gym_vlmrm.train(
        "cartpole", algorithm="A2C", steps=n(64), num_envs=n(2), seed=n(3), model="brightness", render_size=n(32),
        max_episode_steps=n(20), alpha=np.float32(0), goal=("a pole", "a cart"), output=tmp_path / "run", workers=n(1),
    ).run  # fmt: skip
    assert run.record.seed == 3
    assert run.task.reward.goal == ["a pole", "a cart"]
    assert gym_vlmrm.resume(run.path, steps=n(96), workers=n(1)).step >= 96
    found = gym_vlmrm.evaluate(run.path, episodes=n(2), seed=n(1), workers=n(1), video=False)
    assert found.policy.episodes == 2
    report = gym_vlmrm.audit("mountain-car", model="brightness", evaluations=n(0), seed=n(1), workers=n(1)).report
    assert report.seed == 1


def test_equal_checkpoints_act_alike(result: Any) -> None:
    first, second = (gym_vlmrm.load_policy(result.run.path, "last") for _ in range(2))
    observations = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    assert (first.predict(observations)[0] == second.predict(observations)[0]).all()


def test_an_old_run_has_a_policy(tmp_path: Path) -> None:
    policy = gym_vlmrm.load_policy(OLD / "ppo", 256)
    assert policy.step == 256
    assert policy.predict(np.zeros(4, np.float32))[0] in (0, 1)
    with pytest.raises(RunError, match="no checkpoint of step 7"):
        gym_vlmrm.load_policy(OLD / "ppo", 7)


def test_an_audit_by_name(tmp_path: Path) -> None:
    found = gym_vlmrm.audit(
        "mountain-car", model="brightness", alpha=0.0, evaluations=0, workers=1, output=tmp_path / "audit"
    )
    assert [model.model for model in found.report.models] == ["brightness"]
    assert (tmp_path / "audit" / "report.html").is_file()


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    for wrong, error in (
        (lambda: gym_vlmrm.train("cart-pole"), UnknownTaskError),
        (lambda: gym_vlmrm.train("cartpole", algorithm="PPPO"), TrainingError),
        (lambda: gym_vlmrm.train("cartpole", alpha=7), TaskError),
        (lambda: gym_vlmrm.train("cartpole", stepz=3), TypeError),
        (lambda: gym_vlmrm.train("cartpole", steps=1.5), TrainingError),
        (lambda: gym_vlmrm.train("cartpole", seed=-1), TrainingError),
        (lambda: gym_vlmrm.train("cartpole", workers=0), TrainingError),
        (lambda: gym_vlmrm.audit("cartpole", seed=-1), TaskError),
        (lambda: gym_vlmrm.evaluate(OLD / "ppo", seed=-30_000), RunError),
        (lambda: gym_vlmrm.evaluate(OLD / "ppo", workers=0), RunError),
        (lambda: gym_vlmrm.resume(OLD / "ppo", steps="many"), TrainingError),
        (lambda: gym_vlmrm.audit("splitz"), UnknownTaskError),
        (lambda: gym_vlmrm.resume(tmp_path), RunError),
        (lambda: gym_vlmrm.evaluate(tmp_path), RunError),
        (lambda: gym_vlmrm.load_policy(tmp_path), RunError),
    ):
        with pytest.raises(error) as raised:
            wrong()
        assert "\n" not in str(raised.value)
