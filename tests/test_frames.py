"""The frame of a transition is taken inside `step` and survives automatic resets."""

import numpy as np
import pytest
from counting import LIMIT, SIZE, CountingWorld
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from gym_vlmrm.worlds.frames import FrameObservation, is_scored


def framed(every: int = 1) -> FrameObservation:
    return FrameObservation(TimeLimit(CountingWorld(3), LIMIT), SIZE, every)


@pytest.mark.parametrize(
    ("every", "scored"), [(1, [1, 2, 3, 4, 5, 6, 7]), (2, [1, 3, 5, 7]), (3, [1, 4, 7]), (10, [1])]
)
def test_the_first_step_is_scored_and_each_kth_after_it(every: int, scored: list[int]) -> None:
    assert [step for step in range(1, 8) if is_scored(step, every)] == scored


@pytest.mark.parametrize("every", [1, 3])
def test_frames_show_the_state_after_the_step(every: int) -> None:
    env = framed(every)
    observation, _ = env.reset(seed=0)
    assert not observation["frame"].any()
    for step in range(1, LIMIT + 1):
        observation, _, _, truncated, _ = env.step(0)
        assert observation in env.observation_space
        assert observation["state"][2] * 4 == step
        expected = [3, 0, step] if is_scored(step, every) else [0, 0, 0]
        assert observation["frame"][0, 0].tolist() == expected
    assert truncated
    env.reset()
    observation, *_ = env.step(0)
    assert observation["frame"][0, 0].tolist() == [3, 1, 1]  # the count began anew


def test_the_terminal_frame_outlives_the_automatic_reset() -> None:
    """What `render` shows after a reset in the same step is the next episode; the final observation is not."""
    envs = SyncVectorEnv([framed], autoreset_mode=AutoresetMode.SAME_STEP)
    envs.reset(seed=0)
    for _ in range(LIMIT):
        _, _, _, truncations, infos = envs.step(np.zeros(1, int))
    assert truncations.all()
    assert envs.render()[0][0, 0].tolist() == [3, 1, 0]
    assert infos["final_obs"][0]["frame"][0, 0].tolist() == [3, 0, LIMIT]
    envs.close()
