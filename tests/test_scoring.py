"""Threads that score beside each other give the rewards that one call gives, and leave everybody else's torch alone."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from counting import SIZE, CountingReward

from gym_vlmrm import load_reward_model
from gym_vlmrm.errors import ModelError
from gym_vlmrm.learning.late_rewards import BATCH_FRAMES, BATCH_FRAMES_PER_CORE, LateRewards
from gym_vlmrm.reward.brightness import BrightnessReward
from gym_vlmrm.reward.protocol import is_concurrent
from gym_vlmrm.reward.scoring import YIELDING_NICENESS, FreeCores, ScoringTeam
from gym_vlmrm.worlds.pools.cores import usable_cores


class ConcurrentReward(CountingReward):
    """Counts from several threads, and notes how many threads of torch each had."""

    concurrent = True

    def __init__(self) -> None:
        super().__init__()
        self.torch_threads: list[int] = []

    def __call__(self, frames: Any) -> Any:
        self.torch_threads.append(torch.get_num_threads())
        return super().__call__(frames)


def frames(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 255, (count, SIZE, SIZE, 3), dtype=np.uint8)


def test_a_split_batch_earns_the_rewards_of_the_whole() -> None:
    model, drawn = ConcurrentReward(), frames(7)
    before = set(threading.enumerate())
    team = ScoringTeam(model, threads=3)
    np.testing.assert_array_equal(team(drawn), CountingReward()(drawn))
    assert sorted(model.batches) == [2, 2, 3]
    np.testing.assert_array_equal(team(drawn[:1]), CountingReward()(drawn[:1]))
    np.testing.assert_array_equal(team.submit(drawn).result(), CountingReward()(drawn))
    team.close()
    assert not any(thread.name.startswith("scoring") for thread in set(threading.enumerate()) - before)


def test_only_models_that_say_so_are_called_from_several_threads() -> None:
    assert ScoringTeam(CountingReward()).threads == 1
    assert LateRewards(CountingReward(), 2).batch_frames == BATCH_FRAMES
    with LateRewards(ConcurrentReward(), 2) as late:
        assert late.batch_frames == (BATCH_FRAMES_PER_CORE if usable_cores() > 1 else BATCH_FRAMES)
    assert is_concurrent(load_reward_model("cartpole", device="cpu"))
    assert not is_concurrent(load_reward_model("cartpole", model="brightness"))


def test_each_thread_has_one_thread_of_torch_and_others_keep_theirs() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in range(20):  # the threads of one team start side by side
            model = ConcurrentReward()
            team = ScoringTeam(model, threads=8)
            team(frames(8))
            team.close()
            with ThreadPoolExecutor(1) as other:
                elsewhere = other.submit(torch.get_num_threads).result()
            assert (model.torch_threads, torch.get_num_threads(), elsewhere) == ([1] * 8, 2, 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness of their own")
def test_yielding_threads_alone_are_nicer() -> None:
    class Nice(ConcurrentReward):
        def __call__(self, frames: Any) -> Any:
            self.torch_threads.append(os.nice(0))
            return CountingReward.__call__(self, frames)

    model, before = Nice(), os.nice(0)
    for yielding, nicer in ((True, YIELDING_NICENESS), (False, 0)):
        team = ScoringTeam(model, threads=2, yielding=yielding)
        team(frames(4))
        team.close()
        assert model.torch_threads[-2:] == [min(19, before + nicer)] * 2
    assert os.nice(0) == before


@pytest.mark.parametrize(("cores", "workers"), [(2, 2), (3, 2), (2, 5), (4, 1)])
def test_threads_wait_for_cores_that_no_worker_uses(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    monkeypatch.setattr("gym_vlmrm.reward.scoring.usable_cores", lambda: cores)

    def free() -> int:
        count = 0
        while turns.acquire(blocking=False):
            count += 1
        turns.release(count or 1)
        if not count:
            turns.acquire()
        return count

    turns = FreeCores(workers)
    assert free() == max(0, cores - workers)
    for busy in reversed(range(workers)):
        turns.free_one()
        assert free() == max(0, cores - busy)
    turns.free_all()
    assert free() == cores


def test_a_step_that_fails_leaves_no_thread_waiting() -> None:
    team, turns = ScoringTeam(ConcurrentReward(), threads=2), FreeCores(usable_cores())
    waiting = team.submit(frames(2), turns)
    assert not waiting.done()
    turns.free_all()
    assert len(waiting.result(timeout=30)) == 2
    team.close()


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    class Broken(ConcurrentReward):
        def __call__(self, frames: Any) -> Any:
            return np.full(len(frames), np.nan, np.float32)

    team = ScoringTeam(Broken(), threads=2)
    with pytest.raises(ModelError, match="not finite"):
        team(frames(4))
    team.close()


def test_the_embedded_models_rewards_do_not_depend_on_the_split() -> None:
    model = load_reward_model("kneeling", device="cpu")
    size = model.frame_size
    drawn = np.random.default_rng(1).integers(0, 255, (9, size, size, 3), dtype=np.uint8)
    team = ScoringTeam(model, threads=2)
    np.testing.assert_allclose(team(drawn), model(drawn), atol=1e-5)
    np.testing.assert_array_equal(team(drawn), team(drawn))
    team.close()


@pytest.mark.parametrize(("frames", "shares", "sizes"), [
    (8, 1, [4, 4]), (8, 2, [8]), (31, 2, [31]), (32, 2, [16, 16]), (64, 2, [32, 32]), (1, 1, [1]), (0, 2, []),
])  # fmt: skip
def test_a_share_is_cut_only_where_its_parts_stay_large(frames: int, shares: int, sizes: list[int]) -> None:
    team = ScoringTeam(BrightnessReward(), threads=2)
    pictures = np.arange(frames * 3, dtype=np.uint8).reshape(frames, 1, 1, 3)
    parts = team.split(pictures, shares)
    assert [len(part) for part in parts] == sizes
    assert (np.concatenate(parts) == pictures).all() if parts else not frames
