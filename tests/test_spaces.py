"""Any environment's spaces: what trains also evaluates and goes on, and what cannot is one line of `check`."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import vlmrm
from gymnasium import spaces
from safetensors.torch import load_file, save_file
from toys import ACTIONS, OBSERVATIONS

from gym_vlmrm.errors import RunError, TaskError, TrainingError, VLMRMError
from gym_vlmrm.learning import resume, train
from gym_vlmrm.learning.adapter import Adapter
from gym_vlmrm.learning.check import check_task
from gym_vlmrm.learning.checkpoint_spaces import space_from_json, space_to_json
from gym_vlmrm.learning.evaluation import evaluate
from gym_vlmrm.learning.inspection import inspect_recipe, inspect_world
from gym_vlmrm.learning.manifest import write_manifest
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.stored_policy import load_agent
from gym_vlmrm.learning.vec_env import SpacesOnly, normalize_states
from gym_vlmrm.task.spec import EnvSpec, Recipe, RewardSpec, TaskSpec

SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}}
ON_POLICY: dict[str, Any] = {"n_steps": 12, "batch_size": 12, "n_epochs": 1, **SMALL}
OFF_POLICY: dict[str, Any] = {"learning_starts": 12, "batch_size": 8, "buffer_size": 60, **SMALL}
UNREADABLE, UNACTABLE = ("words", "sequence"), ("Box of int64", "Box without bounds", "Dict")
READABLE = [name for name in OBSERVATIONS if name not in UNREADABLE]
ACTABLE = [name for name in ACTIONS if name not in UNACTABLE]


def toy(env_id: str = "toys:Toy-v0", **kwargs: Any) -> TaskSpec:
    return TaskSpec(
        id="Test/Toy-v0",
        env=EnvSpec(id=env_id, kwargs=kwargs),
        reward=RewardSpec(goal="bright", model="brightness"),
    )


def recipe(algorithm: str = "PPO", *, normalize: bool = False, **written: Any) -> Recipe:
    off = algorithm in ("SAC", "DQN", "TD3")
    return Recipe(
        algorithm=algorithm,
        steps=48,
        num_envs=2,
        checkpoint_every=24,
        normalize_observation=normalize,
        hyperparameters={**(OFF_POLICY if off else ON_POLICY), **written},
    )


def live(task: TaskSpec, recipe: Recipe, path: Path, workers: int = 1) -> RunFolder:
    """Train, evaluate, go on, evaluate."""
    run = train(task, recipe, output=path, workers=workers).run
    assert evaluate(run, episodes=2, workers=workers, video=False).policy.episodes == 2
    assert resume(path, steps=72, workers=workers).step >= 72
    evaluate(run, episodes=2, workers=workers, video=False)
    return run


def once_in_workers(name: str, values: list[str]) -> Any:
    """All values in this process, and the last one in worker processes too, which take longer to start."""
    cases = [*((value, 1) for value in values), pytest.param(values[-1], 2, marks=pytest.mark.slow)]
    return pytest.mark.parametrize((name, "workers"), cases)


@pytest.mark.parametrize("normalize", [False, True], ids=["plain", "scaled"])
@pytest.mark.parametrize("observation", READABLE)
def test_every_observation_space_trains_evaluates_and_goes_on(
    tmp_path: Path, observation: str, normalize: bool
) -> None:
    task = toy(observation=observation)
    run = live(task, recipe(normalize=normalize), tmp_path / "run")
    stored = json.loads((run.checkpoint("last").path / "policy.json").read_text())["observation_space"]
    assert space_from_json(stored) == OBSERVATIONS[observation]


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
@pytest.mark.parametrize("action", ACTABLE)
def test_every_action_space_gets_its_own_actions(tmp_path: Path, action: str, algorithm: str) -> None:
    if algorithm == "SAC" and not (action.startswith("Box") and "room" not in action):
        with pytest.raises(TrainingError, match="SAC"):
            inspect_recipe(recipe("SAC"), inspect_world(toy(action=action), draw=True))
        return
    live(toy(action=action), recipe(algorithm), tmp_path / "run")


@pytest.mark.parametrize("observation", ["picture, channels last", "picture, channels first", "Dict", "Tuple", "goal"])
@pytest.mark.parametrize("algorithm", ["DQN", "RecurrentPPO"])
def test_buffers_of_other_algorithms_hold_them_too(tmp_path: Path, algorithm: str, observation: str) -> None:
    written: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}}
    if algorithm == "RecurrentPPO":
        written["policy_kwargs"]["lstm_hidden_size"] = 8
    if "picture" in observation:
        written["policy"] = "CnnPolicy" if algorithm == "DQN" else "CnnLstmPolicy"
        written["policy_kwargs"]["features_extractor_kwargs"] = {"features_dim": 8}
    live(toy(observation=observation), recipe(algorithm, **written), tmp_path / "run")


@pytest.mark.slow
def test_they_come_from_worker_processes_too(tmp_path: Path) -> None:
    """Pictures, whole numbers and parts within parts at once."""
    live(toy(observation="Dict"), recipe("DQN"), tmp_path / "run", workers=2)


def test_an_action_is_clipped_to_the_environments_own_bound() -> None:
    adapter = Adapter(OBSERVATIONS["Box ()"], spaces.Box(0, 0.001, (1,), np.float64))
    action = adapter.actions(np.array([[0.001000000047]], np.float32))
    assert action.dtype == np.float64
    assert action[0, 0] == 0.001


def test_states_count_from_zero_and_tuples_are_flat() -> None:
    space = OBSERVATIONS["Tuple"]
    adapter = Adapter(space, ACTIONS["Discrete"])
    np.testing.assert_allclose(adapter.state((3, np.array([0.5, -1]), np.array([0, 1]))), [0, 0, 1, 0, 0.5, -1, 0, 1])
    counted = Adapter(spaces.Discrete(5, start=-2), ACTIONS["Discrete from 3"])
    np.testing.assert_array_equal(counted.states(np.array([-2, 2])), [0, 4])
    np.testing.assert_array_equal(counted.actions(np.array([0, 3])), [3, 6])
    with pytest.raises(TrainingError, match="outside its space"):
        counted.states(np.array([3]))


def test_scaled_whole_numbers_stay_fractions() -> None:
    memory, both = spaces.Box(0, 255, (128,), np.uint8), OBSERVATIONS["Dict"]
    assert normalize_states(SpacesOnly(1, memory, ACTIONS["Discrete"])).observation_space.dtype == np.float32
    scaled = normalize_states(SpacesOnly(1, spaces.Dict({"a": memory, **both}), ACTIONS["Discrete"]))
    assert isinstance(scaled.observation_space, spaces.Dict)
    assert scaled.observation_space["a"].dtype == np.float32
    assert scaled.observation_space["eye"] == both["eye"]


def test_infinite_whole_and_nested_spaces_survive_json() -> None:
    for space in [*OBSERVATIONS.values(), *ACTIONS.values()]:
        if isinstance(space, spaces.Sequence) or "mission" in getattr(space, "keys", dict)():
            continue
        text = json.dumps(space_to_json(space), allow_nan=False)
        assert space_from_json(json.loads(text)) == space
        assert len(text) < 2000


def task_file(folder: Path, task: TaskSpec, **training: Recipe) -> Path:
    data = task.model_copy(update={"training": training}).model_dump(mode="json", exclude_defaults=True)
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("kwargs", "written", "message"),
    [
        ({"observation": "words"}, recipe(), r"observation\['mission'\] of 'toys:Toy-v0' is Text"),
        ({"observation": "sequence"}, recipe(), "is Sequence; policies read Box"),
        ({"observation": "words"}, None, r"observation\['mission'\]"),
        ({"action": "Box of int64"}, recipe(), "MultiDiscrete"),
        ({"action": "Box of int64"}, None, "MultiDiscrete"),
        ({"action": "Box without bounds"}, recipe("SAC"), "no bounds"),
        ({"action": "Box without room"}, recipe("TD3"), "no room between its bounds"),
        ({"action": "Dict"}, recipe(), "has Dict actions"),
        ({"action": "MultiDiscrete 2-D from 1"}, recipe("DQN"), "DQN needs Discrete actions"),
        ({"observation": "Dict"}, recipe(policy="MlpPolicy"), "write 'MultiInputPolicy'"),
        ({"observation": "Tuple"}, recipe(policy="MultiInputPolicy"), "write 'MlpPolicy'"),
        ({"observation": "Dict"}, recipe("DQN", n_steps=3), "n_steps is 3"),
        ({"observation": "Dict", "action": "Box"}, Recipe(algorithm="CrossQ", steps=9), "cannot learn from Dict"),
        ({"observation": "Tuple"}, recipe(policy="CnnPolicy"), "PPO refuses its hyperparameters"),
        ({}, recipe("MaskablePPO"), r"action_masks\(\)"),
        ({"observation": "goal"}, recipe("DQN", replay_buffer_class="HerReplayBuffer"), "no hindsight"),
    ],
)
def test_what_cannot_train_is_one_line_of_check(
    tmp_path: Path, kwargs: dict[str, Any], written: Recipe | None, message: str
) -> None:
    task = toy(**kwargs)
    path = task_file(tmp_path, task, **({} if written is None else {"default": written}))
    (problem,) = check_task(str(path)).problems
    assert problem.startswith(f"{path}:")
    assert "\n" not in problem
    with pytest.raises(TrainingError, match=message) as caught:
        train(task, written or recipe(), output=tmp_path / "run", workers=1)
    assert str(caught.value) in problem
    assert not (tmp_path / "run").exists()


@once_in_workers("action", ["Discrete", "Discrete from 3", "MultiDiscrete 2-D from 1"])
def test_masks_reach_the_algorithm_and_the_judges(tmp_path: Path, action: str, workers: int) -> None:
    live(toy("toys:MaskedToy-v0", action=action), recipe("MaskablePPO"), tmp_path / "run", workers)


def test_a_run_of_old_goes_on_without_masks() -> None:
    world = inspect_world(toy(), draw=False)
    inspect_recipe(recipe("MaskablePPO"), world, resumed=True)


@once_in_workers("said", ["text", "arrays", "always", "mixed"])
def test_an_environments_own_success_is_not_the_tasks(tmp_path: Path, said: str, workers: int) -> None:
    task = toy(success=said)
    result = train(task, recipe(), output=tmp_path / "run", workers=workers)
    assert result.best is not None
    assert result.best.success is None
    assert evaluate(result.run, episodes=2, workers=workers, video=False).policy.success_rate is None


def test_the_tasks_rule_stands_before_the_environments_word(tmp_path: Path) -> None:
    task = toy(success="always").model_copy(update={"success": "info.task_reward > 100"})
    result = train(task, recipe(), output=tmp_path / "run", workers=1)
    assert result.best is not None
    assert result.best.success == 0


@pytest.mark.parametrize("broken_at", [0, 3, 6])
@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_an_observation_that_is_not_finite_is_one_line(tmp_path: Path, algorithm: str, broken_at: int) -> None:
    with pytest.raises(TrainingError, match="'toys:Toy-v0' gives nan in its observation") as caught:
        train(toy(broken_at=broken_at), recipe(algorithm), output=tmp_path / "run", workers=1)
    assert "\n" not in str(caught.value)
    good = train(toy(), recipe(algorithm), output=tmp_path / "good", workers=1).run
    good.write_task(toy(broken_at=min(broken_at, 5)))
    with pytest.raises(TrainingError, match="'toys:Toy-v0' gives nan in its observation"):
        evaluate(good, episodes=1, workers=1, video=False)


@pytest.mark.parametrize("observation", ["Box of float64", "Discrete from -2", "Tuple", "Dict"])
def test_an_observation_that_is_not_of_its_space_is_one_line(tmp_path: Path, observation: str) -> None:
    task = toy(observation=observation, lies=True)
    path = task_file(tmp_path, task)
    (problem,) = check_task(str(path)).problems
    assert problem.startswith(f"{path}:")
    with pytest.raises(TaskError, match="does not fit its observation space"):
        train(task, recipe(), output=tmp_path / "run", workers=1)


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_a_policy_that_is_lost_is_one_line(tmp_path: Path, algorithm: str) -> None:
    wild = recipe(algorithm, learning_rate=3e37, max_grad_norm=1e30)
    with pytest.raises(TrainingError, match=r"is not finite after .* lower the learning rate") as caught:
        train(toy(), wild, output=tmp_path / "run", workers=1)
    assert "\n" not in str(caught.value)


def test_a_stored_policy_that_is_lost_is_one_line(tmp_path: Path, cartpole_run: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(RunFolder.open(cartpole_run).checkpoint("last").path, folder)
    tensors = load_file(folder / "policy.safetensors")
    tensors["action_net.bias"] = torch.full_like(tensors["action_net.bias"], float("nan"))
    save_file(tensors, folder / "policy.safetensors")
    write_manifest(folder)  # else the digest tells first
    with pytest.raises(RunError, match=r"policy\.safetensors: 'action_net.bias' is not finite"):
        load_agent(folder)


def test_runs_of_0_1_0_are_read(tmp_path: Path, cartpole_run: Path) -> None:
    """They stored the policy's spaces: bounded ones of CartPole, pictures with their channels first."""
    run = tmp_path / "cartpole"
    shutil.copytree(cartpole_run, run)
    old = {"low": ["-4.8", "-inf", "-0.41887903", "-inf"], "high": ["4.8", "inf", "0.41887903", "inf"]}
    _store(run, {"type": "Box", **old, "shape": [4], "dtype": "float32"})
    evaluate(run, episodes=2, workers=1, video=False)
    assert resume(run, steps=192, workers=1).step == 192

    pictures = tmp_path / "pictures"
    train(toy(observation="picture, channels last"), recipe(policy="CnnPolicy"), output=pictures, workers=1)
    zeros, tops = ["0"] * (3 * 40 * 44), ["255"] * (3 * 40 * 44)
    fresh = evaluate(pictures, episodes=2, workers=1, video=False)
    _store(pictures, {"type": "Box", "low": zeros, "high": tops, "shape": [3, 40, 44], "dtype": "uint8"})
    assert evaluate(pictures, episodes=2, workers=1, video=False) == fresh
    assert resume(pictures, steps=72, workers=1).step >= 72


def _store(run: Path, observation_space: dict[str, Any]) -> None:
    for checkpoint in RunFolder.open(run).checkpoints():
        description = json.loads((checkpoint.path / "policy.json").read_text())
        description["observation_space"] = observation_space
        (checkpoint.path / "policy.json").write_text(json.dumps(description))
        write_manifest(checkpoint.path)


@pytest.mark.parametrize(
    "kwargs", [{"observation": "Dict"}, {"action": "Box"}, {"action": "MultiDiscrete 2-D from 1"}], ids=str
)
def test_a_policy_of_other_spaces_is_refused_everywhere(tmp_path: Path, kwargs: dict[str, str]) -> None:
    run = train(toy(), recipe(), output=tmp_path / "run", workers=1).run
    run.write_task(toy(**kwargs))
    with pytest.raises(RunError, match="does not fit the task's"):
        evaluate(run, episodes=1, workers=1, video=False)
    with pytest.raises(VLMRMError, match="does not fit the task's"):
        resume(run.path, steps=96, workers=1)


def test_an_audit_refuses_the_policy_of_another_task(cartpole_run: Path) -> None:
    from gym_vlmrm import load_task
    from gym_vlmrm.auditing.frames import _play

    with pytest.raises(RunError, match="does not fit the task's states"):
        _play(load_task("mountain-car"), 16, cartpole_run, 10, 0)


@pytest.mark.slow
def test_the_command_line_trains_evaluates_and_exports_a_dict(tmp_path: Path) -> None:
    path = task_file(tmp_path, toy(observation="goal"), default=recipe(normalize=True))
    run = str(tmp_path / "run")
    for arguments in (
        ["check", str(path)],
        ["train", str(path), "--output", run, "--quiet"],
        ["eval", run, "--episodes", "2", "--quiet"],
        ["train", "--resume", run, "--steps", "72", "--quiet"],
        ["export", run, "--output", str(tmp_path / "export")],
    ):
        result = vlmrm(*arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
    assert (tmp_path / "export" / "vecnormalize.pkl").is_file()
