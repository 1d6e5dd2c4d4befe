"""One environment equals many, reward for reward, in every autoreset mode and over the ends of episodes."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from counting import LIMIT, NUM_ENVS, CountingReward, CountingWorld, framed
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.reward.threads import kept_torch_threads
from gym_vlmrm.task.catalog import load_task, override
from gym_vlmrm.worlds.pools.cores import usable_cores
from gym_vlmrm.worlds.pools.pool import EnvPool, make_pool
from gym_vlmrm.worlds.world import episode_limit, make_world, make_worlds
from gym_vlmrm.wrappers import VectorVLMReward, VLMReward

MODES = list(AutoresetMode)


def single(index: int, every: int) -> VLMReward:
    return VLMReward(TimeLimit(CountingWorld(index), LIMIT), CountingReward(), every)


def played_alone(index: int, every: int, mode: AutoresetMode, num_steps: int) -> list[tuple[float, bool, bool, float]]:
    """Reward, terminated, truncated and first observed number of each step; a step after the end resets."""
    env = single(index, every)
    env.reset()
    played, over = [], False
    for _ in range(num_steps):
        if over and mode is AutoresetMode.NEXT_STEP:
            observation, _ = env.reset()
            played.append((0.0, False, False, float(observation[2])))
            over = False
            continue
        observation, reward, terminated, truncated, info = env.step(0)
        assert info["task_reward"] == 0.0
        over = terminated or truncated
        if over and mode is not AutoresetMode.NEXT_STEP:
            observation, _ = env.reset()
        played.append((reward, terminated, truncated, float(observation[2])))
    return played


@pytest.mark.parametrize(
    ("mode", "every", "workers", "concurrent"),
    [
        *((mode, every, 1, False) for mode in MODES for every in (1, 3)),
        # Processes take longer to start than to step: each two of the three are met together.
        *((mode, every, 2, (number + every // 3) % 2 == 0) for number, mode in enumerate(MODES) for every in (1, 3)),
    ],
)
def test_single_equals_vector(mode: AutoresetMode, every: int, workers: int, concurrent: bool) -> None:
    num_steps = 4 * LIMIT
    expected = [played_alone(index, every, mode, num_steps) for index in range(NUM_ENVS)]
    model: Any = CountingReward()
    model.concurrent = concurrent
    envs = VectorVLMReward(
        make_pool(partial(framed, every), NUM_ENVS, workers=workers, autoreset_mode=mode), model, every
    )
    observations, _ = envs.reset(seed=list(range(NUM_ENVS)))
    assert observations in envs.observation_space
    for step in range(num_steps):
        observations, rewards, terminations, truncations, infos = envs.step(np.zeros(NUM_ENVS, int))
        done = terminations | truncations
        final = observations
        if mode is AutoresetMode.DISABLED and done.any():
            observations, _ = envs.reset(options={"reset_mask": done.copy()})
        assert rewards.dtype == np.float32
        for index in range(NUM_ENVS):
            reward, terminated, truncated, number = expected[index][step]
            assert (terminations[index], truncations[index]) == (terminated, truncated), (step, index)
            assert rewards[index] == np.float32(reward), (step, index)
            assert observations[index, 2] == number, (step, index)
        if mode is AutoresetMode.SAME_STEP and done.any():
            last = infos["final_obs"][np.flatnonzero(done)[0]]
            assert last.shape == (3,)
            assert last[2] > 0
        elif done.any():
            assert (final[done, 2] > 0).all()
    # One call scores the whole batch, but where threads share the work they begin with the first worker that is ready.
    assert (max(model.batches) == NUM_ENVS) != (concurrent and usable_cores() > 1)
    envs.close()


def test_the_last_reward_of_an_episode_is_its_own() -> None:
    """The frame after an automatic reset belongs to the next episode; it must not earn the last reward."""
    envs = VectorVLMReward(make_pool(partial(framed, 1), 2, workers=1, autoreset_mode="SameStep"), CountingReward())
    envs.reset(seed=[0, 0])
    rewards = [envs.step(np.zeros(2, int))[1][0] for _ in range(LIMIT)]
    np.testing.assert_allclose(rewards, [0.01 * count for count in range(1, LIMIT + 1)], atol=1e-6)


def test_held_rewards_are_forgotten_at_reset() -> None:
    env = single(1, every=10)
    env.reset()
    first = env.step(0)[1]
    assert first == env.step(0)[1] != 0
    env.reset()
    assert env.step(0)[1] == pytest.approx(first + 0.125)


def test_a_wrong_reward_model_is_named() -> None:
    class Broken(CountingReward):
        name = "broken"

        def __call__(self, frames: Any) -> Any:
            return np.full(len(frames), np.nan, np.float32)

    env = VLMReward(TimeLimit(CountingWorld(0), LIMIT), Broken())
    env.reset()
    with pytest.raises(ModelError, match="'broken' returned a reward that is not finite"):
        env.step(0)


def test_render_shows_what_was_rewarded() -> None:
    env = single(2, every=1)
    env.reset()
    env.step(0)
    assert env.render()[0, 0].tolist() == [2, 0, 1]
    envs = VectorVLMReward(make_pool(partial(framed, 1), 2, workers=2), CountingReward())
    envs.reset(seed=[4, 5])
    envs.step(np.zeros(2, int))
    frames = envs.render()
    assert frames is not None
    assert [frame[0, 0].tolist() for frame in frames] == [[4, 0, 1], [5, 0, 1]]
    envs.close()


def test_worlds_carry_frames_or_not() -> None:
    task = override(load_task("cartpole"), model="brightness", max_episode_steps=3)
    bare = make_worlds(task, 2, render_size=16, frames=False, workers=1)
    assert bare.single_observation_space.shape == (4,)
    bare.close()
    pool = make_worlds(task, 3, render_size=16, workers=2)
    assert isinstance(pool, EnvPool)
    pool.reset(seed=0)
    for _ in range(3):
        observations, _, terminations, truncations, _ = pool.step(np.zeros(3, int))
    assert observations["frame"].shape == (3, 16, 16, 3)
    assert truncations.all()
    assert not terminations.any()
    pool.close()
    single_world = make_world(task, render_size=16, limited=True)
    assert isinstance(single_world, TimeLimit)
    assert isinstance(make_worlds(task, 2, render_size=16, workers=1), SyncVectorEnv)


def test_the_time_limit_is_the_tasks_or_the_environments() -> None:
    task = load_task("cartpole")
    assert episode_limit(task) == 200
    assert (
        episode_limit(task.model_copy(update={"env": task.env.model_copy(update={"max_episode_steps": None})})) == 500
    )


@pytest.mark.parametrize("small", [True, False])
def test_a_small_model_scores_single_frames_with_one_thread_of_torch(small: bool) -> None:
    class Counting:
        name, frame_size = "counting", 32

        def __call__(self, frames: Any) -> Any:
            return np.full(len(frames), torch.get_num_threads(), np.float32)

    model: Any = Counting()
    if small:
        model.small = True
    with kept_torch_threads():
        torch.set_num_threads(2)
        env = VLMReward(make_world(load_task("cartpole"), render_size=32), model)
        env.reset(seed=0)
        assert env.step(0)[1] == (1 if small else 2)
        assert torch.get_num_threads() == 2
        env.close()


def test_the_embedded_model_is_small_on_a_cpu() -> None:
    assert load_reward_model(load_task("cartpole"), model="embedded", device="cpu").small  # type: ignore[attr-defined]
