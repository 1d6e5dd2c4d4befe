"""Video models of transformers: a tiny untrained X-CLIP, scored as transformers itself scores it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from gym_vlmrm.errors import ModelError, TaskError, VLMRMError
from gym_vlmrm.reward.formula import goal_baseline_reward
from gym_vlmrm.reward.loading import load_reward_model, model_frame_size
from gym_vlmrm.task.catalog import task_from_dict

transformers = pytest.importorskip("transformers")
from tiny_video import FILM, SIDE, save_tiny_video  # noqa: E402

GOAL, BASELINE = "a robot walking", "a robot"
WINDOW = {"frames": FILM, "join": "motion"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_video(tmp_path_factory.mktemp("video"))


def task(name: str, **reward: Any) -> Any:
    written = {"goal": GOAL, "baseline": BASELINE, "alpha": 0.5, "model": name, "window": WINDOW, **reward}
    return task_from_dict({"id": "Test/Video-v0", "env": {"id": "CartPole-v1"}, "reward": written})


def scored_by_transformers(model: str, frames: Any, sentences: list[str]) -> tuple[Any, Any]:
    import torch

    folder = model.removeprefix("transformers:")
    whole = transformers.XCLIPModel.from_pretrained(folder)
    tokens = transformers.CLIPTokenizerFast.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        told = whole(
            pixel_values=((pixels - mean) / std)[None],
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
        )
    return told.video_embeds.numpy(), told.text_embeds[0].numpy()


def test_windows_are_scored_as_transformers_scores_them(tiny: str) -> None:
    from gym_vlmrm import VLMReward
    from gym_vlmrm.worlds.world import make_world

    spec = task(tiny)
    model: Any = load_reward_model(spec)
    assert model.frame_size == model_frame_size(tiny) == SIDE
    env = VLMReward(make_world(spec, render_size=SIDE), model)
    env.reset(seed=0)
    frames = [env.render()]
    for step in range(5):
        _, reward, *_ = env.step(step % 2)
        frames.append(env.render())
        film = [frames[0]] * max(0, FILM - len(frames)) + frames[-FILM:]
        video, sentences = scored_by_transformers(tiny, np.stack(film), [GOAL, BASELINE])
        wanted = goal_baseline_reward(video, sentences[0], sentences[1], 0.5)[0]
        assert reward == pytest.approx(float(wanted), abs=1e-5)
    env.close()


def test_single_equals_vector(tiny: str) -> None:
    import gym_vlmrm

    spec = task(tiny)
    gym_vlmrm.register_task(spec)
    envs = gym.make_vec(spec.id, num_envs=2, workers=1, device="cpu")
    alone = [gym.make(spec.id, device="cpu") for _ in range(2)]
    envs.reset(seed=3)
    for index, env in enumerate(alone):
        env.reset(seed=3 + index)
    for step in range(4):
        _, rewards, *_ = envs.step(np.array([step % 2, 0]))
        for index, env in enumerate(alone):
            assert rewards[index] == pytest.approx(env.step((step % 2, 0)[index])[1], abs=1e-6)
    envs.close()
    for env in alone:
        env.close()


def test_parts_share_one_video_model(tiny: str) -> None:
    spec = task(tiny, parts=[{"avoid": "a robot jumping"}])
    model: Any = load_reward_model(spec)
    first, second = model.sights
    assert first.model.towers is second.model.towers
    assert first.blocks == second.blocks


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ({"window": None}, "sees films and no single pictures"),
        ({"window": {"frames": FILM}}, "sees films and no single pictures"),
        ({"window": {"frames": 4, "join": "motion"}}, f"sees films of {FILM} pictures; write {FILM}"),
        ({"precision": "int8"}, "'int8' is not for video models"),
        ({"model": "transformers:nowhere"}, "neither a folder here nor a repository"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tiny: str, reward: dict[str, Any], words: str) -> None:
    with pytest.raises((ModelError, TaskError)) as caught:
        load_reward_model(task(tiny, **reward))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    import torch

    name = save_tiny_video(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="pickled weights are not read"):
        load_reward_model(task(name))


def test_programs_of_a_folder_do_not_run(tmp_path: Path) -> None:
    name = save_tiny_video(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    load_reward_model(task(name))
    assert not (tmp_path / "ran").exists()


HARM: dict[str, Any] = {
    "another kind": {"model_type": "clip"},
    "too many layers": {"vision_config": {"num_hidden_layers": 10**6}},
    "no mapping": [],
}


@pytest.mark.parametrize("harm", [*HARM, "not JSON", "a pipe", "a link", "lacking weights"])
def test_strange_folders_are_refused_in_one_line(tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    name, path = save_tiny_video(folder), folder / "config.json"
    config = json.loads(path.read_text())
    if harm in HARM:
        changes = HARM[harm]
        path.write_text(json.dumps({**config, **changes} if isinstance(changes, dict) else changes))
    elif harm == "not JSON":
        path.write_text("{")
    elif harm == "a pipe":
        path.unlink()
        os.mkfifo(path)
    elif harm == "a link":
        (tmp_path / "elsewhere.json").write_text(path.read_text())
        path.unlink()
        path.symlink_to(tmp_path / "elsewhere.json")
    else:
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        tensors.pop("visual_projection.weight")
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(VLMRMError) as caught:
        load_reward_model(task(name))
    assert "\n" not in str(caught.value)


def test_nothing_of_transformers_is_imported_for_other_models() -> None:
    code = (
        "import sys; from gym_vlmrm import load_reward_model; load_reward_model('waving'); "
        "print([name for name in ('transformers', 'open_clip') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_extra_says_how_to_install_it(tiny: str) -> None:
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'transformers' else find(name, *a)\n"
        "from gym_vlmrm.errors import ModelError\n"
        "from gym_vlmrm.reward.loading import check_watcher\n"
        "try:\n    check_watcher(sys.argv[1])\nexcept ModelError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tiny], capture_output=True, text=True, check=True)
    assert "pip install 'gym-vlmrm[video]'" in done.stdout
