"""Progress bars: what they show, and that time left is never less than none."""

import io
from typing import Any

import pytest
from gym_vlmrm_cli import progress as bars
from gym_vlmrm_cli.progress import bar, duration, episode_bar, phase_bar, training_bar
from rich.console import Console

from gym_vlmrm.learning.callbacks import Progress


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(bars, "stderr", Console(file=text, force_terminal=True, width=120, color_system=None))
    return text


def test_a_last_rollout_beyond_the_last_step_leaves_no_time(screen: io.StringIO) -> None:
    late = Progress(step=130, steps=128, steps_per_second=10.0, metrics={"rollout/vlm_reward": 0.25})
    assert late.seconds_left == 0
    assert Progress(step=0, steps=128, steps_per_second=0.0, metrics={}).seconds_left is None
    with training_bar(shown=True) as show:
        assert show is not None
        show(late)
    assert "128/128" in screen.getvalue()
    assert "reward 0.250  success -  10 steps/s  0:00 left" in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-:--"), (float("inf"), "-:--"), (float("nan"), "-:--"), (-1.0, "0:00"), (59.9, "0:59"), (3661, "1:01:01")],
)
def test_durations_are_clocks(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_title_is_no_markup_and_what_is_unknown_is_a_dash(screen: io.StringIO) -> None:
    with phase_bar(shown=True) as show:
        assert show is not None
        show("embedding (local-dir:models/[/b])", 1, 2)
    assert "embedding (local-dir:models/[/b])" in screen.getvalue()
    with bar("working", "loss {loss}", shown=True) as move:
        assert move is not None
    assert "loss -" in screen.getvalue()


def test_episodes_are_counted(screen: io.StringIO) -> None:
    with episode_bar(shown=True) as show:
        assert show is not None
        show(3, 10)
    assert " 3/10" in screen.getvalue()


@pytest.mark.parametrize("make", [training_bar, episode_bar, phase_bar])
def test_a_hidden_bar_is_none(make: Any, screen: io.StringIO) -> None:
    with make(shown=False) as show:
        assert show is None
    assert screen.getvalue() == ""


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(bars, "stderr", Console(file=text, force_terminal=False, width=60, soft_wrap=True))
    return text


class _Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(bars.time, "monotonic", lambda: self.now)


def test_a_log_gets_a_plain_line_every_thirty_seconds(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    with training_bar(shown=True) as show:
        assert show is not None
        for second in range(0, 100, 3):
            clock.now = float(second)
            metrics = {"rollout/vlm_reward": 0.25, "rollout/success": 0.5}
            show(Progress(step=200 * second, steps=20_000, steps_per_second=200.0, metrics=metrics))
    lines = log.getvalue().splitlines()
    assert lines == [
        "training: 6,000 of 20,000 (30%), reward 0.250, success 50%, 200 steps/s, 1:10 left",
        "training: 12,000 of 20,000 (60%), reward 0.250, success 50%, 200 steps/s, 0:40 left",
        "training: 18,000 of 20,000 (90%), reward 0.250, success 50%, 200 steps/s, 0:10 left",
    ]


def test_lines_of_others_and_of_odd_numbers(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    with episode_bar(shown=True) as episodes, phase_bar(shown=True) as phases, training_bar(shown=True) as training:
        assert episodes is not None
        assert phases is not None
        assert training is not None
        clock.now = 60.0
        episodes(5, 20)
        phases("scoring [/b]\x1b[31m", 0, 0)
        training(Progress(step=130, steps=128, steps_per_second=0.0, metrics={}))
        clock.now = 61.0
        episodes(6, 20)
    assert log.getvalue().splitlines() == [
        "episodes: 5 of 20 (25%), 3:00 left",
        "scoring [/b]\ufffd[31m: 0 of 0, 1:00 so far",
        "training: 128 of 128 (100%), reward -, success -, 0 steps/s, -:-- left",
    ]


def test_each_of_several_things_says_how_long_it_will_take(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    with phase_bar(shown=True) as phases:
        assert phases is not None
        clock.now = 10.0
        phases("drawing", 0, 100)
        clock.now = 40.0
        phases("drawing", 75, 100)
        clock.now = 60.0
        phases("learning", 0, 840)
        clock.now = 90.0
        phases("learning", 84, 840)
    assert log.getvalue().splitlines() == [
        "drawing: 75 of 100 (75%), 0:40 so far, 0:10 left of this",
        "learning: 84 of 840 (10%), 1:30 so far, 4:30 left of this",
    ]


def test_a_short_job_writes_no_line(log: io.StringIO) -> None:
    with episode_bar(shown=True) as show:
        assert show is not None
        show(20, 20)
    assert log.getvalue() == ""
