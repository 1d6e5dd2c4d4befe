"""The benchmarks run, their bound is what it says, and the original's way earns the same rewards."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gym_vlmrm import load_reward_model, load_task
from gym_vlmrm.task.catalog import override
from gym_vlmrm.worlds.pools import pool
from gym_vlmrm.worlds.world import make_world

FOLDER = str(Path(__file__).parents[1] / "benchmarks")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [FOLDER, *sys.path])


def run(*arguments: str, output: Path) -> Any:
    from throughput import app

    result = CliRunner().invoke(app, [*arguments, "--json", str(output)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(output.read_text())


def test_the_world_of_the_keys_is_the_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its equations are Gymnasium's, and its rewards those of a training: a short one runs."""
    import keys

    world: Any = make_world(load_task("mountain-car"), render_size=16)
    world.reset(seed=0)
    place, speed = (np.array([number], np.float64) for number in world.unwrapped.state)
    for thrust in np.random.default_rng(0).choice([-1.0, 1.0], 40).repeat(20):
        world.step(np.array([thrust], np.float32))
        place, speed = keys.moved(place, speed, np.array([thrust]))
        np.testing.assert_allclose(world.unwrapped.quantities()["car_position"], place[0], atol=2e-3)
    world.close()
    monkeypatch.setattr(keys, "ROUNDS", 40)
    monkeypatch.setattr(keys, "TRIALS", 2)
    reward = {**keys.CASES["success_seen: ends"], "model": "brightness"}
    curve = list(keys.learned(reward, keys.pictures(), 0))
    assert [made for made, _ in curve] == [20 * keys.WORLDS * keys.KEPT, 40 * keys.WORLDS * keys.KEPT]


def test_the_bound_adds_up_the_times_of_work_that_shares_the_cores() -> None:
    from capacity import bound

    assert bound(100.0, 50.0, 25.0) == pytest.approx(1 / (0.01 + 0.02 + 0.04))
    assert bound(100.0, 50.0, 25.0, every=4) == pytest.approx(1 / (0.01 + 0.005 + 0.01))
    assert bound(100.0, 50.0, 25.0, accelerator=True) == 25.0
    assert bound(100.0, 50.0, 90.0, accelerator=True) == pytest.approx(1 / 0.03)
    assert bound(100.0, 50.0, 25.0, every=2, accelerator=True) == pytest.approx(50.0)


def test_rates_of_one_task(tmp_path: Path) -> None:
    arguments = ("rates", "cartpole", "--num-envs", "1", "--preset", "original", "--seconds", "0.05", "--rounds", "1")
    (table,) = run(*arguments, output=tmp_path / "rates.json")
    assert table["task"] == "VLMRM/CartPole-Balance-v0"
    assert table["frame_size"] == load_reward_model("cartpole").frame_size
    assert min(table[what] for what in ("simulate", "render", "embed", "peak_mb")) > 0
    assert [row["name"] for row in table["rows"]] == ["make_vec", "training", "original"]
    for row in table["rows"][:2]:
        # No loop is faster than its parts alone; far above one, the bound would be that of other work.
        assert 0 < row["ratio"] < 5
        assert row["bound"] < table["simulate"]
        assert row["bound"] < max(table["render"], table["embed"]) * row["every"]
    assert table["rows"][2]["ratio"] is None
    assert table["rows"][2]["rate"] > 0


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes take longer to start than is measured here."""
    import capacity

    for module in (capacity, pool):
        monkeypatch.setattr(module, "usable_cores", lambda: 1)


def test_growth(tmp_path: Path) -> None:
    quick = ("--model", "brightness", "--seconds", "0.05", "--rounds", "1")
    tables = run("growth", "mountain-car", "--num-envs", "1,2", *quick, output=tmp_path / "growth.json")
    assert [table["rows"][0]["num_envs"] for table in tables] == [1, 2]


@pytest.mark.usefixtures("one_core")
def test_rates_by_batch(tmp_path: Path) -> None:
    quick = ("--model", "brightness", "--seconds", "0.01")
    found = run("batches", "mountain-car", *quick, output=tmp_path / "batches.json")
    assert list(found) == ["1", "2", "4", "8", "16", "32"]
    assert min(found.values()) > 0


@pytest.mark.usefixtures("one_core")
def test_every(tmp_path: Path) -> None:
    quick = ("--model", "brightness", "--seconds", "0.05", "--rounds", "1")
    arguments = ("every", "mountain-car", "--num-envs", "2", "--every", "1,3", *quick)
    (table,) = run(*arguments, output=tmp_path / "every.json")
    assert [row["every"] for row in table["rows"]] == [1, 3]
    assert table["rows"][1]["bound"] > table["rows"][0]["bound"]


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_ways_to_many_environments(tmp_path: Path) -> None:
    quick = ("--model", "brightness", "--num-envs", "1,2", "--busy", "1", "--most-processes", "1")
    found = run("ways", "cartpole", *quick, "--seconds", "0.05", "--rounds", "1", output=tmp_path / "ways.json")
    assert len(found) == 6 + 4
    assert min(min(way["rate"], way["cpu"]) for way in found) > 0


@pytest.mark.usefixtures("one_core")
def test_memory_of_a_training(tmp_path: Path) -> None:
    arguments = ("memory", "cartpole", "--model", "brightness", "--num-envs", "2", "--steps", "64,128")
    found = run(*arguments, output=tmp_path / "memory.json")
    assert found["growth"] == pytest.approx(found["peak_mb"][1] / found["peak_mb"][0])
    assert 0.8 < found["growth"] < 1.2


def test_quality_is_judged_against_paper(tmp_path: Path) -> None:
    rows = run("quality", "kneeling,splits", "--states", "8", output=tmp_path / "quality.json")
    assert [row["name"] for row in rows] == ["draft", "standard", "paper"]
    assert rows[2]["pearson"] == pytest.approx(1)
    assert rows[2]["max_abs_difference"] == 0
    assert rows[0]["max_abs_difference"] > 0


def test_fewer_bits_are_judged_against_float32(tmp_path: Path) -> None:
    rows = run("precision", "kneeling,splits", "--states", "24", output=tmp_path / "precision.json")
    assert [row["name"] for row in rows] == ["fp32", "bf16"]  # nothing in the embedded model is large enough for int8
    assert rows[0]["max_abs_difference"] == 0
    assert 0 < rows[1]["max_abs_difference"] < 0.02
    assert rows[1]["spearman"] > 0.99


def test_drawing_of_whole_frames_and_of_what_moved(tmp_path: Path) -> None:
    rows = run("drawing", "--rounds", "1", output=tmp_path / "drawing.json")
    assert [row["task"] for row in rows] == ["cartpole", "mountain-car"]
    assert min(row[way] for row in rows for way in ("gymnasium", "whole", "moved")) > 0


@pytest.mark.slow
def test_startup(tmp_path: Path) -> None:
    found = run("startup", "--rounds", "1", output=tmp_path / "startup.json")
    assert list(found) == ["import gymnasium, pydantic, yaml", "import gym_vlmrm", "vlmrm --help"]
    assert min(found.values()) > 0


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_the_originals_way_earns_the_same_rewards_for_the_same_frames(alpha: float) -> None:
    from original import OriginalReward

    task = override(load_task("cartpole"), alpha=alpha, precision="fp32")
    ours = load_reward_model(task)
    world = make_world(task, render_size=ours.frame_size, limited=True)
    world.reset(seed=0)
    frames = []
    for action in [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]:
        world.step(action)
        frames.append(world.render())
    world.close()
    rewards = ours(np.stack(frames))
    np.testing.assert_allclose(OriginalReward(task)(np.stack(frames)), rewards, atol=1e-5)
    assert rewards.std() > 1e-4


@pytest.mark.slow
def test_what_measures_an_accelerator_runs_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import accelerator

    monkeypatch.setattr(accelerator, "BATCHES", (1, 2))
    quick = ["--models", "ViT-S-32-alt,ViT-none", "--trained", "ViT-none", "--renderers", "1", "--seconds", "0.05"]
    output = tmp_path / "deep" / "accelerator.json"
    result = CliRunner().invoke(accelerator.app, [str(output), "--device", "cpu", "--task", "cartpole", *quick])
    assert result.exit_code == 0, result.output
    report = json.loads(output.read_text())
    assert report["matrix_tflops"] > 0
    (drawn,) = report["renderers"]
    assert drawn["drew"] == 1
    assert drawn["frames_per_s"] > 0
    (tower,) = report["towers"]
    assert [batch["size"] for batch in tower["batches"]] == [1, 2]
    assert 0 < tower["batches"][0]["of_matrix_rate"] < 2
    assert tower["precision"] == "bf16"
    assert tower["chosen"] == 16
    # What fails or is not there is said, and costs no other part.
    assert [words.partition(" ")[0] for words in report["left_out"]] == ["ViT-none", "loops"]
    assert "| ViT-S-32-alt |" in result.output


def test_renderers_that_hang_are_left_out_and_ended() -> None:
    import accelerator

    assert accelerator.renderers("cartpole", 32, 2, 1000.0, 0.5) == accelerator.Renderers(2, 0, 0.0)
