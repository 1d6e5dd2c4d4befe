"""Fixtures that several test files share."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before anything reads them: one thread per process, no network, no cache, software OpenGL without a display.
os.environ.update({"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "GYM_VLMRM_CACHE": "off"})
os.environ.pop("GYM_VLMRM_MODEL", None)

import hypothesis
import pytest
from tiny_models import PREPROCESSING, TINY_MODEL

# These machines are shared: how long an example takes says nothing.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")


def pytest_configure() -> None:
    # Under nohup or in the background, signals that tests send would be ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Two torch threads on busy cores are slower than one by an order of magnitude."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that saves a small open_clip model with random weights as a `local-dir:` folder."""

    def make(model: dict[str, Any] = TINY_MODEL, seed: int = 0, **preprocessing: Any) -> Path:
        from gym_vlmrm.reward.clip import towers  # isort: skip  (loads triton before open_clip, as users' programs do)
        import torch
        from open_clip.model import CLIP
        from safetensors.torch import save_file

        assert towers
        folder = tmp_path_factory.mktemp("model")
        torch.manual_seed(seed)
        clip = CLIP(**model)
        config = {"model_cfg": model, "preprocess_cfg": {**PREPROCESSING, **preprocessing}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        save_file({k: v.contiguous() for k, v in clip.state_dict().items()}, folder / "open_clip_model.safetensors")
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_model(make_model_folder: Callable[..., Path]) -> str:
    """Name of a small vision transformer with random weights."""
    return f"local-dir:{make_model_folder()}"


@pytest.fixture(scope="session")
def cartpole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder of a short training on CartPole, rewarded for brightness; do not change it."""
    from trainings import cartpole

    from gym_vlmrm.learning import train
    from gym_vlmrm.task.spec import Recipe

    hyperparameters = {"n_steps": 32, "batch_size": 32, "policy_kwargs": {"net_arch": [8]}}
    recipe = Recipe(
        algorithm="PPO",
        steps=128,
        num_envs=2,
        checkpoint_every=64,
        normalize_observation=True,
        hyperparameters=hyperparameters,
    )
    path = tmp_path_factory.mktemp("runs") / "cartpole"
    train(cartpole(), recipe, output=path, workers=1)
    return path
