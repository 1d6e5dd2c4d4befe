"""Judges that speak: what they are asked, what answers are worth, what goes wrong, and every command with them."""

import contextlib
import gzip
import json
import math
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from command_line import vlmrm
from speaking_server import Desk, error, speaking_server
from trainings import PPO, cartpole, rows

from gym_vlmrm import load_reward_model
from gym_vlmrm.errors import ModelError
from gym_vlmrm.learning import resume, train
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.reward import loading
from gym_vlmrm.reward.speaking import find_address, model, server, speaks, spending
from gym_vlmrm.reward.speaking.answers import Answers
from gym_vlmrm.reward.speaking.questions import LEAST, UnusableAnswer, read_answer
from gym_vlmrm.task.catalog import override, task_from_dict

pytest.importorskip("openai", reason="judges that speak are asked by openai's client")

KEY = "sk-secret-0123456789"
GREYS = np.stack([np.full((16, 16, 3), value, np.uint8) for value in range(0, 256, 15)])


@pytest.fixture(autouse=True)
def own_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    with spending() as account:
        yield account


@pytest.fixture
def desk() -> Iterator[Desk]:
    with speaking_server() as desk:
        yield desk


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder for the cache, which tests do without otherwise."""
    monkeypatch.setenv("GYM_VLMRM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No patience: one retry, and one second for an answer."""
    monkeypatch.setattr(server, "RETRIES", 1)
    monkeypatch.setenv("GYM_VLMRM_TIMEOUT", "1")


def judge(desk: Desk, scheme: str = "openai-grade", **changes: Any) -> Any:
    return load_reward_model("cartpole", **{"model": desk.model(scheme), "goal": "light", **changes})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("openai:a@http://localhost:8000", ("yes", "a", "http://localhost:8000/v1")),
        ("openai:Qwen/Qwen3-VL-8B@https://h.example/v1/", ("yes", "Qwen/Qwen3-VL-8B", "https://h.example/v1")),
        ("openai-grade:llava:13b@http://[::1]:11434/v1", ("grade", "llava:13b", "http://[::1]:11434/v1")),
    ],
)
def test_addresses(name: str, found: tuple[str, str, str]) -> None:
    address = find_address(name)
    assert speaks(name)
    assert (address.answer, address.name, address.url) == found


@pytest.mark.parametrize(
    "name",
    [
        "openai:", "openai:a", "openai:a@", "openai:@http://h", "openai:a@ftp://h", "openai:a@http://", "openai:a b@http://h",
        "openai:a@http://h:99999", "openai:a@http://h:x", "openai:a@http://h/ v1", "openai:a@http://h\x1b[2J",
        "openai:a@http://u:topsecret@h", "openai:a@http://u:topsecret@httphost", "openai:a@http://h/v1?key=1",
        "openai:a@http://h/v1#x", "openai:a@http://h\u202e",
    ],
)  # fmt: skip
def test_no_addresses(name: str) -> None:
    with pytest.raises(ModelError) as error:
        find_address(name)
    assert "topsecret" not in str(error.value)
    assert "\n" not in str(error.value)


def completion(content: str | None = "", tokens: dict[str, float] | None = None) -> bytes:
    listed = [{"token": token, "logprob": number} for token, number in (tokens or {}).items()]
    told = {"content": [{**listed[0], "top_logprobs": listed}]} if listed else None
    return json.dumps({"choices": [{"message": {"content": content}, "logprobs": told}]}).encode()


@pytest.mark.parametrize(
    ("tokens", "value"),
    [
        ({"yes": math.log(0.25), "no": math.log(0.75)}, math.log(0.25)),
        ({"Yes": math.log(0.2), " yes": math.log(0.1), "ĠYES": math.log(0.2), "No": math.log(0.5)}, math.log(0.5)),
        ({"no": -0.001, "The": -3.0}, -3.0),  # "yes" is no likelier than the last one listed
        ({"no": -0.001, "yes": -9999.0}, LEAST),
        ({"yes": 0.0}, 0.0),
    ],
)
def test_the_log_probability_of_yes(tokens: dict[str, float], value: float) -> None:
    assert read_answer("yes", completion(tokens=tokens)) == pytest.approx(value)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("85", 0.85),
        (" 7.5\n", 0.075),
        ("Grade: 40.", 0.4),
        ("90/100", 0.9),
        ("10 out of 100", 0.1),
        ("0", 0),
        ("100", 1),
    ],
)
def test_grades(said: str, value: float) -> None:
    assert read_answer("grade", completion(said)) == pytest.approx(value)


@pytest.mark.parametrize("said", ["", None, "good", "101", "-5", "between 10 and 20", "1 2 3", "\x1b[2J", "7th"])
def test_no_grades(said: str | None) -> None:
    with pytest.raises(UnusableAnswer):
        read_answer("grade", completion(said))


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"null", b'{"choices": []}', b'{"choices": [7]}'])
def test_no_completions(body: bytes) -> None:
    for kind in ("yes", "grade"):
        with pytest.raises(ModelError, match="something else than a chat completion"):
            read_answer(kind, body)  # type: ignore[arg-type]


def test_an_answer_that_is_neither_yes_nor_no() -> None:
    with pytest.raises(UnusableAnswer, match="'The' instead of yes or no"):
        read_answer("yes", completion(tokens={"The": -0.1, "A": -3.0}))


def test_rewards_follow_the_picture(desk: Desk) -> None:
    bright = GREYS.mean(axis=(1, 2, 3)) / 255
    assert judge(desk)(GREYS) == pytest.approx(bright, abs=0.0051)
    logs = judge(desk, "openai")(GREYS)
    expected = np.log(np.maximum(0.9 * bright, math.exp(LEAST)))
    assert logs == pytest.approx(expected, abs=1e-5)
    assert logs.dtype == np.float32


def test_what_goal_baseline_and_alpha_mean(desk: Desk) -> None:
    both = judge(desk, goal=["light", "a dark room"])(GREYS)
    assert both == pytest.approx(np.full(len(GREYS), 0.5), abs=0.0051)  # the mean of x and 1 - x
    contrast = judge(desk, baseline="dark", alpha=0.5)(GREYS)
    bright = GREYS.mean(axis=(1, 2, 3)) / 255
    assert contrast == pytest.approx(bright - 0.5 * (1 - bright), abs=0.011)
    before = desk.requests
    judge(desk, baseline="dark", alpha=0.0)(GREYS[:3])
    assert desk.requests == before + 1 + 3  # nobody asks about a baseline that counts for nothing


def test_equal_frames_of_a_batch_are_asked_about_once(desk: Desk) -> None:
    reward = judge(desk)
    before = desk.requests
    assert len(set(reward(np.repeat(GREYS[:2], 8, axis=0)).tolist())) == 2
    assert desk.requests == before + 2


def test_the_cache_answers_what_was_asked(desk: Desk, kept: Path, own_account: Any) -> None:
    first = judge(desk)(GREYS)
    asked = desk.requests
    assert np.array_equal(judge(desk)(GREYS), first)
    assert desk.requests == asked
    assert own_account.asked == asked
    judge(desk, goal="something else")(GREYS[:1])
    judge(desk, "openai")(GREYS[:1])
    assert desk.requests == asked + 4  # another sentence, another question: one grey picture and one frame each


def test_the_cache_answers_without_a_server(desk: Desk, kept: Path) -> None:
    with speaking_server() as other:
        name, first = other.model("openai-grade"), judge(other)(GREYS)
    with spending(max_queries=0):
        reward = load_reward_model("cartpole", model=name, goal="light")
        assert np.array_equal(reward(GREYS), first)
        with pytest.raises(ModelError, match="budget of 0 queries is spent"):
            reward(GREYS[:1] + 1)


def test_a_damaged_cache_is_none(desk: Desk, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept.mkdir()
    (kept / "answers.sqlite3").write_bytes(b"no table" * 100)
    first = judge(desk)(GREYS)
    assert np.array_equal(judge(desk)(GREYS), first)
    assert "answers of judges are not kept" in caplog.text


def test_the_cache_holds_nothing_but_numbers(kept: Path) -> None:
    table = Answers(kept)
    table.keep(b"a", 0.5)
    table._table.execute("INSERT INTO answers VALUES (?, ?)", (b"b", "text"))  # type: ignore[union-attr]
    table._table.execute("INSERT INTO answers VALUES (?, ?)", (b"c", math.inf))  # type: ignore[union-attr]
    assert table.find([b"a", b"b", b"c", b"d"]) == {b"a": 0.5}


def test_questions_go_beside_each_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYM_VLMRM_CONCURRENCY", "3")
    desk.delay = 0.05
    judge(desk)(GREYS)
    assert desk.most_at_once == 3
    monkeypatch.setenv("GYM_VLMRM_CONCURRENCY", "many")
    with pytest.raises(ModelError, match="GYM_VLMRM_CONCURRENCY must be a whole number, got 'many'"):
        judge(desk)


def test_a_busy_server_is_asked_again(desk: Desk) -> None:
    reward = judge(desk)
    desk.trouble = lambda number: error(429, "slow down", Retry_After="1") if number in (2, 4) else None
    began = time.monotonic()
    assert np.isfinite(reward(GREYS[:6])).all()
    assert time.monotonic() - began >= 1  # as long as it said
    desk.trouble = lambda number: error(503, "loading") if number % 2 else None
    assert np.isfinite(reward(GREYS[6:8])).all()


WRONG: dict[str, tuple[Any, str]] = {
    "garbage": ((200, {"Content_Type": "text/html"}, b"<html>\x1b[2Jhello"), "something else than a chat completion"),
    "empty": ((200, {}, b""), "something else than a chat completion"),
    "huge": ((200, {}, b" " * 3_000_000), "an answer of more than 1,000,000 bytes"),
    "no vision": (error(400, "takes no pictures"), r"refuses the question: 400 \(takes no pictures\)$"),
    "unknown": (
        error(404, "The model does not exist."),
        r"question: 404 \(The model does not .*\); are the model's name",
    ),
    "too large": (error(413, "too large"), r"question: 413 \(too large\); a smaller render_size may be right"),
    "limit": (
        error(429, "You exceeded your quota"),
        r"is over its limit, still after 2 tries: 429 \(You exceeded your quota\); ask less .* or go on later",
    ),
    "a long limit": (
        error(429, "quota", Retry_After="3600"),
        r"at the first try: 429 \(quota\); .* or go on in 3600 s",
    ),
    "broken": (
        error(500, "boom\nboom " * 99),
        r"failed, still after 2 tries: 500 \(boom boom .*; see what the server's own",
    ),
    "ollama": ((500, {}, b'{"error": "more memory"}'), r"failed, still after 2 tries: 500 \(more memory\)"),
    "fastapi": ((503, {}, b'{"detail": "loading"}'), r"failed, still after 2 tries: 503 \(loading\)"),
    "a page": ((502, {}, b"<html>\x1b[2J gone"), r"failed, still after 2 tries: 502 \(<html> \[2J gone\)"),
    "mute": ((500, {}, b""), "failed, still after 2 tries: 500; see what"),
    "a huge error": ((400, {}, b"x" * 3_000_000), "an answer of more than 1,000,000 bytes"),
    "a bomb": ((400, {"Content_Encoding": "gzip"}, gzip.compress(b" " * 50_000_000)), "refuses the question: 400"),
    "key": (error(401, f"Incorrect API key provided: {KEY}"), r"refuses the key of OPENAI_API_KEY \(401\)"),
    "forbidden": (error(403, "not you"), r"refuses the key of OPENAI_API_KEY \(403\)"),
    "echo": (error(400, f"what is {KEY}?"), r"400 \(what is \.\.\.\?\)"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.usefixtures("hasty")
def test_what_goes_wrong_is_one_line_without_the_key(desk: Desk, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    answer, words = WRONG[kind]
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", desk.url)
    desk.trouble = lambda number: answer
    with pytest.raises(ModelError, match=words) as found:
        judge(desk)
    assert KEY not in repr(found.value)
    assert "\n" not in str(found.value)
    assert found.value.__cause__ is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_frames_and_key_are_sent_on_to_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", desk.url)
    with speaking_server() as stranger:
        for to in (stranger.url + "/chat/completions", "/v1/chat/completions"):
            desk.trouble = lambda number, to=to: (status, {"Location": f"{to}?{KEY}"}, b"")  # type: ignore[misc]
            with pytest.raises(
                ModelError, match=rf"sends questions on to '{to}' \({status}\); frames and key"
            ) as found:
                judge(desk)
            assert KEY not in str(found.value)
        assert stranger.requests == 0
        assert desk.requests == 2


def test_an_answer_that_trickles_is_none(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part comes in time, and all of them never do."""
    monkeypatch.setenv("GYM_VLMRM_TIMEOUT", "1")

    def trickle(listening: socket.socket) -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as peer:
            peer.recv(100_000)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n")
            for _ in range(200):
                peer.sendall(b" ")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=trickle, args=(listening,), daemon=True).start()
        began = time.monotonic()
        with pytest.raises(ModelError, match=r"broke off its answer \(it takes too long\)"):
            load_reward_model("cartpole", model=f"openai:a@http://127.0.0.1:{listening.getsockname()[1]}", goal="a")
        assert time.monotonic() - began < 10


@pytest.mark.usefixtures("hasty")
def test_servers_that_are_slow_or_gone(desk: Desk) -> None:
    desk.delay = 1.5
    with pytest.raises(ModelError, match=r"did not answer within 1 s \(GYM_VLMRM_TIMEOUT\)"):
        judge(desk)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        name = f"openai:a@http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ModelError, match=r"cannot be reached \(.*refused\); is the server running\?"):
        load_reward_model("cartpole", model=name)


def test_a_key_goes_to_its_own_server_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task or a run of a stranger may name any server."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    judge(desk)(GREYS[:1])
    assert not any("secret" in str(headers) for headers in desk.headers)
    desk.key = KEY
    with pytest.raises(ModelError, match=f"wants a key .*OPENAI_BASE_URL={desk.url}"):
        judge(desk)
    monkeypatch.setenv("OPENAI_BASE_URL", desk.url)
    assert np.isfinite(judge(desk)(GREYS[:1])).all()
    assert desk.headers[-1]["authorization"] == f"Bearer {KEY}"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")  # another port is another server
    with pytest.raises(ModelError, match="wants a key"):
        judge(desk)


def test_a_server_without_log_probabilities(desk: Desk) -> None:
    desk.logprobs = False
    with pytest.raises(ModelError, match="tells no log-probabilities; ask it for a grade by openai-grade"):
        judge(desk, "openai")
    assert np.isfinite(judge(desk)(GREYS)).all()


def test_a_few_odd_answers_count_as_the_lowest(desk: Desk, own_account: Any, caplog: pytest.LogCaptureFixture) -> None:
    desk.says = lambda question, bright: "hm" if 0.09 < bright < 0.13 else f"{100 * bright:.0f}"
    told = judge(desk)(GREYS)
    assert told[2] == 0
    assert told[3] > 0.1
    assert "'hm' instead of one number" in caplog.text
    assert (
        own_account.said
        == "19 queries asked, 0 answered by the cache, 1 answers could not be used and count as the lowest"
    )
    desk.says = lambda question, bright: "hm" if bright < 0.3 else "50"
    with pytest.raises(ModelError, match=r"answers 'hm' instead of one number from 0 to 100; \d of \d+ answers could"):
        judge(desk)(GREYS)


def test_a_model_that_never_answers_usably_is_refused_at_once(desk: Desk) -> None:
    desk.says = lambda question, bright: "I see a picture of a cart and a pole."
    for scheme in ("openai", "openai-grade"):
        with spending(), pytest.raises(ModelError, match="1 of 1 answers could not be used: ask another model"):
            judge(desk, scheme)


def test_the_budget(desk: Desk, kept: Path) -> None:
    with spending(max_queries=5, price=0.02) as account:
        reward = judge(desk)
        with pytest.raises(ModelError, match=r"the budget of 5 queries is spent, 0\.10 in money; .*--max-queries"):
            reward(GREYS)
        assert desk.requests == account.asked == 5
    with spending(max_queries=len(GREYS) + 1 - 5) as account:  # what was answered is paid for
        assert np.isfinite(judge(desk)(GREYS)).all()
        assert account.asked == len(GREYS) + 1 - 5


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "nan"])
def test_a_budget_that_is_no_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GYM_VLMRM_MAX_QUERIES", text)
    with pytest.raises(ModelError, match="GYM_VLMRM_MAX_QUERIES is "), spending():
        pass


def test_a_copy_asks_by_itself(desk: Desk) -> None:
    reward = judge(desk)
    copy = pickle.loads(pickle.dumps(reward))
    assert np.array_equal(copy(GREYS[:3]), reward(GREYS[:3]))


def test_without_the_client(desk: Desk) -> None:
    code = (
        "import sys, gym_vlmrm; sys.modules['openai'] = None;"
        f"gym_vlmrm.load_reward_model('cartpole', model={desk.model()!r})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "needs a package: pip install openai (gym-vlmrm[openai])" in run.stderr


def test_nothing_heavy_is_imported(desk: Desk) -> None:
    code = (
        "import sys, numpy, gym_vlmrm\n"
        f"reward = gym_vlmrm.load_reward_model('cartpole', model={desk.model()!r})\n"
        "reward(numpy.zeros((1, 8, 8, 3), numpy.uint8))\n"
        "print([name for name in ('torch', 'open_clip', 'mujoco', 'stable_baselines3') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stderr


@pytest.mark.parametrize("share", [False, True])
def test_environments(desk: Desk, share: bool) -> None:
    changes = {"model": desk.model("openai-grade"), "goal": "light", "render_size": 32, "share_model": share}
    with gym.make("VLMRM/CartPole-Balance-v0", **changes) as env:
        env.reset(seed=0)
        _, reward, *_ = env.step(0)
        assert reward == pytest.approx(np.asarray(env.render()).mean() / 255, abs=0.0051)
    envs = gym.make_vec("VLMRM/CartPole-Balance-v0", num_envs=2, workers=1, **changes)
    envs.reset(seed=0)
    _, rewards, *_ = envs.step(envs.action_space.sample())
    assert rewards.shape == (2,)
    assert rewards.min() > 0
    envs.close()


def test_a_part_of_a_reward_may_speak(desk: Desk) -> None:
    part = {"name": "dim", "avoid": "dark", "model": desk.model("openai-grade"), "weight": 0.5}
    task = task_from_dict({
        **cartpole().model_dump(exclude_unset=True),
        "reward": {"goal": "light", "model": "brightness", "parts": [part]},
    })  # fmt: skip
    bright = GREYS.mean(axis=(1, 2, 3)) / 255
    assert load_reward_model(task)(GREYS) == pytest.approx(bright - 0.5 * (1 - bright), abs=0.0051)


class Graded:
    """What the server says, without a server."""

    name, frame_size = "graded", model.FRAME_SIZE

    def __call__(self, frames: Any) -> Any:
        return np.array(
            [float(exactly("", frame.astype(np.float64).mean() / 255)) / 100 for frame in frames], np.float32
        )


def exactly(question: str, bright: float) -> str:
    return f"{100 * bright:.4f}"


def test_a_training_is_that_of_a_judge_at_home(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loading.MODELS, "graded", "test_speaking:Graded")
    desk.says = exactly
    found = []
    for index, name in enumerate(("graded", desk.model("openai-grade"))):
        run = train(
            override(cartpole(), model=name, goal="light", render_size=32), PPO, output=tmp_path / str(index), workers=1
        ).run
        found.append([row["rollout/vlm_reward"] for row in rows(run)])
    assert found[0] == found[1]
    assert len(set(found[0])) > 1


def test_a_training_survives_a_server_that_dies(
    desk: Desk, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RETRIES", 0)
    desk.says = exactly
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", desk.url)
    task = override(cartpole(), model=desk.model("openai-grade"), goal="light", render_size=32)
    whole = train(task, PPO, output=tmp_path / "whole", workers=1).run
    desk.trouble = lambda number: None
    kept_before = kept / "answers.sqlite3"
    kept_before.unlink()
    already = desk.requests
    desk.trouble = lambda number: error(503, "gone") if number > already + 150 else None
    notices: list[str] = []
    with pytest.raises(ModelError, match=r"failed, at the first try: 503 \(gone\)"):
        train(task, PPO, output=tmp_path / "cut", workers=1, on_notice=notices.append)
    assert any("go on from step" in notice for notice in notices)
    desk.trouble = lambda number: None
    resumed = resume(tmp_path / "cut", workers=1).run
    assert resumed.record.status == "finished"
    assert [row["rollout/vlm_reward"] for row in rows(resumed)] == [row["rollout/vlm_reward"] for row in rows(whole)]
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_the_budget_of_a_command(desk: Desk, tmp_path: Path, kept: Path) -> None:
    desk.says = exactly
    run = tmp_path / "run"
    command = ("--model", desk.model("openai-grade"), "--goal", "light", "--workers", 1, "--num-envs", 2)
    told = vlmrm(
        "train", "cartpole", "--steps", 160, *command, "--output", run, "--max-queries", 60, "--price-per-query", "0.5"
    )
    assert told.exit_code == 1
    assert "error: the budget of 60 queries is spent, 30.00 in money" in told.stderr
    assert "60 queries asked for 30.00" in told.stderr
    assert "Traceback" not in told.stderr
    assert desk.requests == 60
    told = vlmrm("train", "--resume", run, "--workers", 1, "--max-queries", 5000)
    assert told.exit_code == 0, told.stderr
    assert RunFolder.open(run).record.status == "finished"


def test_wrong_addresses_on_the_command_line(tmp_path: Path) -> None:
    for command in ("train", "audit"):
        told = vlmrm(command, "cartpole", "--model", "openai:a@http://u:topsecret@h", "--output", tmp_path / "x")
        assert told.exit_code == 1
        assert "topsecret" not in told.stderr + told.stdout
        assert "error: the URL of a 'openai:' model brings a user or password" in told.stderr
    assert not any("topsecret" in file.read_text() for file in tmp_path.rglob("*.*") if file.is_file())


def test_scoring(desk: Desk, tmp_path: Path) -> None:
    from PIL import Image

    for value in (0, 128, 255):
        Image.new("RGB", (20, 20), (value,) * 3).save(tmp_path / f"{value:03}.png")
    told = vlmrm("score", "cartpole", tmp_path, "--model", desk.model("openai-grade"), "--goal", "light", "--json")
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["clips"][0]["rewards"] == pytest.approx([0, 0.5, 1])
    assert "4 queries asked" in told.stderr


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    from PIL import Image

    for kind, values in (("goal", range(200, 250, 5)), ("other", range(5, 155, 5))):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for value in values:
            Image.new("RGB", (20, 20), (value,) * 3).save(tmp_path / "pictures" / kind / f"{value:03}.png")
    return tmp_path / "pictures"


def test_an_audit(desk: Desk, tmp_path: Path, pictures: Path, kept: Path) -> None:
    command = ("--model", desk.model(), "--model", desk.model("openai-grade"), "--goal", "light", "--baseline", "dark")
    told = vlmrm("audit", "cartpole", *command, "--pictures", pictures, "--output", tmp_path / "audit", "--json")
    assert told.exit_code == 0, told.stderr
    report = json.loads(told.stdout)
    assert [finding["numbers"]["auc"]["value"] for finding in report["findings"]] == [1.0] * len(report["findings"])
    assert desk.requests == 2 * (1 + 2 * 40)  # a grey picture, and goal and baseline of every picture
    told = vlmrm("audit", "cartpole", *command, "--pictures", pictures, "--output", tmp_path / "again", "--json")
    assert desk.requests == 2 * (1 + 2 * 40)
    assert json.loads(told.stdout)["findings"] == report["findings"]


def test_prompts_are_ranked(desk: Desk, tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "words.txt").write_text("a dark room\nbright light\n")
    told = vlmrm(
        "prompts", "cartpole", "--goals", tmp_path / "words.txt", "--pictures", pictures, "--model",
        desk.model("openai-grade"), "--alpha", 0, "--json",
    )  # fmt: skip
    assert told.exit_code == 0, told.stderr
    ranked = [row["candidate"]["goal"] for row in json.loads(told.stdout)["rows"]]
    assert ranked[-1] == ["a dark room"]


def test_what_needs_weights_says_so(desk: Desk, tmp_path: Path) -> None:
    told = vlmrm("serve", "cartpole", "--model", desk.model())
    assert told.exit_code == 1
    assert "has a server of its own" in told.stderr


class Lamp(gym.Env[Any, Any]):
    """Light where the action is what the state says; nothing else can be told from a picture."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.lit, self.count = render_mode, False, 0
        self.observation_space, self.action_space = gym.spaces.Box(0, 1, (2,), np.float32), gym.spaces.Discrete(2)

    def _observe(self) -> Any:
        self.wanted = int(self.np_random.integers(2))
        return np.eye(2, dtype=np.float32)[self.wanted]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.lit = False
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.lit, self.count = int(action) == self.wanted, self.count + 1
        return self._observe(), 0.0, False, False, {"lit": self.lit}

    def render(self) -> Any:
        stripes = np.linspace(150, 250, 32) if self.lit else np.linspace(0, 50, 32)
        return np.broadcast_to(np.roll(stripes, self.count).astype(np.uint8)[:, None, None], (32, 32, 3)).copy()


gym.register("Lamp-v0", "test_speaking:Lamp", max_episode_steps=20)


@pytest.mark.filterwarnings("ignore:300 rewards in a row")  # it has learned to keep the lamp lit
@pytest.mark.parametrize("scheme", ["openai", "openai-grade"])
def test_an_agent_learns_from_what_a_server_says(desk: Desk, tmp_path: Path, scheme: str) -> None:
    task = task_from_dict({
        "id": "Test/Lamp-v0", "env": {"id": "Lamp-v0"}, "scene": {"render_size": 32},
        "reward": {"goal": "light", "model": desk.model(scheme)}, "success": "info.lit > 0.5",
    })  # fmt: skip
    recipe = PPO.model_copy(
        update={
            "steps": 1024, "checkpoint_every": 1024, "reward_every": 1, "normalize_observation": False,
            "hyperparameters": {"n_steps": 32, "batch_size": 64, "n_epochs": 10, "learning_rate": 0.02, "gamma": 0.5},
        }
    )  # fmt: skip
    run = train(task, recipe, output=tmp_path / "run", workers=1).run
    assert run.best is not None
    assert run.best.success == 1.0
    first, *_, last = [float(row["rollout/vlm_reward"]) for row in rows(run) if row["rollout/vlm_reward"]]
    assert last > first
