"""``docs/results/``: what it shows is what its data say, of the weights that ship; and how a run gets there, or not."""

from pathlib import Path
from typing import Any

import make_results
import make_zoo
import numpy as np
import pytest
from results_data import Results, Row, read_row, shown_runs, with_earlier
from results_pages import PAGES, groups_of, table, with_table, write_pages
from trainings import DQN, cartpole

import gym_vlmrm
from gym_vlmrm.errors import RunError
from gym_vlmrm.files import read_model
from gym_vlmrm.learning import evaluate, train
from gym_vlmrm.learning.evaluation import summarize
from gym_vlmrm.learning.playing import Episode
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.scores import LongScores, Scores, read_evaluation
from gym_vlmrm.learning.zoo import zoo_names

ROOT = Path(__file__).parent.parent


def shipped_digest() -> str:
    return str(gym_vlmrm.load_reward_model("kneeling", device="cpu").weights_digest)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def results() -> Results:
    return read_model(PAGES / "results.json", Results)


@pytest.mark.parametrize("page", [ROOT / "README.md", PAGES / "README.md"])
def test_the_pages_show_what_the_data_say(results: Results, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert table(results) in text
    if page.parent == ROOT:
        assert with_table(text, results) == text


def test_all_of_it_is_of_the_weights_that_ship(results: Results) -> None:
    digest = shipped_digest()
    assert results.weights_digest == digest
    assert {row.judge for row in results.rows} | {audit.judge for audit in results.audits} == {digest}
    assert digest[:12] in (PAGES / "README.md").read_text(encoding="utf-8")


def test_every_policy_that_ships_stands_in_it(results: Results) -> None:
    rows = {(row.task, row.recipe_name, row.seed, row.best_step): row for row in results.rows}
    for name in zoo_names():
        run = RunFolder.open(f"zoo:{name}")
        found = read_evaluation(run)
        assert found is not None
        row = rows[name, run.record.recipe_name, run.record.seed, found.checkpoint]
        assert (row.policy, row.longer) == (found.policy, found.longer)


def row(seed: int, success: int, hold: float, task: str = "kneeling", steps: int = 1000) -> Row:
    scores: dict[str, Any] = {
        "successful_episodes": success, "success_rate": success / 50, "success_share": 0.5, "hold": hold,
        "hold_low": hold - 0.1, "hold_high": hold + 0.1, "held_rate": 0.5, "vlm_reward": 0.3, "task_reward": 1.0,
    }  # fmt: skip
    policy = Scores(episodes=50, episode_length=100, **scores)
    longer = LongScores(
        horizon=400,
        policy=Scores(episodes=50, episode_length=400, **scores),
        random=Scores(episodes=50, episode_length=400, **scores),
    )
    return Row(
        task=task, recipe_name="hold", algorithm="PPO", seed=seed, steps=steps, of_steps=1000, best_step=900,
        best_reward=0.4, minutes=3.4, machine="2 cores of something", judge="d", policy=policy, random=policy,
        longer=longer,
    )  # fmt: skip


def lines(*rows: Row) -> list[str]:
    return table(Results(weights_digest="d", rows=list(rows), audits=[])).splitlines()[2:]


def test_seeds_of_one_recipe_share_a_line_with_intervals_over_episodes_and_seeds() -> None:
    (line,) = lines(row(0, 50, 0.9), row(1, 40, 0.8), row(2, 45, 0.7))
    assert "| 0, 1, 2 | 1,000, 3 min |" in line
    (line,) = lines(row(0, 50, 0.9), row(1, 40, 0.8).model_copy(update={"minutes": 12.2}))
    assert "| 0, 1 | 1,000, 3 to 12 min |" in line
    (line,) = lines(row(0, 50, 0.9), row(1, 40, 0.8), row(2, 45, 0.7))
    assert "100 steps: 90% [84%, 94%] of 150 (seeds 100%, 80%, 90%: [65%, 100%])" in line
    assert "400 steps: 90%" in line
    assert "80.0% (seeds 90%, 80%, 70%: [55%, 100%])" in line
    assert line.endswith("| not run |")


def test_one_seed_has_an_interval_over_episodes_alone() -> None:
    (line,) = lines(row(3, 50, 0.5))
    assert "[93%, 100%] of 50 |" in line
    assert "50.0% [40.0%, 60.0%]" in line


def test_a_run_that_was_stopped_says_how_far_it_came() -> None:
    assert "| 600 of 1,000, 3 min |" in lines(row(0, 50, 0.5, steps=600))[0]
    assert len(groups_of([row(0, 1, 0.1), row(0, 1, 0.1, "lotus"), row(1, 1, 0.1)])) == 2


def test_what_earlier_runs_gave_stays_if_the_same_weights_judged_it() -> None:
    now = Results(weights_digest="d", rows=[row(1, 40, 0.8)], audits=[])
    before = Results(weights_digest="d", rows=[row(0, 50, 0.9), row(1, 10, 0.1), row(0, 9, 0.1, "lotus")], audits=[])
    both = make_results.in_order(with_earlier(now, before))
    found = [(one.task, one.seed, one.policy.successful_episodes) for one in both.rows]
    assert sorted(found) == [("kneeling", 0, 50), ("kneeling", 1, 40), ("lotus", 0, 9)]
    other = before.model_copy(update={"weights_digest": "e"})
    assert with_earlier(now, other) == now


def test_pictures_of_earlier_runs_stay_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results_pages.shown_runs", lambda runs, results: [])
    pages = tmp_path / "docs" / "results"
    pages.mkdir(parents=True)
    for name in ("lotus.gif", "lotus-success.svg"):
        (pages / name).write_bytes(b"")
    write_pages(Results(weights_digest="d", rows=[row(0, 9, 0.1, "lotus")], audits=[]), tmp_path / "runs", {}, pages)
    text = (pages / "README.md").read_text(encoding="utf-8")
    assert "(lotus.gif)" in text
    assert "(lotus-success.svg)" in text


def test_a_page_without_a_place_for_the_table_is_left_alone() -> None:
    with pytest.raises(ValueError, match="no place for the table"):
        with_table("no table\n", Results(weights_digest="d", rows=[], audits=[]))


def test_the_interval_of_the_last_half_is_over_episodes() -> None:
    def episode(last: float) -> Episode:
        verdict = np.array([False] * 10 + [True] * round(10 * last) + [False] * round(10 - 10 * last))
        return Episode(np.zeros(20), np.zeros(20), verdict)

    scores = summarize([episode(0.2), episode(0.6)])
    assert scores.hold == pytest.approx(0.4)
    assert (scores.hold_low, scores.hold_high) == (0.0, 1.0)
    scores = summarize([episode(0.4), episode(0.5), episode(0.6)])
    assert scores.hold_low == pytest.approx(0.5 - 4.303 * 0.1 / np.sqrt(3), abs=1e-3)
    assert summarize([episode(0.4)]).hold_low is None


def test_what_other_weights_judged_is_left_out_and_cannot_ship(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(cartpole(), DQN, output=tmp_path / "runs" / "bright", workers=1).run
    assert read_row(run, shipped_digest()) == "it was not evaluated"
    assert "was not evaluated" in str(make_zoo.unfit(run, shipped_digest()))
    evaluate(run, episodes=1, workers=1, video=False)
    assert read_row(run, shipped_digest()) == "other weights than the package's judged it"
    assert make_zoo.unfit(run, shipped_digest()) == "other weights judged its training and its evaluation"
    assert make_results.collect(tmp_path / "runs", shipped_digest()).rows == []
    with pytest.raises(RunError, match="no run there can go into the package"):
        make_zoo.make_zoo([str(tmp_path / "runs")], tmp_path)
    assert "bright: other weights" in capsys.readouterr().err
    # Judged by what ships, it would: brightness stands in for it here.
    bright = run.record.judge
    assert bright is not None
    assert bright.weights_digest is not None
    assert make_zoo.unfit(run, bright.weights_digest) is None
    found = read_row(run, bright.weights_digest)
    assert isinstance(found, Row)
    assert (found.task, found.seed, found.steps) == ("cartpole", 0, 200)
    for row, drawn in ((found, [run.path]), (found.model_copy(update={"seed": 1}), [])):
        results = Results(weights_digest=bright.weights_digest, rows=[row], audits=[])
        assert [each.path for each in shown_runs(tmp_path / "runs", results)] == drawn
    assert make_results.is_judged(run, bright.weights_digest, 1, None) is False  # not filmed
    (tmp_path / "zoo").mkdir()
    entry = RunFolder.open(make_zoo.write_entry(run, tmp_path / "zoo"))
    assert gym_vlmrm.load_policy(entry.path).step == run.checkpoint("best").step
    assert not list(entry.path.rglob("training.safetensors"))


def test_a_recipe_is_taken_where_a_task_has_it() -> None:
    assert make_results.recipe_of("kneeling", "hold") == "hold"
    assert make_results.recipe_of("cartpole", "hold") == make_results.recipe_of("kneeling", None) == "default"
    assert make_results.horizon_of("kneeling") == 400
    assert make_results.horizon_of("cartpole") is None
