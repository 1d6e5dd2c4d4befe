"""Task files: whatever they hold, the outcome is plain data or a `TaskError` with file, line and field."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gym_vlmrm.errors import TaskError
from gym_vlmrm.task import yaml_file
from gym_vlmrm.task.catalog import load_task, task_from_dict

GOOD = """\
id: Test/Mine-v0
env: {id: CartPole-v1}
reward:
  goal: a pole upright
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str | bytes, name: str = "mine.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def complaint(path: Path) -> str:
    with pytest.raises(TaskError) as raised:
        load_task(path)
    assert "\n" not in str(raised.value)
    return str(raised.value).replace(f"{path}", path.name)


def test_a_good_file(write: Any) -> None:
    assert load_task(write(GOOD)).reward.goal == "a pole upright"
    assert load_task(write(b"\xef\xbb\xbf" + GOOD.encode())).id == "Test/Mine-v0"  # with a byte order mark


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "  gaol: x\n", "mine.yaml:5: reward.gaol: unknown key; did you mean 'goal'?"),
        (GOOD + "rewrad: {}\n", "mine.yaml:5: rewrad: unknown key; did you mean 'reward'?"),
        (GOOD + "scene: {camera: {distnace: 3}}\n", "mine.yaml:5: scene.camera.distnace: unknown key; did you mean"),
        (GOOD + "training: {default: {algorithm: PPO, stesp: 3}}\n", "unknown key; did you mean 'steps'?"),
        (GOOD + "  alpha: high\n", "mine.yaml:5: reward.alpha: input should be a valid number, got 'high'"),
        (GOOD + "  alpha: yes\n", "mine.yaml:5: reward.alpha: input should be a valid number, got True"),
        (GOOD.replace("a pole upright", "5"), "mine.yaml:4: reward.goal: input should be a valid string, got 5"),
        (GOOD.replace("a pole upright", "[a, 5]"), "mine.yaml:4: reward.goal"),
        (GOOD.replace("env: {id: CartPole-v1}\n", ""), "env: missing"),
        (GOOD + "reward: {goal: x}\n", "mine.yaml:5: reward: duplicate key, first written on line 3"),
        (GOOD + "  goal: again\n", "mine.yaml:5: reward.goal: duplicate key, first written on line 4"),
        (GOOD + "\tgoal: x\n", "use spaces, not tabs"),
        ("id: A/B-v0\nreward:\n\tgoal: x\n", "use spaces, not tabs"),
        ("id:\n\tx: 1\n", "mine.yaml:2: not valid YAML: found character that cannot start any token"),
        (GOOD + "success: {all: [upright]}\n", "mine.yaml:5: success: 'upright' is no comparison"),
        (GOOD + "  alpha: 0.5\n", "mine.yaml:3: reward: alpha is 0.5 but there is no baseline"),
        ("", "mine.yaml:1: a task file is a mapping of keys such as id, env and reward, got an empty file"),
        ("# only words\n", "got an empty file"),
        ("- id: x\n", "got a list"),
        ("just text", "got a str"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("id: 'open", "not valid YAML"),
        (b"id: \xff\xfe", "is not UTF-8 text"),
        (b"id: \x07", "not valid YAML"),
        ("id: !!python/object/apply:os.system [ls]\n", "id: "),
        ("id: !!python/name:os.system\n", "id: the tag !!python/name:os.system is not for task files"),
        ("id: !!bool maybe\n", "mine.yaml:1: 'maybe' is no valid bool"),
        ("id: !!int ''\n", "is no valid int"),
        ("id: !!timestamp never\n", "is no valid timestamp"),
        ("? [a, b]\n: c\n", "mine.yaml:1: a key is a word"),
        ("id: &a [*a]\n", "contains itself through an alias"),
        ("include: [a.yaml]\n", "mine.yaml:1: include: needs the name of one file"),
        ("include: _humaniod.yaml\n", "built-in bases; did you mean '_humanoid.yaml'?"),
        ("include: ''\n", "include: no file ''"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_file_line_and_field(write: Any, text: Any, message: str) -> None:
    assert message in complaint(write(text))


def test_brackets_to_the_end_of_the_stack(write: Any) -> None:
    assert "mine.yaml" in complaint(write("a: " + "[" * 200_000))
    assert "mine.yaml" in complaint(write("a: " + "[" * 5000 + "]" * 5000))
    assert "mine.yaml" in complaint(write("- " * 20_000 + "a"))


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("was read"))
    assert complaint(path) == "mine.yaml: 100,000,000 bytes is no task file; the limit is 1,000,000"


def test_an_alias_bomb_is_defused(write: Any) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    assert "more than 20,000 values once aliases are expanded" in complaint(write(bomb))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert "no task file at" in complaint(tmp_path / "folder.yaml")
    if os.geteuid() != 0:
        path = tmp_path / "closed.yaml"
        path.touch(mode=0)
        assert "cannot be read" in complaint(path)


def test_numbers_mean_what_people_expect(write: Any) -> None:
    text = (
        GOOD
        + "training: {default: {algorithm: PPO, steps: 10, "
        + "hyperparameters: {lr: 6e-4, n: 1E5, s: 1.e-3, t: 1e, d: .5e+1}}}\n"
    )
    numbers = load_task(write(text)).training["default"].hyperparameters
    assert numbers == {"lr": 6e-4, "n": 1e5, "s": 1e-3, "t": "1e", "d": 5.0}


def test_include_finds_the_file_beside_before_the_built_in_base(write: Any) -> None:
    mine = "include: _humanoid.yaml\nid: Test/Mine-v0\nreward: {goal: x}\n"
    task = load_task(write(mine))
    assert (task.env.id, task.reward.baseline, task.env.max_episode_steps) == ("Humanoid-v5", "a humanoid robot", 100)
    write(
        "env: {id: Ant-v5, kwargs: {a: 1, b: 2}}\nreward: {baseline: ours}\nscene: {camera: {distance: 9.0}}\n",
        "_humanoid.yaml",
    )
    task = load_task(write(mine + "env: {kwargs: {b: 3}}\nscene: original\n"))
    assert (task.env.id, task.env.kwargs, task.reward.baseline) == ("Ant-v5", {"a": 1, "b": 3}, "ours")
    assert task.scene.look == "original"
    assert task.scene.camera is not None
    assert task.scene.camera.distance == 9.0


def test_the_own_rule_of_success_replaces_the_included_one(write: Any) -> None:
    write(GOOD + "success: {all: ['a > 1']}\n", "base.yaml")
    assert load_task(write("include: base.yaml\nsuccess: {any: ['b > 1']}\n")).success == {"any": ["b > 1"]}


def test_a_mistake_in_an_included_file_is_found_there(write: Any) -> None:
    write("reward: {gaol: x}\n", "base.yaml")
    assert "base.yaml:1: reward.gaol: unknown key" in complaint(write("include: base.yaml\n" + GOOD))


def test_includes_in_a_circle(write: Any) -> None:
    assert "mine.yaml:1: include goes round in a circle (mine.yaml -> mine.yaml)" in complaint(
        write("include: mine.yaml\n")
    )
    write("include: b.yaml\n", "a.yaml")
    write("include: c.yaml\n", "b.yaml")
    assert "c.yaml:2: include goes round in a circle (b.yaml -> c.yaml -> b.yaml)" in complaint(
        write("id: x\ninclude: b.yaml\n", "c.yaml").with_name("b.yaml")
    )


def test_includes_have_a_limit(write: Any) -> None:
    for i in range(12):
        write(f"include: {i + 1}.yaml\n", f"{i}.yaml")
    write(GOOD, "12.yaml")
    assert "more than 8 files deep" in complaint(write("include: 0.yaml\n"))


WORDS = st.sampled_from(
    """id env reward goal model alpha scene camera training success include kwargs all not PPO 1 0.5 true null ~
    _humanoid.yaml Test/Mine-v0 CartPole-v1 &a *a << !!int !!float !!bool !!str !!binary !!timestamp !!set !x = | > ' "
    # --- ... %YAML""".split()  # noqa: SIM905
)
PIECES = (
    WORDS
    | st.sampled_from([": ", "\n", "\n  ", "\n- ", "[", "]", "{", "}", ", ", " ", "\t", "? "])
    | st.text(max_size=3)
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=25).map("".join))
def test_whatever_is_written_nothing_but_a_task_error_comes_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    for source in (text, GOOD + text):
        path.write_text(source, encoding="utf-8", errors="replace")
        try:
            load_task(path)
        except TaskError as error:
            message = str(error)
        else:
            continue
        assert "\n" not in message
        assert "fuzz.yaml" in message


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_bytes_too(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(data)
    with pytest.raises(TaskError, match=r"fuzz\.yaml"):
        load_task(path)


def test_without_libyaml_the_errors_are_the_same(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    class PlainLoader(yaml.SafeLoader):
        pass

    PlainLoader.yaml_implicit_resolvers = yaml_file._TaskLoader.yaml_implicit_resolvers
    monkeypatch.setattr(yaml_file, "_TaskLoader", PlainLoader)
    assert load_task(write(GOOD)).id == "Test/Mine-v0"
    assert "mine.yaml" in complaint(write(b"id: \x07"))
    assert "mine.yaml" in complaint(write("a: " + "[" * 5000))
    assert "mine.yaml:5" in complaint(write(GOOD + "\tgoal: x\n"))


@pytest.mark.parametrize(
    "value", ["!!set {}", "!!set {a, b}", "!!omap [a: 1]", "!mine 1", "!!python/object:os.system {}"]
)
def test_values_that_cannot_be_written_again_are_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"id: A/B-v0\nenv: {{id: CartPole-v1, kwargs: {{x: {value}}}}}\nreward: {{goal: a}}\n")
    with pytest.raises(TaskError, match=r"own\.yaml:2: env\.kwargs\.x: the tag .* is not for task files"):
        load_task(path)


def test_observations_may_be_named_within_braces_and_brackets(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "id: A/B-v0\nenv: {id: CartPole-v1}\nreward: {goal: what obs[0], or obs[1] is}\n"
        "success: {all: [obs[0] > 0.5, {not: obs[2]<= 1}, {any: [obs[1] < 2 , info.x == 1]}]}\n"
    )
    with pytest.raises(TaskError, match=r"own\.yaml:3: not valid YAML"):  # that is no rule
        load_task(path)
    path.write_text(path.read_text().replace("what obs[0], or obs[1] is", "'what obs[0], or obs[1] is'"))
    task = load_task(path)
    assert task.success == {"all": ["obs[0] > 0.5", {"not": "obs[2]<= 1"}, {"any": ["obs[1] < 2", "info.x == 1"]}]}
    assert task.reward.goal == "what obs[0], or obs[1] is"


@pytest.mark.parametrize(
    ("key", "written", "message"),
    [
        ("shape", True, "must be 'potential' or 'difference', or a mapping such as {kind: potential, gamma: 0.99}"),
        ("window", 4, "must be a mapping such as {frames: 4, stride: 2}, got 4"),
        ("success_seen", 0.6, "must be a mapping such as {above: 0.6, hold: 5}, got 0.6"),
        ("fade", 100, "must be a mapping such as {to: 0, over: 100000}, got 100"),
        ("parts.0", ["a sentence"], "must be a mapping such as {goal: a sentence}, got 'a sentence'"),
        ("parts", "a sentence", "must be a list of parts such as [{goal: a sentence}], got 'a sentence'"),
        ("window.frames", {"frames": 1, "join": "motion"}, "is 1, and 'motion' is of two pictures or more"),
        ("window.frames", {"frames": 1, "join": "change"}, "is 1, and 'change' is of two pictures or more"),
    ],
)
def test_sections_of_a_reward_say_how_they_are_written(key: str, written: Any, message: str) -> None:
    reward = {"goal": "x", key.partition(".")[0]: written}
    with pytest.raises(TaskError) as error:
        task_from_dict({"id": "Test/Odd-v0", "env": {"id": "CartPole-v1"}, "reward": reward})
    assert f"reward.{key}: {message}" in str(error.value)


def test_null_is_none_of_parts_and_cameras() -> None:
    data = {"id": "Test/Null-v0", "env": {"id": "CartPole-v1"}, "reward": {"goal": "x", "parts": None, "cameras": None}}
    task = task_from_dict({**data, "scene": {"cameras": None}})
    assert task.reward.plain
    assert task == task_from_dict({**data, "reward": {"goal": "x"}})
