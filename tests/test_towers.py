"""Models by every form of name, open_clip's own preprocessing, and errors that name the cure."""

import gc
import json
import logging
import pickle
import re
import subprocess
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from gym_vlmrm.reward.clip import towers  # isort: skip  (loads triton before open_clip, as users' programs do)
import open_clip
import torch
from open_clip.model import CLIP
from open_clip.transform import image_transform
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import TINY_MODEL, TINY_RESNET

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.clip import batches, hub, int8
from gym_vlmrm.reward.clip.devices import SMALL_TOWER, choose_device, choose_precision
from gym_vlmrm.reward.clip.folding import fold_batch_norms
from gym_vlmrm.reward.clip.int8 import can_int8
from gym_vlmrm.reward.clip.preprocessing import Preprocessing
from gym_vlmrm.reward.clip.towers import Towers, load_towers
from gym_vlmrm.reward.loading import EMBEDDED_FOLDER

MakeFolder = Callable[..., Path]


def frames(count: int = 4, height: int = 32, width: int = 32) -> Any:
    """Smooth pictures with some detail, as frames are."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)) for _ in range(count)]
    return np.stack([np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC)) for picture in coarse])


def cosine(left: Any, right: Any) -> Any:
    return (left * right).sum(-1)


# Names ---------------------------------------------------------------------------------------------------------------


def test_a_local_folder_with_its_own_configuration(make_model_folder: MakeFolder) -> None:
    folder = make_model_folder(mean=[0.1, 0.2, 0.3], resize_mode="squash")
    loaded = load_towers(f"local-dir:{folder}", "cpu")
    assert loaded.image_size == (32, 32)
    reference, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    reference.eval()
    pictures = frames()
    with torch.inference_mode():
        images = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
        expected = reference.encode_image(images, normalize=True).numpy()
        words = reference.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(["a cat"]), normalize=True).numpy()
    np.testing.assert_allclose(loaded.embed_frames(pictures), expected, atol=1e-5)
    np.testing.assert_allclose(loaded.embed_sentences(["a cat"]), words, atol=1e-5)


@pytest.fixture
def architecture(tmp_path: Path) -> Iterator[str]:
    """An architecture of the user's own, registered with open_clip."""
    (tmp_path / "Tiny-Own.json").write_text(json.dumps(TINY_MODEL))
    open_clip.add_model_config(tmp_path)
    yield "Tiny-Own"
    open_clip.factory._MODEL_CONFIGS.pop("Tiny-Own")
    open_clip.factory._MODEL_CONFIG_PATHS.remove(tmp_path)


def test_an_architecture_with_a_file_of_weights(architecture: str, make_model_folder: MakeFolder) -> None:
    folder = make_model_folder(mean=[0.48145466, 0.4578275, 0.40821073], std=[0.26862954, 0.26130258, 0.27577711])
    by_path = load_towers(f"{architecture}/{folder / 'open_clip_model.safetensors'}", "cpu")
    by_folder = load_towers(f"local-dir:{folder}", "cpu")
    np.testing.assert_allclose(by_path.embed_frames(frames()), by_folder.embed_frames(frames()), atol=1e-5)


def test_random_weights_are_asked_for_by_name_and_say_so(architecture: str, caplog: pytest.LogCaptureFixture) -> None:
    load_towers(f"{architecture}/untrained", "cpu")
    assert "random weights" in caplog.text


def test_a_cached_model_of_the_hub_loads_offline(
    make_model_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_model_folder()
    snapshot = tmp_path / "models--someone--tiny" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(folder)
    (tmp_path / "models--someone--tiny" / "refs").mkdir()
    (tmp_path / "models--someone--tiny" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    from_hub = load_towers("hf-hub:someone/tiny", "cpu")
    from_folder = load_towers(f"local-dir:{folder}", "cpu")
    np.testing.assert_array_equal(from_hub.embed_frames(frames()), from_folder.embed_frames(frames()))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-33/openai", r"unknown model 'ViT-B-33/openai'; did you mean 'ViT-B-32'\?"),
        ("nonsense", "unknown model 'nonsense'; name embedded, architecture/pretrained-tag, hf-hub: or local-dir:"),
        ("", "unknown model ''; name embedded"),
        ("RN50/opnai", r"neither a file nor a pretrained tag of RN50; did you mean 'openai'\?"),
        ("RN50", "names no weights; write 'RN50/TAG'"),
        ("RN50//nowhere/weights.pt", "'/nowhere/weights.pt' is neither a file nor a pretrained tag"),
        ("local-dir:/nowhere", "no such folder '/nowhere'; local-dir: needs one with open_clip_config.json"),
        ("hf-hub:nobody/nothing", "cannot load model 'hf-hub:nobody/nothing' .*local-dir:FOLDER"),
        ("RN50/openai", "cannot load model 'RN50/openai' .*architecture/PATH-TO-WEIGHTS"),
        ("hf-hub:", "cannot load model"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_had_is_one_quick_line(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(ModelError, match=message) as raised:
        load_towers(name, "cpu")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500
    assert time.monotonic() - start < 5
    assert caplog.text == ""


def test_weights_that_do_not_fit(make_model_folder: MakeFolder) -> None:
    folder = make_model_folder()
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="that fit together"):
        load_towers(f"local-dir:{folder}", "cpu")
    weights.unlink()
    with pytest.raises(ModelError, match="that fit together"):
        load_towers(f"local-dir:{folder}", "cpu")
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(ModelError, match="that fit together"):
        load_towers(f"local-dir:{folder}", "cpu")


def test_an_unreachable_hub_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with hub.impatient_hub():
        from huggingface_hub import constants

        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is False
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with hub.impatient_hub():
        assert constants.HF_HUB_OFFLINE is False  # only the proxy can tell
    with hub.impatient_hub(offline=True):
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is False


def test_while_a_model_is_fetched_only_the_fetching_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        logging.getLogger("mine").error("from another thread")
        logging.error("to the root, from another thread")

    levels = [logging.getLogger(name).level for name in hub.QUIET]
    with hub.impatient_hub(offline=True):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        logging.getLogger("mine").error("from this thread")
        logging.getLogger("huggingface_hub.file_download").error("retrying")
        logging.error("could not download, says open_clip")
    assert [record.getMessage() for record in caplog.records] == [
        "from another thread",
        "to the root, from another thread",
        "from this thread",
    ]
    assert [logging.getLogger(name).level for name in hub.QUIET] == levels
    logging.error("afterwards")
    assert caplog.records[-1].getMessage() == "afterwards"


def test_threads_that_fetch_leave_the_hub_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    inside: list[bool] = []

    def work(index: int) -> None:
        with hub.impatient_hub(offline=True):
            time.sleep(0.01 * (index % 3))
            inside.append(constants.HF_HUB_OFFLINE)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert (inside, constants.HF_HUB_OFFLINE) == ([True] * 8, False)


def test_loading_sets_up_no_logging(tiny_model: str) -> None:
    code = (
        "import logging\n"
        "from gym_vlmrm.reward.clip.towers import load_towers\n"
        f"load_towers({tiny_model!r}, 'cpu')\n"
        "assert logging.root.handlers == [], logging.root.handlers\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")


# Devices and precision -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_asked_for_and_absent(device: str, tiny_model: str) -> None:
    with pytest.raises(ModelError, match=rf"device '{device}' asked for, but torch finds 0 CUDA devices.*device='cpu'"):
        load_towers(tiny_model, device)


@pytest.mark.parametrize("device", ["gpu", "", "cpu:1", "xpu", "cuda:x", "meta"])
def test_unknown_devices(device: str) -> None:
    with pytest.raises(ModelError, match="device"):
        choose_device(device)


def test_small_towers_compute_in_float32() -> None:
    for device in ("cpu", "cuda", "mps"):
        assert choose_precision("auto", torch.device(device), SMALL_TOWER - 1) == "fp32"
    assert choose_precision("fp16", torch.device("cpu"), 1) == "fp16"


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp32")])
def test_large_towers_take_bf16_where_the_processor_has_it(
    has_bf16: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gym_vlmrm.reward.clip.devices._cpu_has_bf16", lambda: has_bf16)
    assert choose_precision("auto", torch.device("cpu"), SMALL_TOWER) == expected
    assert choose_precision("auto", torch.device("mps"), SMALL_TOWER) == "fp32"


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp16")])
def test_large_towers_take_half_precision_on_cuda(
    has_bf16: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: has_bf16)
    assert choose_precision("auto", torch.device("cuda"), SMALL_TOWER) == expected


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_close(tiny_model: str, precision: str) -> None:
    exact, half = load_towers(tiny_model, "cpu", "fp32"), load_towers(tiny_model, "cpu", precision)
    assert half.embed_frames(frames()).dtype == np.float32
    assert cosine(exact.embed_frames(frames()), half.embed_frames(frames())).min() > 0.99


LARGE_LAYERS: dict[str, Any] = {
    **TINY_MODEL,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 256, "head_width": 64, "patch_size": 8},
}
LARGE_PATCHES: dict[str, Any] = {**LARGE_LAYERS, "vision_cfg": {**LARGE_LAYERS["vision_cfg"], "patch_size": 14}}
needs_int8 = pytest.mark.skipif(not can_int8(), reason="needs a processor with VNNI")


@needs_int8
@pytest.mark.parametrize("model", [LARGE_LAYERS, LARGE_PATCHES], ids=["small patches", "large patches"])
def test_int8_stays_close_and_alike_in_every_batch(model: dict[str, Any], make_model_folder: MakeFolder) -> None:
    name = f"local-dir:{make_model_folder(model)}"
    exact, quick = load_towers(name, "cpu", "fp32"), load_towers(name, "cpu", "int8")
    pictures = frames(24)
    embeddings = quick.embed_frames(pictures)
    goal = exact.embed_sentences(["a cat"])[0]
    assert cosine(exact.embed_frames(pictures), embeddings).min() > 0.999
    assert np.abs(exact.embed_frames(pictures) @ goal - embeddings @ goal).max() < 0.02
    one_by_one = np.concatenate([quick.embed_frames(picture[None]) for picture in pictures])
    np.testing.assert_allclose(embeddings, one_by_one, atol=0.005)
    assert spearmanr(exact.embed_frames(pictures) @ goal, embeddings @ goal).statistic > 0.99
    np.testing.assert_array_equal(quick.embed_sentences(["a cat"])[0], goal)


@needs_int8
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("edge", [64, 70])
def test_int8_patches_are_those_of_normalised_colours(bias: bool, edge: int) -> None:
    torch.manual_seed(0)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.3, 0.25, 0.2])
    tower = torch.nn.Sequential(OrderedDict(conv1=torch.nn.Conv2d(3, 200, 16, 16, bias=bias)))
    tower.linear = torch.nn.Linear(400, 400)
    levels = torch.randint(0, 256, (3, edge, edge, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    colours = (levels / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = tower.conv1(colours)
        assert int8.quantise(tower, mean, std, torch.float32)
        actual = tower.conv1(levels)
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() < 0.01 * expected.std() * 3


@needs_int8
def test_int8_is_refused_where_it_cannot_help(tiny_model: str, make_model_folder: MakeFolder) -> None:
    for name in (tiny_model, f"local-dir:{make_model_folder(TINY_RESNET)}", f"local-dir:{EMBEDDED_FOLDER}"):
        with pytest.raises(ModelError, match="large linear layers; use precision='auto'"):
            load_towers(name, "cpu", "int8")
    with pytest.raises(ModelError, match="'int8' runs on a CPU"):
        choose_precision("int8", torch.device("cuda"), 10**9)


def test_int8_needs_a_processor(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "can_int8", lambda: False)
    with pytest.raises(ModelError, match="VNNI"):
        load_towers.__wrapped__(tiny_model, "cpu", "int8")


# Embeddings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [TINY_MODEL, TINY_RESNET], ids=["transformer", "resnet"])
def test_a_frame_is_embedded_alike_in_every_batch(model: dict[str, Any], make_model_folder: MakeFolder) -> None:
    loaded = load_towers(f"local-dir:{make_model_folder(model)}", "cpu")
    pictures = frames(70)
    together = loaded.embed_frames(pictures)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    one_by_one = np.concatenate([loaded.embed_frames(picture[None]) for picture in pictures])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)


def test_channels_last_changes_no_reward(make_model_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"local-dir:{make_model_folder(TINY_RESNET)}"
    fast = load_towers(name, "cpu")
    assert fast._layout is torch.channels_last
    monkeypatch.setattr(towers, "_memory_format", lambda _: torch.contiguous_format)
    plain = load_towers.__wrapped__(name, "cpu")
    np.testing.assert_allclose(fast.embed_frames(frames()), plain.embed_frames(frames()), atol=1e-5)


def test_folded_batch_norms_change_no_reward() -> None:
    """Statistics as training leaves them: without them each norm of this model does nothing."""
    torch.manual_seed(0)
    model = CLIP(**TINY_RESNET).eval()
    for module in model.visual.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected = model.visual(images)
        fold_batch_norms(model.visual)
        actual = model.visual(images)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.visual.modules())
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_who_asks_for_the_same_shares_one_model(tiny_model: str) -> None:
    loaded = load_towers(tiny_model, "cpu")
    for asked in (("cpu", "auto"), ("cpu", "fp32"), *([] if torch.cuda.is_available() else [("auto", "auto")])):
        assert load_towers(tiny_model, *asked) is loaded
    assert (loaded.device, loaded.precision) == ("cpu", "fp32")
    other = load_towers(tiny_model, "cpu", "bf16")
    assert other is not loaded
    assert (other.device, other.precision, other.weights_digest) == ("cpu", "bf16", loaded.weights_digest)


def test_threads_that_ask_at_once_share_one_model(make_model_folder: MakeFolder) -> None:
    name = f"local-dir:{make_model_folder(seed=11)}"
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load_towers(name, "cpu"), range(4)))
    assert all(each is found[0] for each in found)


def test_models_that_nobody_holds_are_gone(make_model_folder: MakeFolder) -> None:
    name = f"local-dir:{make_model_folder(seed=12)}"
    loaded = [load_towers(name, "cpu", precision) for precision in ("fp32", "bf16")]
    gone = [weakref.ref(each) for each in loaded]
    loaded.clear()
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_what_was_written_anew_is_loaded_anew(make_model_folder: MakeFolder, architecture: str) -> None:
    folder = make_model_folder(seed=13)
    names = [f"local-dir:{folder}", f"{architecture}/{folder / 'open_clip_model.safetensors'}"]
    before = [load_towers(name, "cpu") for name in names]
    embeddings = [each.embed_frames(frames()) for each in before]
    weights = make_model_folder(seed=14) / "open_clip_model.safetensors"
    (folder / "open_clip_model.safetensors").write_bytes(weights.read_bytes())
    for name, old, old_embeddings in zip(names, before, embeddings, strict=True):
        new = load_towers(name, "cpu")
        assert new.weights_digest != old.weights_digest
        assert np.abs(new.embed_frames(frames()) - old_embeddings).max() > 1e-3
        assert load_towers(name, "cpu") is new
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.1, 0.1, 0.1]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    again = load_towers(names[0], "cpu")
    assert np.abs(again.embed_frames(frames()) - load_towers(names[1], "cpu").embed_frames(frames())).max() > 1e-3


def test_the_digest_tells_weights_apart(make_model_folder: MakeFolder) -> None:
    folders = [make_model_folder(seed=seed) for seed in (15, 15, 16)]
    digests = [load_towers(f"local-dir:{folder}", "cpu").weights_digest for folder in folders]
    assert digests[0] == digests[1] != digests[2]
    assert re.fullmatch("[0-9a-f]{64}", digests[0])


@pytest.mark.parametrize("part", ["visual.conv1.weight", "token_embedding.weight"])
def test_one_number_of_either_tower_changes_the_digest(part: str, make_model_folder: MakeFolder) -> None:
    folder = make_model_folder(seed=17)
    before = load_towers(f"local-dir:{folder}", "cpu").weights_digest
    weights = load_file(folder / "open_clip_model.safetensors")
    weights[part].view(-1)[0] += 1e-3
    save_file(weights, folder / "open_clip_model.safetensors")
    assert load_towers(f"local-dir:{folder}", "cpu").weights_digest != before


def test_copies_carry_no_weights(tiny_model: str) -> None:
    loaded = load_towers(tiny_model, "cpu")
    data = pickle.dumps(loaded)
    assert len(data) < 1000
    copy = pickle.loads(data)
    assert isinstance(copy, Towers)
    np.testing.assert_array_equal(copy.embed_frames(frames()), loaded.embed_frames(frames()))


# Memory --------------------------------------------------------------------------------------------------------------


class Crowded(torch.nn.Module):
    """A tower on a device that has room for few frames at a time."""

    def __init__(self, tower: torch.nn.Module, room: int) -> None:
        super().__init__()
        self.tower, self.room, self.seen = tower, room, list[int]()

    def forward(self, images: Any) -> Any:
        self.seen.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("no room")
        return self.tower(images)


def test_micro_batches_are_halved_where_memory_is_short(tiny_model: str) -> None:
    loaded = load_towers.__wrapped__(tiny_model, "cpu")
    expected = loaded.embed_frames(frames(40))
    loaded._visual = crowded = Crowded(loaded._visual, room=5)
    np.testing.assert_allclose(loaded.embed_frames(frames(40)), expected, atol=1e-5)
    assert crowded.seen == [16, 8, *[4] * 10]
    crowded.seen.clear()
    np.testing.assert_allclose(loaded.embed_frames(frames(4)), expected[:4], atol=1e-5)
    assert crowded.seen == [4]


def test_a_model_that_does_not_fit_is_one_line(tiny_model: str) -> None:
    loaded = load_towers.__wrapped__(tiny_model, "cpu")
    loaded._visual = Crowded(loaded._visual, room=0)
    with pytest.raises(ModelError, match="do not fit into the memory of cpu; use precision='bf16'"):
        loaded.embed_frames(frames(3))


def test_small_towers_take_more_frames_at_a_time_on_an_accelerator() -> None:
    sizes = [batches.guess_size(torch.device("cuda"), count) for count in (10**6, 86 * 10**6, 2 * 10**9)]
    assert sizes == [batches.SMALL_MICRO_BATCH, batches.MIDDLE_MICRO_BATCH, batches.MICRO_BATCH]
    assert sizes == sorted(sizes, reverse=True)
    assert batches.guess_size(torch.device("cpu"), 10**6) == batches.CPU_MICRO_BATCH


# Preprocessing -------------------------------------------------------------------------------------------------------

SIZES = [(32, 32), (64, 64), (100, 75), (75, 100), (33, 47), (480, 480), (20, 20), (20, 31), (224, 97)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_it_is_open_clips_own_preprocessing(height: int, width: int, mode: str, interpolation: str) -> None:
    """PIL computes in integers: one level of difference is rounding, two would be another picture."""
    config = {
        "size": 32,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "interpolation": interpolation,
        "resize_mode": mode,
    }
    transform = image_transform(
        32, is_train=False, mean=config["mean"], std=config["std"], interpolation=interpolation, resize_mode=mode
    )
    pictures = frames(2, height, width)
    expected = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
    actual = Preprocessing(config, torch.device("cpu"))(torch.from_numpy(pictures))
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() * 255 < 1.01


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 90), (91, 40)])
def test_inputs_that_are_no_squares(height: int, width: int) -> None:
    config = {
        "size": (32, 48),
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    transform = image_transform((32, 48), is_train=False, mean=config["mean"], std=config["std"])
    picture = frames(1, height, width)
    expected = transform(Image.fromarray(picture[0]))
    actual = Preprocessing(config, torch.device("cpu"))(torch.from_numpy(picture))[0]
    assert (actual - expected).abs().max() * 255 * 0.2 < 1.01
