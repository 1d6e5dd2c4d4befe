"""A reward made of parts from training to report: columns, scores, pages; and what cannot be mixed in."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from angles import AngleWorld, Reds
from gymnasium.utils.env_checker import check_env
from trainings import PPO, cartpole, cartpole_of_parts, load_changed, rows

from gym_vlmrm.entry_points import make_env
from gym_vlmrm.errors import TaskError, WorldError
from gym_vlmrm.learning import evaluate, train
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.reports.run_page import report_run
from gym_vlmrm.reward.parts import PartsReward
from gym_vlmrm.task.spec import RewardSpec
from gym_vlmrm.wrappers import VLMReward

NAMES = ["goal", "avoid", "brighter", "shaped"]


def with_verdict() -> Any:
    reward = cartpole_of_parts().reward.model_dump(exclude_unset=True)
    return load_changed({**reward, "success_seen": {"above": -9.0, "hold": 2}})


def test_parts_are_in_metrics_evaluations_and_reports(tmp_path: Path) -> None:
    train(with_verdict(), PPO, seed=1, output=tmp_path / "run", workers=1)
    run = RunFolder.open(tmp_path / "run")
    last = rows(run)[-1]
    assert {f"reward_parts/{name}" for name in NAMES} <= last.keys()
    assert float(last["rollout/success_seen"]) > 0.8
    assert 0.2 < float(last["reward_parts/goal"]) < 0.9
    scores = evaluate(run, episodes=2, workers=1, video=True)
    assert scores.policy.reward_parts is not None
    assert list(scores.policy.reward_parts) == NAMES
    assert scores.policy.seen is not None
    assert scores.policy.seen.success_share == pytest.approx(0.95)  # all but the first step of twenty
    assert scores.policy.seen.success_rate == 1.0
    page = report_run(run).read_text(encoding="utf-8")
    for words in ("Parts of the reward", "Success as the judge sees it", "avoid dark", "value of each part per step"):
        assert words in page
    assert json.loads((run.path / "report.json").read_text())["evaluation"]["policy"]["reward_parts"].keys() == set(
        NAMES
    )


def test_plain_runs_have_none_of_it(cartpole_run: Path) -> None:
    run = RunFolder.open(cartpole_run)
    assert not [column for column in rows(run)[-1] if column.startswith("reward_parts/") or "seen" in column]
    assert "parts" not in (cartpole_run / "task.yaml").read_text()
    assert cartpole().reward.plain


def test_another_gamma_than_the_recipes_is_refused(tmp_path: Path) -> None:
    task = load_changed({"goal": "x", "model": "brightness", "task": 1.0, "shape": {"kind": "potential", "gamma": 0.5}})
    with pytest.raises(TaskError, match=r"reward.shape.gamma is 0.5, but PPO trains here with 0.99"):
        train(task, PPO, output=tmp_path / "run", workers=1)
    assert not (tmp_path / "run").exists()


def test_an_environments_reward_that_is_no_number_cannot_be_mixed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("angles.own_reward", lambda *_: float("nan"))
    spec = RewardSpec.model_validate({"goal": "x", "model": "reds", "task": 0.5})
    env = VLMReward(AngleWorld(0), PartsReward(spec, [Reds()]))
    env.reset()
    with pytest.raises(WorldError, match=r"own reward is nan, and 'reward.task' mixes it in"):
        env.step(0)


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version", "ignore:.*observation space m")
def test_gymnasiums_checker_has_nothing_to_say() -> None:
    env = gym.wrappers.TimeLimit(make_env(with_verdict().model_dump(mode="json")), 20)
    check_env(env, skip_render_check=True)
    _, info = env.reset(seed=0)
    _, _, _, _, after = env.step(0)
    assert list(info["reward_parts"]) == list(after["reward_parts"]) == NAMES
    assert isinstance(after["success_seen"], np.bool_)
    assert info.keys() == after.keys()
