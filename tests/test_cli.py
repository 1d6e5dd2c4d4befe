"""The command line: what reaches the engine, what is printed where, and how errors look."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import vlmrm
from gym_vlmrm_cli.main import COMMANDS

from gym_vlmrm import learning
from gym_vlmrm.errors import TaskError
from gym_vlmrm.learning import trainer
from gym_vlmrm.learning.recipe_check import recipe_notes
from gym_vlmrm.learning.records import Best
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.task.catalog import builtin_tasks
from gym_vlmrm.task.spec import Recipe

TASK = """
id: Test/Cart-v0
env: {id: CartPole-v1, max_episode_steps: 20}
reward: {goal: up, model: brightness}
success: "obs[0] < 2"
training:
  default:
    algorithm: PPO
    steps: 64
    num_envs: 2
    hyperparameters: {n_steps: 16, batch_size: 16, n_epochs: 1, policy_kwargs: {net_arch: [8]}}
  paper: {algorithm: DQN, steps: 64, num_envs: 2, hyperparameters: {learning_starts: 10, target_update_interval: 8}}
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(TASK)
    return path


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep environments in this process: starting workers costs more than these trainings."""
    monkeypatch.setattr("gym_vlmrm.worlds.pools.pool.usable_cores", lambda: 1)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Replace the trainer by a recorder of its arguments."""
    calls: list[Any] = []

    def record(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))
        best = Best(step=3, vlm_reward=0.5, task_reward=0.0, success=0.25)
        return SimpleNamespace(
            run=SimpleNamespace(path=tmp_path / "run"), step=10, seconds=1.5, interrupted=False, best=best
        )

    # The package first: it fetches its names from the module when they are asked for.
    monkeypatch.setattr(learning, "train", record)
    monkeypatch.setattr(learning, "resume", record)
    monkeypatch.setattr(trainer, "train", record)
    monkeypatch.setattr(trainer, "resume", record)
    return calls


def test_help_names_every_command() -> None:
    result = vlmrm("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert name in result.stdout
        help_page = vlmrm(name, "--help")
        assert help_page.exit_code == 0
        assert "--json" in help_page.stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = ["torch", "stable_baselines3", "mujoco", "gymnasium", "open_clip", "pygame", "gym_vlmrm"]
    code = f"import sys, gym_vlmrm_cli.main; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tasks_lists_every_task() -> None:
    listed = json.loads(vlmrm("tasks", "--json").stdout)["tasks"]
    assert {entry["name"]: entry["id"] for entry in listed} == {n: t.id for n, t in builtin_tasks().items()}
    table = vlmrm("tasks").stdout
    for entry in listed:
        assert entry["id"] in table
    assert vlmrm("tasks", "--quiet").stdout == ""


def test_check_says_what_a_task_is(task: Path) -> None:
    result = vlmrm("check", task)
    assert result.exit_code == 0
    assert "valid" in result.stdout
    described = json.loads(vlmrm("check", task, "--json").stdout)
    assert described["valid"]
    assert described["recipes"] == {"default": "PPO", "paper": "DQN"}
    assert described["max_episode_steps"] == 20
    assert vlmrm("check", task, "--quiet").stdout == ""


def test_check_says_what_the_model_does_not_read(task: Path) -> None:
    long = "the pole is up " * 12 + "now"
    task.write_text(TASK.replace("goal: up", f"goal: {long}").replace("model: brightness", "model: embedded"))
    result = vlmrm("check", task)
    assert result.exit_code == 0
    noted = " ".join(result.stderr.split())
    assert "no room for the end of a prompt" in noted
    assert "up now'; use fewer words" in noted
    described = json.loads(vlmrm("check", task, "--json").stdout)
    assert list(described["cut_prompts"]) == [long]
    assert described["valid"]


def test_check_notes_a_target_network_that_is_hardly_ever_updated(task: Path) -> None:
    assert vlmrm("check", task).stderr == ""
    task.write_text(TASK.replace(", target_update_interval: 8", ""))
    result = vlmrm("check", task)
    noted = " ".join(result.stderr.split())
    assert result.exit_code == 0
    assert "mine.yaml:12: training.paper: 64 steps and a target network copied every 10,000: it is never" in noted


def test_train_refuses_a_world_that_its_model_never_saw_and_names_the_option(tmp_path: Path) -> None:
    task = tmp_path / "mine.yaml"
    task.write_text("id: Test/M-v0\nenv: {id: Acrobot-v1}\nreward: {goal: a pole}\n"
                    "training: {default: {algorithm: DQN, steps: 64}}\n")  # fmt: skip
    result = vlmrm("train", task, "--output", tmp_path / "run")
    assert result.exit_code == 1
    assert "; --anyway trains all the same" in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("env", "note"), [("Acrobot-v1", "never saw Acrobot-v1"), ("CartPole-v1", "never saw 'zebra'")]
)
def test_check_of_what_is_to_be_taught_is_one_note(env: str, note: str, tmp_path: Path) -> None:
    task = tmp_path / "mine.yaml"
    task.write_text(f"id: Test/M-v0\nenv: {{id: {env}}}\nreward: {{goal: a zebra}}\n"
                    "captions: [{say: a zebra, grade: {quantity: 'obs[0]', from: 0, to: 1}}]\n")  # fmt: skip
    result = vlmrm("check", task)
    (line,) = " ".join(result.stderr.split()).split("note: ")[1:]
    assert note in line
    assert f"vlmrm teach {task}`" in line
    rows = [line for line in result.stdout.splitlines() if line.startswith("  ")]
    assert len(rows) == len(result.stdout.splitlines()) - 1  # one line each, however long a space is
    assert json.loads(vlmrm("check", task, "--json").stdout)["unknown_words"] == ["zebra"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "never"),
        ({"steps": 10_000}, "only once"),
        ({"steps": 39_996}, "only 3 times"),
        ({"steps": 39_997}, None),  # a step of four environments more
        ({"hyperparameters": {"target_update_interval": 2000}}, None),
        ({"hyperparameters": {"target_update_interval": 2000, "learning_starts": 2000}}, "only 3 times"),
        ({"hyperparameters": {"target_update_interval": 0}}, None),  # at every step
        ({"algorithm": "qr-dqn", "num_envs": 3, "hyperparameters": {"target_update_interval": 2002}}, "only 3 times"),
        ({"algorithm": "SAC", "hyperparameters": {"target_update_interval": 10_000}}, None),
        ({"algorithm": "SAC", "hyperparameters": {"learning_starts": 8000}}, "SAC never learns"),
        ({"algorithm": "PPO"}, None),
    ],
)
def test_copies_of_a_target_network_are_counted(changes: dict[str, Any], said: str | None) -> None:
    notes = recipe_notes(Recipe(**{"algorithm": "DQN", "steps": 8000, "num_envs": 4, **changes}))
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0][0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("success:", "sucess:", r"mine\.yaml:5: sucess: unknown key; did you mean 'success'"),
        ("goal: up", "goal: [", r"mine\.yaml"),
        ("CartPole-v1", "CartPol-v1", "CartPol-v1.*did you mean.*CartPole-v1"),
        ("obs[0] < 2", "obs[9] < 2", r"obs\[9\]"),
        ("obs[0] < 2", "height < 2", "height"),
        ("algorithm: PPO", "algorithm: SAC", r"mine\.yaml:8: training\.default: SAC needs Box actions"),
        (
            "algorithm: DQN",
            "algorithm: DQM",
            r"mine\.yaml:12: training\.paper: unknown algorithm 'DQM'; did you mean 'DQN'",
        ),
        ("learning_starts", "learning_start", r"mine\.yaml:12: .*did you mean 'learning_starts'"),
    ],
)
def test_check_finds_what_is_wrong(task: Path, old: str, new: str, message: str) -> None:
    import re

    task.write_text(TASK.replace(old, new))
    result = vlmrm("check", task)
    assert result.exit_code == 1
    assert re.search(message, result.stderr), result.stderr
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())
    assert "mine.yaml" in result.stderr
    described = json.loads(vlmrm("check", task, "--json").stdout)
    assert not described["valid"]
    assert re.search(message, described["problems"][0])


def test_options_reach_the_trainer(task: Path, engine: list[Any], tmp_path: Path) -> None:
    result = vlmrm(
        "train", task, "--steps", 50, "--algorithm", "dqn", "--goal", "a", "--goal", "b", "--baseline", "c",
        "--alpha", 0.5, "--device", "cpu", "--num-envs", 4, "--workers", 3, "--seed", 9, "--output", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    ((spec, recipe), options), *rest = engine
    assert not rest
    assert (spec.reward.goal, spec.reward.baseline, spec.reward.alpha) == (["a", "b"], "c", 0.5)
    assert (recipe.algorithm, recipe.steps, recipe.num_envs) == ("DQN", 50, 4)
    assert recipe.hyperparameters == {"learning_starts": 10, "target_update_interval": 8}
    assert (options["seed"], options["output"], options["recipe_name"]) == (9, tmp_path / "out", "paper")
    assert options["workers"] == 3
    assert "vlmrm eval" in result.stdout


def test_resume_reaches_the_trainer(engine: list[Any], tmp_path: Path) -> None:
    assert vlmrm("train", "--resume", tmp_path, "--steps", 70, "--workers", 2, "--quiet").stdout == ""
    (arguments, options), *_ = engine
    assert arguments == (tmp_path,)
    assert (options["steps"], options["workers"]) == (70, 2)


def test_the_number_of_workers_reaches_what_draws(task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def record(*_: Any, **options: Any) -> Any:
        asked.append(options["workers"])
        raise TaskError("enough")

    monkeypatch.setattr("gym_vlmrm.learning.evaluation.evaluate", record)
    monkeypatch.setattr("gym_vlmrm.auditing.audit", record)
    monkeypatch.setattr("gym_vlmrm.auditing.prompts.rank_prompts", record)
    for arguments in (("eval", tmp_path), ("audit", task, "--output", tmp_path / "audit"), ("prompts", task)):
        assert vlmrm(*arguments, "--workers", 3).stderr == "error: enough\n"
        assert vlmrm(*arguments, "--workers", 0).exit_code == 2
    assert asked == [3, 3, 3]


@pytest.mark.usefixtures("engine")
def test_json_is_one_object_and_nothing_else(task: Path) -> None:
    result = vlmrm("train", task, "--json")
    assert json.loads(result.stdout)["best"]["vlm_reward"] == 0.5


@pytest.mark.parametrize(
    "arguments",
    [
        ("train",),
        ("train", "cartpole", "--resume", "x"),
        ("train", "--resume", "x", "--seed", "3"),
        ("train", "cartpole", "--steps", "0"),
        ("train", "cartpole", "--steps", "many"),
        ("train", "cartpole", "--alpha", "2"),
        ("train", "cartpole", "--colour", "red"),
        ("eval",),
        ("eval", "x", "--episodes", "0"),
        ("eval", "x", "--checkpoint", "worst"),
        ("eval", "x", "--horizon", "0"),
        ("unknown",),
    ],
)
def test_wrong_usage_is_code_two(arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no runs are
    result = vlmrm(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "splitz"), "unknown task 'splitz'; did you mean 'splits'"),
        (("train", "nowhere.yaml"), "nowhere.yaml"),
        (("train", "cartpole", "--model", "brightness", "--algorithm", "XYZ"), "unknown algorithm 'XYZ'"),
        (("train", "cartpole", "--model", "brightness", "--algorithm", "SAC"), "SAC needs Box actions"),
        (("train", "cartpole", "--model", "brightness", "--recipe", "secret"), "no recipe 'secret'"),
        (("train", "cartpole", "--model", "brightness", "--output", "/dev/null/x"), "cannot write to"),
        (("train", "--resume", "nowhere"), "no run folder"),
        (("eval", "nowhere"), "no run folder"),
        (("check", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_an_error_is_one_line_and_code_one(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = vlmrm(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_code_130(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "train", interrupt, raising=False)
    assert vlmrm("train", task).exit_code == 130


def test_a_stopped_training_says_how_to_go_on(task: Path, engine: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = learning.train(None, None)
    stopped.interrupted = True
    monkeypatch.setattr(learning, "train", lambda *_, **__: stopped, raising=False)
    result = vlmrm("train", task)
    assert result.exit_code == 130
    assert f"vlmrm train --resume {stopped.run.path}" in result.stderr
    assert engine


@pytest.mark.usefixtures("in_process")
def test_from_a_task_file_to_an_evaluation(task: Path, tmp_path: Path) -> None:
    result = vlmrm("train", task, "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert RunFolder.open(tmp_path / "run").record.status == "finished"
    result = vlmrm("eval", tmp_path / "run", "--episodes", 3, "--json")
    assert result.exit_code == 0, result.output
    evaluated = json.loads(result.stdout)
    assert evaluated["policy"]["episodes"] == 3
    assert (tmp_path / "run" / "video.gif").exists()
    table = vlmrm("eval", tmp_path / "run", "--episodes", 3).stdout
    assert "episodes in success" in table
    assert not evaluated["reward_check"]["reward_rose"]
    assert f"next: more steps (vlmrm train --resume {tmp_path / 'run'} --steps 128), or another recipe" in table
    longer = vlmrm("eval", tmp_path / "run", "--episodes", 2, "--horizon", 40)
    assert "trained, 40 steps" in longer.stdout, longer.output
    short = vlmrm("eval", tmp_path / "run", "--horizon", 3)
    assert (short.exit_code, short.stderr.startswith("error: horizon is 3")) == (1, True)
    again = vlmrm("train", task, "--output", tmp_path / "run")
    assert again.exit_code == 1
    assert "--resume" in again.stderr


def test_check_says_what_parts_see_and_how_their_weights_change(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    reward = (
        "reward: {goal: up, model: brightness, weight: 2, fade: {to: 1, over: 1000, after: 50}, window: {stride: 2}, "
        "parts: [{name: rise, goal: higher, shape: difference}, {name: start, avoid: low, window: {frames: 1}, "
        "fade: {to: 0, over: 100}}], success_seen: {above: 0.6, hold: 5, ends: true}}"
    )
    file.write_text(TASK.replace("reward: {goal: up, model: brightness}", reward))
    said = {
        "windows": dict.fromkeys(("goal", "rise"), "4 pictures, stride 2, join: mean"),
        "shapes": {"rise": "difference"},
        "fades": {"start": "weight 1 to 0 over 100 steps"},
        "fade": "weight 2 to 1 over 1,000 steps after 50",
        "success_seen": "above 0.6 for 5 steps; ends the episode",
    }
    found = json.loads(vlmrm("check", file, "--json").stdout)
    assert {key: found.get(key) for key in said} == said
    lines = [" ".join(line.split()) for line in vlmrm("check", file).stdout.splitlines()]
    assert "window of goal 4 pictures, stride 2, join: mean" in lines
    assert "fade of start weight 1 to 0 over 100 steps" in lines
    assert "shape of rise difference" in lines
    assert "success seen above 0.6 for 5 steps; ends the episode" in lines
    file.write_text(TASK)
    assert "windows" not in json.loads(vlmrm("check", file, "--json").stdout)
