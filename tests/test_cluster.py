"""Trainings, sweeps and servers on a Ray cluster of three nodes on this machine, whose parts are killed in the middle.

CI does not have Ray: pip install "ray[default,serve,tune]", then pytest -m slow tests/test_cluster.py
"""

import csv
import gc
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray")
import ray
from ray.cluster_utils import Cluster as Nodes
from traces import traces

from gym_vlmrm import load_task
from gym_vlmrm.cluster.connecting import import_ray
from gym_vlmrm.cluster.judges import ClusterReward, Judges, Places
from gym_vlmrm.cluster.serving import NAME, served_on_cluster
from gym_vlmrm.cluster.training import Cluster
from gym_vlmrm.cluster.worlds import ClusterPool, WorldActors
from gym_vlmrm.errors import ModelError
from gym_vlmrm.learning import callbacks, train
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.reward.remote.model import RemoteReward
from gym_vlmrm.sweeping.plan import SweepSpec
from gym_vlmrm.sweeping.sweep import begin_sweep, run_sweep
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import Recipe, RewardSpec, TaskSpec

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NODE: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 100 * 2**20, "include_dashboard": False}
PATIENT = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60", "RAY_worker_register_timeout_seconds": "300",
    "RAY_health_check_failure_threshold": "30", "RAY_prestart_worker_first_driver": "0",
}  # fmt: skip
"""These machines are shared: how long a process takes to start says nothing."""
PPO = Recipe(
    algorithm="PPO", steps=480, num_envs=4, checkpoint_every=240, reward_every=2, normalize_reward=True,
    hyperparameters={"n_steps": 24, "batch_size": 24, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}},
)  # fmt: skip


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    import_ray()  # sets how clusters are started
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    cluster = Nodes(initialize_head=True, head_node_args=NODE)
    try:
        for _ in range(2):
            cluster.add_node(**NODE)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def small(model: str = "brightness") -> TaskSpec:
    return override(load_task("cartpole"), model=model, device="cpu", max_episode_steps=30)


def alive(kind: type[Any]) -> list[Any]:
    return [thing for thing in gc.get_objects() if type(thing) is kind]


def test_a_training_whose_judges_worlds_and_nodes_die_is_that_of_one_machine(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "PROGRESS_PERIOD", 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(small("embedded"), PPO, seed=1, output=tmp_path / "alone", workers=1)
    deaths: list[str] = []
    notices: list[str] = []

    def kill(progress: Any) -> None:
        if progress.step < 40 * (len(deaths) + 1) or len(deaths) == 8:
            return
        kind = ("judge", "worlds", "node", "both")[len(deaths) % 4]
        deaths.append(kind)
        (judges,) = alive(Judges)
        actors = alive(WorldActors)[0]
        if kind in ("judge", "both"):
            ray.kill(judges.replicas[len(deaths) % len(judges.replicas)], no_restart=False)
        if kind in ("worlds", "both"):
            ray.kill(actors.actors[len(deaths) % len(actors.actors)], no_restart=False)
        if kind == "node":
            nodes.remove_node(sorted(nodes.worker_nodes, key=lambda node: node.node_id)[0], allow_graceful=False)
            nodes.add_node(**NODE)

    where = Cluster(nodes.address, replicas=3)
    train(
        small("embedded"), PPO, seed=1, output=tmp_path / "killed", workers=3, cluster=where, on_progress=kill,
        on_notice=notices.append,
    )  # fmt: skip
    assert len(deaths) == 8
    assert any("made again as they were" in notice for notice in notices)
    assert traces(tmp_path / "killed") == traces(tmp_path / "alone")


def test_judges_judge_each_batch_once_and_tell_errors_in_one_line(nodes: Any) -> None:
    with ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR"):
        reward = RewardSpec(goal="a", model="brightness", device="cpu")
        judges = Judges(ray, reward, Places(2, 1, 0), lambda _: None)
        with closing(judges):
            model, here = ClusterReward(judges), load_reward_model(small())
            frames = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8, 3), np.uint8)
            found = [model.submit(batch) for batch in frames]
            ray.kill(judges.replicas[0], no_restart=False)
            for batch, future in zip(frames, found, strict=True):
                assert np.array_equal(future.result(120), here(batch))
            with pytest.raises(ModelError, match="frames must be uint8") as caught:
                model.submit(np.zeros((2, 2), np.uint8)).result(120)
            assert "\n" not in str(caught.value)
        with pytest.raises(ModelError, match="nobody") as caught:
            Judges(ray, reward.model_copy(update={"model": "nobody/nothing"}), Places(1, 1, 0), lambda _: None)
        assert "\n" not in str(caught.value)


def test_what_a_world_raises_is_raised_here(nodes: Any) -> None:
    from gym_vlmrm.worlds.world import make_worlds

    with ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR"):

        def make(build: Any, num_envs: int, **settings: Any) -> Any:
            return ClusterPool(ray, build, num_envs, 2, settings["autoreset_mode"], 120.0, lambda _: None)

        envs = make_worlds(small(), 3, render_size=32, make=make, autoreset_mode="SameStep")
        with closing(envs):
            first, _ = envs.reset(seed=3)
            with closing(make_worlds(small(), 3, render_size=32, workers=1, autoreset_mode="SameStep")) as here:
                assert np.array_equal(first["frame"], here.reset(seed=3)[0]["frame"])
            with pytest.raises(AttributeError, match="nothing"):
                envs.get_attr("nothing")


def test_a_sweep_stops_early_goes_on_and_ends_in_one_page(nodes: Any, tmp_path: Path) -> None:
    spec = SweepSpec.model_validate(
        {
            "tasks": ["cartpole"], "models": ["brightness"], "seeds": [0, 1, 2], "algorithms": ["PPO"], "steps": 96,
            "num_envs": 2, "stopping": {"after": 0.25, "keep": 0.34}, "at_once": 3,
            "hyperparameters": {
                "n_steps": [12], "batch_size": [24], "n_epochs": [1], "checkpoint_every": [24],
                "policy_kwargs": [{"net_arch": [8]}],
            },
        }
    )  # fmt: skip
    folder = tmp_path / "sweep"
    begin_sweep(spec, folder)
    result = run_sweep(folder, nodes.address)
    assert [trial.status for trial in result.trials].count("failed") == 0
    assert any(trial.status == "finished" for trial in result.trials)
    assert all(trial.reward is not None for trial in result.trials)
    assert result.page is not None
    assert "cartpole" in result.page.read_text().lower()
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle")]
    finished = {trial.name for trial in result.trials if trial.status == "finished"}
    before = {name: (folder / name / "run.json").read_bytes() for name in finished}
    again = run_sweep(folder, nodes.address)
    assert finished <= {trial.name for trial in again.trials if trial.status == "finished"}
    assert before == {name: (folder / name / "run.json").read_bytes() for name in finished}
    for trial in again.trials:
        rows = csv.DictReader((folder / trial.name / "metrics.csv").open())
        steps = [row["step"] for row in rows]
        assert len(steps) == len(set(steps))


def test_a_judge_behind_ray_serve_survives_the_death_of_a_replica(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYM_VLMRM_TIMEOUT", "120")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    judge = RewardSpec(goal="a", model="brightness", device="cpu")
    token = "a-token-of-tests"
    monkeypatch.setenv("GYM_VLMRM_TOKEN", token)
    monkeypatch.setenv("GYM_VLMRM_SERVER", f"http://127.0.0.1:{port}")
    frames = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    with served_on_cluster(judge, nodes.address, "127.0.0.1", port, token, 2, 1) as (facts, url):
        assert facts.model == "brightness"
        remote, here = RemoteReward(url, ["a"]), load_reward_model(small())
        for number in range(6):
            if number == 2:
                _kill_a_replica()
            assert np.array_equal(remote(frames), here(frames))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/rewards", b"garbage", {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        assert (answer.status, "line of JSON" in json.loads(answer.read())["error"]) == (400, True)
        connection.request("GET", "/v1/model")
        assert connection.getresponse().status == 401
        connection.close()


def _kill_a_replica() -> None:
    from ray import serve

    handle: Any = serve.get_app_handle(NAME)
    os.kill(handle.process.remote().result(timeout_s=60), signal.SIGKILL)


def command(*arguments: Any) -> "subprocess.Popen[str]":
    """The command line in a process that heeds Ctrl-C, as one in a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "gym_vlmrm_cli.main", *map(str, arguments)], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


SWEEP = """
tasks: [cartpole]
models: [brightness]
algorithms: [PPO]
seeds: [0, 1]
steps: 3000
num_envs: 2
hyperparameters: {n_steps: 50, batch_size: 50, n_epochs: 1, checkpoint_every: 500, policy_kwargs: {net_arch: [8]}}
"""


def test_a_sweep_that_is_stopped_says_how_it_goes_on_and_does(nodes: Any, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    folder = tmp_path / "out"
    for number, first in ((signal.SIGINT, [tmp_path / "sweep.yaml", "--output"]), (signal.SIGTERM, ["--resume"])):
        sweep = command("sweep", *first, folder, "--cluster", nodes.address)
        deadline = time.monotonic() + 120
        before = len(list(folder.glob("*/checkpoints/*")))
        while len(list(folder.glob("*/checkpoints/*"))) <= before and time.monotonic() < deadline:
            time.sleep(0.1)
        sweep.send_signal(number)
        said = sweep.communicate(timeout=120)[0]
        assert sweep.returncode == 128 + number, said
        assert said.strip().splitlines()[-1].endswith(f"go on with: vlmrm sweep --resume {folder}"), said
        assert "Traceback" not in said
        assert "***" not in said
    done = command("sweep", "--resume", folder, "--cluster", nodes.address)
    said = done.communicate(timeout=300)[0]
    assert done.returncode == 0, said
    runs = sorted(path.parent for path in folder.glob("*/run.json"))
    assert [json.loads((run / "run.json").read_text())["status"] for run in runs] == ["finished"] * 2
    for run in runs:
        steps = [row["step"] for row in csv.DictReader((run / "metrics.csv").open())]
        assert len(steps) == len(set(steps))
    assert (folder / "report.html").is_file()


def test_a_server_on_a_cluster_ends_by_a_signal_in_one_line(nodes: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = command("serve", "cartpole", "--model", "brightness", "--cluster", nodes.address, "--http", port)
    deadline = time.monotonic() + 120
    with socket.socket() as probing:
        while probing.connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
            time.sleep(0.2)
    time.sleep(3)
    serve.send_signal(signal.SIGTERM)
    said = serve.communicate(timeout=120)[0]
    assert serve.returncode == 128 + signal.SIGTERM, said
    assert "error: stopped by SIGTERM" in said
    assert "***" not in said
