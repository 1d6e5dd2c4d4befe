"""Evaluation: the paper's rule of success, its interval, and what is written."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting import NUM_ENVS, CountingReward, counting_pool
from PIL import Image

from gym_vlmrm.errors import RunError
from gym_vlmrm.learning.agents import RandomAgent
from gym_vlmrm.learning.evaluation import evaluate, summarize, wilson_interval
from gym_vlmrm.learning.playing import Episode, play
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.scores import read_evaluation
from gym_vlmrm.learning.video import Reel, write_gif, write_mp4
from gym_vlmrm.reward.brightness import BrightnessReward
from gym_vlmrm.task.spec import EnvSpec


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Brown, Cai and DasGupta's formula, worked out to six digits.
    [(0, 100, 0, 0.036993), (1, 20, 0.008881, 0.236130), (50, 100, 0.403832, 0.596168), (20, 20, 0.838875, 1)],
)
def test_wilson_intervals(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=2e-6)


def test_no_trials_say_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def _episode(verdicts: list[int], reward: float = 0.5) -> Episode:
    length = len(verdicts)
    return Episode(np.full(length, reward, np.float32), np.ones(length), np.array(verdicts, np.bool_))


def test_half_of_the_steps_make_an_episode_a_success() -> None:
    scores = summarize([_episode([1, 1, 0, 0]), _episode([1, 0, 0, 0]), _episode([0, 0, 1, 1])])
    assert scores.successful_episodes == 2
    assert scores.success_rate == pytest.approx(2 / 3)
    assert scores.success_share == pytest.approx(5 / 12)
    assert scores.hold == pytest.approx(2 / 6)
    assert scores.episode_length == 4


def test_means_are_per_step() -> None:
    scores = summarize([_episode([1], 1.0), _episode([1, 1, 1], 0.0)])
    assert scores.vlm_reward == pytest.approx(0.25)


def test_a_task_without_a_rule_has_no_success() -> None:
    scores = summarize([Episode(np.ones(3, np.float32), np.ones(3), None)])
    assert scores.success_rate is None
    assert scores.hold is None


def _agent() -> RandomAgent:
    pool = counting_pool()
    return RandomAgent(pool.single_action_space, NUM_ENVS, seed=0)


@pytest.mark.parametrize("num_episodes", [1, 3, 7])
def test_every_environment_plays_its_share(num_episodes: int) -> None:
    episodes = play(counting_pool(), _agent(), CountingReward(), num_episodes, seed=0)
    assert len(episodes) == num_episodes
    owners = [int(episode.vlm_rewards[0]) for episode in episodes]
    counts = np.bincount(owners, minlength=NUM_ENVS)
    assert counts.max() - counts.min() <= 1
    for episode in episodes:
        np.testing.assert_allclose(episode.task_rewards, 0.5 * np.arange(1, len(episode) + 1))
        assert episode.successes is not None
        np.testing.assert_array_equal(episode.successes, np.arange(1, len(episode) + 1) % 2 == 0)


def test_a_reel_thins_itself_out_and_keeps_its_time() -> None:
    reel = Reel(fps=50, limit=4)
    frames = [np.full((4, 4, 3), shade, np.uint8) for shade in range(19)]
    assert len(list(reel.keeping(frames))) == 19
    assert [int(reel[index][0, 0, 0]) for index in range(len(reel))] == [0, 8, 16]
    assert reel.fps == 50 / 8


def test_a_film_that_fails_is_no_missing_ffmpeg(tmp_path: Path) -> None:
    def frames() -> Iterator[Any]:
        yield np.zeros((16, 16, 3), np.uint8)
        raise ValueError("of the environment")

    with pytest.raises(ValueError, match="of the environment"):
        write_mp4(tmp_path / "a.mp4", frames(), 25)
    assert not list(tmp_path.iterdir())


def test_a_gif_keeps_its_time_and_its_size(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3)).astype(np.uint8)
    write_gif(tmp_path / "a.gif", noise, fps=50, max_bytes=60_000)
    assert (tmp_path / "a.gif").stat().st_size <= 60_000
    with Image.open(tmp_path / "a.gif") as image:
        duration = 0
        for index in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(index)
            duration += image.info["duration"]
    assert duration == pytest.approx(1000 * 60 / 50, rel=0.15)


def test_a_gif_keeps_the_colour_of_a_small_light(tmp_path: Path) -> None:
    film = np.linspace(0, 255, 20 * 64 * 64 * 3).reshape(20, 64, 64, 3).astype(np.uint8)
    film[15:, 4:8, 4:8] = (76, 201, 122)
    write_gif(tmp_path / "a.gif", film, fps=10)
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(image.n_frames - 1)  # type: ignore[attr-defined]
        assert np.abs(np.asarray(image.convert("RGB"), int)[6, 6] - (76, 201, 122)).max() < 12


def test_a_run_is_evaluated(cartpole_run: Path) -> None:
    progress = []
    result = evaluate(cartpole_run, episodes=5, workers=1, on_progress=lambda *numbers: progress.append(numbers))
    assert result.policy.episodes == result.random.episodes == 5
    assert progress[-1] == (10, 10)
    assert 0 <= result.policy.success_rate_low <= result.policy.success_rate <= result.policy.success_rate_high <= 1
    written = json.loads((cartpole_run / "eval" / "evaluation.json").read_text())
    assert written == result.model_dump(mode="json")
    assert (cartpole_run / "video.gif").stat().st_size < 2_000_000
    assert result.film is not None
    for policy in (result.film.trained, result.film.random):
        assert policy.successes is not None
        assert len(policy.vlm_rewards) == len(policy.successes) > 0
    with Image.open(cartpole_run / "video.gif") as image:
        assert image.width > image.height > 200
    assert {kind: len(rewards) for kind, rewards in result.frames.items()} == {"best": 4, "median": 4, "worst": 4}
    assert sorted(result.frames["best"] + result.frames["worst"])[-4:] == sorted(result.frames["best"])
    assert min(result.frames["best"]) >= max(result.frames["median"]) >= min(result.frames["median"])
    assert min(result.frames["median"]) >= max(result.frames["worst"])
    for kind, rewards in result.frames.items():
        for number, reward in enumerate(rewards, 1):
            with Image.open(cartpole_run / "eval" / "frames" / f"{kind}-{number}.png") as shown:
                frame = np.asarray(shown)[None]
            assert BrightnessReward()(frame)[0] == pytest.approx(reward, abs=1e-6)
    again = evaluate(cartpole_run, episodes=5, workers=1, video=False)
    assert (again.policy, again.random) == (result.policy, result.random)


def test_a_longer_horizon_keeps_the_figures_of_the_own_one(cartpole_run: Path) -> None:
    plain = evaluate(cartpole_run, episodes=4, workers=1, video=False)
    result = evaluate(cartpole_run, episodes=4, workers=1, video=False, horizon=50)
    assert plain.longer is None
    assert result.policy == plain.policy
    longer = result.longer
    assert longer is not None
    assert (longer.horizon, longer.policy.episode_length, longer.random.episode_length) == (50, 50, 50)
    assert longer.policy.episodes == longer.random.episodes == 4
    assert read_evaluation(RunFolder.open(cartpole_run)) == result
    same = evaluate(cartpole_run, episodes=4, workers=1, video=False, horizon=20)
    assert (same.longer, same.policy) == (None, plain.policy)


def test_a_horizon_shorter_than_the_task_is_refused(cartpole_run: Path) -> None:
    with pytest.raises(RunError, match="has 20 steps"):
        evaluate(cartpole_run, episodes=1, horizon=19)


@pytest.mark.parametrize(("shown", "held"), [(9, 1.0), (8, 0.0)])
def test_an_episode_is_held_by_nine_tenths_of_its_last_half(shown: int, held: float) -> None:
    assert summarize([_episode([0] * 10 + [1] * shown + [0] * (10 - shown))]).held_rate == held


def test_evaluating_nothing_is_an_error(tmp_path: Path, cartpole_run: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        evaluate(tmp_path / "none")
    with pytest.raises(RunError, match="no checkpoint of step 12345"):
        evaluate(cartpole_run, checkpoint=12345)
    with pytest.raises(RunError, match="at least 1"):
        evaluate(cartpole_run, episodes=0)


def test_a_policy_of_another_task_is_refused(tmp_path: Path, cartpole_run: Path) -> None:
    other = tmp_path / "run"
    shutil.copytree(cartpole_run, other)
    task = RunFolder.open(other).task
    acrobot = task.model_copy(update={"env": EnvSpec(id="Acrobot-v1", max_episode_steps=5), "success": None})
    RunFolder.open(other).write_task(acrobot)
    with pytest.raises(RunError, match="does not fit the task's states"):
        evaluate(other, episodes=1, workers=1)
