"""Training: run folders that can be trusted, gone on with, and made again."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stable_baselines3.common.vec_env import VecEnv
from trainings import DQN, PPO, cartpole, rows

from gym_vlmrm import load_task
from gym_vlmrm.errors import RunError, TrainingError
from gym_vlmrm.learning import choose_recipe, resume, train
from gym_vlmrm.learning.algorithms import ALGORITHMS, find_algorithm
from gym_vlmrm.learning.building import build_algorithm
from gym_vlmrm.learning.checkpoint_spaces import space_from_json, space_to_json
from gym_vlmrm.learning.hyperparameters import check_recipe, constructor_arguments, update_arguments
from gym_vlmrm.learning.inspection import inspect_recipe, inspect_world
from gym_vlmrm.learning.manifest import write_manifest
from gym_vlmrm.learning.provenance import describe_machine, library_versions
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.stored_policy import load_agent
from gym_vlmrm.learning.vec_env import SpacesOnly
from gym_vlmrm.task.catalog import builtin_tasks
from gym_vlmrm.task.spec import EnvSpec, Recipe, RewardSpec, TaskSpec
from gym_vlmrm.tensors import load_state, save_state


@pytest.mark.parametrize("recipe", [PPO, DQN], ids=["PPO", "DQN"])
def test_a_run_folder_holds_everything(tmp_path: Path, recipe: Recipe) -> None:
    progress: list[Any] = []
    result = train(cartpole(), recipe, seed=1, output=tmp_path / "run", workers=1, on_progress=progress.append)
    run = RunFolder.open(tmp_path / "run")
    assert run.record.status == "finished"
    assert run.record.step == result.step == recipe.steps
    assert run.record.recipe == recipe
    assert run.task == cartpole()
    assert [checkpoint.step for checkpoint in run.checkpoints()][-1] == recipe.steps
    assert run.best == result.best
    assert progress
    last = rows(run)[-1]
    assert int(last["step"]) == recipe.steps
    for column in ("rollout/vlm_reward", "rollout/task_reward", "rollout/success", "eval/vlm_reward", "eval/success"):
        assert any(row[column] for row in rows(run)), column
    assert 0 < float(last["eval/vlm_reward"]) < 1
    assert list((run.path / "tensorboard").iterdir())


def test_the_best_checkpoint_is_that_of_the_best_vlm_reward(tmp_path: Path) -> None:
    run = train(cartpole(), PPO, output=tmp_path / "run", workers=1).run
    judged = {int(row["step"]): float(row["eval/vlm_reward"]) for row in rows(run) if row["eval/vlm_reward"]}
    assert run.best is not None
    assert judged[run.best.step] == max(judged.values())


def test_no_file_of_a_run_can_execute_anything(tmp_path: Path) -> None:
    run = train(cartpole(), DQN, output=tmp_path / "run", workers=1).run
    harmless = {".json", ".yaml", ".csv", ".safetensors", ".npz"}
    for path in run.path.rglob("*"):
        if path.is_file() and "tfevents" not in path.name:
            assert path.suffix in harmless, path
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                assert all(arrays[name].dtype != object for name in arrays)


@pytest.mark.parametrize("recipe", [PPO, DQN], ids=["PPO", "DQN"])
def test_equal_seeds_make_equal_runs(tmp_path: Path, recipe: Recipe) -> None:
    runs = [
        train(cartpole(), recipe, seed=seed, output=tmp_path / str(i), workers=1).run
        for i, seed in enumerate([5, 5, 6])
    ]
    policies = [load_file(run.checkpoint("last").path / "policy.safetensors") for run in runs]
    assert all(torch.equal(policies[0][name], policies[1][name]) for name in policies[0])
    assert not all(torch.equal(policies[0][name], policies[2][name]) for name in policies[0])
    tables = [[{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows(run)] for run in runs]
    assert tables[0] == tables[1]
    assert tables[0] != tables[2]


@pytest.mark.parametrize("recipe", [PPO, DQN], ids=["PPO", "DQN"])
def test_a_run_goes_on_from_its_last_checkpoint(tmp_path: Path, recipe: Recipe) -> None:
    train(cartpole(), recipe, output=tmp_path / "run", workers=1)
    notices: list[str] = []
    result = resume(tmp_path / "run", steps=2 * recipe.steps, workers=1, on_notice=notices.append)
    assert result.step == 2 * recipe.steps
    assert notices == []  # a small replay buffer was kept
    steps = [int(row["step"]) for row in rows(result.run)]
    assert steps == sorted(set(steps))
    assert result.run.record.recipe.steps == 2 * recipe.steps
    with pytest.raises(RunError, match="--steps"):
        resume(tmp_path / "run", workers=1)


def test_without_its_buffer_an_off_policy_run_gathers_again(tmp_path: Path) -> None:
    run = train(cartpole(), DQN, output=tmp_path / "run", workers=1).run
    (run.checkpoint("last").path / "replay.npz").unlink()
    notices: list[str] = []
    resume(run.path, steps=300, workers=1, on_notice=notices.append)
    assert "fills again" in notices[0]


def test_an_interrupt_saves_and_can_be_resumed(tmp_path: Path) -> None:
    def interrupt(progress: Any) -> None:
        if progress.step >= 64:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    long = DQN.model_copy(update={"steps": 100_000, "checkpoint_every": 50_000})
    result = train(cartpole(), long, output=tmp_path / "run", workers=1, on_progress=interrupt)
    assert result.interrupted
    assert signal.getsignal(signal.SIGINT) is handler
    run = RunFolder.open(tmp_path / "run")
    assert run.record.status == "interrupted"
    stopped = run.checkpoint("last")
    assert stopped.step == result.step < 100_000
    assert (stopped.path / "replay.npz").exists()
    assert resume(run.path, steps=stopped.step + 20, workers=1).step == stopped.step + 20


def test_a_loaded_policy_acts_as_the_trained_one(cartpole_run: Path) -> None:
    checkpoint = RunFolder.open(cartpole_run).checkpoint("last")
    agents = [load_agent(checkpoint.path) for _ in range(2)]
    states = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    actions = [agent.act(states, np.ones(16, np.bool_)) for agent in agents]
    np.testing.assert_array_equal(*actions)
    assert len(set(actions[0])) == 2


@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors", "normalizer.npz"])
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, cartpole_run: Path, name: str) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(RunFolder.open(cartpole_run).checkpoint("last").path, folder)
    (folder / name).write_bytes(b"garbage")
    with pytest.raises(RunError, match=name.replace(".", r"\.")) as caught:
        load_agent(folder)
    assert "\n" not in str(caught.value)


def test_a_pickle_in_a_checkpoint_is_refused(tmp_path: Path, cartpole_run: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(RunFolder.open(cartpole_run).checkpoint("last").path, folder)
    np.savez(folder / "normalizer.npz", mean=np.array([object()]), var=1, clip=1, epsilon=1)
    write_manifest(folder)
    with pytest.raises(RunError, match="normalizer"):
        load_agent(folder)


def test_states_of_tensors_come_back(tmp_path: Path) -> None:
    state = {
        "state": {0: {"step": torch.tensor(3.0), "m": torch.ones(2)}},
        "groups": [{"lr": 0.1, "betas": (0.9, 0.99)}],
        "n": None,
    }
    save_state(tmp_path / "a.safetensors", state)
    loaded = load_state(tmp_path / "a.safetensors")
    assert torch.equal(loaded["state"][0]["m"], torch.ones(2))
    assert loaded["groups"] == state["groups"]
    with pytest.raises(TypeError):
        save_state(tmp_path / "b.safetensors", {"x": object()})


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_table_of_action_spaces_is_that_of_the_algorithms(name: str) -> None:
    algorithm = ALGORITHMS[name]
    from gymnasium import spaces

    observation = spaces.Box(-1, 1, (2,))
    kinds = {
        "Box": spaces.Box(-1, 1, (2,)), "Discrete": spaces.Discrete(2),
        "MultiDiscrete": spaces.MultiDiscrete([2, 2]), "MultiBinary": spaces.MultiBinary(2),
    }  # fmt: skip
    sizes = {"buffer_size": 1} if algorithm.kind == "off-policy" else {}
    for kind, space in kinds.items():
        env: VecEnv = SpacesOnly(1, observation, space)
        build = lambda: algorithm.load()(_policy(algorithm), env, device="cpu", **sizes)  # noqa: B023, E731
        if kind in algorithm.actions:
            build()
        else:
            with pytest.raises((AssertionError, ValueError)):
                build()
        assert space_from_json(space_to_json(space)) == space


def _policy(algorithm: Any) -> str:
    return next(name for name in algorithm.load().policy_aliases if name.startswith("Mlp"))


@pytest.mark.parametrize("name", ["qr-dqn", "QRDQN", "Qr_Dqn"])
def test_algorithms_are_found_by_any_spelling(name: str) -> None:
    assert find_algorithm(name).name == "QRDQN"


def _recipe(algorithm: str = "PPO", **hyperparameters: Any) -> Recipe:
    return Recipe(algorithm=algorithm, steps=10, hyperparameters=hyperparameters)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (_recipe("PPQ"), "unknown algorithm 'PPQ'; did you mean 'PPO'"),
        (_recipe(gama=0.9), "no hyperparameter 'gama'; did you mean 'gamma'"),
        (_recipe(learning_rate="fast"), "learning_rate.* must be .*float.*, got 'fast'"),
        (_recipe(n_steps=1.5), "n_steps.* must be int, got 1.5"),
        (_recipe(normalize_advantage="yes"), "must be bool"),
        (_recipe(learning_rate={"cosine": [1, 0]}), "linear"),
        (_recipe(seed=3), "'seed' of PPO is set by gym_vlmrm"),
        (_recipe(rollout_buffer_class="x"), "set by gym_vlmrm"),
        (_recipe(policy="CNN"), "no policy 'CNN'"),
        (_recipe(policy_kwargs={"net_arc": [1]}), "no argument 'net_arc'; did you mean 'net_arch'"),
        (_recipe(policy_kwargs={"activation_fn": "os.system"}), "not among ReLU"),
        (_recipe(policy_kwargs={"features_extractor_class": "x"}), "no argument 'features_extractor_class'"),
        (_recipe(policy_kwargs=[1]), "policy_kwargs"),
        (_recipe("TD3", action_noise=0.1), "normal"),
        (Recipe(algorithm="PPO", steps=1, updates_per_step=1.0), "off-policy"),
        (Recipe(algorithm="SAC", steps=1, updates_per_step=1.0, hyperparameters={"gradient_steps": 1}), "not both"),
    ],
)
def test_a_wrong_recipe_is_one_line(recipe: Recipe, message: str) -> None:
    with pytest.raises(TrainingError, match=message) as caught:
        check_recipe(recipe)
    assert "\n" not in str(caught.value)


def test_written_values_become_constructor_arguments() -> None:
    written = {"learning_rate": {"linear": [1e-3, 1e-4]}, "policy_kwargs": {"activation_fn": "Tanh", "net_arch": [4]}}
    arguments = constructor_arguments(_recipe(**written), find_algorithm("PPO"), 1)
    assert arguments["learning_rate"](1.0) == pytest.approx(1e-3)
    assert arguments["learning_rate"](0.0) == pytest.approx(1e-4)
    assert arguments["policy_kwargs"]["activation_fn"] is torch.nn.Tanh
    assert written["policy_kwargs"] == {"activation_fn": "Tanh", "net_arch": [4]}
    noise = constructor_arguments(_recipe("TD3", action_noise={"normal": 0.2}), find_algorithm("TD3"), 3)[
        "action_noise"
    ]
    assert noise().shape == (3,)
    assert constructor_arguments(_recipe("SAC", train_freq=[2, "step"]), find_algorithm("SAC"), 1)["train_freq"] == (
        2,
        "step",
    )


@pytest.mark.parametrize("num_envs", [1, 6, 8, 32])
@pytest.mark.parametrize("rate", [1 / 32, 0.125, 1.0, 2.5])
def test_updates_per_step_do_not_depend_on_the_number_of_environments(num_envs: int, rate: float) -> None:
    recipe = Recipe(
        algorithm="SAC", steps=1, num_envs=num_envs, updates_per_step=rate, hyperparameters={"train_freq": 4}
    )
    arguments = update_arguments(recipe, find_algorithm("SAC"))
    assert arguments["gradient_steps"] / (arguments["train_freq"] * num_envs) == pytest.approx(rate, rel=1e-4)
    assert arguments["train_freq"] >= 4


def test_what_the_constructor_refuses_is_one_line() -> None:
    from gymnasium import spaces

    env = SpacesOnly(1, spaces.Box(-1, 1, (2,)), spaces.Discrete(2))
    with pytest.raises(TrainingError, match="PPO refuses its hyperparameters"):
        build_algorithm(_recipe(learning_rate=-1.0), env, env_id="x", source=None)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (_recipe("SAC"), "SAC needs Box actions but CartPole-v1 has Discrete actions"),
        (Recipe(algorithm="DQN", steps=1, normalize_reward=True), "on-policy"),
    ],
)
def test_a_recipe_that_does_not_fit_fails_before_anything_is_made(tmp_path: Path, recipe: Recipe, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        train(cartpole(), recipe, output=tmp_path / "run", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_fails_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="not empty"):
        train(cartpole(), PPO, output=tmp_path, workers=1)


def test_choosing_a_recipe() -> None:
    task = cartpole().model_copy(update={"training": {"default": PPO, "paper": DQN}})
    assert choose_recipe(task) == ("default", PPO)
    assert choose_recipe(task, "paper", steps=7, num_envs=3) == (
        "paper",
        DQN.model_copy(update={"steps": 7, "num_envs": 3}),
    )
    name, recipe = choose_recipe(task, algorithm="dqn")
    assert (name, recipe.hyperparameters, recipe.steps) == ("paper", DQN.hyperparameters, PPO.steps)
    _, plain = choose_recipe(task, algorithm="qr-dqn")
    assert (plain.algorithm, plain.hyperparameters, plain.normalize_reward) == ("QRDQN", {}, False)
    with pytest.raises(TrainingError, match="no recipe 'papr'; did you mean 'paper'"):
        choose_recipe(task, "papr")
    bare = TaskSpec(id="T/Bare-v0", env=EnvSpec(id="Pendulum-v1"), reward=RewardSpec(goal="up"))
    assert choose_recipe(bare)[1].algorithm == "PPO"


@pytest.mark.parametrize("name", builtin_tasks())
def test_recipes_of_built_in_tasks_fit(name: str) -> None:
    task = load_task(name)
    world = inspect_world(task, draw=False)
    for recipe in task.training.values():
        inspect_recipe(recipe, world)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_trains_saves_and_acts(tmp_path: Path, algorithm: str) -> None:
    discrete = "Discrete" in ALGORITHMS[algorithm].actions
    env_id = "CartPole-v1" if discrete else "Pendulum-v1"
    limit = 20
    if algorithm == "MaskablePPO":
        env_id, limit = "toys:MaskedToy-v0", 6
    task = TaskSpec(
        id="Test/Any-v0",
        env=EnvSpec(id=env_id, max_episode_steps=limit),
        reward=RewardSpec(goal="bright", model="brightness"),
    )
    written: dict[str, Any] = {"ARS": {"n_delta": 1}}.get(algorithm, {})
    if ALGORITHMS[algorithm].kind == "off-policy":
        written = {"learning_starts": 20, "buffer_size": 500}
    elif ALGORITHMS[algorithm].kind == "on-policy":
        written = {"n_steps": 16} | ({} if algorithm == "A2C" else {"batch_size": 16})
    recipe = Recipe(algorithm=algorithm, steps=64, num_envs=2, checkpoint_every=32, hyperparameters=written)
    run = train(task, recipe, output=tmp_path / "run", workers=1).run
    agent = load_agent(run.checkpoint("last").path)
    shape = agent.adapter.own_observation_space.shape or ()
    assert len(agent.act(np.zeros((2, *shape), np.float32), np.ones(2, np.bool_))) == 2
    assert resume(run.path, steps=128, workers=1).step >= 128


def test_provenance_names_what_changes_pixels() -> None:
    assert {"mujoco", "gymnasium", "torch", "open_clip_torch", "python"} <= set(library_versions())
    machine = describe_machine(opengl=True)
    assert json.loads(json.dumps(machine)) == machine
    # Whatever draws in these tests has a name.
    assert all(machine["opengl"][name] for name in ("backend", "vendor", "renderer", "version"))
    assert "opengl" not in describe_machine(opengl=False)


def test_a_probe_of_opengl_that_fails_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gym_vlmrm.learning.provenance._PROBE", "raise SystemExit(1)")
    assert describe_machine(opengl=True)["opengl"] is None


def test_a_gpu_is_described_by_what_torch_and_its_driver_say(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="Tensor 9", total_memory=80 * 10**9, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr("gym_vlmrm.learning.provenance._output_of", lambda *_: "570.1\n570.1")
    gpu = describe_machine(opengl=False, device="cuda:1")["gpu"]
    assert (gpu["name"], gpu["memory_gb"], gpu["capability"], gpu["driver"]) == ("Tensor 9", 80.0, "9.0", "570.1")
    assert gpu["cuda"] == torch.version.cuda
    assert json.loads(json.dumps(gpu)) == gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_gpu_that_is_not_there_is_none() -> None:
    assert describe_machine(opengl=False, device="cuda")["gpu"] is None
    assert "gpu" not in describe_machine(opengl=False, device="cpu")


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_training_after_a_context_of_opengl(algorithm: str, tmp_path: Path) -> None:
    """Loading triton's LLVM after Mesa's would end the process, and torch's optimisers bring triton."""
    short = {"PPO": {"n_steps": 8, "n_epochs": 1}, "DQN": {"learning_starts": 8}}[algorithm]
    code = f"""
import os, sys
os.environ.setdefault("MUJOCO_GL", "egl")
import gymnasium
import gym_vlmrm
env = gymnasium.make("InvertedPendulum-v5", render_mode="rgb_array", width=32, height=32)  # drawn by others
env.reset(seed=0)
env.render()
from gym_vlmrm.learning import train
from gym_vlmrm.task.spec import Recipe
task = gym_vlmrm.load_task("cartpole")
task = task.model_copy(update={{"reward": task.reward.model_copy(update={{"model": "brightness"}})}})
recipe = Recipe(algorithm={algorithm!r}, steps=40, num_envs=2, hyperparameters={{"batch_size": 8, **{short}}})
assert "triton" not in sys.modules and "open_clip" not in sys.modules
train(task, recipe, output={str(tmp_path / "run")!r}, workers=1)
assert "open_clip" not in sys.modules
env.render()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stderr
