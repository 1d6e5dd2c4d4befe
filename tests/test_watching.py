"""A policy while it acts: live episodes, the page that shows them, the window, and how `vlmrm watch` ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import vlmrm

from gym_vlmrm.errors import RunError, VLMRMError
from gym_vlmrm.files import only_writer
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.watching.episodes import SHOWN, WATCHING_SEED, Moment, play_live
from gym_vlmrm.watching.page import LivePage
from gym_vlmrm.watching.window import Window


def moment(step: int = 1, **changes: Any) -> Moment:
    frame = np.full((8, 8, 3), 10 * step, np.uint8)
    told = {"reward": 0.5, "task_reward": 1.0, "success": True, "step": step, "episode": 1, "checkpoint": 64}
    return Moment(frame, **{**told, **changes})


def test_an_episode_is_that_of_the_policy(cartpole_run: Path) -> None:
    import gym_vlmrm
    from gym_vlmrm.reward import choose_frame_size
    from gym_vlmrm.worlds.world import make_world

    run = RunFolder.open(cartpole_run)
    moments = list(play_live(run, "last", seed=4, episodes=2))
    assert [m.step for m in moments] == [*range(1, 21), *range(1, 21)]
    assert {m.checkpoint for m in moments} == {128}
    world = make_world(run.task, render_size=choose_frame_size(run.task), limited=True)
    policy = gym_vlmrm.load_policy(cartpole_run, "last")
    observation, _ = world.reset(seed=WATCHING_SEED + 4)
    model = gym_vlmrm.load_reward_model(run.task)
    for made in moments[:20]:
        observation, _, _, _, info = world.step(policy.predict(observation)[0])
        assert made.reward == pytest.approx(float(model(world.render()[None])[0]), abs=1e-6)
        assert made.success == info["success"]
    assert all(m.frame.shape == (SHOWN, SHOWN, 3) for m in moments)
    assert all((a.frame != b.frame).any() for a, b in pairwise(moments[:20]))
    world.close()


def test_while_it_trains_the_newest_checkpoint_plays(cartpole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(cartpole_run, run)
    shutil.move(run / "checkpoints" / "step_00000128", tmp_path / "later")
    best = json.loads((run / "best.json").read_text())
    (run / "best.json").write_text(json.dumps({**best, "step": 64}))
    with only_writer(run):
        moments = play_live(RunFolder.open(run))
        assert next(moments).checkpoint == 64
        shutil.move(tmp_path / "later", run / "checkpoints" / "step_00000128")
        assert {next(moments).checkpoint for _ in range(19)} == {64}
        assert next(moments).checkpoint == 128
        moments.close()
    assert next(play_live(RunFolder.open(run), episodes=1)).checkpoint == 64  # nobody trains: the best


def test_a_run_without_a_checkpoint_is_waited_for_only_while_it_trains(cartpole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(cartpole_run, run)
    shutil.move(run / "checkpoints", tmp_path / "later")
    with pytest.raises(RunError, match="has no checkpoint yet"):
        next(play_live(RunFolder.open(run)))
    notices: list[str] = []

    def come(notice: str) -> None:
        notices.append(notice)
        shutil.move(tmp_path / "later", run / "checkpoints")

    with only_writer(run):
        assert next(play_live(RunFolder.open(run), on_notice=come)).checkpoint == 128
    assert "waiting for its first checkpoint" in notices[0]


def read_until(stream: Any, end: bytes) -> bytes:
    found = b""
    while not found.endswith(end):
        found += stream.read(1)
    return found


def test_the_page_shows_frames_and_numbers() -> None:
    with LivePage(title="a run", sentence="<b>up</b>", port=0) as page:
        with urllib.request.urlopen(page.url, timeout=10) as answer:
            text = answer.read().decode()
        assert "&lt;b&gt;up&lt;/b&gt;" in text
        assert "<b>up</b>" not in text
        assert not page.wait_for_watcher(0)
        with urllib.request.urlopen(page.url + "numbers", timeout=10) as numbers:
            assert page.wait_for_watcher(10)
            for step in (1, 2):
                page.show(moment(step, reward=0.25, success=None))
                told = json.loads(read_until(numbers, b"\n\n").removeprefix(b"data: "))
                assert told == {"reward": 0.25, "success": None, "step": step, "episode": 1, "checkpoint": 64}
        with urllib.request.urlopen(page.url + "frames", timeout=10) as frames:
            read_until(frames, b"\r\n\r\n")
            assert frames.read(2) == b"\xff\xd8"  # a JPEG


def test_the_page_is_of_this_machine_alone() -> None:
    with LivePage(title="a run", sentence="up", port=0) as page:
        assert page.url.startswith("http://127.0.0.1:")
        assert page._server.server_address[0] == "127.0.0.1"
        for path, host, code in (("", "evil.example:80", 403), ("../etc/passwd", None, 404), ("x", None, 404)):
            request = urllib.request.Request(page.url + path, headers={"Host": host} if host else {})
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=10)
            assert caught.value.code == code
            caught.value.close()
        with pytest.raises(VLMRMError, match="cannot be taken"):
            LivePage(title="another", sentence="up", port=int(page.url.rpartition(":")[2].strip("/")))


def test_a_closed_page_ends_its_streams() -> None:
    page = LivePage(title="a run", sentence="up", port=0)
    with urllib.request.urlopen(page.url + "numbers", timeout=10) as numbers:
        assert page.wait_for_watcher(10)
        page.close()
        assert numbers.read() == b": still here\n\n"
    assert not [thread for thread in threading.enumerate() if thread.name == "page"]


def test_the_window_shows_frame_sentence_and_light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    import pygame

    with Window(title="a run", sentence="a very long sentence " * 10) as window:
        assert window.show(moment(5))
        assert window.show(moment(6, success=False, reward=0.7))
        seen = pygame.surfarray.array3d(window._screen).swapaxes(0, 1)
        assert (seen[64 + 200, 200] == 60).all()
        assert seen[:64].max() > 200  # the sentence
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        assert not window.show(moment(7))


def test_a_window_that_nobody_sees_is_refused(cartpole_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    result = vlmrm("watch", cartpole_run, "--window", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no display" in result.stderr
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    result = vlmrm("watch", cartpole_run, "--window", "--json", "--episodes", "1", "--fps", "200")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {"run": str(cartpole_run), "url": None}


def test_no_address_is_told_before_there_is_something_to_play(cartpole_run: Path) -> None:
    result = vlmrm("watch", cartpole_run, "--page", "--port", "0", "--checkpoint", "7")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no checkpoint of step 7" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_ends_cleanly_by_a_signal(cartpole_run: Path, number: int) -> None:
    command = [sys.executable, "-m", "gym_vlmrm_cli.main", "watch", str(cartpole_run), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = ""
            while "}" not in lines and (line := process.stdout.readline()):
                lines += line
            told = json.loads(lines)
            with urllib.request.urlopen(told["url"] + "numbers", timeout=60) as numbers:
                while not (first := read_until(numbers, b"\n\n")).startswith(b"data: "):
                    assert first == b": still here\n\n"
                assert json.loads(first.removeprefix(b"data: "))["episode"] == 1
                process.send_signal(number)
                _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == (0 if number == signal.SIGINT else 128 + number)
        assert "Traceback" not in errors


def test_wrong_uses_of_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert vlmrm("watch").exit_code == 2
    assert vlmrm("watch", "x", "--checkpoint", "worst").exit_code == 2
    for run, words in (("nowhere", "does not exist"), ("file", "it is no folder"), (".", "has no run.json")):
        result = vlmrm("watch", run)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
        assert words in result.stderr
    assert os.listdir(tmp_path) == ["file"]
