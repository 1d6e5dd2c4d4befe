"""`vlmrm finetune`: captions, targets, what changes and what does not, going on, and the folder that comes out."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gym_vlmrm.reward.clip import towers  # isort: skip  (loads triton before open_clip, as users' programs do)
import open_clip
import torch
from command_line import vlmrm
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.tokenizer import HFTokenizer
from PIL import Image
from safetensors.torch import load_file
from tiny_models import TINY_MODEL, TINY_RESNET

from gym_vlmrm import load_reward_model
from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.finetuning import Settings, finetune, resume
from gym_vlmrm.finetuning import session as session_module
from gym_vlmrm.finetuning.adapters import ADAPTER_MARK, insert_adapters
from gym_vlmrm.finetuning.base import SCRATCH_PREPROCESSING, load_base, write_model
from gym_vlmrm.finetuning.captions import Captioned, CaptionError, read_captions
from gym_vlmrm.finetuning.data import prepare, split
from gym_vlmrm.finetuning.loss import SigmoidHead, separation
from gym_vlmrm.finetuning.parts import choose_weights
from gym_vlmrm.finetuning.settings import FinetuningProgress
from gym_vlmrm.reward.clip.towers import load_towers
from gym_vlmrm.reward.loading import UnknownWordsWarning, unknown_words

assert towers
WEIGHTS = "open_clip_model.safetensors"
PREPROCESS = {"size": 8, "mean": [0.5] * 3, "std": [0.5] * 3}


TOKENS = torch.tensor([[49406, 736, 49407, *[0] * 74]])
WIDER = {**TINY_RESNET["vision_cfg"], "width": 32}


def run(code: str) -> None:
    """Run a program of its own, whose warnings are errors."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def picture(red: bool, seed: int) -> Any:
    """A noisy picture (32, 32, 3) in which one colour dominates."""
    frame = np.random.default_rng(seed).integers(0, 120, (32, 32, 3)).astype(np.uint8)
    frame[..., 0 if red else 2] = frame[..., 0 if red else 2] // 2 + 150
    return frame


def colours(folder: Path, count: int = 64) -> Path:
    """Pictures of two colours, and a table of their captions."""
    folder.mkdir()
    rows = [("file", "caption")]
    for i in range(count):
        Image.fromarray(picture(i % 2 == 0, i)).save(folder / f"{i}.png")
        rows.append((f"{i}.png", f"a {'red' if i % 2 == 0 else 'blue'} picture"))
    with (folder / "captions.csv").open("w", newline="") as table:
        csv.writer(table).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colours(tmp_path_factory.mktemp("finetuning") / "data")


@pytest.fixture
def settings(data: Path, tiny_model: str) -> Settings:
    return Settings(str(data), tiny_model, steps=40, batch_size=16, device="cpu", held_out=0.2)


def auc(model: str, goal: str = "a red picture", baseline: str | None = None) -> float:
    """Of the reward for the goal, on new pictures."""
    task = "cartpole"
    reward = load_reward_model(
        task, model=model, goal=goal, baseline=baseline or "a blue picture", alpha=0, device="cpu"
    )
    reds, blues = (reward(np.stack([picture(red, 1000 + i) for i in range(20)])) for red in (True, False))
    return float((reds[:, None] > blues[None]).mean())


# The whole way --------------------------------------------------------------------------------------------------------


def test_all_weights_learn_two_colours(settings: Settings, tmp_path: Path) -> None:
    seen: list[FinetuningProgress] = []
    result = finetune(settings, tmp_path / "out", seen.append)
    assert auc(f"local-dir:{tmp_path / 'out'}") == 1
    assert auc(f"local-dir:{tmp_path / 'out'}", "a blue picture", "a red picture") == 0
    assert result.before is not None
    assert result.after is not None
    assert result.after.loss < result.before.loss / 2
    assert result.after.auc == 1
    assert [progress.step for progress in seen] == list(range(1, result.step + 1))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "finetuning.json", "open_clip_config.json", WEIGHTS,
    ]  # fmt: skip


def test_the_card_says_how_the_model_was_made(settings: Settings, tmp_path: Path) -> None:
    result = finetune(replace(settings, steps=2, seed=7), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert result.before is not None
    for said in ("64 frames (13 of them", settings.model, "| Seed | 7 |", f"{result.before.loss:.4f}", "torch 2."):
        assert said in card


def test_equal_seeds_give_equal_weights_and_others_do_not(settings: Settings, tmp_path: Path) -> None:
    few = replace(settings, steps=3)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        finetune(replace(few, seed=seed), tmp_path / name)
    first, second, third = (load_file(tmp_path / name / WEIGHTS) for name in "abc")
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not all(torch.equal(value, third[name]) for name, value in first.items())


def base_weights(model: str) -> dict[str, torch.Tensor]:
    return load_file(Path(model.removeprefix("local-dir:")) / WEIGHTS)


def changed(model: str, folder: Path) -> set[str]:
    before, after = base_weights(model), load_file(folder / WEIGHTS)
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_projection_leaves_every_other_weight_alone(settings: Settings, tmp_path: Path) -> None:
    finetune(replace(settings, train="projection", learning_rate=0.02, steps=60), tmp_path / "out")
    assert changed(settings.model, tmp_path / "out") <= {"visual.proj", "text_projection", "logit_scale"}
    assert {"visual.proj", "text_projection"} <= changed(settings.model, tmp_path / "out")
    assert auc(f"local-dir:{tmp_path / 'out'}") > 0.9


def test_projection_of_a_convolutional_tower(settings: Settings, make_model_folder: Callable[..., Path]) -> None:
    base = load_base(f"local-dir:{make_model_folder(TINY_RESNET)}", "cpu")
    ends = {"visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias", "text_projection"}
    assert set(choose_weights(base.model, "projection")) == ends
    # Gradients of anything else would cost the memory that this way of training saves.
    assert {name for name, value in base.model.named_parameters() if value.requires_grad} == ends


# Adapters -------------------------------------------------------------------------------------------------------------


def test_adapters_are_merged_into_weights_of_the_usual_names(settings: Settings, tmp_path: Path) -> None:
    finetune(replace(settings, train="adapters"), tmp_path / "out")
    names = changed(settings.model, tmp_path / "out")
    for tower in ("visual.transformer", "transformer"):
        assert f"{tower}.resblocks.0.attn.in_proj_weight" in names
        assert f"{tower}.resblocks.0.mlp.c_fc.weight" in names
    assert not {name for name in names if "ln_" in name or "embedding" in name or name.endswith(("bias", ".proj"))}
    assert auc(f"local-dir:{tmp_path / 'out'}") == 1


def test_adapters_of_a_convolutional_tower(settings: Settings, make_model_folder: Any, tmp_path: Path) -> None:
    model = f"local-dir:{make_model_folder({**TINY_RESNET, 'vision_cfg': WIDER})}"
    few = replace(settings, model=model, train="adapters", steps=20, learning_rate=3e-3, held_out=0)
    losses: list[float] = []
    finetune(few, tmp_path / "out", lambda progress: losses.append(progress.loss))
    assert losses[-1] < losses[0]
    names = changed(model, tmp_path / "out")
    # Random weights of open_clip let nothing through the residual branches.
    assert {"visual.conv1.weight", "visual.layer1.0.downsample.0.weight"} <= names
    assert "transformer.resblocks.0.attn.in_proj_weight" in names
    assert not {name for name in names if "bn" in name or "attnpool" in name}


@pytest.mark.slow
def test_open_clip_alone_loads_what_adapters_made(settings: Settings, tmp_path: Path) -> None:
    finetune(replace(settings, train="adapters", steps=4), tmp_path / "out")
    code = f"""
import sys
sys.modules["peft"] = None
import open_clip, torch
from safetensors.torch import load_file
model = open_clip.create_model("local-dir:{tmp_path / "out"}")
weights = load_file("{tmp_path / "out" / WEIGHTS}")
assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
assert not [name for name in sys.modules if name.startswith("gym_vlmrm")]
"""
    run(code)


@pytest.mark.parametrize("architecture", [TINY_MODEL, TINY_RESNET])
def test_adapters_change_nothing_at_first_and_merge_exactly(make_model_folder: Any, architecture: Any) -> None:
    folder = make_model_folder(architecture)
    model, images = load_base(f"local-dir:{folder}", "cpu").model, torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = model.encode_image(images)
        adapted = insert_adapters(model, images, TOKENS, 0)
        chosen = choose_weights(model, "adapters")
        torch.testing.assert_close(model.encode_image(images), before)
        for value in chosen.values():
            value.add_(0.05)
        moved = model.encode_image(images)
        adapted.merge_and_unload()
        torch.testing.assert_close(model.encode_image(images), moved)
    assert not torch.allclose(before, moved)
    assert model.state_dict().keys() == load_file(folder / WEIGHTS).keys()


@pytest.mark.parametrize("architecture", [TINY_MODEL, TINY_RESNET])
def test_every_adapter_learns_and_no_weight_below_drifts(make_model_folder: Any, architecture: Any) -> None:
    model, images = load_base(f"local-dir:{make_model_folder(architecture)}", "cpu").model, torch.randn(2, 3, 32, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    insert_adapters(model, images, TOKENS, 0)
    chosen = choose_weights(model, "adapters")
    assert {name for name, value in model.named_parameters() if value.requires_grad} == set(chosen)
    optimizer = torch.optim.SGD(chosen.values(), lr=0.01)
    for _ in range(10):
        (model.encode_image(images).sum() + model.encode_text(TOKENS).sum()).backward()
        optimizer.step()
    assert all(value.grad is not None for value in chosen.values())
    below = {name.replace(".base_layer", ""): value for name, value in model.state_dict().items()}
    assert all(torch.equal(below[name], value) for name, value in before.items())


def test_equal_seeds_draw_equal_adapters(tiny_model: str) -> None:
    def drawn(seed: int) -> dict[str, torch.Tensor]:
        model = load_base(tiny_model, "cpu").model
        state = torch.get_rng_state()
        insert_adapters(model, torch.zeros(1, 3, 32, 32), TOKENS, seed)
        assert torch.equal(torch.get_rng_state(), state)
        return dict(choose_weights(model, "adapters"))

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert not all(torch.equal(value, other[name]) for name, value in one.items())


def test_adapters_without_peft_name_the_extra(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"pip install 'gym-vlmrm\[adapters\]'") as error:
        finetune(replace(settings, train="adapters"), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_adapters_after_a_context_of_opengl() -> None:
    """Loading triton's LLVM after Mesa's would end the process, and peft brings triton."""
    code = """
import gymnasium, sys
env = gymnasium.make("Humanoid-v5", render_mode="rgb_array")
env.reset()
env.render()
from gym_vlmrm.finetuning.adapters import require_peft
assert "peft" not in sys.modules
require_peft()
env.render()
"""
    run(code)


def test_the_cached_model_of_the_package_stays_as_it_was(settings: Settings, tmp_path: Path) -> None:
    frames = picture(True, 0)[None]
    before = load_towers(settings.model, "cpu").embed_frames(frames)
    finetune(replace(settings, steps=2), tmp_path / "out")
    np.testing.assert_array_equal(load_towers(settings.model, "cpu").embed_frames(frames), before)


# From scratch ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_from_scratch_learns_and_knows_its_words(settings: Settings, tmp_path: Path) -> None:
    result = finetune(replace(settings, model="scratch", steps=24), tmp_path / "out")
    name = f"local-dir:{tmp_path / 'out'}"
    assert result.after is not None
    assert auc(name) == 1
    assert unknown_words(name, ["a red handstand"]) == ["handstand"]
    with pytest.warns(UnknownWordsWarning, match="never saw 'handstand'"):
        load_reward_model("cartpole", model=name, goal="a handstand", baseline="a blue picture", device="cpu")


def test_scratch_without_tokenizers_names_the_extra(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ModelError, match=r"pip install 'gym-vlmrm\[scratch\]'"):
        finetune(replace(settings, model="scratch"), tmp_path / "out")


def test_the_embedded_model_goes_on_learning_and_keeps_its_words(settings: Settings, tmp_path: Path) -> None:
    frames = picture(True, 0)[None]
    before = load_reward_model("kneeling", device="cpu")(frames)
    finetune(replace(settings, model="embedded", steps=2), tmp_path / "out")
    name = f"local-dir:{tmp_path / 'out'}"
    assert unknown_words(name, ["a humanoid robot kneeling beside a picture"]) == []
    assert unknown_words(name, ["a humanoid robot kneeling beside a zeppelin"]) == ["zeppelin"]
    after = load_reward_model("kneeling", model=name, device="cpu")(frames)
    assert after != before  # two steps changed it
    assert after == pytest.approx(before, abs=0.5)  # and left most of it


def test_a_tokenizer_from_hugging_face_is_saved_beside_the_weights(tiny_model: str, tmp_path: Path) -> None:
    class Words(HFTokenizer):  # type: ignore[misc]
        def __init__(self) -> None:
            """Load nothing."""

        def save_pretrained(self, dest: str) -> None:
            (Path(dest) / "tokenizer.json").write_text("{}")

    write_model(replace(load_base(tiny_model, "cpu"), tokenizer=Words()), tmp_path, ["a red picture"])
    assert (tmp_path / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    "name", ["ViT-B-32", "RN50", "ViT-B-16-SigLIP2", "PE-Core-B-16", "MobileCLIP2-S0", "EVA02-B-16"]
)
def test_both_towers_of_published_architectures_have_a_last_layer(name: str) -> None:
    config = open_clip.get_model_config(name)
    kind = CustomTextCLIP if config.pop("custom_text", False) else CLIP
    with torch.device("meta"):
        model = kind(**config).requires_grad_(False)
    chosen = choose_weights(model, "projection")
    assert any(name.startswith("visual.") for name in chosen)
    assert any("text_projection" in name for name in chosen)
    whole = sum(value.numel() for value in model.parameters())
    assert sum(value.numel() for value in chosen.values()) < 0.15 * whole
    model.requires_grad_(False).eval()
    size = model.visual.image_size
    with torch.device("meta"):
        images = torch.zeros((1, 3, *(size if isinstance(size, tuple) else (size, size))))
        insert_adapters(model, images, torch.zeros((1, model.context_length), dtype=torch.long), 0)
    names = [name for name in choose_weights(model, "adapters") if ADAPTER_MARK in name]
    assert {name.startswith("visual.") for name in names} == {True, False}
    assert sum(value.numel() for value in choose_weights(model, "adapters").values()) < 0.05 * whole


# Stopping and going on ------------------------------------------------------------------------------------------------


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[FinetuningProgress], None]:
    """Return a watcher that presses Ctrl-C."""
    import signal

    def watch(progress: FinetuningProgress) -> None:
        if progress.step == step:
            signal.raise_signal(signal.SIGINT)

    return watch


@pytest.mark.parametrize(
    ("model", "part"), [("tiny", "all"), ("tiny", "adapters"), ("embedded", "adapters"), ("scratch", "all")]
)
def test_going_on_equals_never_having_stopped(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, part: Any
) -> None:
    few = replace(settings, train=part, steps=8, model=settings.model if model == "tiny" else model)
    monkeypatch.setattr(session_module, "MEASUREMENTS", 4)
    finetune(few, tmp_path / "whole")
    stopped = finetune(few, tmp_path / "broken", stop_after(monkeypatch, 3))
    assert stopped.interrupted
    assert stopped.step == 3
    assert not (tmp_path / "broken" / WEIGHTS).exists()
    result = resume(tmp_path / "broken")
    assert (result.step, result.interrupted) == (8, False)
    whole, broken = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "broken"))
    assert all(torch.equal(value, broken[name]) for name, value in whole.items())
    records = [json.loads((tmp_path / name / "finetuning.json").read_text()) for name in ("whole", "broken")]
    assert records[0]["measurements"] == records[1]["measurements"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_clusters_signal_stops_as_ctrl_c_does(settings: Settings, tmp_path: Path, name: str) -> None:
    import signal

    number = getattr(signal, name)
    before = signal.getsignal(number)
    few = replace(settings, steps=8)
    stopped = finetune(few, tmp_path / "out", lambda _: signal.raise_signal(number))
    assert (stopped.interrupted, stopped.step, stopped.signal) == (True, 1, number)
    assert signal.getsignal(number) is before
    assert resume(tmp_path / "out", device="cpu").step == 8
    assert json.loads((tmp_path / "out" / "finetuning.json").read_text())["settings"]["device"] == "cpu"


def test_a_second_ctrl_c_does_not_cost_the_state(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    write = session_module.write_state

    def impatiently(*args: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        write(*args)

    few = replace(settings, steps=8)

    def watch(_: FinetuningProgress) -> None:
        monkeypatch.setattr(session_module, "write_state", impatiently)
        signal.raise_signal(signal.SIGINT)

    assert finetune(few, tmp_path / "out", watch).step == 1
    monkeypatch.setattr(session_module, "write_state", write)
    assert resume(tmp_path / "out").step == 8


def test_the_threads_of_torch_are_given_back(settings: Settings, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        finetune(replace(settings, steps=2), tmp_path / "out")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_folder_that_cannot_be_written_is_one_line_before_any_work(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot write to"):
        finetune(replace(settings, captions="nowhere"), tmp_path / "file" / "out")


def test_one_folder_is_trained_by_one_process(settings: Settings, tmp_path: Path) -> None:
    def watch(progress: FinetuningProgress) -> None:
        with pytest.raises(RunError, match="another process is training"):
            resume(tmp_path / "out")

    finetune(replace(settings, steps=2), tmp_path / "out", watch)
    assert not (tmp_path / "out" / ".lock").exists()


def test_training_stops_early_and_keeps_the_best_weights(settings: Settings, tmp_path: Path) -> None:
    result = finetune(replace(settings, learning_rate=0.9, steps=100, patience=2), tmp_path / "out")
    record = json.loads((tmp_path / "out" / "finetuning.json").read_text())
    losses = {row["step"]: row["loss"] for row in record["measurements"]}
    assert result.stopped_early
    assert result.after is not None
    assert result.after.loss == min(losses.values())
    assert sum(step > result.after.step for step in losses) >= 2


def test_what_cannot_be_resumed(settings: Settings, tmp_path: Path, data: Path, monkeypatch: Any) -> None:
    with pytest.raises(RunError, match=r"no finetuning\.json"):
        resume(tmp_path)
    finetune(replace(settings, steps=1), tmp_path / "done")
    with pytest.raises(RunError, match="is finished"):
        resume(tmp_path / "done")
    other = colours(tmp_path / "other", 8)
    stop = stop_after(monkeypatch, 1)
    finetune(replace(settings, captions=str(other)), tmp_path / "changed", stop)
    Image.fromarray(picture(True, 77)).save(other / "3.png")
    with pytest.raises(RunError, match="are not those that"):
        resume(tmp_path / "changed")
    with pytest.raises(RunError, match="exists already"):
        finetune(settings, tmp_path / "done")


# Targets and loss -----------------------------------------------------------------------------------------------------


def prepared(*captions: list[str], complete: bool = False) -> Any:
    return prepare(Captioned(np.zeros((len(captions), 8, 8, 3), np.uint8), list(captions), complete), PREPROCESS)


def test_equal_captions_are_true_of_every_picture_that_has_them() -> None:
    frames = prepared(["red"], ["blue"], ["red"], ["green"])
    targets = frames.targets(np.arange(4), np.arange(3))
    np.testing.assert_array_equal(targets, [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_captions_that_share_pictures_are_not_opposites() -> None:
    frames = prepared(["red", "crimson"], ["red"], ["crimson", "red"], ["blue"], ["blue"], ["blue", "a picture"])
    column = frames.texts.index("crimson")
    targets = frames.targets(np.arange(6), np.array([column]))[:, 0]
    assert targets[0] == targets[2] == 1
    assert 0 < targets[1] < 1
    assert not targets[3:].any()
    sure = prepared(["red", "crimson"], ["red"], ["blue"], complete=True)
    assert sure.targets(np.array([1]), np.array([sure.texts.index("crimson")])) == 0


def test_scores_say_how_true_captions_are(tmp_path: Path) -> None:
    folder = colours(tmp_path / "data", 3)
    rows = ["0.png,up,1", "0.png,down,0", "1.png,up,0.25", "1.png,down,", "2.png,level,0.5"]
    (folder / "captions.csv").write_text("\n".join(["file,caption,score", *rows]))
    data = read_captions(folder)
    assert data.scores == [[1, 0], [0.25, 1], [0.5]]
    frames = prepare(data, SCRATCH_PREPROCESSING)
    order = np.array([frames.texts.index(text) for text in ("up", "down", "level")])
    np.testing.assert_array_equal(frames.targets(np.arange(3), order), [[1, 0, 0], [0.25, 1, 0], [0, 0, 0.5]])
    np.testing.assert_array_equal(frames.targets(np.array([1]), order[1:]), [[1, 0]])
    plain = prepare(replace(data, scores=None), SCRATCH_PREPROCESSING)
    assert frames.fingerprint() != plain.fingerprint()


def test_one_sentence_by_degrees_is_enough(tmp_path: Path) -> None:
    folder = colours(tmp_path / "data", 3)
    (folder / "captions.csv").write_text("file,caption,score\n0.png,up,1\n1.png,up,0.4\n2.png,up,0\n")
    frames = prepare(read_captions(folder), SCRATCH_PREPROCESSING)
    np.testing.assert_allclose(frames.targets(np.arange(3), np.array([0])), [[1], [0.4], [0]], atol=1e-6)
    (folder / "captions.csv").write_text("file,caption\n0.png,up\n1.png,up\n")
    with pytest.raises(CaptionError, match="every picture has the caption 'up'"):
        prepare(read_captions(folder), SCRATCH_PREPROCESSING)


def test_the_loss_is_least_where_the_targets_are_met() -> None:
    head = SigmoidHead(np.log(10))
    images = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2], [1.0, -0.2], [-1.0, 0.0]]), dim=-1)
    texts = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    right = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert (
        head(images, texts, right)
        < 0.01
        < head(images, texts, torch.full((3, 2), 0.5))
        < head(images, texts, 1 - right)
    )
    assert torch.isfinite(head(images, texts, torch.ones(3, 2)))
    assert separation(images @ texts.T, right) == 1
    assert separation(images @ texts.T, torch.ones(3, 2)) is None


def test_the_split_is_by_picture_and_seed() -> None:
    training, judges = split(20, 0.1, 0)
    assert sorted([*training, *judges]) == list(range(20))
    assert len(judges) == 2
    assert not np.array_equal(split(20, 0.1, 1)[1], judges)
    assert len(split(20, 0, 0)[1]) == 0
    assert [len(part) for part in split(2, 0.9, 0)] == [1, 1]


# Captions -------------------------------------------------------------------------------------------------------------


def test_a_table_in_json_lines_with_several_captions_per_picture(tmp_path: Path) -> None:
    Image.fromarray(picture(True, 0)).save(tmp_path / "a.png")
    rows = [{"file": "a.png", "caption": text} for text in ("red", "a  red one\n", "red")]
    (tmp_path / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    found = read_captions(tmp_path)
    assert found.pictures == [tmp_path / "a.png"]
    assert found.captions == [["red", "a red one"]]


@pytest.mark.parametrize(
    ("table", "text", "said"),
    [
        ("captions.csv", "file,text\na.png,red\n", r"captions.csv:1: unknown column 'text'; the columns are file and"),
        ("captions.csv", "caption\nred\n", "no column 'file'"),
        ("captions.csv", "", "no column 'file'"),
        ("captions.csv", "file,caption\n", "holds no captions"),
        ("captions.csv", "file,caption\na.png,\n", "captions.csv:2: the caption of 'a.png' is empty"),
        ("captions.csv", "file,caption\na.png,a red, wide one\n", "captions.csv:2: more than two columns"),
        ("captions.csv", "file,caption\nb.png,red\n", "captions.csv:2: no picture 'b.png'"),
        ("captions.csv", "file,caption,score\na.png,a red, wide one,1\n", "captions.csv:2: more than three columns"),
        ("captions.csv", "file,caption,score\na.png,red,1.5\n", "captions.csv:2: score '1.5'; it says from 0 to 1"),
        ("captions.csv", "file,caption,score\na.png,red,.3\na.png,red,.9\n", "captions.csv:3: 'red' has two scores"),
        ("captions.csv", "file,caption,score\na.png,red,nan\n", "captions.csv:2: score 'nan'"),
        ("captions.csv", "file,caption,score\na.png,red,0_1\n", "captions.csv:2: score '0_1'"),
        ("captions.jsonl", '{"file": "a.png", "caption": "red", "score": true}', "captions.jsonl:1: score True"),
        ("captions.jsonl", '{"file": "a.png", "caption": "red", "score": null}', "captions.jsonl:1: score None"),
        ("captions.jsonl", '{"file": "a.png", "caption": "red"}\nred\n', "captions.jsonl:2: not JSON"),
        ("captions.jsonl", '["a.png", "red"]', "captions.jsonl:1: not an object"),
        ("captions.jsonl", '{"file": "a.png", "caption": 3}', "must both be strings"),
        ("captions.txt", "file,caption\n", "holds neither captions.csv nor captions.jsonl"),
    ],
)
def test_a_wrong_table_is_told_by_its_line(tmp_path: Path, table: str, text: str, said: str) -> None:
    Image.fromarray(picture(True, 0)).save(tmp_path / "a.png")
    (tmp_path / table).write_text(text)
    with pytest.raises(CaptionError, match=said) as error:
        read_captions(tmp_path)
    assert "\n" not in str(error.value)


def test_data_of_which_nothing_can_be_learned(settings: Settings, tmp_path: Path) -> None:
    broken = colours(tmp_path / "broken", 4)
    (broken / "2.png").write_bytes(b"no picture")
    with pytest.raises(CaptionError, match=r"cannot read picture .*2\.png"):
        finetune(replace(settings, captions=str(broken)), tmp_path / "out")
    for captions, said in (([["red"]], "too few"), ([["red"]] * 3, "nothing can be told apart")):
        with pytest.raises(CaptionError, match=said):
            prepared(*captions)
    with pytest.raises(CaptionError, match="did you mean 'cartpole'"):
        finetune(replace(settings, captions="cart-pole"), tmp_path / "out")
    with pytest.raises(ModelError, match="unknown model"):
        finetune(replace(settings, model="ViT-B-23/openai"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_built_in_scene_captions_itself(settings: Settings, tmp_path: Path) -> None:
    few = replace(settings, captions="mountain-car", frames=40, steps=2)
    result = finetune(few, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "finetuning.json").read_text())
    assert result.after is not None
    assert record["data"]["frames"] == 40
    assert record["data"]["captions"] > 50


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["humanoid", "cartpole", "mountain-car"])
def test_every_built_in_scene_has_captions(scene: str) -> None:
    from gym_vlmrm.finetuning.scenes import gather

    found = gather(scene, 12, 0)
    assert len(found.pictures) == len(found.captions) == 12
    assert all(len(captions) >= 5 for captions in found.captions)


def test_every_built_in_goal_is_among_the_captions_of_its_scene() -> None:
    from gym_vlmrm.finetuning.scenes import scene_captions, scene_names
    from gym_vlmrm.task.catalog import builtin_tasks
    from gym_vlmrm.worlds.scene import find_scene

    assert {"humanoid", "cartpole", "mountain-car"} <= set(scene_names())
    for task in builtin_tasks().values():
        if task.reward.model != "embedded" or getattr(find_scene(task.env.id), "name", None) not in scene_names():
            continue
        if task.reward.sees_films:  # which no picture shows
            continue
        said = [sentence for row in scene_captions(find_scene(task.env.id).name) for sentence in row.say]
        assert len(said) == len(set(said))
        assert task.reward.goal in said, task.id


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_from_end_to_end(data: Path, tiny_model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--model", tiny_model, "--output", out, "--device", "cpu", "--batch-size", 16, "--steps", 40)
    result = vlmrm("finetune", data, *options, "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["status"] == "finished"
    assert printed["after"]["loss"] < printed["before"]["loss"]
    assert auc(printed["model"]) == 1
    again = vlmrm("finetune", data, *options)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    assert len(again.stderr.splitlines()) == 1


def test_the_command_says_its_result_or_nothing(data: Path, tiny_model: str, tmp_path: Path) -> None:
    options = ("--model", tiny_model, "--device", "cpu", "--epochs", 1)
    spoken = vlmrm("finetune", data, *options, "--output", tmp_path / "spoken")
    assert "held out: loss" in spoken.stdout
    silent = vlmrm("finetune", data, *options, "--output", tmp_path / "silent", "--quiet")
    assert (silent.exit_code, silent.stdout) == (0, "")


def test_an_interrupted_command_says_how_to_go_on(
    data: Path, tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = session_module.FinetuningSession.begin

    def begin_and_stop(session: Any) -> None:
        begin(session)
        session.stop = True

    monkeypatch.setattr(session_module.FinetuningSession, "begin", begin_and_stop)
    result = vlmrm("finetune", data, "--model", tiny_model, "--output", tmp_path / "out", "--steps", 2, "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["status"] == "interrupted"
    assert f"vlmrm finetune --resume {tmp_path / 'out'}" in result.stderr
    result = vlmrm("finetune", "--resume", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["step"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("data",), "--model"),
        (("data", "--model", "scratch"), "--output"),
        (("data", "--model", "scratch", "--output", "out", "--train", "projection"), "nothing to keep"),
        (("data", "--model", "m", "--output", "out", "--steps", 1, "--epochs", 1), "not both"),
        (("data", "--model", "m", "--output", "out", "--learning-rate", 0), "between 0 and 1"),
        (("data", "--model", "m", "--output", "out", "--train", "most"), "most"),
        (("data", "--resume", "out"), "leave CAPTIONS out"),
        (("--resume", "out", "--steps", 3), "leave --steps out"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[object, ...], said: str) -> None:
    result = vlmrm("finetune", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_errors_of_data_and_model_exit_with_1(data: Path, tmp_path: Path) -> None:
    for arguments, said in (
        ((tmp_path / "none", "--model", "scratch"), "no folder"),
        ((data, "--model", "ViT-B-23/openai"), "unknown model"),
        ((data, "--model", f"local-dir:{tmp_path}"), "no open_clip_config.json"),
    ):
        result = vlmrm("finetune", *arguments, "--output", tmp_path / "out")
        assert result.exit_code == 1, result.output
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
