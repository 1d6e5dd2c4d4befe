"""Reward models: by name, by prompt, and what they refuse."""

import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gym_vlmrm import load_reward_model, load_task
from gym_vlmrm.errors import ModelError, TaskError
from gym_vlmrm.reward import BrightnessReward, RewardModel, goal_baseline_reward, model_frame_size
from gym_vlmrm.reward.loading import EMBEDDED_FOLDER, UnknownWordsWarning, unknown_words
from gym_vlmrm.reward.protocol import check_rewards

MakeFolder = Callable[..., Path]
needs_embedded = pytest.mark.skipif(
    not (EMBEDDED_FOLDER / "open_clip_config.json").is_file(), reason="no embedded model yet"
)


def frames(count: int = 5, size: int = 32) -> Any:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)


def test_brightness() -> None:
    model = load_reward_model("splits", model="brightness")
    assert isinstance(model, BrightnessReward)
    assert isinstance(model, RewardModel)
    pictures = np.stack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)])
    rewards = model(pictures)
    assert rewards.dtype == np.float32
    assert rewards.tolist() == [0.0, 1.0]


def test_rewards_are_the_regularised_similarities(tiny_model: str) -> None:
    from gym_vlmrm.reward.clip.towers import load_towers

    model = load_reward_model("splits", model=tiny_model, goal="a cat", baseline="an animal", alpha=0.3, device="cpu")
    towers = load_towers(tiny_model, "cpu")
    goal, baseline = towers.embed_sentences(["a cat"])[0], towers.embed_sentences(["an animal"])[0]
    expected = goal_baseline_reward(towers.embed_frames(frames()), goal, baseline, 0.3)
    rewards = model(frames())
    assert isinstance(model, RewardModel)
    assert (rewards.shape, rewards.dtype, model.frame_size, model.name) == ((5,), np.float32, 32, tiny_model)
    np.testing.assert_allclose(rewards, expected, atol=1e-6)
    assert model(frames(0)).shape == (0,)


def test_several_prompts_are_averaged(tiny_model: str) -> None:
    from gym_vlmrm.reward.clip.towers import load_towers

    prompts = ["a cat", "a dog on a hill"]
    embeddings = load_towers(tiny_model, "cpu").embed_sentences(prompts)
    mean = embeddings.mean(axis=0) / np.linalg.norm(embeddings.mean(axis=0))
    model = load_reward_model("splits", model=tiny_model, goal=prompts, device="cpu")
    np.testing.assert_allclose(model(frames()), load_towers(tiny_model, "cpu").embed_frames(frames()) @ mean, atol=1e-5)
    alone = load_reward_model("splits", model=tiny_model, goal=["a cat"], device="cpu")
    same = load_reward_model("splits", model=tiny_model, goal="a cat", device="cpu")
    np.testing.assert_array_equal(alone(frames()), same(frames()))


def test_prompts_matter(tiny_model: str) -> None:
    one = load_reward_model("splits", model=tiny_model, goal="a cat", device="cpu")
    other = load_reward_model("splits", model=tiny_model, goal="a dog on a hill", device="cpu")
    assert np.abs(one(frames()) - other(frames())).max() > 1e-4


def test_a_reward_model_pickles_without_its_weights(tiny_model: str) -> None:
    model = load_reward_model("splits", model=tiny_model, alpha=0.5, device="cpu")
    data = pickle.dumps(model)
    assert len(data) < 10_000
    np.testing.assert_array_equal(pickle.loads(data)(frames()), model(frames()))


def test_goal_and_baseline_must_differ(tiny_model: str) -> None:
    with pytest.raises(ModelError, match="same embedding"):
        load_reward_model("splits", model=tiny_model, goal="a cat", baseline="a cat", alpha=0.5, device="cpu")


@pytest.mark.parametrize(("changes", "error"), [({"alpha": 2.0}, TaskError), ({"model": "no/such"}, ModelError)])
def test_wrong_arguments(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        load_reward_model(load_task("splits"), **changes)


def test_frame_sizes_are_known_without_torch(tiny_model: str, tmp_path: Path) -> None:
    assert model_frame_size(tiny_model) == 32
    assert model_frame_size("brightness") == BrightnessReward().frame_size
    assert model_frame_size("ViT-bigG-14/laion2b_s39b_b160k") == 224
    config = tmp_path / "open_clip_config.json"
    config.write_text('{"model_cfg": {"vision_cfg": {"image_size": [48, 64]}}}')
    assert model_frame_size(f"local-dir:{tmp_path}") == 64
    for broken in ("{", "[]", '{"model_cfg": {"vision_cfg": {"image_size": "big"}}}', '{"model_cfg": 3}'):
        config.write_text(broken)
        with pytest.raises(ModelError, match="no open_clip configuration"):
            model_frame_size(f"local-dir:{tmp_path}")


def test_words_that_the_model_never_saw_are_named(make_model_folder: MakeFolder) -> None:
    folder = make_model_folder()
    name = f"local-dir:{folder}"
    assert unknown_words(name, ["anything goes"]) == []
    (folder / "words.txt").write_text("a\ncat\non\nthe\nrobot's\n")
    assert unknown_words(name, ["A cat, on the mat.", "the robot's mat"]) == ["mat"]
    with pytest.warns(UnknownWordsWarning, match=r"never saw 'mat' in training"):
        load_reward_model("splits", model=name, goal="a cat on the mat", baseline="the cat", device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_reward_model("splits", model=name, goal="a cat", baseline="the cat", device="cpu")


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        (np.zeros((3, 1)), r"shape \(3, 1\) for 3 frames"),
        (np.zeros(2), r"not \(3,\)"),
        (np.array([0, np.nan, 1]), "not finite"),
    ],
)
def test_a_reward_is_one_finite_number_per_frame(rewards: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_rewards(rewards, 3, "mine")


@needs_embedded
def test_the_embedded_model_says_once_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    from gym_vlmrm.reward import loading

    loading._say_once_what_embedded_is.cache_clear()
    for _ in range(2):
        load_reward_model("splits", model="embedded", device="cpu")
    assert caplog.text.count("not zero-shot") == 1


CONTEXT = """
from gym_vlmrm.worlds.gl import ensure_gl
ensure_gl()
import mujoco
from mujoco import GLContext
context = GLContext(64, 64)
context.make_current()
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
"""
MODEL = """
import numpy as np
from gym_vlmrm import load_reward_model
judge = load_reward_model("splits", model={name!r}, device="cpu")
assert judge(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2,)
"""
AGAIN = """
drawing.free(); context.free()
import gymnasium as gym
env = gym.make("VLMRM/Humanoid-Splits-v0", model={name!r}, device="cpu")
env.reset(seed=0)
env.step(env.action_space.sample())
env.close()
"""


@pytest.mark.parametrize("order", ["context first", "model first"])
def test_opengl_and_open_clip_share_a_process(order: str, tiny_model: str) -> None:
    """Loading triton's LLVM after Mesa's would end the process."""
    parts = [CONTEXT, MODEL, AGAIN] if order == "context first" else [MODEL, CONTEXT, AGAIN]
    code = "".join(parts).replace("{name!r}", repr(tiny_model))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stderr
