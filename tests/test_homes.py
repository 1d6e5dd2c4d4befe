"""Embedded models and the worlds that they know."""

import pytest

from gym_vlmrm.reward.folders import read_words
from gym_vlmrm.reward.loading import EMBEDDED_FOLDERS, model_location
from gym_vlmrm.task.catalog import builtin_tasks, load_task, override, task_from_dict
from gym_vlmrm.task.homes import EMBEDDED, EMBEDDED_MODELS, embedded_for

MOST_BYTES = 12_000_000
PLAIN = {"id": "Test/Mine-v0", "reward": {"goal": "a cheetah robot lying on its back"}}


def test_all_that_ships_is_small() -> None:
    sizes = [
        path.stat().st_size for folder in EMBEDDED_FOLDERS.values() for path in folder.rglob("*") if path.is_file()
    ]
    assert sum(sizes) <= MOST_BYTES


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_a_model_says_itself_which_worlds_it_knows(name: str) -> None:
    listed = (EMBEDDED_FOLDERS[name] / "worlds.txt").read_text(encoding="utf-8").split()
    assert set(listed) == EMBEDDED_MODELS[name]
    assert {task.env.id for task in builtin_tasks().values() if task.reward.model == name} == EMBEDDED_MODELS[name]
    assert model_location(name) == f"local-dir:{EMBEDDED_FOLDERS[name]}"
    assert read_words(EMBEDDED_FOLDERS[name])


def test_a_task_is_judged_by_the_embedded_model_of_its_world(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_task("cheetah-back").reward.model == "embedded-gymnasium"
    assert load_task("splits").reward.model == EMBEDDED
    mine = task_from_dict({**PLAIN, "env": {"id": "HalfCheetah-v5"}})
    assert mine.reward.model == "embedded-gymnasium"
    assert "model" not in mine.model_dump(exclude_unset=True)["reward"]  # a registered ID asks the variable later
    assert override(mine, model=EMBEDDED).reward.model == "embedded-gymnasium"
    assert override(mine, model="ViT-B-32/openai").reward.model == "ViT-B-32/openai"
    assert task_from_dict({**PLAIN, "env": {"id": "Acrobot-v1"}}).reward.model == EMBEDDED
    assert embedded_for("brightness", "HalfCheetah-v5") == "brightness"
    assert embedded_for(EMBEDDED, "gymnasium:Pendulum-v1") == "embedded-gymnasium"
    monkeypatch.setenv("GYM_VLMRM_MODEL", "brightness")
    assert load_task("cheetah-back").reward.model == "brightness"
