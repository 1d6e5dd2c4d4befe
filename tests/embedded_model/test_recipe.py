"""The recipe: states, targets, towers and rounds, from nothing to the model's folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from embedded_model import adversaries, dataset
from embedded_model.adversaries import overrated_states, search_poses
from embedded_model.dataset import describe, load_domain, make_dataset
from embedded_model.fitting import averaged_image, sample_data
from embedded_model.grammar import Grammar
from embedded_model.recipe import empty_space, train_model
from embedded_model.rendering import render_now
from embedded_model.settings import RecipeSettings, Round
from embedded_model.sizes import make_sizes, measure_sizes
from embedded_model.space import SIZE, FeatureMap
from embedded_model.states import HELD_OUT_PAIRS, SHARES, cartpole_states, humanoid_states
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.reward.clip.towers import Towers, load_towers
from gym_vlmrm.task.catalog import builtin_tasks, override
from gym_vlmrm.teaching.image_tower import OVERRATING, train_image_tower


def test_features_keep_the_order_of_the_kernel() -> None:
    rng = np.random.default_rng(0)
    landmarks = rng.normal(size=(200, 3))
    features = FeatureMap(landmarks, 64, (1.0, 0.3))
    near, far = landmarks[:1] + 0.05, landmarks[:1] + 1.5
    here = features(landmarks[:1])
    assert (here @ features(near).T).item() > (here @ features(far).T).item()
    assert np.allclose(np.linalg.norm(features(landmarks), axis=1), 1)


def test_equal_seeds_draw_equal_states() -> None:
    first, second = humanoid_states(20, 3), humanoid_states(20, 3)
    assert np.array_equal(first.qpos, second.qpos)
    assert not np.array_equal(first.qpos, humanoid_states(20, 4).qpos)
    assert set(first.source) <= set(SHARES)


def test_every_source_has_its_share() -> None:
    source = humanoid_states(100, 3).source
    assert {name: round(100 * share) for name, share in SHARES.items()} == {
        name: int((source == name).sum()) for name in SHARES
    }


def test_held_out_pairs_are_never_drawn_nor_captioned() -> None:
    states = humanoid_states(150, 5)
    drawn = set(zip(states.legs, states.arms, strict=True))
    assert not drawn & HELD_OUT_PAIRS
    rng, grammar = np.random.default_rng(0), Grammar()
    for _ in range(3000):
        names = grammar.draw(rng).names
        assert (names.get("legs"), names.get("arms")) not in HELD_OUT_PAIRS


def same_weights(left: Path, right: Path) -> bool:
    return (left / "open_clip_model.safetensors").read_bytes() == (right / "open_clip_model.safetensors").read_bytes()


def test_pose_searches_find_higher_rewards_and_repeat() -> None:
    task = override(builtin_tasks()["kneeling"], device="cpu")
    search = search_poses(task, 3, 8, restarts=2, population=8)
    winners = search.winners
    assert search.states.shape == (2, 8, 8, 24)
    assert search.successes.shape == (2,)
    assert np.array_equal(winners, search_poses(task, 3, 8, restarts=2, population=8).winners)
    # What is searched for rises: the last generation is better than the first, which was drawn at random.
    assert (search.rewards[:, -1].mean(axis=-1) > search.rewards[:, 0].mean(axis=-1) + 0.02).all()
    # The states are those that were scored: shown again, each earns what the search noted.
    shown = np.concatenate([winners, search.states[:, 0].reshape(-1, 24)])
    noted = np.concatenate([search.rewards.max(axis=(1, 2)), search.rewards[:, 0].reshape(-1)])
    rewards = load_reward_model(task)(render_now("humanoid", shown, 0, jitter=False))
    assert np.allclose(rewards, noted, atol=1e-4)


def test_half_of_what_is_kept_of_a_search_is_what_the_model_overrates_most(towers: Towers) -> None:
    task = override(builtin_tasks()["kneeling"], device="cpu")
    search, space = search_poses(task, 3, 4, restarts=2, population=8), empty_space(RecipeSettings(landmarks=250))
    kept = overrated_states(search, 40, 0, space)
    assert len(kept) == 40
    goal = towers.embed_sentences([task.reward.goal])[0]
    for index in range(2):
        late = search.states[index, 1:].reshape(-1, 24)
        excess = search.rewards[index, 1:].reshape(-1) - space.frames("humanoid", describe("humanoid", late)) @ goal
        worst = late[np.argsort(-excess)[:10]]
        of_search = kept[20 * index : 20 * (index + 1)]
        assert all((of_search == state).all(axis=1).any() for state in worst)


@pytest.mark.parametrize("caution", [(OVERRATING, OVERRATING), (8.0, 2.0)])
def test_a_frame_that_may_show_two_states_scores_less_than_their_mean(caution: tuple[float, float]) -> None:
    torch.manual_seed(0)
    tower = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, SIZE))
    frames = np.zeros((19_200, 4, 4, 3), np.uint8)
    seen_once, goal, other = np.arange(len(frames)) % 3 == 0, np.eye(SIZE)[0], np.eye(SIZE)[5]
    frames[seen_once] = 255
    hidden = np.where(np.random.default_rng(0).random((len(frames), 1)) < 0.5, goal, other)
    targets = np.where(seen_once[:, None], goal, hidden).astype(np.float32)
    concepts = np.stack([goal, other]).astype(np.float32)
    train_image_tower(
        tower,
        [frames],
        targets,
        concepts,
        epochs=1,
        seed=0,
        peak_rate=0.01,
        overrating=np.array(caution, np.float32),
        report=lambda step, steps, loss: None,
    )
    dark, bright = torch.tensor([-2.0, 2.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    with torch.no_grad():
        scores = nn.functional.normalize(tower(torch.stack([dark, bright])), dim=-1)[:, [0, 5]]
    assert scores[1, 0] > 0.95
    for score, overrating in zip(scores[0], caution, strict=True):
        assert abs(score - 1 / (1 + overrating)) < 0.05  # a unit vector between the two would have 0.71


def test_a_round_goes_through_a_share_of_humanoids_and_all_of_the_rest(tmp_path: Path) -> None:
    counts = {"humanoid": [40, 20], "cartpole": [10], "mountain-car": [5]}
    targets = np.arange(75, dtype=np.float32)[:, None]
    number = 0
    for domain, shards in counts.items():
        for shard, count in enumerate(shards):
            frames = np.arange(number, number + count, dtype=np.uint8)[:, None, None, None]
            np.save(tmp_path / f"{domain}_{shard:03d}_frames.npy", np.broadcast_to(frames, (count, 1, 1, 3)))
            np.save(tmp_path / f"{domain}_{shard:03d}_states.npy", np.zeros((count, 2)))
            number += count
    frames_kept, rows = sample_data(tmp_path, targets, 0.3, np.random.default_rng(0))
    kept = np.concatenate(frames_kept)[:, 0, 0, 0]
    assert np.array_equal(kept, rows[:, 0])
    assert 5 < (kept < 60).sum() < 35
    assert (kept >= 60).sum() == 15


@pytest.mark.parametrize(("averaged", "mean"), [(1, 5.0), (2, 4.0), (9, 3.0)])
def test_the_last_towers_are_averaged(tmp_path: Path, averaged: int, mean: float) -> None:
    for name, value in (("image_tower", 1.0), ("image_tower_1", 3.0), ("image_tower_2", 5.0)):
        save_file({"visual.w": torch.full((2,), value), "visual.n": torch.tensor(7)}, tmp_path / f"{name}.safetensors")
    weights = averaged_image(tmp_path, RecipeSettings(rounds=(Round(), Round()), averaged=averaged))
    assert weights["visual.w"].tolist() == [mean, mean]
    assert weights["visual.n"].item() == 7


@pytest.mark.slow
def test_the_recipe_runs_from_nothing_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (dataset, adversaries):  # processes take longer to start than is done here
        monkeypatch.setattr(module, "usable_cores", lambda: 1)
    counts = {"humanoid": 160, "cartpole": 48, "mountain-car": 48}
    make_dataset(tmp_path / "data", counts, 1)
    before = (tmp_path / "data" / "humanoid_000_frames.npy").stat().st_mtime_ns
    make_dataset(tmp_path / "data", counts, 1)
    assert (tmp_path / "data" / "humanoid_000_frames.npy").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="another data set"):
        make_dataset(tmp_path / "data", counts, 2)
    assert len(load_domain(tmp_path / "data", "cartpole").states) == 48
    chased: dict[str, Any] = {"agents": ("kneeling",), "searched": ("kneeling",), "drawn": 0}
    plan = Round(**chased, generations=1, kept=40, steps=1024, checkpoints=1, episodes=1, overrating_goals=8)
    short = {"landmarks": 250, "bodies": 300, "image_epochs": 1, "sentences": 512, "text_epochs": 1}
    settings = RecipeSettings(**short, rounds=(plan,))  # type: ignore[arg-type]
    train_model(tmp_path / "data", tmp_path / "model", settings, lambda _: None)
    assert len(load_domain(tmp_path / "data" / "round_1", "humanoid").states) > 40
    assert not same_weights(tmp_path / "data" / "targets" / "stage_0", tmp_path / "model")
    assert not same_weights(tmp_path / "data" / "targets" / "stage_1", tmp_path / "model")
    assert same_weights(tmp_path / "data" / "targets" / "final", tmp_path / "model")
    model = load_towers(f"local-dir:{tmp_path / 'model'}", "cpu", "fp32")
    frames = render_now("cartpole", cartpole_states(3, 0), 0)
    assert model.embed_frames(frames).shape == (3, SIZE)
    models = make_sizes(tmp_path / "data", tmp_path / "sizes", counts, settings, lambda _: None, widths=(2, 4))
    figures = json.loads(measure_sizes(models, 40, lambda _: None).read_text())
    assert [row["model"] for row in figures] == ["width-2", "width-4"]
    assert figures[0]["parameters"] < figures[1]["parameters"]
    judge = load_reward_model("kneeling", model=f"local-dir:{models[0]}")
    assert judge(np.zeros((2, 96, 96, 3), np.uint8)).shape == (2,)
