"""Late rewards are the rewards: equal, to the bit, to those computed inside every step."""

import copy
import threading
from typing import Any

import numpy as np
import pytest
import torch
from counting import NUM_ENVS, CountingReward, counting_pool
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

from gym_vlmrm.errors import ModelError
from gym_vlmrm.learning.algorithms import find_algorithm
from gym_vlmrm.learning.buffers import RewardScale, RewardSource
from gym_vlmrm.learning.building import build_algorithm
from gym_vlmrm.learning.late_rewards import LateRewards, ScoredSteps
from gym_vlmrm.learning.vec_env import ImmediateRewards, LateRewardVecEnv, PoolSteps, SpacesOnly
from gym_vlmrm.task.spec import Recipe

ON_POLICY = {"n_steps": 16, "policy_kwargs": {"net_arch": [8]}}
OFF_POLICY = {
    "learning_starts": 12,
    "batch_size": 16,
    "buffer_size": 100,
    "train_freq": 4,
    "policy_kwargs": {"net_arch": [8]},
}
LSTM = {"n_steps": 16, "batch_size": 12, "n_epochs": 1, "policy_kwargs": {"net_arch": [8], "lstm_hidden_size": 8}}
CASES: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "PPO": ("PPO", True, {**ON_POLICY, "batch_size": 12, "n_epochs": 2}),
    "PPO-box": ("PPO", False, {**ON_POLICY, "batch_size": 12, "n_epochs": 1}),
    "A2C": ("A2C", True, ON_POLICY),
    "TRPO": ("TRPO", False, {**ON_POLICY, "batch_size": 12}),
    "MaskablePPO": ("MaskablePPO", True, {**ON_POLICY, "batch_size": 12, "n_epochs": 1}),
    "RecurrentPPO": ("RecurrentPPO", True, LSTM),
    "DQN": ("DQN", True, OFF_POLICY),
    "DQN-3-step": ("DQN", True, {**OFF_POLICY, "n_steps": 3, "gamma": 0.9}),
    "QRDQN": ("QRDQN", True, OFF_POLICY),
    "SAC": ("SAC", False, OFF_POLICY),
    "TD3": ("TD3", False, OFF_POLICY),
    "TQC": ("TQC", False, OFF_POLICY),
    "CrossQ": ("CrossQ", False, OFF_POLICY),
}


def _play(every: int, batch_frames: int, num_steps: int = 40) -> tuple[np.ndarray, np.ndarray, LateRewards, list[Any]]:
    """Step a pool, collecting now and then; returns rewards, dones, the queue, and what the rewards ought to be."""
    pool, model = counting_pool(every=every), CountingReward()
    steps, collected, truth = PoolSteps(pool), [], []
    held = np.zeros(NUM_ENVS, np.float32)
    with LateRewards(model, NUM_ENVS, every, batch_frames) as late:
        steps.reset(0)
        for number in range(num_steps):
            steps.step(np.zeros(NUM_ENVS, np.int64))
            rewards = model(steps.frames)
            scored = steps.frames[:, 0, 0, 2] > 0  # frames of steps that are not scored are blank
            held = np.where(scored, rewards, held)
            truth.append(held)
            late.submit(steps.frames, steps.dones)
            steps.frames[:] = 255  # frames belong to the caller again
            if number % 7 == 6:
                collected.append(late.collect())
        collected.append(late.collect())
    rewards = np.concatenate([part.rewards for part in collected])
    return rewards, np.concatenate([part.dones for part in collected]), late, truth


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize("batch_frames", [1, 5, 64])
def test_rewards_keep_step_and_environment(every: int, batch_frames: int) -> None:
    rewards, dones, _, truth = _play(every, batch_frames)
    np.testing.assert_array_equal(rewards, np.array(truth))
    assert rewards.shape == dones.shape == (40, NUM_ENVS)
    assert dones.any()


def test_last_reward_of_an_episode_is_of_its_last_frame() -> None:
    rewards, dones, _, _ = _play(every=1, batch_frames=64)
    lengths = np.round(100 * (rewards % 0.125 % 0.1))[dones]  # the count that the terminal frame shows
    assert set(lengths) <= {2, 3, 4, 5}
    assert 5 in lengths


def test_batches_do_not_depend_on_time() -> None:
    pool, model = counting_pool(), CountingReward()
    steps = PoolSteps(pool)
    with LateRewards(model, NUM_ENVS, batch_frames=8) as late:
        steps.reset(0)
        for _ in range(10):
            steps.step(np.zeros(NUM_ENVS, np.int64))
            late.submit(steps.frames, steps.dones)
        assert late.pending == 10
        late.collect()
    assert model.batches == [8, 8, 8, 6]


def assert_late_error(model: Any, message: str) -> None:
    model.name = model.__name__
    with LateRewards(model, 2) as late:
        late.submit(np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.bool_))
        with pytest.raises(ModelError, match=message):
            late.collect()


def test_an_error_of_the_model_reaches_the_caller() -> None:
    def broken(frames: Any) -> Any:
        raise ModelError("out of order")

    assert_late_error(broken, "out of order")


def test_a_wrong_number_of_rewards_is_an_error() -> None:
    def short(frames: Any) -> Any:
        return np.zeros(1, np.float32)

    assert_late_error(short, "short")


def test_closing_ends_the_thread() -> None:
    *_, late, _ = _play(every=1, batch_frames=4)
    late.close()
    assert not any(thread.name.startswith("scoring") for thread in threading.enumerate())


def _learn(case: str, late: bool) -> Any:
    """Train briefly with rewards filled in late, or put into every step and kept by SB3's own buffers."""
    name, discrete, hyperparameters = copy.deepcopy(CASES[case])  # SB3 changes the policy_kwargs that it is given
    torch.set_num_threads(1)
    queue = LateRewards(CountingReward(), NUM_ENVS, batch_frames=7)
    source = RewardSource(queue)
    env = LateRewardVecEnv(counting_pool(discrete), queue)
    if late:
        recipe = Recipe(algorithm=name, steps=100, num_envs=NUM_ENVS, hyperparameters=hyperparameters)
        model = build_algorithm(recipe, env, env_id="counting", source=source, seed=3)
    else:
        policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
        wrapped = ImmediateRewards(env, source)
        model = find_algorithm(name).load()(policy, wrapped, seed=3, device="cpu", **hyperparameters)
    masking = {"use_masking": False} if name == "MaskablePPO" else {}
    model.learn(150, log_interval=None, **masking)
    buffer = getattr(model, "replay_buffer", None)
    if hasattr(buffer, "fill"):
        buffer.fill()
    queue.close()
    return model


@pytest.mark.parametrize("case", CASES)
def test_learning_is_the_same_as_with_rewards_in_every_step(case: str) -> None:
    late, immediate = _learn(case, late=True), _learn(case, late=False)
    buffers = [getattr(model, "replay_buffer", None) or model.rollout_buffer for model in (late, immediate)]
    assert "Late" in type(buffers[0]).__name__
    assert "Late" not in type(buffers[1]).__name__
    arrays = ("rewards", "observations", "dones", "timeouts", "returns", "advantages")
    for name in arrays:
        if hasattr(buffers[1], name):
            np.testing.assert_array_equal(getattr(buffers[0], name), getattr(buffers[1], name), err_msg=name)
    assert np.count_nonzero(buffers[0].rewards)
    expected = immediate.policy.state_dict()
    for name, tensor in late.policy.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_truncated_episodes_bootstrap_and_terminated_ones_do_not() -> None:
    buffer = _learn("DQN", late=True).replay_buffer
    ended, timeouts = buffer.dones[: buffer.size()] > 0, buffer.timeouts[: buffer.size()] > 0
    assert timeouts.any()
    assert (ended & ~timeouts).any()
    assert not (timeouts & ~ended).any()
    # The terminal state, not the first one of the next episode, is the next observation.
    assert (buffer.next_observations[: buffer.size()][ended][:, 2] > 0).all()


def test_a_ring_that_wraps_between_two_fills_keeps_the_newest() -> None:
    queue = LateRewards(CountingReward(), NUM_ENVS)
    env = LateRewardVecEnv(counting_pool(), queue)
    hyperparameters = {"buffer_size": 4 * NUM_ENVS, "learning_starts": 1000}
    recipe = Recipe(algorithm="DQN", steps=100, num_envs=NUM_ENVS, hyperparameters=hyperparameters)
    model: Any = build_algorithm(recipe, env, env_id="counting", source=RewardSource(queue), seed=0)
    model.learn(10 * NUM_ENVS, log_interval=None)
    buffer = model.replay_buffer
    buffer.fill()
    queue.close()
    counts = np.round(buffer.next_observations[..., 2] * 4)
    np.testing.assert_allclose(buffer.rewards % 0.125, 0.01 * counts % 0.125, atol=1e-6)


def test_reward_scale_is_that_of_vec_normalize() -> None:
    generator = np.random.default_rng(0)
    rewards = generator.normal(size=(30, 2)).astype(np.float32)
    dones = generator.random((30, 2)) < 0.2
    scale = RewardScale(2, gamma=0.9)
    scaled = scale(ScoredSteps(rewards, dones))

    normalizer = VecNormalize(SpacesOnly(2, *[spaces.Box(-1, 1, (1,))] * 2), norm_obs=False, gamma=0.9)
    for row, done in zip(rewards, dones, strict=True):
        normalizer._update_reward(row)
        normalizer.returns[done] = 0
    np.testing.assert_allclose(scale.statistics.var, normalizer.ret_rms.var)
    np.testing.assert_allclose(scaled[-1], normalizer.normalize_reward(rewards)[-1], rtol=1e-5)
