"""Prompt help: templates, files, and the ranking."""

from pathlib import Path

import pytest
from planted import save_untrained_model

from gym_vlmrm.auditing.prompts import (
    TEMPLATES,
    PromptTrial,
    expand_template,
    rank_prompts,
    read_prompt_file,
    suggest_prompts,
)
from gym_vlmrm.auditing.rewording import rewordings, subject_of
from gym_vlmrm.errors import ModelError, VLMRMError
from gym_vlmrm.reward.loading import CutPromptWarning
from gym_vlmrm.task.catalog import load_task, override


@pytest.mark.parametrize(
    ("template", "sentences"),
    [
        ("a robot", ["a robot"]),
        ("a {big |}robot", ["a big robot", "a robot"]),
        ("{a|the} {cat|dog}", ["a cat", "a dog", "the cat", "the dog"]),
    ],
)
def test_templates_expand(template: str, sentences: list[str]) -> None:
    assert expand_template(template) == sentences


@pytest.mark.parametrize(
    ("goal", "subject"),
    [
        ("a humanoid robot seated down, meditating in the lotus position", "a humanoid robot"),
        ("pole vertically upright on top of the cart", "pole"),
        ("a robot arm folded at its elbow", "a robot arm"),
        ("a swimmer curled up", "a swimmer"),
        ("a red curved door in a wall", "a red curved door"),
        ("a big bed", "a big bed"),
        ("a steep weed", "a steep weed"),
    ],
)
def test_the_subject_ends_where_something_is_said_of_it(goal: str, subject: str) -> None:
    found, said = subject_of(goal)
    assert found == subject
    assert all(f"is {said}" in words or not words.startswith(subject) for words in rewordings(goal))
    assert bool(rewordings(goal)) == bool(said)


def test_a_sentence_with_a_verb_is_not_given_another() -> None:
    assert subject_of("the frog sits in a corner") == ("the frog", "sits in a corner")
    assert rewordings("the frog sits in a corner") == ["the frog that sits in a corner"]


def test_a_file_holds_goals_and_baselines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text(
        "# tries\na {car|cart} up there\n\ngoal: a car: red\nBaseline: a car  # the scene\na car up there\n"
    )
    trial = read_prompt_file(path)
    assert trial.goals == ["a car up there", "a cart up there", "a car: red"]
    assert trial.baselines == ["a car"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("# nothing\n", "holds no prompt"), ("{a|b|c|d|e|f|g|h}" * 4, "more than 500")],
)
def test_useless_files_are_errors(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(text)
    with pytest.raises(VLMRMError, match=message):
        read_prompt_file(tmp_path / "prompts.txt")
    with pytest.raises(VLMRMError, match="cannot be read"):
        read_prompt_file(tmp_path / "none.txt")


def test_candidates_are_ranked_with_the_tasks_own_among_them(tmp_path: Path) -> None:
    task = load_task("mountain-car")
    (tmp_path / "try.txt").write_text("a car\nbaseline: a mountain\n")
    trial = read_prompt_file(tmp_path / "try.txt")
    ranking = rank_prompts(task, trial, model=save_untrained_model(tmp_path / "model"), alphas=(0, 1), workers=1)
    assert len(ranking.rows) == 6  # two goals: without a baseline once, with two baselines each
    assert [row.auc for row in ranking.rows] == sorted((row.auc for row in ranking.rows), reverse=True)
    own = [row for row in ranking.rows if row.own]
    assert [row.candidate.goal for row in own] == [[task.reward.goal]]
    assert all(row.numbers is not None and row.numbers.auc.value == pytest.approx(row.auc) for row in ranking.rows)


def test_words_that_the_embedded_model_never_saw_are_named() -> None:
    task = load_task("mountain-car")
    sentences = ["a zeppelin at the summit", "a zeppelin next to the yellow flag", "a car in the valley"]
    ranking = rank_prompts(task, PromptTrial(sentences, []), model="embedded", alphas=(0,), workers=1)
    # A car in the valley is worse than either, and known.
    assert [bool(row.unknown_words) for row in ranking.rows] == [False, False, True, True]
    words = {row.candidate.goal[0]: row.unknown_words for row in ranking.rows}
    assert words["a zeppelin at the summit"] == ["zeppelin"]
    assert words[task.reward.goal] == []  # type: ignore[index]
    assert ranking.rows[0].auc > 0.97


def test_prompts_that_the_embedded_model_does_not_read_whole_are_named() -> None:
    task = override(load_task("mountain-car"), baseline="a car " + "in the mountain " * 15 + "below")
    long = "a car " + "next to the yellow flag " * 8 + "above"
    with pytest.warns(CutPromptWarning, match="below"):
        ranking = rank_prompts(task, PromptTrial([long], []), model="embedded", alphas=(0, 1), workers=1)
    cut = {(row.candidate.goal[0] == long, row.candidate.alpha): set(row.cut_prompts) for row in ranking.rows}
    baseline = task.reward.baselines[0]
    assert cut == {(True, 0): {long}, (True, 1): {long, baseline}, (False, 0): set(), (False, 1): {baseline}}
    assert all(long.endswith(row.cut_prompts[long]) for row in ranking.rows if long in row.cut_prompts)


def test_suggestions_contain_the_goals() -> None:
    task = override(load_task("kneeling"), goal=["one", "two"])
    for goal in ("one", "two"):
        assert sum(goal in sentence for sentence in suggest_prompts(task).goals) == len(TEMPLATES)


def test_models_without_prompts_are_refused() -> None:
    task = load_task("cartpole")
    with pytest.raises(ModelError, match="reads no prompts"):
        rank_prompts(task, suggest_prompts(task), model="brightness")
