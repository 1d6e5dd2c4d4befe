"""Memory and speed of some environments whose rewards come from one model, or from one model each.

`python benchmarks/sharing.py --help`. Every way runs in a process of its own. Memory is PSS of all its processes, the
reward server included: pages that several of them use count once, divided among them. Processor time is that of all of
them too; it hardly depends on what else a machine does, as steps/s do.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

TASK = "VLMRM/Humanoid-Kneeling-v0"
WARMING = 20
"""Steps before the clock starts."""


def _vector(num_envs: int, start: str, **kwargs: Any) -> Any:
    import gymnasium as gym

    return gym.make_vec(
        f"gym_vlmrm:{TASK}", num_envs, vectorization_mode="async", vector_kwargs={"context": start}, **kwargs
    )


def _pool(num_envs: int, start: str, **kwargs: Any) -> Any:
    import gymnasium as gym

    return gym.make_vec(f"gym_vlmrm:{TASK}", num_envs, **kwargs)


def _subprocesses(num_envs: int, start: str, **kwargs: Any) -> Any:
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv

    return make_vec_env(
        f"gym_vlmrm:{TASK}", num_envs, vec_env_cls=SubprocVecEnv, env_kwargs=kwargs,
        vec_env_kwargs={"start_method": start},
    )  # fmt: skip


def _sb3(num_envs: int, start: str, **kwargs: Any) -> Any:
    from gym_vlmrm.sb3 import make_vec_env

    return make_vec_env(TASK, num_envs, **kwargs)


def _tianshou(num_envs: int, start: str, **kwargs: Any) -> Any:
    from gym_vlmrm.tianshou import make_vec_env

    return make_vec_env(TASK, num_envs, **kwargs)


WAYS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "gym async, a model each": (_vector, {}),
    "gym async, share_model": (_vector, {"share_model": True}),
    "SubprocVecEnv, a model each": (_subprocesses, {}),
    "SubprocVecEnv, share_model": (_subprocesses, {"share_model": True}),
    "gym.make_vec": (_pool, {}),
    "gym_vlmrm.sb3.make_vec_env": (_sb3, {}),
    "gym_vlmrm.tianshou.make_vec_env": (_tianshou, {}),
}


def _sampler(envs: Any, num_envs: int) -> Callable[[], Any]:
    """Return what draws random actions for all environments, whatever library's they are."""
    import numpy as np

    space = getattr(envs, "single_action_space", None) or envs.action_space
    space = space[0] if isinstance(space, list) else space
    space.seed(0)
    return lambda: np.stack([space.sample() for _ in range(num_envs)])


def measure(way: str, num_envs: int, start: str, seconds: float) -> dict[str, float]:
    """Return steps/s and PSS [MiB] of one way, measured in this process."""
    import numpy as np
    from processes import cpu_seconds, proportional_megabytes, with_servers

    make, kwargs = WAYS[way]
    began = time.monotonic()
    envs = make(num_envs, start, **kwargs)
    envs.reset()
    ready = time.monotonic() - began
    sample = _sampler(envs, num_envs)

    def step() -> None:
        found = envs.step(sample())
        if "tianshou" in way:  # whose collectors reset what has ended
            ended = np.flatnonzero(np.logical_or(found[2], found[3]))
            if len(ended):
                envs.reset(ended)

    for _ in range(WARMING):
        step()
    everybody = with_servers("gym_vlmrm-reward-server")
    others = everybody - {os.getpid()}
    cpu = cpu_seconds(others)
    began, made = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        step()
        made += num_envs
    rate, cpu = made / (time.monotonic() - began), cpu_seconds(others) - cpu
    memory, of_others = proportional_megabytes(everybody), proportional_megabytes(others)
    envs.close()
    figures = {"all_mib": memory, "others_mib": of_others, "ready_s": ready}
    return {"steps_per_s": rate, "cpu_ms": 1000 * cpu / made, **figures}


def main(
    num_envs: Annotated[int, typer.Option("--num-envs", min=1)] = 4,
    start: Annotated[str, typer.Option("--start", help="Start method of worker processes of others.")] = "spawn",
    seconds: Annotated[float, typer.Option("--seconds", help="Length of each measurement [s].")] = 5.0,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds; medians are printed.")] = 3,
    ways: Annotated[str, typer.Option("--ways", help="Part of the names of ways.")] = "",
    one: Annotated[str, typer.Option("--one", hidden=True)] = "",
) -> None:
    """Print memory and speed of every way to make some environments."""
    if one:
        print("RESULT", json.dumps(measure(one, num_envs, start, seconds)))
        return
    from statistics import median

    chosen = [way for way in WAYS if ways in way and ("tianshou" not in way or _has("tianshou"))]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in chosen}
    for _ in range(rounds):
        for way in chosen:
            command = [sys.executable, __file__, "--num-envs", str(num_envs), "--start", start]
            with tempfile.TemporaryDirectory() as folder:
                variables = {**os.environ, "XDG_RUNTIME_DIR": folder}
                command += ["--seconds", str(seconds), "--one", way]
                output = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout
            found[way].append(json.loads(output.rpartition("RESULT ")[2]))
            print(way, found[way][-1], file=sys.stderr, flush=True)
    columns = "steps/s | processor ms/step | MiB, all | MiB without the main process | s to start"
    print(f"| {num_envs} environments, {start} | {columns} |")
    print("|---|---|---|---|---|---|")
    for way, runs in found.items():
        middle = {name: median(run[name] for run in runs) for name in runs[0]}
        print("| {} | {:.0f} | {:.1f} | {:.0f} | {:.0f} | {:.0f} |".format(way, *(middle[n] for n in _COLUMNS)))


_COLUMNS = ("steps_per_s", "cpu_ms", "all_mib", "others_mib", "ready_s")


def _has(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    typer.run(main)
