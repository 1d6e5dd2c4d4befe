"""After training: reward against success, and the frames that earned most."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gym_vlmrm.learning.playing import Episode
from gym_vlmrm.learning.reward_check import KeptFrames, check_rewards_of_episodes, write_contact_sheet
from gym_vlmrm.reward import BrightnessReward
from gym_vlmrm.reward.scoring import ScoringTeam


def _episodes(reward: float, success: float, count: int = 6) -> list[Episode]:
    rng = np.random.default_rng(0)
    steps = 20
    verdicts = np.arange(steps) < round(success * steps)
    return [
        Episode((reward + 0.1 * verdicts + rng.normal(0, 0.01, steps)).astype(np.float32), np.zeros(steps), verdicts)
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("reward", "success", "flag", "words"),
    [
        (0.9, 0.0, True, "success did not"),
        (0.9, 0.8, False, "success with it"),
        (0.5, 0.0, False, "not learnt yet"),
    ],
)
def test_reward_without_success_is_flagged(reward: float, success: float, flag: bool, words: str) -> None:
    check = check_rewards_of_episodes(_episodes(reward, success), _episodes(0.5, 0.0))
    assert check.flag is flag
    assert words in check.message
    assert len(check.episodes) == 12


def test_steps_in_success_are_compared_with_others() -> None:
    check = check_rewards_of_episodes(_episodes(0.5, 0.5), _episodes(0.5, 0.25))
    assert check.step_auc == pytest.approx(1.0)
    assert check.episode_spearman is not None
    assert check.episode_spearman > 0.8


def test_without_a_rule_nothing_is_claimed() -> None:
    silent = [Episode(np.ones(4, np.float32), np.zeros(4), None)]
    check = check_rewards_of_episodes(silent, silent)
    assert check.flag is False
    assert check.success_rose is None


class _Coarse:
    """Gives many frames the same reward, and may be called by several threads."""

    name, frame_size, concurrent = "coarse", 8, True

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return (frames[:, 0, 0, 0] // 4).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_best_frames_do_not_depend_on_threads(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (200, 8, 8, 3)).astype(np.uint8)
    alone, shared = KeptFrames(_Coarse(), keep=5), KeptFrames(_Coarse(), keep=5)
    assert ScoringTeam(shared).threads == ScoringTeam(_Coarse()).threads
    rewards = alone(frames)
    team = ScoringTeam(shared, threads=4)
    np.testing.assert_array_equal(np.concatenate([team(part) for part in np.split(frames[::-1], 4)])[::-1], rewards)
    team.close()
    assert [reward for reward, _ in alone.best()] == sorted(set(rewards.tolist()))[:-6:-1]
    for (one, left), (two, right) in zip(alone.best(), shared.best(), strict=True):
        assert one == two
        np.testing.assert_array_equal(left, right)


def test_best_frames_are_kept_across_batches(tmp_path: Path) -> None:
    frames = (
        np.zeros((40, 8, 8, 3), np.uint8)
        + np.random.default_rng(0).permutation(40).astype(np.uint8)[:, None, None, None]
    )
    keeper = KeptFrames(BrightnessReward(), keep=5)
    rewards = np.concatenate([keeper(frames[i : i + 7]) for i in range(0, 40, 7)])
    np.testing.assert_array_equal(rewards, BrightnessReward()(frames))
    best = keeper.best()
    assert [frame[0, 0, 0] for _, frame in best] == [39, 38, 37, 36, 35]
    assert [reward for reward, _ in best] == sorted(rewards.tolist(), reverse=True)[:5]
    write_contact_sheet(tmp_path / "sheet.png", best)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 164 - 4, 2 * 180 - 4)


def test_success_without_reward_is_told_with_both_sizes() -> None:
    check = check_rewards_of_episodes(_episodes(0.3, 0.8), _episodes(0.5, 0.0))
    assert check.message.startswith("success rose (+80 points in the mean episode's share of steps); the reward, -0.")
    assert check.message.endswith(" per step, did not rise beyond chance")


def test_episodes_of_other_lengths_are_told() -> None:
    long, short = _episodes(0.3, 0.8), _episodes(0.5, 0.0)
    same = check_rewards_of_episodes(long, short).message
    assert "last" not in same
    cut = [Episode(one.vlm_rewards[:4], np.zeros(4), np.zeros(4, bool)) for one in short]
    steps = len(long[0].vlm_rewards)
    assert f"; its episodes last {steps} steps, the random policy's 4," in check_rewards_of_episodes(long, cut).message
