"""Workers that are interrupted, hang, die or fail: one line or the right numbers, never a wait without end."""

import dataclasses
import multiprocessing.spawn
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import pytest
from counting import LIMIT, SIZE, CountingReward, CountingWorld
from echo import LATE, SLOW, Echo, actions
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import TimeLimit
from thorough import sample

from gym_vlmrm.auditing.stage_pool import StagePool
from gym_vlmrm.errors import RenderingError, ResetNeededError, VLMRMError, WorkerError
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.frames import FrameObservation
from gym_vlmrm.worlds.offscreen import _of_thread
from gym_vlmrm.worlds.pools.cores import cpu_quota, usable_cores
from gym_vlmrm.worlds.pools.pool import EnvPool, make_pool
from gym_vlmrm.worlds.pools.processes import TIMEOUT_VARIABLE, adopt_registrations, pack_registrations, patience
from gym_vlmrm.worlds.world import make_world, make_worlds
from gym_vlmrm.wrappers import VectorVLMReward

MODES = list(AutoresetMode)


def slowly(*values: Any) -> list[Any]:
    """Parameters of the slow tests: every pool of two workers takes some seconds to start."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.fixture(scope="module")
def lasting() -> Iterator[list[EnvPool]]:
    """The pool that tests share: starting workers takes longer than what most of them do."""
    made: list[EnvPool] = []
    yield made
    for pool in made:
        pool.close()


@pytest.fixture
def pool(lasting: list[EnvPool]) -> EnvPool:
    """A pool as new; who closes or breaks it leaves the next test to start another."""
    try:
        lasting[-1].set_attr("mood", "good")
    except (IndexError, RuntimeError, WorkerError):
        made = make_pool(Echo, 2, workers=2, timeout=60)
        assert isinstance(made, EnvPool)
        lasting.append(made)
    lasting[-1].reset(seed=0)
    return lasting[-1]


def interrupted(call: Callable[[], Any], after: float = 0.1) -> None:
    """Run until a Ctrl-C comes after some seconds."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupted_step_shifts_no_reward(pool: EnvPool) -> None:
    interrupted(lambda: pool.step(actions(SLOW)))
    with pytest.raises(ResetNeededError, match="reset"):
        pool.step(actions(5))
    assert pool.get_attr("mood") == ("good", "good")  # whose answers are not those of the step
    pool.reset(seed=0)
    for number in (5, 6, 7):
        observations, rewards, *_ = pool.step(actions(number))
        assert rewards.tolist() == observations[:, 0].tolist() == [number, number]


def test_an_interrupt_anywhere_is_survived_or_said(pool: EnvPool) -> None:
    """Wherever Ctrl-C meets the parent, later answers are right, or the pool says that it cannot go on."""
    for attempt in range(40):
        number = attempt % 7
        try:
            interrupted(lambda: [pool.step(actions(3)) for _ in range(100_000)], after=0.02 + 0.001 * attempt)
            pool.reset(seed=1)
            assert pool.step(actions(number))[1].tolist() == [number, number]
        except WorkerError:
            with pytest.raises(WorkerError, match="within a message"):
                pool.reset()
            return


def test_an_exception_where_a_share_is_taken_shifts_no_reward(pool: EnvPool) -> None:
    def refuse(*_: Any) -> None:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        pool.step(actions(4), refuse)
    with pytest.raises(ResetNeededError):
        pool.step(actions(5))
    pool.reset(options={"reset_mask": np.array([True, False])})  # the other one is still where it should not be
    with pytest.raises(ResetNeededError):
        pool.step(actions(5))
    pool.reset()
    assert pool.step(actions(6))[1].tolist() == [6, 6]


class Dawdling(CountingWorld):
    """Counts, and takes a moment for action 1."""

    def __init__(self) -> None:
        super().__init__(8)  # none but the time limit ends an episode

    def step(self, action: Any) -> Any:
        time.sleep(0.3 * int(action))
        return super().step(action)


@pytest.mark.parametrize(
    ("mode", "workers"), [*((mode, 1) for mode in MODES), pytest.param("SameStep", 2, marks=pytest.mark.slow)]
)
def test_an_interrupted_step_scores_no_blank_frame(mode: str | AutoresetMode, workers: int) -> None:
    def build() -> Any:
        return FrameObservation(TimeLimit(Dawdling(), LIMIT), SIZE, 2)

    envs = VectorVLMReward(make_pool(build, 2, workers=workers, autoreset_mode=mode), CountingReward(), 2)
    envs.reset(seed=0)
    for _ in range(2):
        interrupted(lambda: envs.step(np.ones(2, int)))
        with pytest.raises(ResetNeededError):
            envs.step(np.zeros(2, int))
        envs.reset(seed=0)
        for _ in range(2):  # the first frame of an episode, held for a second step
            np.testing.assert_allclose(np.modf(100 * envs.step(np.zeros(2, int))[1] / 12.5)[0], 0.08, atol=1e-4)
    envs.close()


COMMANDS: dict[str, Callable[[EnvPool], Any]] = {
    "step": lambda pool: pool.step(actions(1)),
    "reset": lambda pool: pool.reset(),
    "call": lambda pool: pool.call("mood"),
    "get_attr": lambda pool: pool.get_attr("mood"),
    "set_attr": lambda pool: pool.set_attr("mood", "bad"),
    "render": lambda pool: pool.render(),
}


@pytest.mark.parametrize("name", ["step", *slowly(*sample(COMMANDS, "reset", "set_attr", "render"))])
def test_a_dead_worker_is_one_line_from_every_command(pool: EnvPool, name: str) -> None:
    processes = list(pool._processes)
    processes[1].kill()
    processes[1].join()
    for _ in range(2):
        with pytest.raises(WorkerError, match=r"worker process 2 of 2 died \(signal 9\)") as raised:
            COMMANDS[name](pool)
        assert isinstance(raised.value, VLMRMError)
        assert "\n" not in str(raised.value)
    assert not any(process.is_alive() for process in processes)


@pytest.mark.parametrize("name", ["step", *slowly("call")])
def test_a_worker_that_hangs_is_not_waited_for_without_end(name: str) -> None:
    pool: Any = make_pool(Echo, 2, workers=2, timeout=30)
    pool.reset(seed=0)
    pool._workers.timeout = 1.0
    processes = list(pool._processes)
    os.kill(processes[1].pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(
        WorkerError, match=rf"worker process 2 of 2 has not answered '{name}' for 1 s; .*{TIMEOUT_VARIABLE}"
    ):
        COMMANDS[name](pool)
    assert time.monotonic() - began < 10
    assert not any(process.is_alive() for process in processes)


def test_closing_does_not_wait_for_a_worker_that_hangs(pool: EnvPool) -> None:
    interrupted(lambda: pool.step(actions(LATE)))
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 8


class HangsInItsFirstFrame(CountingWorld):
    def __init__(self, parent: int) -> None:
        super().__init__(0)
        self.parent = parent

    def render(self) -> Any:
        time.sleep(0 if os.getpid() == self.parent else 600)


def test_a_hang_in_the_first_frame_is_met_while_starting() -> None:
    parent = os.getpid()
    with pytest.raises(
        RenderingError, match=r"worker process 1 of 2 (\(drawing .*\) )?has not answered 'start' for 3 s"
    ):
        make_pool(lambda: FrameObservation(HangsInItsFirstFrame(parent), SIZE), 2, workers=2, timeout=3)


@pytest.fixture
def stillborn() -> Iterator[None]:
    """Processes that die before they read anything, but for Python's own, which keeps count of semaphores."""
    resource_tracker.ensure_running()
    before = multiprocessing.spawn.get_executable()
    multiprocessing.spawn.set_executable(shutil.which("true"))
    yield
    multiprocessing.spawn.set_executable(before)


@pytest.mark.parametrize("place", ["pool", "stage"])
def test_workers_that_die_before_they_begin_are_not_waited_for(place: str, stillborn: None) -> None:
    weight = bytes(2**20)  # more than any pipe holds

    def start() -> None:
        if place == "pool":
            make_pool(lambda: (weight, Echo())[1], 2, workers=2)
        else:
            with StagePool(load_task("cartpole"), SIZE, 2) as pool:
                pool.roll([0], 10)

    with ThreadPoolExecutor() as threads, pytest.raises(WorkerError, match="died"):
        threads.submit(start).result(30)


def test_the_first_frame_changes_no_environment() -> None:
    pool: Any = make_pool(lambda: FrameObservation(CountingWorld(0), SIZE), 2, workers=2)
    assert pool.get_attr("episode") == (-1, -1)
    pool.close()


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan"])
def test_impossible_patience(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, given)
    with pytest.raises(VLMRMError, match=f"{TIMEOUT_VARIABLE} is '{given}'"):
        make_pool(Echo, 2, workers=2)
    monkeypatch.setenv(TIMEOUT_VARIABLE, "inf")
    assert patience() == float("inf")
    with pytest.raises(VLMRMError, match="timeout is 0"):
        patience(0)
    with pytest.raises(VLMRMError, match="timeout is -1"):
        gym.make_vec("VLMRM/CartPole-Balance-v0", num_envs=1, model="brightness", timeout=-1)


def test_what_fails_in_a_call_leaves_the_pool_usable(pool: EnvPool) -> None:
    for fail, error, words in (
        (lambda: pool.get_attr("typo"), AttributeError, "typo"),
        (lambda: pool.call("fail"), LookupError, "lost the keys"),
        (lambda: pool.call("whatever", lambda: None), Exception, "pickle|lambda"),
        (lambda: pool.set_attr("mood", [threading.Lock()] * 2), TypeError, "pickle"),
        (lambda: pool.reset(options={"colour": 1}), ValueError, "no such option"),
        (lambda: pool.reset(seed=[1, 2, 3]), ValueError, "3 seeds for 2"),
    ):
        with pytest.raises(error, match=words):
            fail()
        pool.reset(seed=0)
        assert pool.step(actions(2))[1].tolist() == [2, 2]


def test_a_failed_reset_must_be_made_good(pool: EnvPool) -> None:
    with pytest.raises(ValueError, match="no such option"):
        pool.reset(options={"colour": 1})
    with pytest.raises(ResetNeededError):
        pool.step(actions(1))


@pytest.mark.parametrize("workers", [1, 2])
def test_numpy_seeds(workers: int, pool: EnvPool) -> None:
    envs = make_pool(Echo, 2, workers=1) if workers == 1 else pool
    expected = envs.reset(seed=3)[0].tolist()
    for seed in (np.int64(3), np.array([3, 4]), np.array([3, 4], np.uint32), [np.int32(3), 4], (3, 4)):
        assert envs.reset(seed=seed)[0].tolist() == expected  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 seeds for 2"):
        envs.reset(seed=[])


def test_variables_that_were_set_late_reach_workers(pool: EnvPool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool.call("variable", "GYM_VLMRM_TEST") == (None, None)  # workers that began before
    monkeypatch.setenv("GYM_VLMRM_TEST", "late")
    later: Any = make_pool(Echo, 2, workers=2)
    assert later.call("variable", "GYM_VLMRM_TEST") == ("late", "late")
    later.close()


def test_signals_are_for_the_parent(pool: EnvPool) -> None:
    for process in pool._processes:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(process.pid, number)
    assert pool.step(actions(1))[1].tolist() == [1, 1]


def script(code: str, tmp_path: Path) -> "subprocess.Popen[str]":
    path = tmp_path / "script.py"
    path.write_text(code)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )


@pytest.mark.slow
def test_ctrl_c_while_workers_start_meets_the_parent_alone(tmp_path: Path) -> None:
    code = """
import signal, sys
from gym_vlmrm.worlds.pools.pool import make_pool
from echo import Echo, actions
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
print("starting", flush=True)
pool = make_pool(Echo, 2, workers=2)
pool.reset(seed=0)
print(heard, pool.step(actions(4))[1].tolist())
pool.close()
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Python ends, handlers go, and a quick machine is there by then
"""
    process = script(code, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    for _ in range(10):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("[4.0, 4.0]\n")
    assert "1" in out


def test_workers_that_hang_do_not_outlive_their_parent(tmp_path: Path) -> None:
    code = """
from gym_vlmrm.worlds.pools.pool import make_pool
from echo import LATE, Echo, actions
pool = make_pool(Echo, 2, workers=2)
pool.reset(seed=0)
print(*(process.pid for process in pool._processes), flush=True)
pool.step(actions(LATE))
"""
    process = script(code, tmp_path)
    assert process.stdout is not None
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    time.sleep(0.3)
    process.kill()
    process.communicate(timeout=20)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in workers):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_an_environment_left_open_does_not_keep_the_interpreter(tmp_path: Path) -> None:
    code = """
from gym_vlmrm.worlds.pools.pool import make_pool
from echo import Echo
pool = make_pool(Echo, 2, workers=2)
keep = [pool]; keep.append(keep)
"""
    process = script(code, tmp_path)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


OWN_ENVIRONMENTS = """
import gymnasium as gym
import numpy as np
from gymnasium import spaces

import gym_vlmrm
from gym_vlmrm.task.catalog import task_from_dict


class Mine(gym.Env):
    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode=None, tone=51):
        self.render_mode, self.tone = render_mode, tone
        self.observation_space, self.action_space = spaces.Box(-1, 1, (1,), np.float32), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return self.np_random.random(1, np.float32), 1.0, False, False, {}

    def render(self):
        return np.full((8, 8, 3), self.tone, np.uint8)


class Outer(gym.Wrapper):
    pass


def around(render_mode=None):
    return Outer(gym.make("Mine/Class-v0", render_mode=render_mode, disable_env_checker=True))


gym.register("Mine/Class-v0", Mine)
gym.register("Mine/Text-v0", "__main__:Mine", kwargs={"tone": 102})
gym.register("Mine/Lambda-v0", lambda **kwargs: Mine(**kwargs), additional_wrappers=(Outer.wrapper_spec(),))
gym.register("Mine/Nested-v0", "__main__:around")
gym.register("Mine/Unpicklable-v0", Mine, kwargs={"tone": (_ for _ in ())})
for env_id in ("Mine/Text-v0", "Mine/Lambda-v0", "Mine/Nested-v0"):  # the last holds Mine/Class-v0
    for module in ("", "__main__:"):
        task = task_from_dict({
            "id": "Own/Task-v0", "env": {"id": module + env_id, "max_episode_steps": 9},
            "reward": {"goal": "light", "model": "brightness"}, "success": "obs[0] > 0.5",
        })
        gym_vlmrm.register_task(task)
        if module:
            continue
        envs = gym.make_vec("Own/Task-v0", num_envs=2, workers=2)
        envs.reset(seed=0)
        print(env_id, envs.step(np.zeros(2, int))[1].astype(float).round(1).tolist())
        envs.close()
from gym_vlmrm.auditing.stage_pool import StagePool
with StagePool(task, 8, workers=2) as stages:
    print(len(stages.roll([0, 1], 3)))
"""


@pytest.mark.slow
def test_environments_of_the_users_script_work_in_workers(tmp_path: Path) -> None:
    process = script(OWN_ENVIRONMENTS, tmp_path)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, ""), err
    assert out.splitlines() == [
        "Mine/Text-v0 [0.4, 0.4]",
        "Mine/Lambda-v0 [0.2, 0.2]",
        "Mine/Nested-v0 [0.2, 0.2]",
        "2",
    ]


@pytest.fixture
def own_registry() -> Iterator[dict[str, Any]]:
    before = dict(gym.registry)
    yield before
    gym.registry.clear()
    gym.registry.update(before)


def test_classes_of_gymnasium_registered_anew_travel(own_registry: dict[str, Any]) -> None:
    gym.register("My/Pole-v0", "gymnasium.envs.classic_control.cartpole:CartPoleEnv", max_episode_steps=30)
    gym.registry["Pendulum-v1"] = dataclasses.replace(gym.registry["Pendulum-v1"], kwargs={"g": 1.0})
    changed, data = dict(gym.registry), pack_registrations()
    gym.registry.clear()
    gym.registry.update(own_registry)
    adopt_registrations(data)
    assert gym.registry == changed


def test_they_can_be_made_in_workers(own_registry: dict[str, Any]) -> None:
    gym.register("My/Pole-v0", "gymnasium.envs.classic_control.cartpole:CartPoleEnv", max_episode_steps=30)
    data = {"id": "T-v0", "env": {"id": "My/Pole-v0"}, "reward": {"goal": "a", "model": "brightness"}}
    envs = make_worlds(TaskSpec.model_validate(data), 2, render_size=16, workers=2)
    envs.reset(seed=0)
    envs.step(np.zeros(2, int))
    envs.close()


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "350000 100000\n"}, 3.5),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/../../elsewhere\n", {"cpu.max": "100000 100000"}, 1),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        (
            "5:cpu,cpuacct:/docker/x\n0::/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "400000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            4,
        ),
        ("5:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, None),
        ("3:cpuset:/x\n", {"cpuset/x/cpu.cfs_quota_us": "1\n", "cpuset/x/cpu.cfs_period_us": "1\n"}, None),
    ],
)
def test_quotas_of_containers(group: str, files: dict[str, str], cores: float | None, tmp_path: Path) -> None:
    for name, text in {"proc/self/cgroup": group, **{f"sys/fs/cgroup/{n}": t for n, t in files.items()}}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cpu_quota(tmp_path) == cores


def test_cores_are_counted_by_quota_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    for quota, cores in ((3.2, 4), (0.1, 1), (None, 64), (99.0, 64)):
        monkeypatch.setattr("gym_vlmrm.worlds.pools.cores.cpu_quota", lambda quota=quota: quota)
        assert usable_cores() == cores


def gone(pid: int) -> bool:
    """Whether a process has ended: multiprocessing itself may not know where another thread was told first."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_stage_that_hangs_or_dies_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, "30")
    for number, words in ((signal.SIGSTOP, "has not answered 'show' for 1 s"), (signal.SIGKILL, "has died")):
        stages: Any = StagePool(load_task("cartpole"), 16, workers=2)
        stages.show(np.zeros((2, 2)))
        stages._patience = 1.0
        processes = list(stages._executor._processes.values())
        for process in processes[: 1 if number == signal.SIGKILL else None]:
            os.kill(process.pid, number)
        if number == signal.SIGKILL:  # until the executor has noticed, the other process may still answer
            while not stages._executor._broken:
                time.sleep(0.01)
        for expected in (words, "closed"):
            with pytest.raises(WorkerError, match=expected):
                stages.show(np.zeros((2, 2)))
        assert all(gone(process.pid) for process in processes)
        stages.close()


def test_leaving_a_stage_does_not_wait_for_one_that_hangs() -> None:
    stages: Any = StagePool(load_task("cartpole"), 16, workers=2)
    stages.show(np.zeros((2, 2)))
    for process in stages._executor._processes.values():
        os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    interrupted(lambda: stages.show(np.zeros((99, 2))))
    stages.close()
    assert time.monotonic() - began < 8


def test_frames_and_rewards_agree_on_every() -> None:
    for workers in (1, 2):
        envs = make_pool(lambda: FrameObservation(CountingWorld(0), SIZE, 3), 2, workers=workers)
        with pytest.raises(ValueError, match="every is 2, but the environments draw every 3th frame"):
            VectorVLMReward(envs, CountingReward(), 2)
        with pytest.raises(ValueError, match="at least 1"):
            VectorVLMReward(envs, CountingReward(), 0)
        VectorVLMReward(envs, CountingReward(), 3).close()


def test_threads_share_no_opengl_context() -> None:
    """Not even where a thread has got the number of one that ended."""
    made: list[Any] = []

    def make() -> None:
        env = make_world(load_task("kneeling"), render_size=16, limited=True)
        env.reset(seed=0)
        env.render()
        made.append((env, list(_of_thread.known.values())))

    for _ in range(2):  # one after the other, so that the second one gets the first one's number
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
    (first, (one,)), (second, (other,)) = made
    assert one is not other
    for env in (first, second):
        env.close()
