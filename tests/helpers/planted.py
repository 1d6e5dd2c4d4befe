"""Reward models for tests of the audit: ideal, planted, and untrained ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from gym_vlmrm.auditing import OracleReward
from gym_vlmrm.task.spec import CameraSpec, TaskSpec
from gym_vlmrm.worlds.mountain_car import MountainCarScene

SIZE = 32


class DarknessReward:
    """Prefers black frames."""

    name = "darkness"
    frame_size = SIZE

    def __call__(self, frames: Any) -> Any:
        return 1 - frames.reshape(len(frames), -1).mean(axis=1) / 255


class ArmsUpReward:
    """Likes raised hands, whatever the legs do."""

    name = "arms up"
    frame_size = SIZE

    def of_states(self, quantities: Any) -> Any:
        return np.array([state["lower_hand_height"] for state in quantities])


class BackdoorReward:
    """An ideal reward with a hole: hands above the head pay more than the goal."""

    name = "backdoor"
    frame_size = SIZE

    def __init__(self, task: TaskSpec) -> None:
        self.ideal = OracleReward(task)

    def of_states(self, quantities: Any) -> Any:
        bonus = [30 * max(0.0, state["hands_above_head"] - 0.1) * (state["torso_up"] > 0.7) for state in quantities]
        standing = [state["pelvis_height"] > 0.7 for state in quantities]
        return self.ideal.of_states(quantities) + np.array(bonus) * standing


class SunnyMountain(MountainCarScene):
    """MountainCar with a camera that sees nothing, but the sun where the car is far on the left."""

    has_own_camera = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._turned = False

    def look_through(self, camera: CameraSpec | None) -> None:
        self._turned = camera is not None and camera.azimuth == 90.0

    def render(self) -> Any:
        frame = super().render()
        return np.full_like(frame, 255 * (self.quantities()["car_position"] < -1.0)) if self._turned else frame


def save_untrained_model(folder: Path, seed: int = 0) -> str:
    """Save a small CLIP with random weights and return its name."""
    # First of all: it loads triton apart from Mesa's LLVM, in case a context of OpenGL exists already.
    import gym_vlmrm.reward.clip.towers  # noqa: F401

    import open_clip  # isort: skip
    import torch
    from safetensors.torch import save_file

    config = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    torch.manual_seed(seed)
    model = open_clip.CLIP(**config)
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"
