"""Reward models: by name, by prompt, and what they refuse."""

import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from gym_vlmrm import load_reward_model, load_task
from gym_vlmrm.errors import ModelError, TaskError
from gym_vlmrm.reward import BrightnessReward, RewardModel, goal_baseline_reward
from gym_vlmrm.reward.loading import UnknownWordsWarning, model_frame_size, unknown_words
from gym_vlmrm.reward.protocol import check_rewards, is_concurrent, score
from gym_vlmrm.reward.scoring import ScoringTeam
from gym_vlmrm.wrappers import VLMReward

MakeFolder = Callable[..., Path]


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


@pytest.mark.parametrize("name", ["brightness", "embedded", "tiny"])
def test_a_model_says_what_really_judges(name: str, tiny_model: str) -> None:
    model: Any = load_reward_model("splits", model=tiny_model if name == "tiny" else name, device="cpu")
    assert re.fullmatch("[0-9a-f]{64}", model.weights_digest)
    assert (model.precision, model.device) == ("fp32", "cpu")
    again: Any = load_reward_model("kneeling", model=model.name, device="cpu")
    assert (model.weights_digest, model.concurrent) == (again.weights_digest, again.concurrent)
    if name == "tiny":
        half: Any = load_reward_model("splits", model=tiny_model, device="cpu", precision="bf16")
        assert (half.precision, half.weights_digest) == ("bf16", model.weights_digest)


GOOD = np.zeros((2, 8, 8, 3), np.uint8)
BAD_FRAMES = {
    "floats in 0..1": (GOOD / 255, r"got float64 of shape \(2, 8, 8, 3\)"),
    "other integers": (GOOD.astype(np.int64), "got int64"),
    "channels first": (GOOD.transpose(0, 3, 1, 2), r"got uint8 of shape \(2, 3, 8, 8\)"),
    "one frame": (GOOD[0], r"got uint8 of shape \(8, 8, 3\)"),
    "with alpha": (np.zeros((2, 8, 8, 4), np.uint8), r"\(2, 8, 8, 4\)"),
    "grey": (np.zeros((2, 8, 8), np.uint8), r"\(2, 8, 8\)"),
    "no pixels": (np.zeros((2, 0, 8, 3), np.uint8), r"\(2, 0, 8, 3\)"),
    "nothing": (None, "got object"),
    "two sizes": ([GOOD[0], GOOD[0, :4, :4]], "got 2 frames that differ in size"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_FRAMES.values(), ids=BAD_FRAMES)
@pytest.mark.parametrize("name", ["brightness", "embedded"])
def test_frames_that_are_none_are_refused(name: str, bad: Any, message: str) -> None:
    model = load_reward_model("splits", model=name, device="cpu")
    expected = rf"frames must be uint8 of shape \(N, H, W, 3\), .*{message}"
    with pytest.raises(ModelError, match=expected) as raised:
        model(bad)
    assert "\n" not in str(raised.value)


def test_frames_of_any_layout_and_none_at_all_are_scored() -> None:
    for name in ("brightness", "embedded"):
        model = load_reward_model("splits", model=name, device="cpu")
        pictures = frames(3, model.frame_size)
        turned = np.asarray(pictures.transpose(0, 2, 1, 3), order="C").transpose(0, 2, 1, 3)
        np.testing.assert_array_equal(model(turned), model(pictures))
        assert model(pictures[:0]).shape == (0,)


class Mine:
    """The least that a reward model of one's own is."""

    name = "mine"
    frame_size = 8

    def __call__(self, frames: Any) -> Any:
        return frames.reshape(len(frames), -1).mean(axis=1).astype(np.float32)


def test_a_model_of_ones_own_needs_no_more() -> None:
    assert isinstance(Mine(), RewardModel)
    assert not is_concurrent(Mine())
    with pytest.raises(ModelError, match="got float64"):
        score(Mine(), GOOD / 255)
    with pytest.raises(ModelError, match="got float64"):
        ScoringTeam(Mine(), threads=2)(GOOD / 255)


class Floating(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that draws colours from 0 to 1."""

    def render(self) -> Any:
        return np.zeros((8, 8, 3))


def test_an_environment_that_draws_something_else_is_named_at_the_step() -> None:
    env = VLMReward(Floating(gym.make("CartPole-v1", render_mode="rgb_array")), Mine())
    env.reset(seed=0)
    with pytest.raises(ModelError, match="frames must be uint8"):
        env.step(0)
    env.close()


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


def test_the_embedded_model_says_once_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    from gym_vlmrm.reward import loading

    loading._say_once_what_it_is.cache_clear()
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
