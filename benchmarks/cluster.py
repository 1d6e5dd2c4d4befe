"""What a Ray cluster costs, and what its deaths do not: rates on 1 to 3 nodes of this machine, trainings under fire.

    python benchmarks/cluster.py rates --seconds 20       # steps/s without Ray and on 1, 2 and 3 nodes
    python benchmarks/cluster.py kills --deaths 20        # compares final weights with the run that met no trouble

Both keep what they have in --output (JSON and run folders) and go on from there.
"""

import argparse
import contextlib
import gc
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kills import traces

from gym_vlmrm import load_task
from gym_vlmrm.cluster.connecting import import_ray
from gym_vlmrm.cluster.judges import Judges
from gym_vlmrm.cluster.training import Cluster
from gym_vlmrm.cluster.worlds import WorldActors
from gym_vlmrm.learning import callbacks, resume, train
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import Recipe, TaskSpec

STORE = 200 * 2**20
KINDS = ("judge", "worlds", "node", "learner", "server")


@contextlib.contextmanager
def nodes(count: int, cores: int) -> Iterator[Any]:
    """Start a cluster of so many nodes on this machine, which share its cores among them."""
    ray = import_ray()  # sets how clusters are started
    from ray.cluster_utils import Cluster as Nodes

    node: dict[str, Any] = {"num_cpus": cores, "object_store_memory": STORE, "include_dashboard": False}
    found = Nodes(initialize_head=True, head_node_args=node)
    found.node_settings = node
    try:
        for _ in range(count - 1):
            found.add_node(**node)
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def measure(
    task: TaskSpec, num_envs: int, seconds: float, folder: Path, cluster: Cluster | None, workers: int
) -> float:
    """Return the steps/s of a training while it makes and judges steps, without its start and its last checkpoint."""
    recipe = Recipe(
        algorithm="PPO", steps=10**9, num_envs=num_envs, reward_every=4, checkpoint_every=10**9,
        hyperparameters={"n_steps": 32, "batch_size": 1024, "n_epochs": 1},
    )  # fmt: skip
    seen: list[tuple[float, int]] = []

    class Enough(Exception):
        pass

    def watch(progress: Any) -> None:
        seen.append((time.perf_counter(), progress.step))
        # The first rollouts warm up.
        if seen[-1][0] - seen[0][0] > seconds + 5:
            raise Enough

    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(Enough):
        train(task, recipe, output=folder, workers=workers, on_progress=watch, cluster=cluster)
    shutil.rmtree(folder, ignore_errors=True)
    late = [point for point in seen if point[0] - seen[0][0] >= 5]
    return (late[-1][1] - late[0][1]) / (late[-1][0] - late[0][0])


def rates(arguments: argparse.Namespace) -> None:
    """Measure what is not measured yet, in turns, and print the table."""
    path = arguments.output / "rates.json"
    found: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    task = override(load_task(arguments.task), device="cpu")
    cores = os.cpu_count() or 1
    for turn in range(arguments.rounds):
        for count in range(4):
            name = "no Ray" if count == 0 else f"{count} node{'s' * (count > 1)}"
            if len(found.setdefault(name, [])) > turn:
                continue
            with nodes(count, cores) if count else contextlib.nullcontext() as running:
                where = None if running is None else Cluster(running.address, replicas=cores)
                run = arguments.output / "rate"
                found[name].append(measure(task, arguments.num_envs, arguments.seconds, run, where, cores))
            path.write_text(json.dumps(found))
            print(f"{name}: {found[name][-1]:.0f} steps/s", flush=True)
    alone = sorted(found["no Ray"])[len(found["no Ray"]) // 2]
    for name, values in found.items():
        rate = sorted(values)[len(values) // 2]
        print(f"{name}: {rate:.0f} steps/s, {rate / alone:.2f} of no Ray ({arguments.num_envs} environments)")


def small(model: str) -> tuple[TaskSpec, Recipe]:
    """Return a training of some seconds."""
    recipe = Recipe(
        algorithm="PPO", steps=960, num_envs=4, checkpoint_every=240, reward_every=2, normalize_reward=True,
        hyperparameters={"n_steps": 24, "batch_size": 24, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}},
    )  # fmt: skip
    return override(load_task("cartpole"), model=model, device="cpu", max_episode_steps=30), recipe


def strike(kind: str, cluster: Any, rng: random.Random) -> None:
    """Kill a judge, a share of the worlds, or a node."""
    import ray

    if kind == "node":
        cluster.remove_node(
            rng.choice(sorted(cluster.worker_nodes, key=lambda node: node.node_id)), allow_graceful=False
        )
        cluster.add_node(**cluster.node_settings)
        return
    gc.collect()  # those of earlier trainings are no longer there
    things = [one for one in gc.get_objects() if type(one) is (Judges if kind == "judge" else WorldActors)]
    actors = [actor for one in things for actor in (one.replicas if kind == "judge" else one.actors)]
    here = ray.get_runtime_context().get_job_id()
    ray.kill(rng.choice([actor for actor in actors if actor._actor_id.job_id.hex() == here]), no_restart=False)


def under_fire(kinds: list[str], run: Path, cluster: Any, rng: random.Random) -> None:
    """Train on the cluster while its parts die; the learner's own death, after its first checkpoint, is one of them."""
    for _ in range(kinds.count("learner")):
        learner = subprocess.Popen([sys.executable, __file__, "learner", "--output", run, "--address", cluster.address])
        while learner.poll() is None and not list(run.glob("checkpoints/step_*")):
            time.sleep(0.1)
        learner.kill()
        if learner.wait() >= 0:
            raise RuntimeError("the learner ended before it was killed")
    left = [kind for kind in kinds if kind != "learner"]
    began = max((int(path.name.removeprefix("step_")) for path in run.glob("checkpoints/step_*")), default=0)
    every, number = (small("embedded")[1].steps - began) // (len(left) + 1), len(left)

    def watch(progress: Any) -> None:
        if left and progress.step >= began + every * (number + 1 - len(left)):
            strike(left.pop(), cluster, rng)

    go_on(run, cluster.address, watch)
    if left:  # the training was over before them
        raise RuntimeError(f"{len(left)} deaths did not happen")


def go_on(run: Path, address: str, watch: Callable[[Any], None] | None = None) -> None:
    """Begin a run, or go on with it."""
    task, recipe = small("embedded")
    where = Cluster(address, replicas=3)
    if (run / "run.json").exists():
        resume(run, workers=3, cluster=where, on_progress=watch)
    else:
        train(task, recipe, seed=1, output=run, workers=3, cluster=where, on_progress=watch)


def behind_http(deaths: int, run: Path) -> None:
    """Train by a judge behind HTTP that is killed and comes back."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gym_vlmrm_cli.main", "serve", "cartpole", "--model", "embedded"]
    servers: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        servers.append(subprocess.Popen([*command, "--device", "cpu", "--http", str(port), "--quiet"]))

    done = 0
    task, recipe = small(f"http://127.0.0.1:{port}")

    def watch(progress: Any) -> None:
        nonlocal done
        if done < deaths and progress.step >= recipe.steps * (done + 1) // (deaths + 1):
            done += 1
            servers[-1].kill()
            servers[-1].wait()
            start()

    start()
    try:
        for _ in range(600):  # until it listens
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        train(task, recipe, seed=1, output=run, workers=1, on_progress=watch)
    finally:
        for server in servers:
            server.kill()
            server.wait()
    if done < deaths:
        raise RuntimeError(f"{deaths - done} deaths did not happen")


def kills(arguments: argparse.Namespace) -> None:
    """Kill everything in turn, and compare with runs that nobody disturbed."""
    callbacks.PROGRESS_PERIOD = 0.0
    rng, path = random.Random(arguments.seed), arguments.output / "kills.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    task, recipe = small("embedded")
    alone, served = arguments.output / "alone", arguments.output / "alone-http"
    if not (alone / "complete").exists():
        shutil.rmtree(alone, ignore_errors=True)
        train(task, recipe, seed=1, output=alone, workers=1)
        (alone / "complete").touch()
    each = arguments.deaths // len(KINDS)
    if not any(one["kinds"] == ["server"] * each for one in found):
        for run, deaths in ((served, 0), (arguments.output / "served", each)):
            shutil.rmtree(run, ignore_errors=True)
            behind_http(deaths, run)
        same = traces(served) == traces(arguments.output / "served")
        found.append({"kinds": ["server"] * each, "identical": same})
        path.write_text(json.dumps(found))
        print(found[-1], flush=True)
    with nodes(3, 2) as cluster:
        while sum(len(one["kinds"]) for one in found) < arguments.deaths:
            kinds = ["judge", "worlds", "node", "learner"]
            rng.shuffle(kinds)
            run = arguments.output / "killed"
            shutil.rmtree(run, ignore_errors=True)
            under_fire(kinds, run, cluster, rng)
            found.append({"kinds": kinds, "identical": traces(alone) == traces(run)})
            path.write_text(json.dumps(found))
            print(found[-1], flush=True)
    total, same = sum(len(one["kinds"]) for one in found), sum(one["identical"] for one in found)
    print(f"{total} deaths in {len(found)} trainings, {same} of them identical")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("rates", "kills", "learner"))
    parser.add_argument("--output", type=Path, default=Path("runs/bench/cluster"))
    parser.add_argument("--task", default="kneeling")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--deaths", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--address", help="of the cluster that a learner, which `kills` starts, is to use")
    arguments = parser.parse_args()
    if arguments.what == "learner":
        go_on(arguments.output, arguments.address)
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    (rates if arguments.what == "rates" else kills)(arguments)


if __name__ == "__main__":
    main()
