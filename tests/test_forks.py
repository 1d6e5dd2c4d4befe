"""Forked processes, which Gymnasium, TorchRL and others start: nothing hangs, and the parent's workers stay its own."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
CARTPOLE, KNEELING = "VLMRM/CartPole-Balance-v0", "VLMRM/Humanoid-Kneeling-v0"
CHILD = """
    import os, signal, sys
    def ends(pid):
        signal.alarm(60)  # a child that hangs
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def run(code: str, *, threads: str | None = None, timeout: float = 150) -> str:
    """Run a program with the numbers of threads that users have: nobody set them."""
    variables = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    if threads is not None:
        variables["LP_NUM_THREADS"] = threads
    program = textwrap.dedent(CHILD) + textwrap.dedent(code)
    try:
        result = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=timeout, env=variables
        )
    except subprocess.TimeoutExpired:
        pytest.fail("it hangs")
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("task", [CARTPOLE, pytest.param(KNEELING, marks=pytest.mark.slow)])
def test_gymnasiums_forked_workers_with_default_threads(task: str) -> None:
    """The parent has scored (OpenMP's threads) and drawn (OpenGL's) before it forks."""
    code = f"""
        import gymnasium as gym, gym_vlmrm, multiprocessing, torch
        assert multiprocessing.get_start_method() == "fork"
        torch.set_num_threads(2)  # where the machine has one core alone
        env = gym.make({task!r}, max_episode_steps=3)
        env.reset(seed=0)
        expected = [env.step(env.action_space.sample() * 0)[1] for _ in range(2)]
        envs = gym.make_vec({task!r}, num_envs=2, vectorization_mode="async", max_episode_steps=3)
        envs.reset(seed=0)
        rewards = [envs.step(envs.action_space.sample() * 0)[1][0] for _ in range(4)]
        envs.close()
        print(*expected, *rewards[:2])
    """
    if "start_method" in code and sys.version_info >= (3, 14):
        pytest.skip("fork is no default any more")
    rewards = np.array(run(code).split(), float)
    np.testing.assert_allclose(rewards[:2], rewards[2:], atol=1e-6)


@pytest.mark.parametrize("threads", [None, "4"])
def test_a_forked_process_draws_what_its_parent_draws_and_ends(threads: str | None) -> None:
    code = f"""
        import gymnasium as gym, gym_vlmrm
        env = gym.make({KNEELING!r}, model="brightness", render_size=32)
        env.reset(seed=0)
        picture = env.render()
        pid = os.fork()
        if pid == 0:
            other = gym.make({KNEELING!r}, model="brightness", render_size=32)
            other.reset(seed=0)
            same = (env.render() == picture).all() and (other.render() == picture).all()
            env.close()
            sys.exit(7 if same else 1)
        assert ends(pid) == 7
        assert (env.render() == picture).all()
    """
    run(code, threads=threads)


def test_environments_of_other_people_draw_after_a_fork(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("task")
    file = folder / "pusher.yaml"
    file.write_text("id: Test/P-v0\nenv: {id: InvertedPendulum-v5}\nreward: {goal: a pole, model: brightness}\n")
    code = f"""
        import gymnasium as gym, gym_vlmrm
        task = gym_vlmrm.register_task({str(file)!r})
        env = gym.make(task.id, render_size=32)
        env.reset(seed=0)
        picture = env.render()
        pid = os.fork()
        if pid == 0:
            same = (env.render() == picture).all()
            env.close()
            other = gym.make(task.id, render_size=32)
            other.reset(seed=0)
            sys.exit(7 if same and (other.render() == picture).all() else 1)
        assert ends(pid) == 7
        assert (env.render() == picture).all()
    """
    run(code)


def test_an_opengl_that_does_not_survive_a_fork_is_named() -> None:
    code = f"""
        import gymnasium as gym, gym_vlmrm
        from gym_vlmrm.worlds import forks
        forks._is_mesa = lambda egl: False
        env = gym.make({KNEELING!r}, model="brightness", render_size=32)
        env.reset(seed=0)
        env.render()
        pid = os.fork()
        if pid == 0:
            try:
                env.render()
            except gym_vlmrm.errors.RenderingError as error:
                os.write(1, str(error).encode())
                os._exit(7)
            os._exit(1)
        assert ends(pid) == 7
    """
    said = run(code)
    assert "\n" not in said
    assert "forkserver" in said
    assert "make_vec" in said


def test_a_fork_leaves_the_parents_workers_alone() -> None:
    code = f"""
        import gymnasium as gym, gym_vlmrm, multiprocessing, numpy as np
        envs = gym.make_vec({CARTPOLE!r}, num_envs=2, workers=2, model="brightness")
        envs.reset(seed=0)
        pid = os.fork()
        if pid == 0:
            try:
                envs.step(np.zeros(2, int))
            except gym_vlmrm.errors.WorkerError as error:
                assert "belongs to process" in str(error)
                envs.close()
                sys.exit(7)
            sys.exit(1)
        assert ends(pid) == 7
        pid = os.fork()
        if pid == 0:
            del envs
            sys.exit(7)
        assert ends(pid) == 7
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(abs, [-1, 2]) == [1, 2]
        envs.step(np.zeros(2, int))
        envs.close()
    """
    run(code)


def test_a_fork_scores_with_threads_of_its_own() -> None:
    code = f"""
        import gymnasium as gym, gym_vlmrm, numpy as np
        from gym_vlmrm.reward.scoring import ScoringTeam
        team = ScoringTeam(gym_vlmrm.load_reward_model({CARTPOLE!r}), 2)
        frames = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8)
        rewards = team(frames)
        pid = os.fork()
        if pid == 0:
            same = np.allclose(team(frames), rewards, atol=1e-6)
            team.close()
            os._exit(7 if same else 1)
        assert ends(pid) == 7
        team.close()
    """
    run(code)
