"""The embedded model without open_clip: the same bits, in less memory."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.clip.filling import weights_digest
from gym_vlmrm.reward.clip.opening import open_model
from gym_vlmrm.reward.clip.small import open_small
from gym_vlmrm.reward.clip.towers import Towers
from gym_vlmrm.reward.loading import EMBEDDED_FOLDER

NAME = f"local-dir:{EMBEDDED_FOLDER}"
CPU = torch.device("cpu")
SENTENCES = ["a humanoid robot kneeling", "", "MIXED case, it's &amp; ünïcode 42", "the pole " * 30]


def test_every_bit_is_open_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYM_VLMRM_CACHE", "off")
    small = open_small(NAME)
    assert small is not None
    large = open_model(NAME, CPU)
    assert (small[1](SENTENCES) == large[1](SENTENCES)).all()
    assert (small[1](SENTENCES, context_length=42) == large[1](SENTENCES, context_length=42)).all()
    assert weights_digest(small[0]) == weights_digest(large[0])
    for name in ("size", "mean", "std", "interpolation", "resize_mode", "fill_color"):
        values = [np.array(model.visual.preprocess_cfg[name]).tolist() for model, _ in (small, large)]
        assert values[0] == values[1] or (name == "size" and values == [96, [96, 96]])
    ours, theirs = (Towers(*opened, CPU, "fp32", (NAME, "cpu", "fp32")) for opened in (small, large))
    assert ours.weights_digest == theirs.weights_digest
    assert (ours.embed_sentences(SENTENCES) == theirs.embed_sentences(SENTENCES)).all()
    frames = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), dtype=np.uint8)
    for part in (frames[:1], frames):
        assert (ours.embed_frames(part) == theirs.embed_frames(part)).all()


def test_a_folder_that_says_more_is_open_clips(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED_FOLDER, folder)
    assert open_small(f"local-dir:{folder}") is not None
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["quick_gelu"] = True
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert open_small(f"local-dir:{folder}") is None
    assert open_small("RN50/untrained") is None


def test_weights_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED_FOLDER, folder)
    for key, value in [("width", 64), ("layers", 3)]:
        config = json.loads((EMBEDDED_FOLDER / "open_clip_config.json").read_text())
        config["model_cfg"]["text_cfg"][key] = value
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match="that fit together") as caught:
            open_small(f"local-dir:{folder}")
        assert "\n" not in str(caught.value)
    shutil.copy(EMBEDDED_FOLDER / "open_clip_config.json", folder)
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot load model"):
        open_small(f"local-dir:{folder}")


def test_environments_of_the_embedded_model_import_no_open_clip() -> None:
    code = (
        "import sys, gymnasium as gym, gym_vlmrm\n"
        "env = gym.make('VLMRM/CartPole-Balance-v0', model='embedded', device='cpu')\n"
        "env.reset(seed=0); env.step(0)\n"
        "print([name for name in ('open_clip', 'torchvision', 'timm', 'transformers') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=True)
    assert result.stdout.strip() == "[]"
