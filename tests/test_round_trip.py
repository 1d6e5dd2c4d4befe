"""Whatever a task file can say comes back from everything that a task is written to."""

import datetime
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gym_vlmrm import load_task, register_task
from gym_vlmrm.learning.records import RunRecord
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.task.catalog import override, task_from_dict
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.task.yaml_file import yaml_text

LOOKALIKES = st.sampled_from(
    [
        "6e-4", "1e5", "-.5", ".inf", "-.inf", ".nan", "inf", "0x1F", "0o17", "017", "1_000", "1:30", "yes", "No", "on",
        "~", "null", "", " ", "2020-01-01", "2020-01-01 10:00:00", "<<", "=", "!tag", "&a", "*a", "# no", "a: b", "- a",
        "|", ">", "%", "@", "`", "\t", "\n", "a\n", "\na", "a\n\n b", "\x85", "\u2028", "\ufeff", "{", "[", "'", '"',
        "yaml", "value", "\U0001f600", "trailing ", ": ", "...", "---",
    ]
)  # fmt: skip
TEXT = LOOKALIKES | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBERS = st.integers() | st.floats(allow_nan=False) | st.sampled_from([float("inf"), -float("inf"), 1e-05, 1e16, -0.0])
MOMENTS = st.datetimes(min_value=datetime.datetime(1000, 1, 1))
DATES = st.dates(min_value=datetime.date(1000, 1, 1)) | MOMENTS.map(lambda moment: moment.replace(fold=0))
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT | DATES | st.binary(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)
ARGUMENTS = st.dictionaries(TEXT, VALUES, max_size=4)
SENTENCES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50) | LOOKALIKES.filter(bool)


NAMES = st.sampled_from(["yes", "no", "1", "a-b", "x_1"])
CAMERAS = st.sampled_from([[], "main", "yes", ["main", "yes"], ["12", "yes", "main"]])
NUMBERS_ABOVE = st.floats(1e-3, 1e3)
WINDOWS = st.none() | st.builds(dict, frames=st.integers(1, 5), stride=st.integers(1, 3))
FADES = st.none() | st.builds(dict, to=st.floats(0, 10), over=st.integers(1, 10**6))
SHAPES = st.sampled_from([None, "difference", "potential", {"kind": "potential", "gamma": 0.9}])


@st.composite
def parts(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A part of a reward."""
    part = {
        "name": name, draw(st.sampled_from(["goal", "avoid"])): draw(SENTENCES),
        "model": draw(st.none() | TEXT.filter(bool)),
        "cameras": draw(st.none() | CAMERAS), "window": draw(WINDOWS), "fade": draw(FADES), "shape": draw(SHAPES),
        "center": draw(st.floats(-9, 9)), "scale": draw(NUMBERS_ABOVE), "weight": draw(NUMBERS_ABOVE),
    }  # fmt: skip
    return {key: value for key, value in part.items() if value is not None}


@st.composite
def keys_of_parts(draw: st.DrawFn) -> dict[str, Any]:
    """What a reward may say besides its sentence."""
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    written = {
        "parts": [draw(parts(name)) for name in names], "avoid": draw(st.none() | SENTENCES),
        "cameras": draw(CAMERAS), "window": draw(WINDOWS), "fade": draw(FADES), "scale": draw(NUMBERS_ABOVE),
    }  # fmt: skip
    said = {key: value for key, value in written.items() if draw(st.booleans()) and value is not None}
    # Without the environment's own reward, a fade to 0 or shaping alone would make a task that is refused.
    return {**said, "task": draw(NUMBERS_ABOVE)} if said else {}


@st.composite
def tasks(draw: st.DrawFn) -> TaskSpec:
    """Anything that a task file may say."""
    scene = draw(st.sampled_from([{}, {"look": "original"}, {"camera": {"name": "yes"}}, {"render_size": 64}]))
    of_parts = draw(st.just({}) | keys_of_parts())
    if of_parts:
        scene = {**scene, "cameras": {"yes": {"azimuth": draw(st.floats(-90, 90))}, "12": {"id": 3}}}
    recipe = {"algorithm": draw(TEXT), "steps": draw(st.integers(1, 10**9)), "hyperparameters": draw(ARGUMENTS)}
    return TaskSpec.model_validate({
        "id": "Test/Round-Trip-v0",
        "description": draw(TEXT),
        "source": draw(TEXT),
        "env": {"id": "CartPole-v1", "kwargs": draw(ARGUMENTS)},
        "scene": scene,
        "reward": {
            "goal": draw(SENTENCES | st.lists(SENTENCES, min_size=1, max_size=3)), "model": draw(TEXT.filter(bool)),
            **of_parts,
        },
        "success": draw(st.sampled_from([None, "obs[0] > 1e-4", {"any": ["obs[0] > 1", {"not": "obs[1] <= -.5"}]}])),
        "training": draw(st.dictionaries(TEXT, st.just(recipe), max_size=2)),
    })  # fmt: skip


def _same(one: Any, other: Any) -> bool:
    """Equal, and of equal types all the way down: True is not 1, and -0.0 is not 0.0."""
    return one == other and repr(one) == repr(other)


roomy = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@roomy
@given(tasks())
def test_files(tmp_path: Path, task: TaskSpec) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(yaml_text(task.model_dump(exclude_unset=True)).encode())
    assert _same(load_task(path), task)
    run = RunFolder(tmp_path)
    run.write_task(task)
    assert _same(run.task, task)


@roomy
@given(tasks())
def test_json(task: TaskSpec) -> None:
    text = json.dumps(task.model_dump(mode="json"), allow_nan=False)
    assert _same(task_from_dict(json.loads(text)), task)
    for recipe in task.training.values():
        record = RunRecord(task=task.id, recipe_name="default", recipe=recipe, seed=0)
        assert _same(RunRecord.model_validate(json.loads(json.dumps(record.model_dump(mode="json")))), record)


@roomy
@given(tasks())
def test_overrides(task: TaskSpec) -> None:
    assert _same(override(task, alpha=0.0, goal=task.reward.goal), override(task, alpha=0.0))
    assert _same(override(task, device="cpu").env, task.env)
    assert _same(override(task, device="cpu").training, task.training)


@roomy
@given(tasks())
def test_registrations(task: TaskSpec) -> None:
    try:
        register_task(task)
        assert _same(load_task(task.id), task)
        written = gym.spec(task.id).to_json()
        stored = EnvSpec.from_json(written).kwargs["task"]
        assert _same(task_from_dict(stored), task)
    finally:
        gym.registry.pop(task.id, None)
