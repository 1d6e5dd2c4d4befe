"""Models in the formats that users have: other tokenizers, other text towers, folders and the Hub's cache."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gym_vlmrm.reward.clip  # isort: skip  # noqa: F401  (loads triton before open_clip)
import open_clip
import torch
import transformers
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP
from PIL import Image
from safetensors.torch import save_file
from tiny_models import PREPROCESSING, TINY_MODEL

from gym_vlmrm import load_reward_model
from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.clip.opening import load_tokenizer
from gym_vlmrm.reward.clip.towers import load_towers
from gym_vlmrm.reward.loading import CutPromptWarning, cut_prompts

WORDS = ["a", "cat", "dog", "on", "the", "mat", "red"]
SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]
CONTEXT = 8
TEXT = {"context_length": CONTEXT, "vocab_size": len(WORDS) + len(SPECIAL), "width": 16, "heads": 2, "layers": 1}
VISION = TINY_MODEL["vision_cfg"]
HF: dict[str, Any] = {**TINY_MODEL, "text_cfg": {**TEXT, "hf_tokenizer_name": "someone/tiny"}}
CUSTOM: dict[str, Any] = {**HF, "custom_text": True}
SIGLIP: dict[str, Any] = {
    **HF,
    "custom_text": True,
    "init_logit_bias": -10,
    "text_cfg": {
        **HF["text_cfg"], "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    },
}  # fmt: skip
COCA: dict[str, Any] = {
    "embed_dim": 16,
    "custom_text": True,
    "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "text_cfg": {
        "context_length": 76, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1, "embed_cls": True,
        "output_tokens": True,
    },
    "multimodal_cfg": {"context_length": 76, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}  # fmt: skip
MODELS = {"hf tokenizer": HF, "custom text": CUSTOM, "like siglip": SIGLIP, "coca": COCA}
Save = Callable[[dict[str, Any]], Path]


def save_tokenizer(folder: Path, padding: str = "[PAD]", side: str = "right") -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", ids["[BOS]"]), ("[EOS]", ids["[EOS]"])]
    )
    names = {"unk_token": "[UNK]", "bos_token": "[BOS]", "eos_token": "[EOS]", "pad_token": padding}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side=side, **names)
    fast.save_pretrained(str(folder))


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return a function that saves a small model with random weights as its makers would."""

    def make(config: dict[str, Any]) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        kind = CoCa if "multimodal_cfg" in config else CustomTextCLIP if "custom_text" in config else CLIP
        torch.manual_seed(0)
        model = kind(**{key: value for key, value in config.items() if key != "custom_text"})
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(weights, folder / "open_clip_model.safetensors")
        saved = {"model_cfg": config, "preprocess_cfg": PREPROCESSING}
        (folder / "open_clip_config.json").write_text(json.dumps(saved))
        if "hf_tokenizer_name" in config["text_cfg"]:
            save_tokenizer(folder)
        return folder

    return make


def pictures(count: int = 3) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_embeddings_are_open_clips_own(config: dict[str, Any], save: Save) -> None:
    name = f"local-dir:{save(config)}"
    reference, _, transform = open_clip.create_model_and_transforms(name)
    reference.eval()
    tokenizer = open_clip.get_tokenizer(name)
    sentences = ["a red cat", "the dog on the mat"]
    with torch.inference_mode():
        images = torch.stack([transform(Image.fromarray(picture)) for picture in pictures()])
        frames = reference.encode_image(images, normalize=True).numpy()
        words = reference.encode_text(tokenizer(sentences), normalize=True).numpy()
    loaded = load_towers(name, "cpu")
    np.testing.assert_allclose(loaded.embed_frames(pictures()), frames, atol=1e-5)
    np.testing.assert_allclose(loaded.embed_sentences(sentences), words, atol=1e-5)
    assert np.abs(words[0] - words[1]).max() > 1e-3
    reward = load_reward_model("splits", model=name, goal="a red cat", baseline="the mat", alpha=0.0, device="cpu")
    np.testing.assert_allclose(reward(pictures()), frames @ words[0], atol=1e-5)


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_the_hubs_cache_gives_the_same(
    config: dict[str, Any], save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(config)
    home = tmp_path / "hub" / "models--someone--tiny"
    (home / "snapshots").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "snapshots" / ("0" * 40)).symlink_to(folder)
    (home / "refs" / "main").write_text("0" * 40)
    missing = home / ".no_exist" / ("0" * 40)  # how the Hub's cache knows what a model does not have
    missing.mkdir(parents=True)
    for file in ("config.json", "added_tokens.json", "special_tokens_map.json", "chat_template.jinja"):
        (missing / file).touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home.parent))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(home.parent), raising=False)
    here, there = load_towers(f"local-dir:{folder}", "cpu"), load_towers("hf-hub:someone/tiny", "cpu")
    np.testing.assert_array_equal(there.embed_frames(pictures()), here.embed_frames(pictures()))
    np.testing.assert_array_equal(there.embed_sentences(["a red cat"]), here.embed_sentences(["a red cat"]))
    assert there.weights_digest == here.weights_digest


# Prompts that are too long --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("padding", ["[PAD]", "[EOS]"])
def test_what_a_tokenizer_of_transformers_does_not_read(padding: str, side: str, save: Save) -> None:
    folder = save(HF)
    save_tokenizer(folder, padding, side)
    name = f"local-dir:{folder}"
    room = CONTEXT - 2  # beside [BOS] and [EOS]
    for count in (1, room - 1, room):
        assert cut_prompts(name, [" ".join(["cat"] * count)]) == {}
    for over in (1, 2, 3, 9):
        sentence = " ".join(["cat"] * room + ["mat"] * over)
        assert cut_prompts(name, [sentence, "a cat"]) == {sentence: " ".join(["mat"] * over)}


def test_a_reward_model_warns_of_what_it_does_not_read(save: Save) -> None:
    name = f"local-dir:{save(HF)}"
    goal = "a red cat on the red mat"
    with pytest.warns(
        CutPromptWarning, match=r"no room for the end of a prompt: of 'a red cat .*' it never reads 'mat'"
    ):
        load_reward_model("splits", model=name, goal=goal, baseline="a cat", device="cpu")


def test_the_embedded_model_reads_forty_tokens() -> None:
    fits = " ".join(["robot"] * 38)
    assert cut_prompts("embedded", [fits, f"{fits} kneeling"]) == {f"{fits} kneeling": "kneeling"}
    other = f"{fits} standing"
    with pytest.warns(CutPromptWarning, match="never reads 'standing'"):
        load_reward_model("kneeling", goal=other, device="cpu")


def test_what_is_not_here_is_not_asked_for() -> None:
    for name in ("brightness", "hf-hub:nobody/nothing", "no-such-model/at-all", "my own model"):
        assert cut_prompts(name, ["word " * 200]) == {}
    assert cut_prompts("ViT-B-32/openai", ["cat " * 75, "cat " * 76]) == {"cat " * 76: "cat"}
    with pytest.raises(ModelError, match="unknown model"):
        load_tokenizer("no-such-model/at-all")


@pytest.mark.parametrize("options", [{"trust_remote_code": True}, {"bpe_path": "elsewhere.gz"}])
def test_a_strangers_configuration_runs_no_program(options: dict[str, Any], save: Save) -> None:
    folder = save({**HF, "text_cfg": {**HF["text_cfg"], "tokenizer_kwargs": options}})
    program = "raise SystemExit('a stranger ran a program')\n"
    (folder / "tokenizer.py").write_text(program)
    described = json.loads((folder / "tokenizer_config.json").read_text())
    described["auto_map"] = {"AutoTokenizer": ["tokenizer.Tokenizer", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    name = f"local-dir:{folder}"
    for load in (load_towers, load_tokenizer):
        with pytest.raises(ModelError, match=rf"sets '{next(iter(options))}' for its tokenizer"):
            load(name)
    assert cut_prompts(name, ["cat " * 20]) == {}
