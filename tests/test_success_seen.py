"""Episodes that the judge's verdict ends: the same in one environment, in a vector of them, and in training."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from trainings import DQN, PPO, cartpole_that_ends, load_changed, rows

from gym_vlmrm.entry_points import make_env, make_vec_env
from gym_vlmrm.errors import TaskError, WorkerError
from gym_vlmrm.learning import evaluate, train
from gym_vlmrm.learning.late_rewards import LateRewards
from gym_vlmrm.learning.records import RunRecord
from gym_vlmrm.learning.restarts import Restarts
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.setup import Notices, Setup
from gym_vlmrm.learning.vec_env import PoolSteps
from gym_vlmrm.reports.run_page import report_run
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.task.catalog import task_from_dict
from gym_vlmrm.task.spec import Recipe, TaskSpec
from gym_vlmrm.worlds.world import make_worlds

LIMIT, HOLD = 20, 3


def ending(above: float = -9.0, **reward: Any) -> TaskSpec:
    seen = {"above": above, "hold": HOLD, "ends": True}
    return load_changed({"goal": "light", "model": "brightness", "success_seen": seen, **reward})


@pytest.mark.parametrize(
    ("mode", "workers"), [("SAME_STEP", 1), ("SAME_STEP", 2), ("NEXT_STEP", 1), ("NEXT_STEP", 2), ("DISABLED", 1)]
)
def test_a_vector_ends_episodes_as_single_environments_do(mode: str, workers: int) -> None:
    task, num_envs = cartpole_that_ends(), 3
    envs = make_vec_env(task, num_envs=num_envs, autoreset_mode=mode, workers=workers)
    singles = [gym.wrappers.TimeLimit(make_env(task), LIMIT) for _ in range(num_envs)]
    observations, _ = envs.reset(seed=3)
    np.testing.assert_array_equal(observations, [env.reset(seed=3 + i)[0] for i, env in enumerate(singles)])
    over, ended = np.zeros(num_envs, np.bool_), 0
    for actions in np.random.default_rng(0).integers(0, 2, (50, num_envs)):
        observations, rewards, terminations, truncations, infos = envs.step(actions)
        for i, env in enumerate(singles):
            if mode == "NEXT_STEP" and over[i]:
                last, told = env.reset()
                over[i] = False
                assert (rewards[i], terminations[i], truncations[i]) == (0, False, False)
            else:
                last, reward, terminated, truncated, told = env.step(int(actions[i]))
                assert (rewards[i], terminations[i], truncations[i]) == (reward, terminated, truncated)
                over[i] = terminated or truncated
                ended += terminated
                assert terminated == told["success_seen"]
                if mode == "SAME_STEP" and over[i]:
                    np.testing.assert_array_equal(infos["final_obs"][i], last)
                    same(infos["final_info"], told, i)
                    last, told = env.reset()
            np.testing.assert_array_equal(observations[i], last)
            same(infos, told, i)
        if mode == "DISABLED" and over.any():
            observations, infos = envs.reset(options={"reset_mask": over})
            for i in np.flatnonzero(over):
                last, told = singles[i].reset()
                np.testing.assert_array_equal(observations[i], last)
                same(infos, told, i)
    assert ended > 3
    envs.close()


def same(infos: dict[str, Any], told: dict[str, Any], row: int) -> None:
    for key in ("success", "success_seen", "task_reward"):
        assert infos[key][row] == told[key]
        assert infos[key].dtype == np.asarray(told[key]).dtype
        assert infos[f"_{key}"][row]
    assert infos["reward_parts"]["part1"][row] == told["reward_parts"]["part1"]


@pytest.mark.parametrize("recipe", [PPO, DQN], ids=["PPO", "DQN"])
def test_a_training_ends_them_too(tmp_path: Path, recipe: Recipe) -> None:
    train(ending(), recipe, seed=1, output=tmp_path / "run", workers=1)
    run = RunFolder.open(tmp_path / "run")
    assert float(rows(run)[-1]["rollout/episode_length"]) == HOLD
    assert float(rows(run)[-1]["rollout/success_seen"]) > 0
    scores = evaluate(run, episodes=3, workers=1)
    assert scores.policy.episode_length == HOLD
    assert scores.policy.seen is not None
    assert scores.policy.seen.success_share == pytest.approx(1 / HOLD)
    assert scores.policy.seen.ended == 1.0
    assert scores.policy.seen.ended_in_success is not None
    assert scores.film is not None
    assert len(scores.film.trained.vlm_rewards) == HOLD
    page = report_run(run).read_text(encoding="utf-8")
    assert "episodes that it ended" in page


def test_what_it_ends_is_terminal_to_the_algorithm(tmp_path: Path) -> None:
    record = RunRecord(task="x", recipe_name="default", recipe=DQN, seed=0, versions={})
    with Setup(ending(), record, 1, Notices(lambda _: None)) as setup:
        env = setup.model.get_env()
        assert env is not None
        env.reset()
        for step in range(1, 2 * HOLD + 1):
            states, _, dones, infos = env.step(np.zeros(2, np.int64))
            assert dones.tolist() == [step % HOLD == 0] * 2
            for row in np.flatnonzero(dones):
                assert not infos[row]["TimeLimit.truncated"]
                assert (infos[row]["terminal_observation"] != states[row]).any()
        assert setup.late.collect().dones[:, 0].tolist() == [False, False, True] * 2


@pytest.mark.parametrize("above", [-9.0, 9.0])
def test_an_end_by_time_and_by_the_judge_at_once_is_terminal(above: float) -> None:
    task = ending(above)
    task = task.model_copy(update={"env": task.env.model_copy(update={"max_episode_steps": HOLD})})
    pool = make_worlds(task, 2, render_size=16, verdicts=True, workers=1, autoreset_mode="SAME_STEP")
    steps = PoolSteps(pool)
    with LateRewards(load_reward_model(task), 2) as late:
        steps.reset(0)
        for _ in range(HOLD):
            steps.step(np.zeros(2, np.int64))
            steps.hand_over(late)
    assert steps.dones.all()
    assert steps.terminated.tolist() == [above < 0] * 2
    assert steps.out_of_time.tolist() == [above > 0] * 2
    pool.close()


def test_a_worker_that_dies_while_the_judge_ends_an_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    """One episode is ended, the others are cut off, and all begin anew."""
    task, notices = cartpole_that_ends(), list[str]()
    pool: Any = make_worlds(task, 4, render_size=32, verdicts=True, workers=2, autoreset_mode="SAME_STEP")
    steps = PoolSteps(pool, Restarts(notices.append))
    with LateRewards(load_reward_model(task), 4) as late:
        steps.reset(3)
        late.begin(steps.frames)
        kill = pool.reset

        def reset(**arguments: Any) -> Any:
            if "options" in arguments:
                pool._processes[0].kill()
                pool._processes[0].join()
            return kill(**arguments)

        monkeypatch.setattr(pool, "reset", reset)
        while not notices:
            states = steps.step(np.zeros(4, np.int64))
            before = states.copy()
            states = steps.hand_over(late)
            steps.begin(late)
        seen = late.collect().seen
        assert seen is not None
        assert 0 < seen[-1].sum() < 4
        assert steps.terminated.tolist() == seen[-1].tolist()
        assert steps.dones.all()
        assert not steps.out_of_time.any()
        assert (before != states).any(axis=1).all()
        np.testing.assert_array_equal([steps.terminal_observations[row] for row in range(4)], before)
    pool.close()
    with pytest.raises(WorkerError):
        Restarts(notices.append, allowed=0).make_good(None, WorkerError("x"))


def test_after_an_end_the_masks_are_those_of_the_new_episode() -> None:
    """MaskedToy-v0 allows one action, the number of steps so far, and refuses any other."""
    seen = {"above": -9.0, "hold": HOLD, "ends": True}
    reward = {"goal": "x", "model": "brightness", "success_seen": seen}
    task = task_from_dict({"id": "Test/Masked-v0", "env": {"id": "toys:MaskedToy-v0"}, "reward": reward})
    pool = make_worlds(task, 2, render_size=8, verdicts=True, workers=1, autoreset_mode="SAME_STEP")
    steps = PoolSteps(pool)
    with LateRewards(load_reward_model(task), 2) as late:
        steps.reset(0)
        for step in range(2 * HOLD):
            assert steps.masks is not None
            assert steps.masks.argmax(axis=1).tolist() == [step % HOLD] * 2
            steps.step(steps.masks.argmax(axis=1))
            steps.hand_over(late)
            steps.begin(late)
    pool.close()


def test_it_is_true_or_false() -> None:
    with pytest.raises(TaskError, match=r"reward\.success_seen\.ends"):
        ending(success_seen={"above": 0.5, "ends": "maybe"})
