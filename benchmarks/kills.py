"""Kill trainings at random moments, several times each, go on with them, and compare with the run that nobody killed.

    python benchmarks/kills.py --kills 50

A run counts as identical where the weights of all its checkpoints, metrics.csv and best.json are the same bytes. Every
training is a process of its own, forked from this one, which has imported everything, so that a kill costs no start.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gym_vlmrm import load_task
from gym_vlmrm.learning import resume, train
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import EnvSpec, Recipe, TaskSpec

SMALL = {"policy_kwargs": {"net_arch": [16]}}
OFF = {"learning_starts": 60, "batch_size": 16, "buffer_size": 300, **SMALL}
"""The replay buffer comes full and turns around."""
ON = {"n_steps": 24, "batch_size": 24, "n_epochs": 2, **SMALL}
NORMAL = {"normalize_observation": True, "normalize_reward": True}


def _case(task: str, algorithm: str, hyperparameters: dict[str, Any], **recipe: Any) -> tuple[str, Recipe]:
    settings = {"steps": 480, "num_envs": 2, "checkpoint_every": 96, **recipe}
    return task, Recipe(algorithm=algorithm, hyperparameters=hyperparameters, **settings)


CASES: dict[str, tuple[str, Recipe]] = {
    "dqn": _case("cartpole", "DQN", {**OFF, "train_freq": 2}, updates_per_step=0.25),
    "ppo": _case("cartpole", "PPO", ON, reward_every=2, **NORMAL),
    "sac": _case("mountain-car", "SAC", {**OFF, "ent_coef": "auto"}, updates_per_step=0.25, reward_every=3),
    "ppo-sde": _case("mountain-car", "PPO", {**ON, "use_sde": True, "sde_sample_freq": 4}, **NORMAL),
    "ppo-mujoco": _case("kneeling", "PPO", ON, steps=240, **NORMAL),
    "sac-normal": _case(
        "mountain-car", "SAC", {**OFF, "use_sde": True}, updates_per_step=0.25, normalize_observation=True
    ),
    "td3-noise": _case(
        "mountain-car", "TD3", {**OFF, "action_noise": {"ornstein_uhlenbeck": 0.3}}, updates_per_step=0.25
    ),
    "dqn-n-step": _case("cartpole", "DQN", {**OFF, "n_steps": 3}, updates_per_step=0.25),
    "qrdqn": _case("cartpole", "QRDQN", OFF, updates_per_step=0.25),
    "tqc": _case("mountain-car", "TQC", OFF, updates_per_step=0.1),
    "crossq": _case("mountain-car", "CrossQ", OFF, updates_per_step=0.1),
    "ddpg": _case("mountain-car", "DDPG", OFF, updates_per_step=0.1),
    "a2c": _case("cartpole", "A2C", {"n_steps": 8, **SMALL}),
    "trpo": _case("cartpole", "TRPO", {"n_steps": 24, "batch_size": 24, **SMALL}),
    "recurrent": _case("cartpole", "RecurrentPPO", {**ON, "policy_kwargs": {"lstm_hidden_size": 8}}),
    "maskable": _case("foreign", "MaskablePPO", ON),
    "ars": _case("cartpole", "ARS", {"n_delta": 2, "policy": "LinearPolicy"}, num_envs=1),
    "foreign-ppo": _case("foreign", "PPO", ON, **NORMAL),
    "foreign-dqn": _case("foreign", "DQN", {**OFF, "n_steps": 2}, updates_per_step=0.25),
    "pendulum": _case("Pendulum-v1", "SAC", OFF, updates_per_step=0.1),
}
MAIN = ("dqn", "ppo", "sac", "ppo-sde", "ppo-mujoco")


def make_task(name: str, model: str) -> TaskSpec:
    """Return the task of a case: a built-in one, a Gymnasium ID, or an environment that cannot tell its state."""
    if name in ("foreign", "Pendulum-v1"):
        env = "kills_worlds:Foreign-v0" if name == "foreign" else name
        reward: dict[str, Any] = {"goal": "a pole", "model": model}
        return TaskSpec(id="Kills/World-v0", env=EnvSpec(id=env, max_episode_steps=30), reward=reward)  # type: ignore[arg-type]
    return override(load_task(name), model=model, max_episode_steps=30)


def in_a_process(work: Callable[[], Any], kill_after: float | None = None) -> int:
    """Run something in a forked process, which may be killed; returns its exit status as `os.waitpid` gives it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # told of here, as nobody else would
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def traces(run: Path) -> dict[str, bytes]:
    """What must be the same bytes."""
    names = ["metrics.csv", "best.json", *sorted(str(p.relative_to(run)) for p in run.rglob("policy.safetensors"))]
    return {name: (run / name).read_bytes() for name in names}


def try_case(name: str, rng: random.Random, root: Path, kills: int, model: str, workers: int) -> tuple[int, list[str]]:
    """Kill a training `kills` times and go on each time; returns the kills that hit, and what differs in the end."""
    task_name, recipe = CASES[name]
    task, reference, killed = make_task(task_name, model), root / name, root / f"{name}-killed"
    if not reference.exists():
        began = time.perf_counter()
        if in_a_process(lambda: train(task, recipe, seed=1, output=reference, workers=workers)):
            return 0, ["the run that nobody kills fails"]
        (reference / "seconds").write_text(str(time.perf_counter() - began))
    seconds, hits = float((reference / "seconds").read_text()), 0
    shutil.rmtree(killed, ignore_errors=True)

    def go_on() -> None:
        if (killed / "run.json").exists():
            if RunFolder.open(killed).record.status != "finished":
                resume(killed, workers=workers)
        else:
            shutil.rmtree(killed, ignore_errors=True)
            train(task, recipe, seed=1, output=killed, workers=workers)

    for _ in range(kills):
        status = in_a_process(go_on, kill_after=rng.uniform(0, seconds * 0.8))
        if os.WIFSIGNALED(status):
            hits += 1
        elif os.waitstatus_to_exitcode(status):
            return hits, ["it cannot be gone on with"]
    if in_a_process(go_on):
        return hits, ["it cannot be gone on with"]
    before, after = traces(reference), traces(killed)
    return hits, sorted(file for file in before.keys() | after.keys() if before.get(file) != after.get(file))


def main() -> int:
    """Parse the command line; returns 1 where a run was not identical."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="at least so many in all")
    parser.add_argument("--per-run", type=int, default=4, help="at most so many in one run")
    parser.add_argument("--cases", default=",".join(MAIN), help=f"some of {', '.join(CASES)}, or all")
    parser.add_argument("--model", default="brightness")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cases = list(CASES) if arguments.cases == "all" else arguments.cases.split(",")
    sys.path.insert(0, str(Path(__file__).parent))
    rng, root = random.Random(arguments.seed), Path(tempfile.mkdtemp(prefix="kills-"))
    hits = runs = identical = 0
    try:
        while hits < arguments.kills:
            for name in cases:
                made, differing = try_case(
                    name, rng, root, rng.randint(1, arguments.per_run), arguments.model, arguments.workers
                )
                hits, runs, identical = hits + made, runs + 1, identical + (not differing)
                verdict = "identical" if not differing else f"DIFFERENT: {', '.join(differing)}"
                print(f"{name}: killed {made} times, {verdict}", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(f"{hits} kills in {runs} runs, {identical} of them identical")
    return int(identical < runs)


if __name__ == "__main__":
    sys.exit(main())
