"""New task files, and the schema by which editors check them."""

import copy
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import vlmrm

import gym_vlmrm
from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.builtin import builtin_folder, builtin_paths
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.task.new import new_task_text, suggest_id
from gym_vlmrm.task.schema import SCHEMA_FILE
from gym_vlmrm.task.yaml_file import _TaskLoader

EXAMPLES = sorted((Path(__file__).parents[1] / "docs" / "examples").glob("*.yaml"))
FILES = [*builtin_paths().values(), *EXAMPLES]


def errors(data: Any) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft7Validator(gym_vlmrm.schema())
    validator.check_schema(validator.schema)
    return [error.message for error in validator.iter_errors(data)]


def raw(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_TaskLoader)


def test_the_schema_beside_the_tasks_is_that_of_the_package() -> None:
    printed = json.loads(vlmrm("schema").stdout)
    assert printed == gym_vlmrm.schema()
    assert json.loads((builtin_folder() / SCHEMA_FILE).read_text(encoding="utf-8")) == printed, (
        "vlmrm schema --output tasks/task.schema.json"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_task_names_its_schema_and_fits_it(path: Path) -> None:
    line = path.read_text(encoding="utf-8").splitlines()[0]
    match = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", line)
    assert match, line
    assert (path.parent / match[1]).resolve() == (builtin_folder() / SCHEMA_FILE).resolve()
    assert errors(raw(path)) == []


WRONG: list[tuple[tuple[Any, ...], Any]] = [
    (("id",), None),
    (("sucess",), "obs[0] < 1"),
    (("reward", "goal"), ""),
    (("reward", "goal"), []),
    (("reward", "alpha"), 1.5),
    (("reward", "precision"), "fp8"),
    (("scene",), "pretty"),
    (("scene", "quality"), "best"),
    (("scene", "render_size"), 8),
    (("env", "max_episode_steps"), 0),
    (("env", "id"), 5),
    (("success",), "up"),
    (("success",), {"all": []}),
    (("success",), {"all": ["a > 1"], "any": ["b > 1"]}),
    (("success",), {"not": {"none": "a > 1"}}),
    (("training", "default", "algorithm"), None),
    (("training", "default", "stepz"), 5),
]


@pytest.mark.parametrize(("place", "value"), WRONG)
def test_what_the_package_refuses_the_schema_does_too(place: tuple[str, ...], value: Any) -> None:
    task = raw(builtin_paths()["cartpole"])
    task.setdefault("scene", {})
    wrong = copy.deepcopy(task)
    node = wrong
    for key in place[:-1]:
        node = node[key]
    if value is None:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    assert errors(task) == []
    assert errors(wrong)
    from gym_vlmrm.task.catalog import task_from_dict

    with pytest.raises(TaskError):
        task_from_dict(wrong)


def test_short_forms_and_nested_rules_fit() -> None:
    task = raw(builtin_paths()["cartpole"])
    task["scene"] = "original"
    task["success"] = {"any": ["obs[3] > -1.5e-2", {"not": {"all": ["info.x <= .5", "a.b != +3"]}}]}
    task["reward"]["goal"] = ["a", "b"]
    assert errors(task) == []
    assert errors({"include": "_humanoid.yaml", "reward": {"alpha": 0.5}}) == []
    described = json.dumps(gym_vlmrm.schema())
    assert "Strength of goal-baseline regularisation" in described  # editors show what the source says


@pytest.mark.parametrize(
    "options",
    [
        ("--env", "humanoid", "--goal", "a humanoid robot waving: \"hi\" # twice"),
        ("--env", "cartpole", "--goal", "pole down", "--success", "pole_tilt > 100", "--baseline", "pole and cart"),
        ("--env", "mountain-car", "--goal", "yes", "--alpha", "0.5", "--baseline", "a car", "--baseline", "a hill"),
        ("--env", "Acrobot-v1", "--goal", "up", "--goal", "on", "--success", "obs[0] < 0", "--success", "obs[2] > 0"),
        ("--env", "Acrobot-v1", "--goal", "\u00fcber", "--max-episode-steps", "30", "--id", "Our/Thing-v3"),
    ],
)  # fmt: skip
def test_a_new_task_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    result = vlmrm("new", "mine.yaml", *options, "--model", "brightness")
    assert result.exit_code == 0, result.output
    assert vlmrm("check", "mine.yaml").exit_code == 0
    task = load_task("mine.yaml")
    goals = [value for key, value in pairwise(options) if key == "--goal"]
    assert task.reward.goals == goals
    assert errors(raw(Path("mine.yaml"))) == []
    text = Path("mine.yaml").read_text(encoding="utf-8")
    assert (tmp_path / re.match(r"# yaml-language-server: \$schema=(\S+)", text)[1]).is_file()  # type: ignore[index]
    uncommented = re.sub(r"(?m)^( *)# (success|max_episode_steps|hyperparameters)", r"\1\2", text)
    Path("more.yaml").write_text(uncommented, encoding="utf-8")
    assert load_task("more.yaml").id == task.id


def test_wrong_answers_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.yaml").write_text("mine")
    goal = ("--goal", "up", "--model", "brightness")
    cases = [
        (("x.yaml", "--env", "Antt-v5", *goal), "no registered Gymnasium environment; did you mean 'Ant-v5'"),
        (("x.txt", "--env", "cartpole", *goal), "end it with .yaml"),
        (("there.yaml", "--env", "cartpole", *goal), "exists already"),
        (("x.yaml", "--env", "cartpole", *goal, "--success", "tilt < 1"), "reads 'tilt'"),
        (("x.yaml", "--env", "cartpole", *goal, "--success", "up"), "is no comparison"),
        (("x.yaml", "--env", "cartpole", *goal, "--alpha", "0.5"), "no baseline prompt"),
        (("x.yaml", "--env", "cartpole", *goal, "--id", "mine"), "no environment ID"),
        (("no/x.yaml", "--env", "cartpole", *goal), "cannot write"),
    ]
    for arguments, words in cases:
        result = vlmrm("new", *arguments)
        assert (result.exit_code, result.stdout) == (1, ""), arguments
        assert words in result.stderr, arguments
        assert len(result.stderr.splitlines()) == 1
        assert "/tmp" not in result.stderr
    assert vlmrm("new", "x.yaml").exit_code == 2
    assert vlmrm("new", "x.yaml", "--env", "cartpole").exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["there.yaml"]


def test_an_id_is_made_of_the_sentence() -> None:
    assert suggest_id("Ant-v5", "a four-legged robot lying on its back") == "Mine/Ant-LyingItsBack-v0"
    assert suggest_id("toys:Toy-v0", "\u4e0a") == "Mine/Toy-Goal-v0"
    assert "\n" not in new_task_text("cartpole", ["a\nb"]).split("goal: ")[1].split("    #")[0]


@pytest.mark.parametrize(
    "goal", ["棒が立っている", "a robot 🤖, smiling", 'ü: "quoted" # no comment', "a\u202eb \U000e0041"]
)
def test_letters_stay_as_they_are(goal: str) -> None:
    text = new_task_text("cartpole", [goal], file="my ü.yaml")
    assert yaml.safe_load(text)["reward"]["goal"] == goal
    assert yaml.safe_load(new_task_text("cartpole", [goal, goal]))["reward"]["goal"] == [goal, goal]
    assert not re.search("[\u202e\U000e0041]", text)
    assert "\\u" not in text or "\u202e" in goal
    assert "# vlmrm check 'my ü.yaml'; vlmrm train 'my ü.yaml'" in text
