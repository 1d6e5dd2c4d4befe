"""Pictures and rewards that teach nothing are noticed once, and those that do never are."""

import sys
import warnings
from typing import Any

import numpy as np
import pygame
import pytest
import strangers  # noqa: F401

from gym_vlmrm.auditing.stage import Stage
from gym_vlmrm.learning.check import check_task
from gym_vlmrm.learning.frame_watch import PATIENCE
from gym_vlmrm.learning.late_rewards import LateRewards
from gym_vlmrm.task.spec import TaskSpec

N = 4
SIDE = 16


class Mean:
    name = "mean"
    frame_size = SIDE

    def __call__(self, frames: Any) -> Any:
        return frames.mean(axis=(1, 2, 3)).astype(np.float32)


class Constant(Mean):
    def __call__(self, frames: Any) -> Any:
        return np.full(len(frames), 0.25, np.float32)


def picture(number: int) -> Any:
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    frame[4:9, 4:9] = 80
    frame[number % SIDE, 2] = 1 + number % 255
    return frame


def feed(show: Any, steps: int = PATIENCE, model: Any = None, episode: int = 50) -> list[str]:
    """Return the warnings after feeding ``show(step, env)``."""
    with warnings.catch_warnings(record=True) as caught, LateRewards(model or Mean(), N) as late:
        warnings.simplefilter("always")
        for step in range(1, steps + 1):
            frames = np.array([show(step, env) for env in range(N)], np.uint8)
            late.submit(frames, np.full(N, step % episode == 0))
            if step % 10 == 0:
                late.collect()
        late.collect()
    return [str(warning.message) for warning in caught]


def test_frames_that_move_are_not_remarked_on() -> None:
    assert feed(lambda step, env: picture(step + env)) == []


def test_an_agent_that_rests_at_its_goal_and_once_begins_there_is_not_remarked_on() -> None:
    def show(step: int, env: int) -> Any:
        moment = (step - 1) % 100
        begins_there = step > 100 and env == 0
        return picture(99 if moment > 5 or begins_there else moment)

    assert feed(show, episode=100) == []


@pytest.mark.parametrize(
    ("show", "words"),
    [
        (lambda step, env: np.zeros((SIDE, SIDE, 3)), "black: nothing is drawn"),
        (lambda step, env: np.full((SIDE, SIDE, 3), 90), r"one colour (90, 90, 90)"),
        (lambda step, env: picture(env), "the same picture"),
        (lambda step, env: picture(env + (step - 1) // 50), "only resets change the picture"),
        (lambda step, env: picture(step + env) if step < 30 else np.zeros((SIDE, SIDE, 3)), "black"),
        (lambda step, env: picture(step + env) if step < 30 else picture(env), "the same picture"),
    ],
)
def test_frames_that_show_nothing_get_one_warning(show: Any, words: str) -> None:
    caught = feed(show, 2 * PATIENCE)
    assert len(caught) == 1
    assert words in caught[0]


def test_a_few_such_frames_are_nothing() -> None:
    assert feed(lambda step, env: np.zeros((SIDE, SIDE, 3)), PATIENCE // N - 1) == []


def test_an_agent_may_rest_at_its_goal() -> None:
    episode = 4 * PATIENCE
    assert feed(lambda step, env: picture(min((step - 1) % episode, 40)), 2 * episode + 2, episode=episode) == []


def test_pictures_that_once_moved_may_rest_for_whole_episodes() -> None:
    assert feed(lambda step, env: picture(step if step == 20 else 3 + (step - 1) // 50), 2 * PATIENCE) == []
    assert feed(lambda step, env: picture(step), 3 * PATIENCE, episode=1) == []


def test_rewards_without_spread_get_one_warning() -> None:
    caught = feed(lambda step, env: picture(step + env), model=Constant())
    assert len(caught) == 1
    assert "same number" in caught[0]


def test_uniform_pictures_that_change_are_pictures() -> None:
    assert feed(lambda step, env: np.full((SIDE, SIDE, 3), (step + env) % 250)) == []


def test_check_notes_a_picture_of_one_colour(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.yaml"
    env = "{id: 'strangers:Fine-v0', kwargs: {picture: black}}"
    path.write_text(f"id: Test/S-v0\nreward: {{goal: a, model: brightness}}\nenv: {env}\n")
    report = check_task(str(path))
    assert report.problems == []
    assert "frames are black" in report.notes[0]
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setitem(sys.modules, "pygame", pygame)
    assert "SDL_VIDEODRIVER=offscreen" in check_task(str(path)).notes[0]
    path.write_text(path.read_text().replace("black", "moving"))
    assert check_task(str(path)).notes == []


def test_a_stage_begins_anew_where_the_environment_truncates() -> None:
    env = {"id": "strangers:Fine-v0", "kwargs": {"truncate_after": 5}}
    data = {"id": "T-v0", "env": env, "reward": {"goal": "a"}, "success": "obs[0] < 2"}
    stage = Stage(TaskSpec.model_validate(data), 16)
    before = stage.world.unwrapped.resets  # type: ignore[attr-defined]
    seen = stage.roll(0, 1)
    assert len(seen) == stage.limit == 20
    assert stage.world.unwrapped.resets - before == 1 + 4  # type: ignore[attr-defined]
    counts = [round(7 * quantities["obs[0]"]) for quantities in seen.quantities]
    assert counts == [1, 2, 3, 4, 5] * 4
    stage.world.close()
