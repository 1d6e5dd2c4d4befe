"""Weights of a byte each: half the space, all but the same rewards, and open_clip can train them on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.clip.opening import open_model
from gym_vlmrm.reward.clip.packed import PACKED, load_weights, pack
from gym_vlmrm.reward.clip.small import open_small
from gym_vlmrm.reward.clip.towers import Towers
from gym_vlmrm.reward.folders import WEIGHTS_FILE
from gym_vlmrm.reward.loading import EMBEDDED_FOLDER
from gym_vlmrm.tensors import save_tensors

CPU = torch.device("cpu")


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = tmp_path / "packed"
    shutil.copytree(EMBEDDED_FOLDER, folder)
    save_tensors(folder / WEIGHTS_FILE, pack(load_weights(EMBEDDED_FOLDER / WEIGHTS_FILE)), PACKED)
    return folder


def test_half_the_space_and_nearly_the_same_embeddings(packed: Path) -> None:
    sizes = [(folder / WEIGHTS_FILE).stat().st_size for folder in (packed, EMBEDDED_FOLDER)]
    assert sizes[0] < 0.53 * sizes[1]
    frames = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), dtype=np.uint8)
    embeddings = []
    for folder in (packed, EMBEDDED_FOLDER):
        name = f"local-dir:{folder}"
        opened = open_small(name)
        assert opened is not None
        embeddings.append(Towers(*opened, CPU, "fp32", (name, "cpu", "fp32")).embed_frames(frames))
    assert (embeddings[0] * embeddings[1]).sum(axis=1).min() > 0.99


def test_open_clip_has_the_same_weights(packed: Path) -> None:
    name = f"local-dir:{packed}"
    small, large = open_small(name), open_model(name, CPU)
    assert small is not None
    ours, theirs = small[0].state_dict(), large[0].state_dict()
    assert ours.keys() <= theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_rows_are_rounded_to_a_127th_of_their_largest_weight(tmp_path: Path) -> None:
    weights = {"a.weight": torch.randn(5, 3, 2, 2), "b": torch.zeros(3, 4), "c": torch.randn(7), "n": torch.tensor(3)}
    path = tmp_path / WEIGHTS_FILE
    save_tensors(path, pack(weights), PACKED)
    again = load_weights(path)
    assert again.keys() == weights.keys()
    assert torch.equal(again["b"], weights["b"])
    assert torch.equal(again["c"], weights["c"])
    largest = weights["a.weight"].flatten(1).abs().amax(1)
    worst = (again["a.weight"] - weights["a.weight"]).flatten(1).abs().amax(1)
    assert (worst <= 0.51 * largest / 127 + 1e-3 * largest).all()


@pytest.mark.parametrize("factors", [torch.ones(4), torch.ones(5, 2)])
def test_factors_that_fit_nothing_are_one_line(packed: Path, factors: torch.Tensor) -> None:
    weights = pack(load_weights(EMBEDDED_FOLDER / WEIGHTS_FILE))
    save_tensors(packed / WEIGHTS_FILE, {**weights, "text_projection.factors": factors}, PACKED)
    for opened in (lambda: open_small(f"local-dir:{packed}"), lambda: open_model(f"local-dir:{packed}", CPU)):
        with pytest.raises(ModelError, match="factors") as caught:
            opened()
        assert "\n" not in str(caught.value)
