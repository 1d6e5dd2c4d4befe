"""`vlmrm models` and `vlmrm doctor`: what can judge here, and what this machine can do."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import vlmrm

from gym_vlmrm import doctor
from gym_vlmrm.reward.clip import known
from gym_vlmrm.reward.clip.known import COMMON, known_models
from gym_vlmrm.reward.loading import EMBEDDED_FOLDERS, check_model_name


def test_common_models_are_open_clip_s_and_sorted_by_size() -> None:
    found = {model.name: model for model in known_models()}
    assert list(found) == ["embedded", "embedded-gymnasium", "embedded-mujoco", *COMMON]
    embedded = max(found[name].image_weights or 0 for name in EMBEDDED_FOLDERS)
    sizes = [embedded, *(found[name].image_weights for name in COMMON)]
    assert sizes == sorted(sizes, key=lambda size: size or 0)
    assert found["ViT-bigG-14/laion2b_s39b_b160k"].image_weights == 1_844_907_264
    assert found["ViT-B-32/laion2b_s34b_b79k"].frame_size == 224
    for model in found.values():
        check_model_name(model.name)
        assert model.memory_mb == pytest.approx(4e-6 * (model.image_weights or 0), abs=0.1)


def test_the_embedded_model_is_counted_as_it_is_loaded() -> None:
    from gym_vlmrm import load_reward_model

    model: Any = load_reward_model("cartpole")
    told = known_models()[0]
    assert told.image_weights == pytest.approx(model.towers.parameters, rel=0.05)  # folded weights are fewer
    assert told.frame_size == model.frame_size
    assert told.cached


def test_weights_are_found_where_open_clip_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(repository: str, file: str) -> str | None:
        path = tmp_path / file
        return str(path) if repository == "laion/CLIP-ViT-H-14-laion2B-s32B-b79K" and path.exists() else None

    monkeypatch.setattr(known, "try_to_load_from_cache", look)
    name = "ViT-H-14/laion2b_s32b_b79k"
    assert not next(model for model in known_models() if model.name == name).cached
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(bytes(3_000_000))
    here = next(model for model in known_models() if model.name == name)
    assert (here.cached, here.download_mb) == (True, 3.0)
    assert (here.licence, here.page) == ("MIT", "https://huggingface.co/laion/CLIP-ViT-H-14-laion2B-s32B-b79K")


def test_models_prints_some_or_all() -> None:
    assert "ViT-bigG-14/laion2b_s39b_b160k" in vlmrm("models").stdout
    told = json.loads(vlmrm("models", "--all", "--json").stdout)["models"]
    assert len(told) > 100
    assert all(model["frame_size"] for model in told)
    assert vlmrm("models", "--quiet").stdout == ""


def test_doctor_measures_and_names_what_draws() -> None:
    found = {finding["subject"]: finding for finding in json.loads(vlmrm("doctor", "--json").stdout)["findings"]}
    assert {"step", "draw", "score", "OpenGL", "device", "processor", "torch"} <= set(found)
    assert all(0 < found[name]["seconds"] < 10 for name in ("step", "draw", "score"))
    assert found["OpenGL"]["found"].split(",")[0] in ("egl", "osmesa", "glfw")
    assert all(finding["cure"] for finding in found.values() if finding["verdict"] in ("slow", "missing"))


def test_doctor_says_what_is_missing_and_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def describe(*, opengl: bool, device: Any = None) -> dict[str, Any]:
        return {"processor": "a", "cores": 1, **({"opengl": None} if opengl else {})}

    monkeypatch.setattr(doctor, "describe_machine", describe)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))

    def fail() -> Any:
        raise OSError("no such thing")

    monkeypatch.setattr(doctor, "_timings", fail)
    result = vlmrm("doctor")
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert "apt-get install libegl1 libgl1-mesa-dri" in said
    assert "pip install pyarrow" in said
    assert "use --output on another disk" in said
    assert "timings missing no such thing" in said
