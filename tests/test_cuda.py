"""What only a GPU can show: run where torch finds CUDA, skipped elsewhere."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gym_vlmrm.reward.clip.towers import load_towers  # isort: skip  (loads triton before open_clip, as users' programs do)
import torch
from tiny_models import TINY_RESNET

from gym_vlmrm import load_reward_model
from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.clip import batches
from gym_vlmrm.reward.protocol import is_concurrent
from gym_vlmrm.task.catalog import builtin_tasks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
MakeFolder = Callable[..., Path]
SEVERAL = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
LARGE: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 64, "layers": 8, "width": 512, "head_width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}
"""An image tower of 25 million parameters."""


def frames(count: int, size: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def test_names_of_devices_are_resolved() -> None:
    current = f"cuda:{torch.cuda.current_device()}"
    models: list[Any] = [load_reward_model("kneeling", device=device) for device in ("auto", "cuda", current)]
    assert {model.device for model in models} == {current}
    assert len({id(model.towers) for model in models}) == 1
    assert not is_concurrent(models[0])
    missing = torch.cuda.device_count()
    with pytest.raises(ModelError, match=f"torch finds {missing} CUDA device"):
        load_reward_model("kneeling", device=f"cuda:{missing}")
    with pytest.raises(ModelError, match="'int8' runs on a CPU"):
        load_reward_model("kneeling", device="cuda", precision="int8")


@pytest.mark.parametrize("name", list(builtin_tasks()))
def test_the_embedded_models_rewards_are_those_of_a_cpu(name: str) -> None:
    """It stays in float32; half precision would move rewards by up to a hundredth of their spread for nothing."""
    gpu: Any = load_reward_model(name, device="cuda")
    cpu: Any = load_reward_model(name, device="cpu")
    assert gpu.precision == cpu.precision == "fp32"
    assert gpu.weights_digest == cpu.weights_digest
    for size in (gpu.frame_size, 2 * gpu.frame_size + 3):
        np.testing.assert_allclose(gpu(frames(70, size)), cpu(frames(70, size)), atol=5e-4)


def test_large_towers_take_half_precision(make_model_folder: MakeFolder) -> None:
    name = f"local-dir:{make_model_folder(LARGE)}"
    half, exact = load_towers(name, "cuda"), load_towers(name, "cuda", "fp32")
    assert half.precision in ("bf16", "fp16")
    assert half.precision == ("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16")
    assert (half.embed_frames(frames(9, 64)) * exact.embed_frames(frames(9, 64))).sum(-1).min() > 0.99
    np.testing.assert_array_equal(half.embed_sentences(["a cat"]), exact.embed_sentences(["a cat"]))


@pytest.mark.parametrize("model", [LARGE, TINY_RESNET], ids=["transformer", "resnet"])
def test_batches_do_not_change_embeddings(model: dict[str, Any], make_model_folder: MakeFolder) -> None:
    loaded = load_towers(f"local-dir:{make_model_folder(model)}", "cuda", "fp32")
    pictures = frames(37, 50)
    parts = [loaded.embed_frames(pictures[i : i + 5]) for i in range(0, 37, 5)]
    np.testing.assert_allclose(loaded.embed_frames(pictures), np.concatenate(parts), atol=1e-3)


def test_micro_batches_are_halved_until_they_fit(
    make_model_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"local-dir:{make_model_folder(LARGE, seed=5)}"
    monkeypatch.setattr(batches, "MIDDLE_MICRO_BATCH", 4096)
    loaded = load_towers.__wrapped__(name, "cuda", "fp32")  # type: ignore[attr-defined]
    pictures = frames(4096, 64)
    expected = loaded.embed_frames(pictures[:64])
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    room = torch.cuda.memory_allocated() + 1_500_000_000
    torch.cuda.set_per_process_memory_fraction(room / total)
    try:
        embeddings = loaded.embed_frames(pictures)
        assert loaded.batches.size < 4096
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(embeddings[:64], expected, atol=1e-3)


def test_a_call_larger_than_the_guess_is_measured(make_model_folder: MakeFolder) -> None:
    loaded = load_towers.__wrapped__(f"local-dir:{make_model_folder(LARGE)}", "cuda")  # type: ignore[attr-defined]
    guess = loaded.batches.size
    expected = loaded.embed_frames(frames(guess, 64))
    assert not loaded.batches._rates
    embeddings = loaded.embed_frames(frames(2 * guess + 3, 64))
    assert loaded.batches.size in loaded.batches._rates
    assert len(embeddings) == 2 * guess + 3
    assert (embeddings[:guess] * expected).sum(-1).min() > 0.99


def test_frames_that_are_copied_beside_computing_arrive(make_model_folder: MakeFolder) -> None:
    name = f"local-dir:{make_model_folder(LARGE)}"
    loaded = load_towers.__wrapped__(name, "cuda", "fp32")  # type: ignore[attr-defined]
    loaded.batches.size = 8
    pictures = frames(1000, 100)
    beside = loaded.embed_frames(pictures)
    loaded._uploads = lambda pixels: pixels.to("cuda")
    np.testing.assert_allclose(beside, loaded.embed_frames(pictures), atol=1e-3)


def test_weights_go_straight_to_the_device(make_model_folder: MakeFolder) -> None:
    name = f"local-dir:{make_model_folder(LARGE, seed=7)}"
    loaded = load_towers(name, "cuda", "bf16")
    assert {(w.device.type, w.dtype) for w in loaded._visual.parameters()} == {("cuda", torch.bfloat16)}
    assert loaded.weights_digest == load_towers(name, "cpu", "fp32").weights_digest


def test_memory_of_models_that_nobody_holds_comes_back(make_model_folder: MakeFolder) -> None:
    name = f"local-dir:{make_model_folder(LARGE, seed=6)}"
    before = torch.cuda.memory_allocated()
    loaded = load_towers(name, "cuda", "fp32")
    assert torch.cuda.memory_allocated() - before > 4 * loaded.parameters // 2
    del loaded
    assert torch.cuda.memory_allocated() - before < 1_000_000


SECOND = """
import numpy as np, torch
from gym_vlmrm import load_reward_model
from gym_vlmrm.reward.scoring import ScoringTeam
model = load_reward_model("kneeling", device="cuda:1")
team = ScoringTeam(model)
team.submit(np.zeros((3, 96, 96, 3), np.uint8)).result()
assert not torch.cuda.memory_reserved(0)
import ctypes
driver = ctypes.CDLL("libcuda.so.1")
flags, active = ctypes.c_uint(), ctypes.c_int()
assert driver.cuDevicePrimaryCtxGetState(0, ctypes.byref(flags), ctypes.byref(active)) == 0
assert active.value == 0, "a context on the first GPU"
"""


@SEVERAL
def test_the_second_gpu_leaves_the_first_alone() -> None:
    result = subprocess.run([sys.executable, "-c", SECOND], capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stderr
