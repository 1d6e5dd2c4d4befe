"""Weights that go from their file straight to where they are used: the same bits, without a copy in float32."""

import json
import re
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import TINY_MODEL, TINY_RESNET

from gym_vlmrm.reward.clip import text
from gym_vlmrm.reward.clip.filling import LateWeights, weights_digest
from gym_vlmrm.reward.clip.known import silence
from gym_vlmrm.reward.clip.opening import open_late, open_model
from gym_vlmrm.reward.clip.towers import Towers, load_towers

MakeFolder = Callable[..., Path]
CPU = torch.device("cpu")
TINY_TIMM: dict[str, Any] = {
    **TINY_MODEL,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear"},
}
MODELS = {"transformer": TINY_MODEL, "resnet": TINY_RESNET, "timm": TINY_TIMM}


def frames() -> Any:
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


def alike(ours: Towers, theirs: Towers) -> None:
    assert ours.weights_digest == theirs.weights_digest
    np.testing.assert_array_equal(ours.embed_frames(frames()), theirs.embed_frames(frames()))
    np.testing.assert_array_equal(ours.embed_sentences(["a cat"]), theirs.embed_sentences(["a cat"]))


def plainly(name: str, precision: str) -> Towers:
    return Towers(*open_model(name, CPU), CPU, precision, (name, "cpu", precision))


@pytest.mark.parametrize("model", list(MODELS))
def test_they_are_the_bits_that_open_clip_loads(
    model: str, make_model_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GYM_VLMRM_CACHE", "off")
    name = f"local-dir:{make_folder(MODELS[model], make_model_folder)}"
    opened, _, weights = open_late(name)
    assert weights.wait_for(opened.visual)
    for precision in ("fp32", "bf16"):
        alike(load_towers(name, "cpu", precision), plainly(name, precision))


def make_folder(model: dict[str, Any], make_model_folder: MakeFolder) -> Path:
    if "custom_text" not in model:
        return make_model_folder(model)
    folder = make_model_folder()
    path = folder / "open_clip_config.json"
    path.write_text(path.read_text().replace(json.dumps(TINY_MODEL), json.dumps(model)))
    torch.manual_seed(0)
    plain = {key: value for key, value in model.items() if key != "custom_text"}
    made = open_clip.model.CustomTextCLIP(**plain)
    save_file({k: v.contiguous() for k, v in made.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_files_in_half_precision_and_pickled_ones(
    kind: torch.dtype, make_model_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GYM_VLMRM_CACHE", "off")
    path = make_model_folder() / "open_clip_model.safetensors"
    halves = {name: tensor.to(kind) for name, tensor in load_file(path).items()}
    save_file(halves, path)
    alike(load_towers(f"local-dir:{path.parent}", "cpu", "fp32"), plainly(f"local-dir:{path.parent}", "fp32"))
    torch.save(halves, path.with_suffix(".bin"))
    path.unlink()
    alike(load_towers(f"local-dir:{path.parent}", "cpu", "bf16"), plainly(f"local-dir:{path.parent}", "bf16"))


def resident() -> float:
    """Memory of this process that is no file's [MB]."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_model_that_waits_for_its_weights_takes_no_memory() -> None:
    before = resident()
    with silence(), LateWeights() as weights:
        model = open_clip.create_model("ViT-B-32")
    assert sum(numbers.numel() for numbers in model.parameters()) > 150e6
    assert resident() - before < 60  # 605 in float32
    assert weights.lack(model)


def test_what_no_checkpoint_fills_is_told() -> None:
    with LateWeights() as weights:
        linear = torch.nn.Linear(3, 2)
        norm = torch.nn.BatchNorm1d(2)
        assert weights.lack(linear)
        linear.load_state_dict({"weight": torch.ones(2, 3)}, strict=False)
    assert weights.lack(linear)
    weights.fill(linear, CPU)
    torch.testing.assert_close(linear.weight.data, torch.ones(2, 3))
    assert norm.running_var is not None
    assert norm.running_var.tolist() == [1, 1]  # buffers are there


def test_a_model_whose_file_lacks_weights_is_loaded_as_ever(
    make_model_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"local-dir:{make_model_folder()}"
    monkeypatch.setattr(LateWeights, "lack", lambda *_: True)
    model, _, weights = open_late(name)
    assert not weights.wait_for(model)
    assert weights_digest(model) == weights_digest(open_model(name, CPU)[0])


def test_other_threads_make_their_models_as_ever() -> None:
    made: list[torch.nn.Linear] = []
    with LateWeights() as weights:
        thread = threading.Thread(target=lambda: made.append(torch.nn.Linear(50, 50)))
        thread.start()
        thread.join()
    assert not weights.lack(made[0])
    assert 0 < made[0].weight.std() < 1


def test_tied_weights_are_filled_once() -> None:
    with LateWeights() as weights:
        tied = torch.nn.ModuleList([torch.nn.Linear(2, 2, bias=False) for _ in range(2)])
        tied[1].weight = tied[0].weight
        tied.load_state_dict({"0.weight": torch.eye(2) / 3, "1.weight": torch.eye(2) / 3})
    before = weights_digest(tied, weights)
    weights.fill(tied, CPU)
    assert tied[0].weight is tied[1].weight
    assert before == weights_digest(tied)
    torch.testing.assert_close(tied[1].weight.data, torch.eye(2) / 3)


def test_it_loads_within_inference_mode_too(make_model_folder: MakeFolder) -> None:
    name = f"local-dir:{make_model_folder(seed=7)}"
    with torch.inference_mode():
        loaded = load_towers.__wrapped__(name, "cpu", "bf16")  # type: ignore[attr-defined]
        inside = loaded.embed_sentences(["a cat"])
    np.testing.assert_array_equal(loaded.embed_sentences(["a cat"]), inside)
    assert loaded.embed_frames(frames()).shape == (5, 16)


def test_a_large_text_tower_waits_for_a_sentence_that_is_new(
    make_model_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GYM_VLMRM_CACHE", str(tmp_path))
    monkeypatch.setattr(text, "KEPT_PARAMETERS", 0)
    name = f"local-dir:{make_model_folder(seed=8)}"
    load = partial(load_towers.__wrapped__, name, "cpu", "fp32")  # type: ignore[attr-defined]
    first = load()
    assert not first._text.in_memory
    told = first.embed_sentences(["a cat"])
    assert first._text.in_memory
    second = load()
    np.testing.assert_array_equal(second.embed_sentences(["a cat"]), told)
    assert not second._text.in_memory
