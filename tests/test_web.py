"""A judge behind HTTP: what its server refuses, what its client survives, and that nobody harms anybody else."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from gym_vlmrm import load_task
from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.learning import resume, train
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.reward.protocol import MAX_RATIO, MAX_SIDE
from gym_vlmrm.reward.remote.address import base_of
from gym_vlmrm.reward.remote.model import RemoteReward
from gym_vlmrm.reward.remote.schema import (
    MAX_BYTES,
    VERSION,
    Asked,
    Facts,
    SchemaError,
    pack_asked,
    pack_rewards,
    read_asked,
)
from gym_vlmrm.serving.turns import Turns
from gym_vlmrm.serving.wire import WireError, read_frames
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import Recipe, RewardSpec

pytest.importorskip("uvicorn")
from gym_vlmrm.serving.refusals import RefusalError, RefusalLog
from gym_vlmrm.serving.web_server import WebServer, find_endpoint, server_token

BRIGHT = RewardSpec(goal="a bright frame", model="brightness", device="cpu")
FRAMES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
TOKEN = "a-token-of-tests"
PPO = Recipe(
    algorithm="PPO", steps=96, num_envs=2, checkpoint_every=48, reward_every=2,
    hyperparameters={"n_steps": 24, "batch_size": 24, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}},
)  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GYM_VLMRM_TOKEN", "GYM_VLMRM_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GYM_VLMRM_TIMEOUT", "20")


@contextmanager
def served(judge: RewardSpec = BRIGHT, port: int = 0, token: str | None = None) -> Iterator[WebServer]:
    with closing(WebServer(judge, "127.0.0.1", port, token)) as server:
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with served() as running:
        running.app.body_seconds = 1.0
        yield running


def ask(
    server: WebServer, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=20)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def body_of(**changes: Any) -> bytes:
    head = {"version": VERSION, "goal": ["a bright frame"], "baseline": [], "alpha": 0.0, "shape": [5, 8, 8, 3]}
    return json.dumps({**head, **changes}).encode() + b"\n" + FRAMES.tobytes()


def test_rewards_are_those_of_the_model_itself(server: WebServer) -> None:
    with closing(RemoteReward(server.url, ["a bright frame"])) as remote:
        here = load_reward_model(load_task("cartpole"), model="brightness")
        assert np.array_equal(remote(FRAMES), here(FRAMES))
        assert np.array_equal(remote.submit(FRAMES).result(20), here(FRAMES))
        assert remote(FRAMES[:0]).shape == (0,)
        assert remote.frame_size == here.frame_size


def test_the_embedded_model_is_told_apart_by_its_digest_and_judges_to_the_bit() -> None:
    spec = RewardSpec(goal="a humanoid robot kneeling", model="embedded", device="cpu")
    with served(spec) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        task = override(load_task("kneeling"), model=server.url)
        frames = np.random.default_rng(1).integers(0, 256, (70, 96, 96, 3), dtype=np.uint8)
        remote, here = load_reward_model(task), load_reward_model("kneeling", model="embedded", device="cpu")
        # One core each, as the desk cuts them.
        parts = np.array_split(frames, server.desk._count)
        assert np.array_equal(remote(frames), np.concatenate([here(part) for part in parts]))
        assert remote.weights_digest == here.weights_digest  # type: ignore[attr-defined]


def test_notes_of_prompts_reach_the_asker() -> None:
    with (
        served(RewardSpec(goal="a humanoid robot kneeling", model="embedded", device="cpu")) as server,
        pytest.warns(UserWarning, match="zzyzx"),
    ):
        RemoteReward(server.url, ["a zzyzx"])


WRONG: dict[str, tuple[str, str, bytes | None, dict[str, str], int, str]] = {
    "garbage": ("POST", "/v1/rewards", b"\x00\xff" * 500, {}, 400, "line of JSON"),
    "no json": ("POST", "/v1/rewards", b"{nothing\n", {}, 400, "no JSON"),
    "a deep json": ("POST", "/v1/rewards", b"[" * 60_000 + b"\n", {}, 400, "no JSON"),
    "a list": ("POST", "/v1/rewards", b"[1]\n", {}, 400, "no JSON object"),
    "nothing": ("POST", "/v1/rewards", b"", {}, 400, "line of JSON"),
    "another version": ("POST", "/v1/rewards", body_of(version=2), {}, 400, "version 2, and this side speaks 1"),
    "no sentence": ("POST", "/v1/rewards", body_of(goal=7), {}, 400, "'goal' must be a list of sentences"),
    "empty sentences": ("POST", "/v1/rewards", body_of(goal=[]), {}, 400, "prompts are none"),
    "another alpha": ("POST", "/v1/rewards", body_of(alpha=float(3)), {}, 400, "'alpha' must be"),
    "true alpha": ("POST", "/v1/rewards", body_of(alpha=True), {}, 400, "'alpha' must be"),
    "few frames": ("POST", "/v1/rewards", body_of(shape=[6, 8, 8, 3]), {}, 400, "1,152 bytes of frames, but 960 came"),
    "no shape": ("POST", "/v1/rewards", body_of(shape="5883"), {}, 400, "'shape' must be"),
    "negative": ("POST", "/v1/rewards", body_of(shape=[-5, -8, 8, 3]), {}, 400, "'shape' must be"),
    "a huge shape": ("POST", "/v1/rewards", body_of(shape=[10**9, 10**9, 10**9, 3]), {}, 400, "'shape' must be"),
    "grey": ("POST", "/v1/rewards", body_of(shape=[5, 8, 24, 1]), {}, 400, "'shape' must be"),
    "huge": ("POST", "/v1/rewards", None, {"Content-Length": str(10**12)}, 413, "fewer frames at a time"),
    "no length": ("POST", "/v1/rewards", None, {"Content-Length": "9" * 18}, 413, "fewer frames at a time"),
    "another path": ("GET", "/v2/rewards", None, {}, 404, "no '/v2/rewards'"),
    "another method": ("GET", "/v1/rewards", None, {}, 405, "takes POST"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_the_server_refuses_is_told_in_one_line(server: WebServer, case: str) -> None:
    method, path, body, headers, status, words = WRONG[case]
    found, answer = ask(server, method, path, body, headers)
    told = json.loads(answer)
    assert found == status
    assert words in told["error"]
    assert "\n" not in told["error"]
    assert ask(server, "GET", "/healthz") == (200, b'{"status": "ok"}\n')


def test_the_schema_reads_what_it_writes() -> None:
    asked = read_asked(pack_asked(Asked(["a"], ["b"], 0.5, FRAMES)))
    assert (asked.goal, asked.baseline, asked.alpha) == (["a"], ["b"], 0.5)
    assert np.array_equal(asked.frames, FRAMES)


def test_one_who_is_slow_is_told_and_holds_up_nobody(server: WebServer) -> None:
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
        slow.sendall(b"POST /v1/rewards HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n{")
        began = time.monotonic()
        assert ask(server, "POST", "/v1/rewards", body_of())[0] == 200
        assert time.monotonic() - began < 5
        answer = b"".join(iter(lambda: slow.recv(4000), b""))  # head and body may come apart
    assert b"408" in answer.partition(b"\r\n")[0]
    assert b"did not come within 1 s" in answer


def test_one_who_goes_in_the_middle_harms_nobody(server: WebServer) -> None:
    port = int(server.url.rpartition(":")[2])
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as gone:
            gone.sendall(b"POST /v1/rewards HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n{")
    deadline = time.monotonic() + 10
    while server.app.held and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.app.held == 0
    assert ask(server, "POST", "/v1/rewards", body_of())[0] == 200


def test_a_token_goes_to_the_server_that_it_belongs_to_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(token=TOKEN) as server:
        monkeypatch.setenv("GYM_VLMRM_TOKEN", TOKEN)
        with pytest.raises(ModelError, match=f"wants a token .* GYM_VLMRM_SERVER={server.url}"):
            RemoteReward(server.url, ["a"])
        monkeypatch.setenv("GYM_VLMRM_SERVER", server.url)
        assert len(RemoteReward(server.url, ["a"])(FRAMES)) == 5
        monkeypatch.setenv("GYM_VLMRM_TOKEN", "another-token")
        with pytest.raises(ModelError, match="refuses the token of GYM_VLMRM_TOKEN") as caught:
            RemoteReward(server.url, ["a"])
        assert "another-token" not in str(caught.value)
        assert ask(server, "GET", "/healthz")[0] == 200
        assert ask(server, "GET", "/v1/model")[0] == 401


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("http://", "is no address"), ("http://:80", "is no address"), ("http://host:99999999", "is no address"),
        ("http://user:pass@host:1", "brings a user or password"), ("http://host:1?a=b", "query or fragment"),
        ("http://ho st:1", "is no address"), ("http://[::1", "is no address"),
    ],
)  # fmt: skip
def test_addresses_that_are_none(model: str, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        base_of(model)
    assert "pass" not in str(caught.value).replace("password", "")


def test_where_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_endpoint("8800") == ("127.0.0.1", 8800)
    assert find_endpoint("0.0.0.0:80") == ("0.0.0.0", 80)
    assert find_endpoint("[::1]:80") == ("::1", 80)
    for wrong in ("", "host", "host:", "host:port", "1:99999", "a/b:1"):
        with pytest.raises(ModelError, match="give HOST:PORT"):
            find_endpoint(wrong)
    assert server_token("127.0.0.1") is None
    with pytest.raises(ModelError, match="other machines may ask"):
        server_token("0.0.0.0")
    monkeypatch.setenv("GYM_VLMRM_TOKEN", "short")
    with pytest.raises(ModelError, match="at least 8 plain characters"):
        server_token("127.0.0.1")


FACTS = Facts("brightness", "0" * 64, "fp32", "cpu", 224)


@contextmanager
def a_stranger(answer: Callable[[str], bytes]) -> Iterator[str]:
    """Something that listens and answers by path, with whole bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.wfile.write(answer(self.path))
            self.close_connection = True

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def model_and(body: bytes) -> Callable[[str], bytes]:
    return lambda path: ok(json.dumps(FACTS.plain()).encode() if path == "/v1/model" else body)


ONE = np.ones(1, np.float32)
STRANGE: dict[str, tuple[Callable[[str], bytes], str]] = {
    "no http": (lambda _: b"SSH-2.0-hello\r\n", "does not speak HTTP"),
    "no json": (lambda _: ok(b"<html>hello</html>"), "no JSON"),
    "another version": (lambda _: ok(b'{"version": 9}'), "version 9, and this side speaks 1"),
    "no facts": (lambda _: ok(b'{"version": 1}'), "'model' is None"),
    "sent on": (
        lambda _: b"HTTP/1.1 307 No\r\nLocation: http://127.0.0.1:9/x?secret\r\nContent-Length: 0\r\n\r\n",
        r"sends requests on to 'http://127.0.0.1:9/x' \(307\); frames and token",
    ),
    "not found": (lambda _: b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", "refuses the request: 404 no"),
    "a long answer": (lambda _: ok(b"a" * 600_000), "more than 81,920 bytes"),
    "garbage": (model_and(b"\x00" * 50), "line of JSON"),
    "fewer rewards": (model_and(pack_rewards(FACTS, ONE, [])[:-1]), "3 bytes of rewards came"),
    "more rewards": (model_and(pack_rewards(FACTS, np.ones(2, np.float32), [])), "returned shape"),
    "nan": (model_and(pack_rewards(FACTS, ONE * np.nan, [])), "not finite"),
    "other weights": (
        model_and(pack_rewards(Facts("brightness", "1" * 64, "fp32", "cpu", 224), ONE, [])),
        "another weights digest .* never mixed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGE)
def test_what_the_client_refuses_is_told_in_one_line(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, words = STRANGE[case]
    with a_stranger(answer) as url, pytest.raises(ModelError, match=words) as caught:
        RemoteReward(url, ["a"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(status: int) -> None:
    busy = [b"HTTP/1.1 %d No\r\nRetry-After: 0\r\nContent-Length: 4\r\n\r\nbusy" % status] * 2

    def answer(path: str) -> bytes:
        return busy.pop() if busy else model_and(pack_rewards(FACTS, ONE, []))(path)

    with a_stranger(answer) as url:
        assert RemoteReward(url, ["a"]).weights_digest == FACTS.weights_digest
    assert not busy


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYM_VLMRM_TIMEOUT", "0.4")
    with pytest.raises(ModelError, match=r"cannot be reached .* still after 0.4 s; is its server running"):
        RemoteReward("http://127.0.0.1:9", ["a"])


def test_an_answer_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYM_VLMRM_TIMEOUT", "0.4")
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        pytest.raises(ModelError, match=r"has not answered for 0.4 s"),
    ):
        RemoteReward(f"http://127.0.0.1:{deaf.getsockname()[1]}", ["a"])


def test_frames_of_more_bytes_than_a_request_are_sent_in_several(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gym_vlmrm.reward.remote.schema.MAX_BYTES", 400)
    remote = RemoteReward.__new__(RemoteReward)
    RemoteReward.__init__.__globals__["frames_at_once"]  # the client's own name for it
    monkeypatch.setattr("gym_vlmrm.reward.remote.model.frames_at_once", lambda _: 2)
    monkeypatch.setattr("gym_vlmrm.reward.remote.schema.MAX_BYTES", MAX_BYTES)
    remote.__init__(server.url, ["a"])  # type: ignore[misc]
    before = server.desk.requests
    assert len(remote(FRAMES)) == 5
    assert server.desk.requests >= before + 3


LIGHT = """
import sys
from gym_vlmrm.reward import load_reward_model
import numpy as np
model = load_reward_model("cartpole", model=sys.argv[1])
assert len(model(np.zeros((2, 8, 8, 3), np.uint8))) == 2
print([name for name in ("torch", "open_clip") if name in sys.modules])
"""


def test_the_client_needs_neither_torch_nor_open_clip(server: WebServer) -> None:
    command = [sys.executable, "-c", LIGHT, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def weights(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("policy.safetensors"))}


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_of_a_training_costs_nothing(tmp_path: Path) -> None:
    """It is killed and comes back three times; the weights are those of a training that met no trouble."""
    command = [sys.executable, "-m", "gym_vlmrm_cli.main", "serve", "cartpole", "--model", "brightness", "--json"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        running.append(subprocess.Popen([*command, "--http", str(port)], stdout=subprocess.DEVNULL))

    deaths = 0

    def kill(progress: Any) -> None:
        nonlocal deaths
        if progress.step >= 24 * (deaths + 1) and deaths < 3:
            deaths += 1
            running[-1].send_signal(signal.SIGKILL)
            running[-1].wait()
            threading.Timer(0.5, start).start()

    os.environ["GYM_VLMRM_TIMEOUT"] = "120"
    start()
    try:
        task = override(load_task("cartpole"), model=f"http://127.0.0.1:{port}", max_episode_steps=30)
        for _ in range(200):
            with pytest.MonkeyPatch.context() as patch, socket.socket() as probe:
                patch.setenv("GYM_VLMRM_TIMEOUT", "1")
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        import gym_vlmrm.learning.callbacks as callbacks

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(callbacks, "PROGRESS_PERIOD", 0.0)
            train(task, PPO, seed=1, output=tmp_path / "killed", workers=1, on_progress=kill)
        train(task, PPO, seed=1, output=tmp_path / "whole", workers=1)
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert deaths == 3
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


def test_a_run_goes_on_with_the_judge_that_it_began_with(tmp_path: Path) -> None:
    embedded = RewardSpec(goal="a", model="embedded", device="cpu")
    short = PPO.model_copy(update={"steps": 48})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with served() as server:
            port = int(server.url.rpartition(":")[2])
            task = override(load_task("cartpole"), model=server.url, max_episode_steps=30)
            run = train(task, short, seed=1, output=tmp_path / "run", workers=1).run
        with served(embedded, port), pytest.raises(RunError, match="two judges are never mixed in one run"):
            resume(run, steps=96, workers=1)


EMBEDDED = RewardSpec(goal="a humanoid robot kneeling", model="embedded", device="cpu")
KNEELING = {"goal": ["a humanoid robot kneeling"], "baseline": [], "alpha": 0.0, "version": VERSION}


@pytest.fixture(scope="module")
def embedded() -> Iterator[WebServer]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with served(EMBEDDED) as running:
            yield running


def asking(shape: list[int], **changes: Any) -> bytes:
    return json.dumps({**KNEELING, "shape": shape, **changes}).encode() + b"\n" + bytes(int(np.prod(shape)))


LONG_SIDES = [(1, 2_000_000), (2_000_000, 1), (1, 33), (33, 1), (MAX_SIDE + 1, 300), (8, 8 * MAX_RATIO + 1)]


@pytest.mark.parametrize("sides", LONG_SIDES)
def test_frames_whose_resizing_would_take_all_memory_are_refused_by_everybody(
    embedded: WebServer, sides: tuple[int, int], tmp_path: Path
) -> None:
    status, answer = ask(embedded, "POST", "/v1/rewards", asking([1, *sides, 3]))
    assert status == 400
    assert "has too long a side; at most 8,192, and 32 times" in json.loads(answer)["error"]
    frames = np.zeros((1, *sides, 3), np.uint8)
    here = load_reward_model("kneeling", device="cpu")
    with closing(RemoteReward(embedded.url, KNEELING["goal"])) as remote:  # type: ignore[arg-type]
        for model in (here, remote):
            with pytest.raises(ModelError, match="too long a side"):
                model(frames)
    with (tmp_path / "frames").open("w+b") as file:
        file.write(frames.tobytes())
        file.flush()
        with pytest.raises(WireError, match="too long a side"):
            read_frames(file.fileno(), [1, *sides])


def test_long_frames_take_no_more_memory_than_square_ones(embedded: WebServer) -> None:
    """Of frames as long as they may be, 16 were resized at once."""
    before, most = psutil.Process().memory_info().rss, 0
    stopped = threading.Event()

    def look() -> None:
        nonlocal most
        while not stopped.wait(0.002):
            most = max(most, psutil.Process().memory_info().rss)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        status, answer = ask(embedded, "POST", "/v1/rewards", asking([64, 8, 8 * MAX_RATIO, 3]))
    finally:
        stopped.set()
        watching.join()
    assert status == 200, answer
    assert most - before < 200e6


def test_long_frames_are_judged_as_they_are_one_by_one() -> None:
    here = load_reward_model("kneeling", device="cpu")
    frames = np.random.default_rng(2).integers(0, 256, (7, 12, 120, 3), dtype=np.uint8)
    assert np.allclose(here(frames), np.concatenate([here(frame[None]) for frame in frames]), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"goal": ["a"] * 101}, "at most 100 sentences each"),
        ({"baseline": ["a"] * 101, "alpha": 0.5}, "at most 100 sentences each"),
        ({"goal": ["a " * 490] * 20}, "16,000 characters together"),
        ({"goal": ["a " * 600]}, "at most 1000 characters"),
    ],
)
def test_prompts_are_bounded(server: WebServer, changes: dict[str, Any], words: str) -> None:
    status, answer = ask(server, "POST", "/v1/rewards", asking([1, 8, 8, 3], **changes))
    assert status == 400
    assert words in json.loads(answer)["error"]
    if "sentences" in words or "together" in words:
        with pytest.raises(SchemaError, match=words):
            pack_asked(Asked(changes.get("goal", ["a"]), changes.get("baseline", []), 0.0, FRAMES))


def test_frames_of_a_request_are_bounded_and_clients_send_several(server: WebServer) -> None:
    status, answer = ask(server, "POST", "/v1/rewards", asking([100_000, 1, 1, 3]))
    assert status == 400
    assert "of 1 to 4,096 frames" in json.loads(answer)["error"]
    before = server.desk.requests
    with closing(RemoteReward(server.url, ["a"])) as remote:
        assert len(remote(np.zeros((9000, 1, 1, 3), np.uint8))) == 9000
    assert server.desk.requests == before + 1 + 3


def waits(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


class Gated:
    """A judge that takes its time."""

    name, frame_size, concurrent = "brightness", 32, False

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.gate = threading.Event()
        self.judged: list[NDArray[np.uint8]] = []

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        if frames.shape[1:3] == (3, 3):
            raise RuntimeError("no such frames")
        self.judged.append(frames)
        assert self.gate.wait(30)
        time.sleep(self.seconds * len(frames))
        return frames.mean(axis=(1, 2, 3)).astype(np.float32)


@contextmanager
def gated(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> Iterator[tuple[WebServer, Gated]]:
    model = Gated(seconds)
    monkeypatch.setattr("gym_vlmrm.serving.desk.load_judge", lambda _: model)
    with served() as running:
        try:
            yield running, model
        finally:
            model.gate.set()


def start(action: Callable[[], Any]) -> "Future[Any]":
    told: Future[Any] = Future()

    def run() -> None:
        try:
            told.set_result(action())
        except BaseException as error:
            told.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return told


def test_a_large_request_holds_up_no_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,096 frames take 8 s there; one frame of another shape waits for one turn of them."""
    with gated(monkeypatch, seconds=0.002) as (server, model):
        model.gate.set()
        large = start(lambda: ask(server, "POST", "/v1/rewards", asking([4096, 1, 1, 3])))
        assert waits(lambda: len(model.judged) > 0)
        began = time.monotonic()
        assert ask(server, "POST", "/v1/rewards", asking([1, 2, 2, 3]))[0] == 200
        assert time.monotonic() - began < 5
        assert not large.done()
        assert large.result(30)[0] == 200


def test_askers_take_turns() -> None:
    turns: Turns[str] = Turns()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        turns.put(item[0], item)
    assert len(turns) == 6
    assert turns.drop("a", "a2")
    assert not turns.drop("a", "a2")
    assert not turns.drop("d", "d1")
    assert [turns.take() for _ in range(6)] == ["a1", "b1", "c1", "a3", "b2", None]
    for item in ("a1", "b1"):
        turns.put(item[0], item)
    assert turns.take(lambda item: item == "b1") == "b1"
    assert list(turns) == ["a1"]


def test_the_work_of_who_has_gone_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    with gated(monkeypatch) as (server, model):
        port = int(server.url.rpartition(":")[2])
        body = asking([4096, 1, 1, 3])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as gone:
            head = f"POST /v1/rewards HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
            gone.sendall(head.encode() + body)
            assert waits(lambda: len(model.judged) == 1)
        assert waits(lambda: server.desk.waiting == (0, 0))
        model.gate.set()
        assert ask(server, "POST", "/v1/rewards", asking([1, 2, 2, 3]))[0] == 200
        assert sum(map(len, model.judged)) <= 1024 + 1  # the batch that was under way, and the other request
        assert waits(lambda: server.app.held == 0)


def test_what_is_too_much_waits_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gym_vlmrm.serving.desk.MAX_WAITING_FRAMES", 20)
    with gated(monkeypatch) as (server, model):
        askers = [start(lambda: ask(server, "POST", "/v1/rewards", asking([5, 2, 2, 3]))) for _ in range(2)]
        assert waits(lambda: server.desk.waiting[0] == 2)
        with closing(http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=20)) as third:
            third.request("POST", "/v1/rewards", asking([1, 2, 2, 3]))
            answer = third.getresponse()
            told = json.loads(answer.read())["error"]
        assert answer.status == 503
        assert 1 <= int(answer.headers["Retry-After"]) <= 30
        assert told.startswith("2 requests of 10 frames of yours wait already; come again in")
        # Another asker has room: half of all is nobody's alone.
        other = server.desk.ask(server.desk.model, np.zeros((1, 2, 2, 3), np.uint8), "elsewhere", bounded=True)
        again = start(lambda: RemoteReward(server.url, ["a bright frame"])(FRAMES))
        model.gate.set()
        assert [asker.result(20)[0] for asker in askers] == [200, 200]
        assert other.answer.result(20).shape == (1,)
        assert again.result(20).shape == (5,)  # the client came again as it was told


def test_what_fails_together_is_judged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with gated(monkeypatch) as (server, model):
        first = start(lambda: ask(server, "POST", "/v1/rewards", asking([1, 1, 1, 3])))
        assert waits(lambda: len(model.judged) == 1)
        wrong = [start(lambda: ask(server, "POST", "/v1/rewards", asking([1, 3, 3, 3]))) for _ in range(2)]
        assert waits(lambda: server.desk.waiting[0] == 3)
        model.gate.set()
        assert first.result(20)[0] == 200
        for one in wrong:
            status, answer = one.result(20)
            assert status == 500
            assert "the judge failed: RuntimeError: no such frames" in json.loads(answer)["error"]
        assert server.desk.alive
        assert server.desk.waiting == (0, 0)


def test_new_prompts_hold_up_nobody_whose_prompts_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, model = threading.Event(), Gated()
    model.gate.set()

    def load(judge: RewardSpec) -> Any:
        if judge.goals == ["new"]:
            assert slow.wait(30)
        return model

    monkeypatch.setattr("gym_vlmrm.serving.desk.load_judge", load)
    with served() as server:
        new = [start(lambda: ask(server, "POST", "/v1/rewards", body_of(goal=["new"]))) for _ in range(8)]
        assert waits(lambda: server.desk.waiting[0] == 8)
        assert ask(server, "POST", "/v1/rewards", body_of())[0] == 200
        slow.set()
        assert [one.result(20)[0] for one in new] == [200] * 8


def test_notices_leave_files_for_connections(embedded: WebServer) -> None:
    """Each held an open file for as long as the server ran, and everybody can cause one with a new word."""
    before = psutil.Process().num_fds()
    for number in range(300):
        body = asking([1, 8, 8, 3], goal=[f"a zz{number}q"])
        status, answer = ask(embedded, "POST", "/v1/rewards", body)
        assert status == 200
        assert f"zz{number}q" in json.loads(answer.partition(b"\n")[0])["notes"][0]
    assert psutil.Process().num_fds() < before + 250


def raw(server: WebServer, data: bytes, seconds: float = 10.0) -> bytes:
    """Send bytes, and return all that comes until the server closes or so much time has passed."""
    answer = b""
    port = int(server.url.rpartition(":")[2])
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with suppress(OSError):  # it may not want to hear the rest
            connection.sendall(data)
        while part := connection.recv(65_536):
            answer += part
    return answer


POST = b"POST /v1/rewards HTTP/1.1\r\nHost: a\r\n"
NO_REQUESTS: dict[str, tuple[bytes, int, str]] = {
    "garbage": (b"\x00\xff\xfe garbage\r\n\r\n", 400, "this is no HTTP request: illegal request line"),
    "tls": (b"\x16\x03\x01\x02\x00\x01" + b"\xaa" * 200 + b"\r\n\r\n", 400, "this is no HTTP request"),
    "no version": (b"GET /\r\n\r\n", 400, "this is no HTTP request"),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "Missing mandatory Host"),
    "no length": (POST + b"Content-Length: many\r\n\r\n", 400, "bad Content-Length"),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "conflicting Content-Length"),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 50_000, 411, "send its length"),
    "no chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", 411, "send its length"),
    "a huge head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 200_000, 431, "has at most 65,536 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_REQUESTS)
def test_what_is_no_request_is_told_in_json_and_in_the_log(
    server: WebServer, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, status, words = NO_REQUESTS[case]
    server.app.log._since = 0.0  # nothing that other tests did fills it
    head, _, body = raw(server, data).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"content-type: application/json" in head
    assert words in json.loads(body)["error"]
    assert "bytearray" not in body.decode()
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if line.startswith("refused 127.0.0.1:") and words in line], lines
    assert not [record for record in caplog.records if record.exc_info]  # uvicorn's own words of trouble
    assert ask(server, "GET", "/healthz")[0] == 200


@pytest.mark.parametrize("version", [True, 1.0, "1", None, [1]])
def test_a_version_is_a_whole_number(server: WebServer, version: Any) -> None:
    status, answer = ask(server, "POST", "/v1/rewards", body_of(version=version))
    assert status == 400
    assert "and this side speaks 1" in json.loads(answer)["error"]
    with a_stranger(lambda _: ok(json.dumps({**FACTS.plain(), "version": version}).encode())) as url:  # noqa: SIM117
        with pytest.raises(ModelError, match="and this side speaks 1"):
            RemoteReward(url, ["a"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alpha": 0.5}, "the prompts are none: alpha is 0.5 but there is no baseline prompt"),
        ({"goal": [""]}, "the prompts are none: goal: String should have at least 1 character"),
        ({"goal": ["\ud800"]}, "the prompts are none: goal: Input should be a valid string"),
        ({"goal": []}, "the prompts are none: goal: needs at least one sentence"),
    ],
)
def test_wrong_prompts_are_told_in_our_words(server: WebServer, changes: dict[str, Any], words: str) -> None:
    status, answer = ask(server, "POST", "/v1/rewards", body_of(**changes))
    told = json.loads(answer)["error"]
    assert status == 400
    assert told.startswith(words)
    assert "Value error" not in told
    assert "; Input" not in told


@pytest.mark.parametrize("before", range(55, 80))
def test_no_beginning_of_the_token_is_left_where_a_line_is_cut(before: int, caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog(TOKEN)
    log.tell(RefusalError(400, "a" * (before + 220) + TOKEN), "b" * before + TOKEN, "GET /" + "c" * before + TOKEN)
    (line,) = caplog.messages
    assert TOKEN[:5] not in line


def test_the_log_has_a_line_of_each_refusal_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    with served(token=TOKEN) as server:
        caplog.clear()
        ask(server, "POST", "/v1/rewards", b"x", {"Authorization": "Bearer wrong-secret"})
        ask(server, "GET", f"/{TOKEN}", None)
        ask(server, "POST", "/v1/rewards", b"x", {"Authorization": f"Bearer {TOKEN}"})
        ask(server, "GET", "/%1b%5b2J", None)
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == 4
        assert "401 the token is missing or wrong" in lines[0]
        assert not any(TOKEN in line or "wrong-secret" in line or "\x1b" in line for line in lines)
        ask(server, "GET", "/forwarded", None, {"X-Forwarded-For": "a" * 5000})
        assert len(caplog.records[-1].getMessage()) < 300
        for _ in range(40):
            ask(server, "GET", "/nothing", None)
        assert len(caplog.records) == 20  # a log must not fill a disk for somebody who asks for it
        server.app.log._since -= 11
        ask(server, "GET", "/nothing", None)
        assert [record.getMessage() for record in caplog.records][20] == "25 further requests were refused"


def test_frames_that_came_warn_of_nothing(embedded: WebServer) -> None:
    """Torch warns of memory that cannot be written to, once in a process."""
    code = (
        "import numpy as np, warnings; warnings.simplefilter('error')\n"
        "from gym_vlmrm import load_reward_model\n"
        "frames = np.frombuffer(bytes(192), np.uint8).reshape(1, 8, 8, 3)\n"
        "print(load_reward_model('kneeling', device='cpu')(frames).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "(1,)", done.stderr
    asked = read_asked(bytearray(asking([1, 8, 8, 3])))
    assert asked.frames.flags.writeable


def test_half_a_head_and_silence_is_answered_too(server: WebServer) -> None:
    """Whoever opens connections and says nothing would keep others out for ever."""
    for begun in (b"", b"POST /v1/rewa", POST):
        began = time.monotonic()
        head, _, body = raw(server, begun).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert "the head of the request did not come within 1 s" in json.loads(body)["error"]
        assert time.monotonic() - began < 5


def test_a_body_that_nobody_wants_ends_too(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gym_vlmrm.serving.web_protocol._MORE", 0.2)
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /else HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 404")
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 8:
                connection.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < 5


def test_who_opens_too_many_connections_is_told(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gym_vlmrm.serving.web_protocol.MAX_CONNECTIONS", 8)
    port = int(server.url.rpartition(":")[2])
    with ExitStack() as opened:
        for _ in range(4):
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        head, _, body = raw(server, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in head
        assert "too many connections" in json.loads(body)["error"]
    assert waits(lambda: raw(server, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200"))


def test_a_client_that_is_refused_in_the_middle_of_its_frames_reads_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(token=TOKEN) as server:
        headers = {"Authorization": "Bearer wrong"}
        assert ask(server, "POST", "/v1/rewards", bytes(60_000_000), headers)[0] == 401
        monkeypatch.setenv("GYM_VLMRM_TOKEN", TOKEN)
        monkeypatch.setenv("GYM_VLMRM_SERVER", server.url)
        with closing(RemoteReward(server.url, ["a"])) as remote:
            server.app._token = "another-token"
            with pytest.raises(ModelError, match="refuses the token of GYM_VLMRM_TOKEN"):
                remote(np.zeros((400, 220, 220, 3), np.uint8))
