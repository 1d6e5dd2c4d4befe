"""Audits of rewards made of parts: a hole in any part is found and named, and so are parts that contradict."""

from typing import Any

import numpy as np
import pytest

from gym_vlmrm.auditing import audit
from gym_vlmrm.auditing.calibration import _reward_key
from gym_vlmrm.errors import TaskError
from gym_vlmrm.reward.loading import MODELS
from gym_vlmrm.task.catalog import load_task, task_from_dict
from gym_vlmrm.task.spec import TaskSpec

BRIGHT, DARK = {"goal": "light", "model": "brightness"}, {"avoid": "darkness", "model": "darkness"}
HOLES: dict[str, Any] = {
    "a part": {"parts": [{**BRIGHT, "name": "hole"}, {**BRIGHT, "weight": 0.1}]},
    "a part to avoid": {"parts": [{**DARK, "name": "hole"}, {**BRIGHT, "weight": 0.1}]},
    "a product": {"combine": "product", "parts": [{**BRIGHT, "name": "hole", "weight": 2.0}, {**DARK, "weight": 0.1}]},
    "a min": {"combine": "min", "parts": [{**BRIGHT, "name": "hole", "scale": 0.5}, DARK]},
    "a window": {"parts": [{**BRIGHT, "name": "hole", "window": {"frames": 3}}]},
    "a potential": {"task": 1.0, "parts": [{**BRIGHT, "name": "hole", "shape": "potential", "scale": 9.0}]},
    "beside the task's own": {"task": 0.1, "parts": [{**BRIGHT, "name": "hole"}]},
}


@pytest.fixture(autouse=True)
def darkness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "darkness", "planted:DarknessReward")


def mountain(reward: dict[str, Any]) -> TaskSpec:
    task = load_task("mountain-car").model_dump(exclude_unset=True)
    return task_from_dict({**task, "id": "Test/Mountain-v0", "reward": reward})


@pytest.mark.parametrize("kind", HOLES)
def test_a_hole_in_any_kind_of_part_is_found_and_named(kind: str) -> None:
    found = audit(mountain(HOLES[kind]), evaluations=400, workers=1).report.models[0]
    assert found.verdict.label == "exploitable"
    assert not found.exploit.winners[0].success
    payer = max(found.parts, key=lambda part: part.pays_exploit)
    assert payer.name == "hole"
    assert any("is paid by part 'hole'" in reason for reason in found.verdict.reasons)


def test_parts_that_contradict_are_named_and_so_is_what_an_audit_cannot_see() -> None:
    reward = {
        "task": 0.5,
        "parts": [
            {**BRIGHT, "name": "light"},
            {"goal": "darkness", "model": "darkness", "name": "dark", "weight": 0.01},
            {**BRIGHT, "name": "moving", "baseline": "x", "window": {"frames": 2, "join": "change"}},
        ],
    }
    found = audit(mountain(reward), evaluations=0, workers=1).report.models[0]
    light, dark, moving = found.parts
    assert (light.contradicts, dark.contradicts, moving.contradicts) == (["dark"], ["light"], [])
    assert light.decides > 0.9
    text = " ".join(found.verdict.reasons)
    assert "Part 'light' decides alone" in text
    assert "Parts 'dark' and 'light' contradict each other" in text
    assert "nothing was learned of the window of 'moving', the environment's own reward (x 0.5)" in text


def test_pictures_from_files_and_other_prompts(tmp_path: Any) -> None:
    from PIL import Image

    for place, value in (("goal", 250), ("other", 5)):
        (tmp_path / place).mkdir()
        for index in range(4):
            Image.fromarray(np.full((32, 32, 3), value - index, np.uint8)).save(tmp_path / place / f"{index}.png")
    task = mountain({"parts": [{**BRIGHT, "name": "light"}, {**DARK, "name": "dark"}]})
    found = audit(task, frames=tmp_path, workers=1).report.models[0]
    assert [part.auc for part in found.parts] == [1.0, 1.0]
    assert found.chosen.goal == task.reward.words
    assert _reward_key("x", task.reward)[1:3] == (found.model, tuple(found.chosen.goal))
    with pytest.raises(TaskError, match="no other prompt stands for"):
        audit(task, prompts=["a car"], workers=1)
