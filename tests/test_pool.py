"""The pool of worker processes behaves as Gymnasium's vector environment in one process does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from counting import CountingWorld
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from gym_vlmrm.errors import ResetNeededError, WorkerError
from gym_vlmrm.worlds.pools.pool import EnvPool, make_pool

MODES = list(AutoresetMode)


class Noisy(gym.Env[Any, Any]):
    """Random observations, actions echoed, infos that only some steps have, and accidents on demand."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"
    nickname = "noisy"

    def __init__(self) -> None:
        self.observation_space = spaces.Dict({"a": spaces.Box(0, 1, (2,), np.float32), "b": spaces.Discrete(5)})
        self.action_space = spaces.Box(-1, 9, (2,), np.float32)

    def _observe(self) -> Any:
        return {"a": self.np_random.random(2, dtype=np.float32), "b": int(self.np_random.integers(5))}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = int(self.np_random.integers(3))
        return self._observe(), {"began": self.count}

    def step(self, action: Any) -> Any:
        self.count += 1
        accident = float(action[0])
        if accident == 7:
            raise ValueError("the wheel came off")
        if accident == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        info: dict[str, Any] = {"echo": np.array(action)}
        if self.count % 2:
            info |= {"odd": True, "deep": {"count": self.count}, "word": f"w{self.count}"}
        if accident == 6:
            info["lambda"] = lambda: None
        return self._observe(), float(self.np_random.random()), self.count > 5, False, info

    def render(self) -> Any:
        return np.full((2, 2, 3), self.count, np.uint8)


def same(left: Any, right: Any) -> None:
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            same(left[key], right[key])
    elif (isinstance(left, np.ndarray) and left.dtype == object) or isinstance(left, tuple | list):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            same(a, b)
    else:
        np.testing.assert_array_equal(left, right)


def without_blanks(infos: dict[str, Any]) -> dict[str, Any]:
    """Infos with what is masked out set to zero: Gymnasium leaves it undefined."""
    cleaned: dict[str, Any] = {}
    for key, value in infos.items():
        if isinstance(value, dict):
            cleaned[key] = without_blanks(value)
        elif f"_{key}" in infos:
            cleaned[key] = [entry if there else None for entry, there in zip(value, infos[f"_{key}"], strict=True)]
        else:
            cleaned[key] = value
    return cleaned


@pytest.mark.parametrize("mode", MODES)
def test_it_equals_the_vector_environment_in_one_process(mode: AutoresetMode) -> None:
    reference = SyncVectorEnv([Noisy] * 5, autoreset_mode=mode)
    pool = make_pool(Noisy, 5, workers=2, autoreset_mode=mode)
    assert isinstance(pool, EnvPool)
    for name in ("observation_space", "action_space", "single_observation_space", "single_action_space", "num_envs"):
        assert getattr(pool, name) == getattr(reference, name)
    assert pool.metadata["autoreset_mode"] is mode
    same(pool.reset(seed=3), reference.reset(seed=3))
    reference.action_space.seed(0)
    for _ in range(25):
        actions = np.clip(reference.action_space.sample(), -1, 1)
        mine, theirs = pool.step(actions), reference.step(actions)
        same(mine[:4], theirs[:4])
        same(without_blanks(mine[4]), without_blanks(theirs[4]))
        done = theirs[2] | theirs[3]
        if mode is AutoresetMode.DISABLED and done.any():
            same(
                pool.reset(options={"reset_mask": done.copy()})[0],
                reference.reset(options={"reset_mask": done.copy()})[0],
            )
        same(pool.render(), reference.render())
    pool.close()
    reference.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[EnvPool]:
    """A pool for tests that leave it usable; each begins with a reset."""
    made = make_pool(Noisy, 3, workers=2)
    assert isinstance(made, EnvPool)
    yield made
    made.close()


def test_attributes_and_methods_reach_every_environment(pool: EnvPool) -> None:
    pool.reset(seed=[1, None, 3])
    assert pool.get_attr("nickname") == ("noisy",) * 3
    pool.set_attr("nickname", ["a", "b", "c"])
    assert pool.get_attr("nickname") == ("a", "b", "c")
    pool.set_attr("nickname", "d")
    assert pool.call("nickname") == ("d",) * 3


def test_observations_are_copies(pool: EnvPool) -> None:
    first, _ = pool.reset(seed=0)
    before = first["a"].copy()
    pool.step(np.zeros((3, 2), np.float32))
    np.testing.assert_array_equal(first["a"], before)


def test_one_worker_stays_in_this_process() -> None:
    assert isinstance(make_pool(Noisy, 3, workers=1), SyncVectorEnv)
    assert isinstance(make_pool(Noisy, 1, workers=4), SyncVectorEnv)


@pytest.mark.parametrize(("num_envs", "workers"), [(0, None), (2, 0), (-1, 1)])
def test_impossible_numbers(num_envs: int, workers: int | None) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make_pool(Noisy, num_envs, workers=workers)


def test_the_number_of_seeds_is_checked(pool: EnvPool) -> None:
    with pytest.raises(ValueError, match="2 seeds for 3 environments"):
        pool.reset(seed=[1, 2])


def test_an_exception_in_a_worker_surfaces_with_its_traceback(pool: EnvPool) -> None:
    pool.reset(seed=0)
    with pytest.raises(ValueError, match="the wheel came off") as raised:
        pool.step(np.full((3, 2), 7, np.float32))
    assert "in step" in "".join(raised.value.__notes__)
    with pytest.raises(ResetNeededError, match="reset"):
        pool.step(np.zeros((3, 2), np.float32))
    pool.reset(seed=0)
    assert pool.step(np.zeros((3, 2), np.float32))[4]["echo"].shape == (3, 2)


def test_what_cannot_travel_is_an_error_not_a_hang(pool: EnvPool) -> None:
    pool.reset(seed=0)
    with pytest.raises(Exception, match=r"lambda|pickle"):
        pool.step(np.full((3, 2), 6, np.float32))
    pool.reset(seed=0)
    pool.step(np.zeros((3, 2), np.float32))


def test_the_death_of_a_worker_is_one_clear_error() -> None:
    pool = make_pool(Noisy, 3, workers=2)
    pool.reset(seed=0)
    actions = np.zeros((3, 2), np.float32)
    actions[2] = 8
    with pytest.raises(WorkerError, match=r"worker process 2 of 2 died \(signal 9\)"):
        pool.step(actions)
    pool.close()


class FailsInWorkers(CountingWorld):
    def __init__(self, parent: int) -> None:
        if os.getpid() != parent:
            raise LookupError("not in a worker")
        super().__init__(0)


def test_a_failure_while_starting_surfaces() -> None:
    parent = os.getpid()
    with pytest.raises(LookupError, match="not in a worker"):
        make_pool(lambda: FailsInWorkers(parent), 2, workers=2)


def test_closing_ends_the_processes() -> None:
    pool = make_pool(lambda: TimeLimit(CountingWorld(0), 5), 2, workers=2)
    assert isinstance(pool, EnvPool)
    processes = list(pool._processes)
    assert all(process.is_alive() for process in processes)
    pool.close()
    pool.close()
    assert not any(process.is_alive() for process in processes)
    with pytest.raises(RuntimeError, match="is closed"):
        pool.step(np.zeros(2, int))


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    """Worker processes do not run the user's script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np\n"
        "import gymnasium as gym, gym_vlmrm\n"
        "print('started')\n"
        "envs = gym.make_vec('VLMRM/CartPole-Balance-v0', num_envs=2, workers=2, model='brightness')\n"
        "envs.reset(seed=0)\n"
        "rewards = envs.step(np.zeros(2, int))[1]\n"
        "assert (rewards > 0).all(), rewards\n"
        "envs.close()\n"
    )
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "started\n"
