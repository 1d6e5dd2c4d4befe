"""The reward server of a host: who starts it, who finds it, what it refuses, and when it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import pytest

import gym_vlmrm
from gym_vlmrm import load_task
from gym_vlmrm.entry_points import make_env
from gym_vlmrm.errors import ModelError, TaskError, WorkerError
from gym_vlmrm.serving.client import SharedReward, share_reward_model
from gym_vlmrm.serving.desk import Desk
from gym_vlmrm.serving.place import find_place, runtime_folder
from gym_vlmrm.serving.server import AFTER_LAST, RewardServer
from gym_vlmrm.serving.starting import find_server
from gym_vlmrm.serving.wanted import wants_sharing
from gym_vlmrm.serving.wire import MAX_LINE, VERSION, SharedFrames, Wire, WireError, read_frames
from gym_vlmrm.task.catalog import task_from_dict
from gym_vlmrm.task.spec import RewardSpec

BRIGHT = RewardSpec(goal="a bright frame", model="brightness", device="cpu")
FRAMES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: paths of sockets have at most some hundred characters."""
    with tempfile.TemporaryDirectory(prefix="vlmrm-") as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of the test's own; servers that it leaves are ended."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("GYM_VLMRM_TIMEOUT", "300")
    yield tmp_path / "gym-vlmrm"
    for pid in servers(tmp_path):
        os.kill(pid, signal.SIGKILL)


def servers(folder: Path) -> list[int]:
    """Reward servers that listen in a folder, told by the environment that they were started in."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, variables = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if b"gym_vlmrm-reward-server" in command and f"XDG_RUNTIME_DIR={folder}\0".encode() in variables:
            found.append(int(process.name))
    return found


def until(condition: Any, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def served() -> Iterator[RewardServer]:
    """A server in a thread of this process, which goes soon after its last client."""
    server = RewardServer(BRIGHT, until_first=60, after_last=0.3)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server._stopped = True
    thread.join()
    server.close()


def talk(server: RewardServer) -> Wire:
    connecting = socket.socket(socket.AF_UNIX)
    connecting.settimeout(20)
    connecting.connect(str(server.place.socket))
    return Wire(connecting)


def test_rewards_are_those_of_the_model_itself(served: RewardServer) -> None:
    model = share_reward_model(BRIGHT)
    own = gym_vlmrm.load_reward_model("cartpole", model="brightness")
    assert (model(FRAMES) == own(FRAMES)).all()
    assert model(FRAMES[:0]).shape == (0,)
    assert (model.name, model.frame_size, model.device, model.precision) == ("brightness", 32, "cpu", "fp32")
    assert model.weights_digest == own.weights_digest  # type: ignore[attr-defined]
    assert (model(FRAMES[:, :4]) == own(FRAMES[:, :4])).all()
    with pytest.raises(ModelError, match="frames must be uint8"):
        model(FRAMES.astype(np.float32))  # type: ignore[arg-type]
    assert served.clients == 1


def test_parts_share_a_server_and_pay_what_they_pay_alone(served: RewardServer) -> None:
    reward = {
        "goal": "light", "avoid": "dark", "model": "brightness", "task": 0.5, "shape": "difference",
        "parts": [{"goal": "more light", "weight": 0.5, "center": 0.1}], "success_seen": {"above": 0.3},
        "device": BRIGHT.device, "precision": BRIGHT.precision,
    }  # fmt: skip
    task = task_from_dict({**load_task("cartpole").model_dump(exclude_unset=True), "reward": reward})
    paid = []
    for share_model in (True, False):
        env = make_env(task, share_model=share_model)
        env.reset(seed=0)
        steps = [env.step(step % 2) for step in range(6)]
        paid.append([(step[1], step[4]["reward_parts"], step[4]["success_seen"]) for step in steps])
        assert served.clients <= 1
        env.close()
    assert paid[0] == paid[1]
    assert served.desk.requests == 3 * (6 + 1)  # three parts, one picture of what the episode began with
    windowed = task.model_copy(update={"reward": RewardSpec.model_validate({**reward, "window": {"frames": 2}})})
    with pytest.raises(TaskError, match="part 'goal' has a window, and a shared model tells no embeddings"):
        make_env(windowed, share_model=True)


def test_all_models_of_a_process_speak_through_one_connection(served: RewardServer) -> None:
    models = [share_reward_model(BRIGHT.model_copy(update={"goal": goal})) for goal in ("one", "two", "one")]
    assert [model(FRAMES).shape for model in models] == [(5,)] * 3
    assert served.clients == 1


def test_a_server_goes_with_its_last_client(served: RewardServer) -> None:
    model = share_reward_model(BRIGHT)
    model(FRAMES)
    time.sleep(0.6)
    assert served.place.socket.exists()
    del model
    assert until(lambda: not served.place.socket.exists())


def test_large_batches_go_in_parts(served: RewardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gym_vlmrm.serving.client.MAX_FRAMES", 2 * 8 * 8 * 3)
    model = share_reward_model(BRIGHT)
    expected = gym_vlmrm.load_reward_model("cartpole", model="brightness")(FRAMES)
    assert (model(FRAMES) == expected).all()
    with pytest.raises(ModelError, match="too large for the reward server"):
        model(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "it is no JSON"),
        (b"[1, 2]\n", "it is no JSON object"),
        (b'{"do": "hello", "version": 99}\n', f"speaks version 99, and this server speaks {VERSION}"),
        (b"[" * 100_000 + b"\n", "it is no JSON"),
        (b"x" * (MAX_LINE + 100_000), "longer than"),
    ],
)
def test_a_server_lets_go_of_who_says_something_else(served: RewardServer, message: bytes, words: str) -> None:
    wire = talk(served)
    try:
        wire.socket.sendall(message)
    except OSError:  # it did not want to hear the rest
        pass
    else:
        assert words in wire.receive()["error"]
    wire.close()
    assert share_reward_model(BRIGHT)(FRAMES).shape == (5,)


def test_requests_out_of_order_are_refused(served: RewardServer) -> None:
    for request, words in [
        ({"do": "score", "judge": 0, "shape": [1, 8, 8]}, "before it gave prompts and memory"),
        ({"do": "prompts", "goal": [], "baseline": None, "alpha": 0}, "its prompts are none"),
        ({"do": "prompts", "goal": ["x" * 2000], "baseline": None, "alpha": 0}, "its prompts are none"),
        ({"do": "memory"}, "no memory came"),
        ({"do": "greet"}, "nobody can do 'greet'"),
        ({"do": ["score"]}, "nobody can do"),
    ]:
        wire = talk(served)
        wire.send({"do": "hello", "version": VERSION})
        assert wire.receive()["weights_digest"]
        wire.send(request)
        assert words in wire.receive()["error"]
        wire.close()


@pytest.mark.parametrize(
    "shape", [None, [1, 8], [0, 8, 8], [1, -8, 8], [True, 8, 8], [10**9, 10**9, 3], [10**6, 1, 1], [2, 8, 8]]
)
def test_memory_holds_the_frames_that_it_is_said_to(tmp_path: Path, shape: Any) -> None:
    with (tmp_path / "frames").open("w+b") as file:
        file.write(bytes(8 * 8 * 3))
        file.flush()
        assert read_frames(file.fileno(), [1, 8, 8]).shape == (1, 8, 8, 3)
        with pytest.raises(WireError):
            read_frames(file.fileno(), shape)


def test_a_client_that_dies_within_a_message_disturbs_nobody(served: RewardServer) -> None:
    wire = talk(served)
    wire.socket.sendall(b'{"do": "hel')
    assert share_reward_model(BRIGHT)(FRAMES).shape == (5,)
    wire.close()
    assert until(lambda: served.clients <= 1)


@pytest.mark.parametrize("answer", [b"220 mail\n", b'{"version": 1}\n', b'{"version": 2, "pid": 1, "frame_size": 3}\n'])
def test_what_is_no_server_is_told_from_one(answer: bytes) -> None:
    place = find_place(BRIGHT)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place.socket))
    listener.listen()

    def answer_one() -> None:
        with listener.accept()[0] as peer:
            peer.recv(1000)
            peer.sendall(answer)

    thread = threading.Thread(target=answer_one)
    thread.start()
    with pytest.raises(ModelError, match="no reward server") as caught:
        find_server(BRIGHT)
    assert "\n" not in str(caught.value)
    thread.join()
    listener.close()


def test_a_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYM_VLMRM_TIMEOUT", "1")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(find_place(BRIGHT).socket))
        listener.listen(0)
        with pytest.raises(WorkerError, match="the reward server has not answered 'hello' for 1 s"):
            find_server(BRIGHT)


def test_requests_that_wait_together_are_one_batch() -> None:
    desk = Desk(BRIGHT)
    assert desk.together
    assert not hasattr(desk.model, "towers")
    model, _ = desk.judge_by(BRIGHT)
    gate, sizes = threading.Event(), []

    class Slow:
        name, frame_size = "slow", 8

        def __call__(self, frames: Any) -> Any:
            sizes.append(len(frames))
            gate.wait(20)
            return model(frames)

    slow: Any = Slow()
    results: dict[int, Any] = {}
    askers = [
        threading.Thread(target=lambda row=row: results.update({row: desk.score(slow, FRAMES[row : row + 1])}))
        for row in range(5)
    ]
    askers[0].start()
    assert until(lambda: sizes == [1])
    for asker in askers[1:]:
        asker.start()
    assert until(lambda: len(desk._waiting) == 4)
    gate.set()
    for asker in askers:
        asker.join()
    assert sizes == [1, 4]
    assert [float(results[row][0]) for row in range(5)] == model(FRAMES).tolist()


def test_a_folder_that_others_could_write_to_is_not_trusted(folder: Path, tmp_path: Path) -> None:
    assert runtime_folder() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    with pytest.raises(ModelError, match="mode 770, and not one of yours alone"):
        share_reward_model(BRIGHT)
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="is no folder of user"):
        share_reward_model(BRIGHT)
    folder.unlink()
    if os.getuid() == 0:
        folder.mkdir(mode=0o700)
        os.chown(folder, 12345, -1)
        with pytest.raises(ModelError, match="is a folder of user 12345"):
            share_reward_model(BRIGHT)


def test_long_paths_of_runtime_folders_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    assert len(str(find_place(BRIGHT).socket)) <= 100


def test_one_place_per_model_arithmetic_and_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(**changes: Any) -> str:
        return find_place(BRIGHT.model_copy(update=changes)).key

    assert key() == key(goal="something else", alpha=0.5)
    assert len({key(), key(model="embedded"), key(precision="bf16"), key(device="cuda"), key(device="cuda:1")}) == 5
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_text("1")
    before = key(model=f"local-dir:{tmp_path}/model")
    monkeypatch.chdir(tmp_path)
    assert key(model="local-dir:model") == before
    (tmp_path / "model/weights").write_text("12")
    assert key(model="local-dir:model") != before
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    blind = key(device="auto")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert key(device="auto") == blind
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert key(device="auto") != blind
    assert key() == key(device="cpu")


@pytest.mark.parametrize(("said", "wanted"), [("1", True), ("true", True), ("0", False), ("", False), ("NO", False)])
def test_the_environment_variable_says_yes_or_no(monkeypatch: pytest.MonkeyPatch, said: str, wanted: bool) -> None:
    monkeypatch.setenv("GYM_VLMRM_SHARE_MODEL", said)
    assert wants_sharing() is wanted
    assert wants_sharing(not wanted) is not wanted


def test_what_is_neither_yes_nor_no_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYM_VLMRM_SHARE_MODEL", "maybe")
    with pytest.raises(ModelError, match="GYM_VLMRM_SHARE_MODEL is 'maybe'; write 1 or 0"):
        gym.make("VLMRM/CartPole-Balance-v0", model="brightness")
    with pytest.raises(ModelError, match="share_model must be True or False"):
        gym.make("VLMRM/CartPole-Balance-v0", model="brightness", share_model="yes")


WORKER = """
import os, sys
import gymnasium as gym, gym_vlmrm
env = gym.make("VLMRM/CartPole-Balance-v0", share_model=True, model=sys.argv[1])
env.reset(seed=0)
rewards = [float(env.step(step % 2)[1]) for step in range(4)]
print([name for name in ("torch", "open_clip") if name in sys.modules], rewards, flush=True)
sys.stdin.read()
"""


def start_worker(model: str = "brightness") -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", WORKER, model], stdin=pipe, stdout=pipe, text=True)


def end(workers: list[subprocess.Popen[str]], *, kill: bool) -> None:
    for worker in workers:
        if kill:
            worker.kill()
        worker.communicate()


def test_processes_that_start_at_once_share_one_server_until_the_last_is_killed(tmp_path: Path) -> None:
    workers = [start_worker() for _ in range(3)]
    lines = {worker.stdout.readline() for worker in workers if worker.stdout}
    assert len(lines) == 1
    assert lines.pop().startswith("[] [0.")
    assert len(servers(tmp_path)) == 1
    end(workers, kill=True)
    assert until(lambda: not servers(tmp_path), AFTER_LAST + 30)
    assert not list((tmp_path / "gym-vlmrm").glob("*.sock"))


def test_a_killed_server_is_started_once_more(tmp_path: Path) -> None:
    model = share_reward_model(BRIGHT)
    first = model(FRAMES)
    (pid,) = servers(tmp_path)
    os.kill(pid, signal.SIGKILL)
    assert (model(FRAMES) == first).all()
    (other,) = servers(tmp_path)
    assert other != pid


def test_a_server_that_stands_still_is_an_error_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = share_reward_model(BRIGHT)
    (pid,) = servers(tmp_path)
    monkeypatch.setenv("GYM_VLMRM_TIMEOUT", "1")
    os.kill(pid, signal.SIGSTOP)
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:  # all its threads
        time.sleep(0.01)
    with pytest.raises(WorkerError, match="the reward server has not answered 'score' for 1 s"):
        model(FRAMES)
    os.kill(pid, signal.SIGCONT)
    monkeypatch.setenv("GYM_VLMRM_TIMEOUT", "300")
    assert model(FRAMES).shape == (5,)


def test_an_unknown_model_is_the_same_error_as_without_a_server(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    judge = BRIGHT.model_copy(update={"model": f"local-dir:{folder}"})
    with pytest.raises(ModelError) as alone:
        gym_vlmrm.load_reward_model("cartpole", model=judge.model)
    with pytest.raises(ModelError) as shared:
        share_reward_model(judge)
    assert str(shared.value) == str(alone.value)
    assert until(lambda: not servers(tmp_path))


ASYNC = """
import sys
import gymnasium as gym, numpy as np, gym_vlmrm
if __name__ == "__main__":
    envs = gym.make_vec(
        "gym_vlmrm:VLMRM/CartPole-Balance-v0", num_envs=2, vectorization_mode=sys.argv[1], share_model=True,
        model="brightness", **({"vector_kwargs": {"context": sys.argv[2]}} if sys.argv[2] else {}),
    )
    envs.reset(seed=0)
    print([envs.step(np.array([0, 1]))[1].tolist() for _ in range(3)], flush=True)
    envs.close()
"""


@pytest.mark.slow
def test_gymnasiums_ways_to_start_share_as_well(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ASYNC)
    lines = set()
    for mode, start in [("sync", ""), ("async", "fork"), ("async", "spawn"), ("async", "forkserver")]:
        command = [sys.executable, str(script), mode, start]
        lines.add(subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout)
    assert len(lines) == 1
    assert json.loads(lines.pop())
    assert len(servers(tmp_path)) == 1


@pytest.mark.slow
def test_the_embedded_models_rewards_are_equal_to_the_last_bit(tmp_path: Path) -> None:
    """Without torch in the worker; alone, with one thread of torch, a batch is the same batch."""
    workers = [start_worker("embedded") for _ in range(2)]
    lines = {worker.stdout.readline() for worker in workers if worker.stdout}
    end(workers, kill=False)
    alone = WORKER.replace("share_model=True", "share_model=False")
    command = [sys.executable, "-c", "import torch; torch.set_num_threads(1)\n" + alone, "embedded"]
    own = subprocess.run(command, input="", capture_output=True, text=True, timeout=300, check=True).stdout
    (shared,) = lines
    assert shared.startswith("[] ")
    assert shared.partition("] ")[2] == own.partition("] ")[2]


@pytest.mark.slow
def test_batches_of_the_embedded_model_change_no_more_than_last_bits() -> None:
    """Why a server scores requests one by one on a CPU: rewards must not depend on who else asks at the moment."""
    env = gym.make("VLMRM/CartPole-Balance-v0", model="embedded", device="cpu")
    env.reset(seed=0)
    frames = []
    for step in range(16):
        env.step(step % 2)
        frames.append(np.asarray(env.render()))
    model: Any = env.get_wrapper_attr("reward_model")
    alone = np.concatenate([model(frame[None]) for frame in frames])
    assert np.abs(model(np.stack(frames)) - alone).max() < 1e-6
    assert not Desk(BRIGHT.model_copy(update={"model": "embedded"})).together
    env.close()


@pytest.mark.slow
def test_warnings_of_prompts_reach_the_client() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        SharedReward(BRIGHT.model_copy(update={"model": "embedded", "goal": "a zebra"}))
    assert [str(one.message).partition(" in training")[0] for one in caught] == ["model 'embedded' never saw 'zebra'"]


def test_serve_says_what_it_serves_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gym_vlmrm_cli.main", "serve", "cartpole", "--model", "brightness"]
    serving = subprocess.Popen([*command, "--device", "cpu", "--json"], stdout=subprocess.PIPE, text=True)
    place = find_place(BRIGHT)
    assert until(place.socket.exists, 60)
    assert share_reward_model(BRIGHT)(FRAMES).shape == (5,)
    assert not servers(tmp_path)
    second = subprocess.run(
        [*command, "--device", "cpu", "--idle", "1"], capture_output=True, text=True, timeout=100, check=False
    )
    assert second.returncode == 1
    assert "is served already" in second.stderr
    serving.send_signal(signal.SIGINT)
    facts = json.loads(serving.communicate(timeout=30)[0])
    assert facts["model"] == "brightness"
    assert facts["socket"] == str(place.socket)
    assert serving.returncode == 128 + signal.SIGINT
    assert not place.socket.exists()


def test_nothing_more_is_judged_for_a_client_that_has_gone(
    served: RewardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, judged = threading.Event(), []

    class Slow:
        name, frame_size = "slow", 8

        def __call__(self, frames: Any) -> Any:
            judged.append(len(frames))
            assert gate.wait(20)
            return np.zeros(len(frames), np.float32)

    slow: Any = Slow()
    monkeypatch.setattr(served.desk, "judge_by", lambda _: (slow, []))
    wire, frames = talk(served), SharedFrames()
    frames.write(np.zeros((4096, 2, 2, 3), np.uint8))
    for message, descriptor in (
        ({"do": "hello", "version": VERSION}, None),
        ({"do": "memory"}, frames.descriptor),
        ({"do": "prompts", "goal": ["a"], "baseline": None, "alpha": 0}, None),
    ):
        wire.send(message, descriptor)
        assert "error" not in wire.receive()
    wire.send({"do": "score", "judge": 0, "shape": [4096, 2, 2]})
    assert until(lambda: len(judged) == 1)
    wire.close()
    frames.close()
    assert until(lambda: served.desk.waiting == (0, 0))
    gate.set()
    assert until(lambda: served.clients == 0)
    assert sum(judged) <= 1024


@pytest.mark.parametrize("version", [True, 1.0, "1", None])
def test_a_version_is_a_whole_number(served: RewardServer, version: Any) -> None:
    wire = talk(served)
    wire.send({"do": "hello", "version": version})
    assert "and this server speaks 1" in wire.receive()["error"]
    wire.close()


def test_frames_with_a_side_that_is_too_long_are_not_sent(served: RewardServer) -> None:
    with pytest.raises(ModelError, match="1 x 2,000,000 pixels has too long a side"):
        share_reward_model(BRIGHT)(np.zeros((1, 1, 2_000_000, 3), np.uint8))
    assert share_reward_model(BRIGHT)(FRAMES).shape == (5,)
