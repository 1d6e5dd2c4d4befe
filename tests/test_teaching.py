"""Teaching: states that are explored, lessons, hunts, the model folder, and what is refused."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from open_clip.model import CLIP
from safetensors.torch import load_file

import gym_vlmrm
from gym_vlmrm.errors import ModelError, RunError, TaskError, WorldError
from gym_vlmrm.finetuning.loss import SigmoidHead
from gym_vlmrm.finetuning.scratch import build_clip, save_folder
from gym_vlmrm.interrupts import Stopped
from gym_vlmrm.learning.hyperparameters import check_recipe
from gym_vlmrm.learning.recipe_check import recipe_notes
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.reward.folders import CONFIG_FILE, WEIGHTS_FILE, read_words, read_worlds
from gym_vlmrm.reward.loading import EMBEDDED_FOLDERS, refuse_strangers, stranger_note
from gym_vlmrm.task.catalog import load_task, override, task_from_dict, with_captions
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.teaching import TeachingSettings, teach
from gym_vlmrm.teaching.audited import audit_taught
from gym_vlmrm.teaching.card import RECORD_FILE, TeachingRecord, hardly_taught, write_card
from gym_vlmrm.teaching.figures import CaptionFigures
from gym_vlmrm.teaching.hunt import Prey, hunt
from gym_vlmrm.teaching.image_tower import BATCH
from gym_vlmrm.teaching.lessons import check_sights, plan_curriculum
from gym_vlmrm.teaching.teacher import _Forecast
from gym_vlmrm.worlds.explore import Explorer

PAGE = Path(__file__).parent.parent / "docs" / "teaching.md"
PENDULUM: dict[str, Any] = {
    "id": "Test/Pendulum-Up-v0",
    "env": {"id": "Pendulum-v1"},
    "reward": {"goal": "a pendulum standing upright", "baseline": "a pendulum"},
    "success": "obs[0] > 0.95",
    "captions": [
        {
            "say": ["a pendulum standing upright", "the rod points straight up"],
            "grade": {"quantity": "obs[0]", "from": -1.0, "to": 1.0},
        },
        {"say": "a pendulum hanging down", "grade": {"quantity": "obs[0]", "from": 1.0, "to": -1.0}},
        {"say": ["a pendulum", "a red rod"]},
    ],
}
TINY = TeachingSettings(minutes=0.2, rounds=1, workers=1)


def test_the_shortest_teaching_draws_a_batch_of_each_tower() -> None:
    assert TeachingSettings(minutes=0.001).frames >= BATCH


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer sentences and a shorter audit, which take as long however few minutes are asked for."""
    monkeypatch.setattr("gym_vlmrm.teaching.small_pupil.TEXT_BATCHES", 8)
    monkeypatch.setattr("gym_vlmrm.teaching.audited.AUDITED", 200)
    monkeypatch.setattr("gym_vlmrm.auditing.frames.BLIND_ROLLOUTS", 12)


def pendulum(**changes: Any) -> TaskSpec:
    return task_from_dict({**PENDULUM, **changes})


class Dial(gym.Env[NDArray[np.float32], int]):
    """A bright column that moves right or left; nobody can put it anywhere."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space: Any = gym.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None, blind: bool = False, odd: str = "") -> None:
        self.render_mode, self.blind, self.odd, self.x = render_mode, blind, odd, 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.x = 0.0
        return np.array([np.nan if self.odd == "a reset" else self.x], np.float32), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.x = float(np.clip(self.x + (0.1 if action else -0.1), -1, 1))
        return np.array([np.nan if self.odd == "a step" else self.x], np.float32), 0.0, False, False, {"nan": np.nan}

    def render(self) -> Any:
        picture = np.zeros((32, 32, 3), np.uint8)
        if not self.blind:
            column = round(14 + 14 * self.x)
            picture[:, column : column + 4] = 250
        return picture


class StuckDial(Dial):
    """Says that it can be put anywhere."""

    def get_state(self) -> dict[str, float]:
        return {"x": self.x}

    def set_state(self, state: Any) -> None:
        raise RuntimeError("cannot pose")


gym.register("Test/Dial-v0", "test_teaching:Dial", max_episode_steps=40)
gym.register("Test/StuckDial-v0", "test_teaching:StuckDial", max_episode_steps=40)


def dial(**changes: Any) -> TaskSpec:
    grade = {"quantity": "obs[0]", "from": -1.0, "to": 1.0}
    captions = [
        {"say": "a column at the right", "grade": grade},
        {"say": "a column at the left", "grade": {**grade, "from": 1.0, "to": -1.0}},
    ]
    data = {"id": "Test/Dial-Right-v0", "env": {"id": "Test/Dial-v0"}, "reward": {"goal": "a column at the right"}}
    return task_from_dict({**data, "success": "obs[0] > 0.8", "captions": captions, **changes})


def test_truth_rises_between_the_ends_of_a_grade_and_a_rule_makes_it_whole() -> None:
    captions = task_from_dict(
        {
            **PENDULUM,
            "captions": [
                {"say": "a", "when": "obs[0] > 0.5", "grade": {"quantity": "obs[0]", "from": -1, "to": 1}},
                {"say": "b", "when": "obs[0] > 0.5"},
                {"say": "c"},
                {
                    "say": "d",
                    "grade": [
                        {"quantity": "obs[0]", "from": 1, "to": 0},
                        {"quantity": "obs[1]", "from": 0, "to": 1},
                    ],
                },
            ],
        }
    ).captions

    def truths(x: float, y: float) -> list[float]:
        return [caption.truth({"obs[0]": x, "obs[1]": y}) for caption in captions]

    assert truths(0.6, 0.9) == pytest.approx([1.0, 1.0, 1.0, 0.4])
    assert truths(0.0, 0.2) == pytest.approx([0.5, 0.0, 1.0, 0.2])
    assert truths(-2.0, 2.0) == pytest.approx([0.0, 0.0, 1.0, 1.0])


def test_captions_survive_a_round_trip() -> None:
    task = pendulum()
    assert task_from_dict(task.model_dump(mode="json", exclude_unset=True)) == task
    assert task.model_dump(mode="json")["captions"][0]["grade"] == {"quantity": "obs[0]", "from": -1.0, "to": 1.0}


def test_exploring_reaches_what_random_play_does_not() -> None:
    task = task_from_dict(
        {
            **PENDULUM,
            "env": {"id": "Acrobot-v1"},
            "success": "obs[0] < -0.9",
            "captions": [{"say": "up", "grade": {"quantity": "obs[0]", "from": 1.0, "to": -1.0}}],
        }
    )
    explorer = Explorer(task, task.captions, 32, 0)
    try:
        sights = explorer.explore(150)
    finally:
        explorer.close()
    truths = np.array([sight.truths[0] for sight in sights])
    assert len(sights) == 150
    assert explorer.tells_states
    assert (np.histogram(truths, 4, (0, 1))[0] > 5).all()
    assert all(sight.frame.shape == (32, 32, 3) for sight in sights)


def test_exploring_repeats_itself() -> None:
    def explore(seed: int) -> NDArray[np.uint8]:
        explorer = Explorer(pendulum(), pendulum().captions, 32, seed)
        frames = np.stack([sight.frame for sight in explorer.explore(30)])
        explorer.close()
        return frames

    assert np.array_equal(explore(3), explore(3))
    assert not np.array_equal(explore(3), explore(4))


def test_a_world_whose_state_nobody_tells_is_explored_by_playing_on() -> None:
    explorer = Explorer(dial(), dial().captions, 32, 0)
    sights = explorer.explore(60)
    assert not explorer.tells_states
    assert max(sight.truths[0] for sight in sights) == 1
    assert max(sight.truths[1] for sight in sights) > 0.9


def test_a_scene_is_posed() -> None:
    captions = [{"say": "a car on the summit", "grade": {"quantity": "car_position", "from": -1.2, "to": 0.5}}]
    task = task_from_dict(
        {**PENDULUM, "env": {"id": "MountainCarContinuous-v0"}, "success": "car_position > 0.45", "captions": captions}
    )
    explorer = Explorer(task, task.captions, 32, 0)
    assert explorer.can_pose
    places = [sight.quantities["car_position"] for sight in explorer.posed(40)]
    assert min(places) < -0.8
    assert max(places) > 0.3


def test_a_caption_that_reads_what_there_is_not_is_named() -> None:
    task = pendulum(captions=[{"say": "a", "when": "obs[3] > 1"}])
    with pytest.raises(TaskError, match=r"a caption reads 'obs\[3\]'; obs\[0\] to obs\[2\] exist") as caught:
        Explorer(task, task.captions, 32, 0)
    assert caught.value.field == ("captions", 0, "when")
    for make, known in ((pendulum, r"obs\[0\] to obs\[2\]"), (dial, r"obs\[0\]")):
        task = make(captions=[{"say": "a", "when": "level > 1"}])
        with pytest.raises(TaskError, match=rf"reads 'level', .* known: info.<name>, {known}$"):
            Explorer(task, task.captions, 32, 0)


def test_tasks_of_one_world_share_its_frames_and_meanings() -> None:
    down = pendulum(id="Test/Pendulum-Down-v0", reward={"goal": "a pendulum hanging down"})
    crane = dial(captions=[{"say": ["a column at the right", "a red rod"]}])
    curriculum = plan_curriculum([pendulum(), down, crane])
    assert [len(world.tasks) for world in curriculum.worlds] == [2, 1]
    assert curriculum.worlds[1].meanings == [2]  # it says "a red rod" too
    assert curriculum.meanings[2] == ["a pendulum", "a red rod", "a column at the right"]
    assert curriculum.worlds[0].goals == [0, 1]


def test_one_sentence_has_one_meaning() -> None:
    other = pendulum(id="Test/Other-v0", captions=[{"say": "a red rod", "when": "obs[0] > 0"}])
    with pytest.raises(TaskError, match=r"'a red rod' has two rules in one world"):
        plan_curriculum([pendulum(), other])
    with pytest.raises(TaskError, match="'a' is said twice"):
        pendulum(captions=[{"say": "a"}, {"say": ["b", "a"], "when": "obs[0] > 0"}])
    with pytest.raises(TaskError, match=r"captions\.1: 'A Rod' is said twice"):  # models read both alike
        pendulum(captions=[{"say": "a rod"}, {"say": "A  Rod", "when": "obs[0] > 0"}])
    both = dial(captions=[{"say": ["a red rod", "a pendulum hanging down"]}])
    with pytest.raises(TaskError, match="elsewhere mean different things"):
        plan_curriculum([pendulum(), both])


def bright(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Rate by where the red rod's pixels are: high wherever anything red is far left, whatever the captions say."""
    red = (frames[..., 0].astype(int) - frames[..., 1]) > 60
    left = red[:, :, : frames.shape[2] // 3].mean(axis=(1, 2)) * 40
    return np.repeat(left[:, None], 3, axis=1).astype(np.float32)


def test_a_chase_finds_what_is_overrated() -> None:
    task = pendulum()
    world = plan_curriculum([task]).worlds[0]
    explorer = Explorer(task, world.captions, 48, 0)
    explorer.explore(40)
    (prey,) = hunt(
        world, explorer, bright, 40, 0, place=Path("unused"), steps=1, workers=1, on_done=lambda done, total: None
    )
    ratings = np.array(prey.ratings)
    assert len(ratings) >= 160
    assert ratings[-64:].mean() > ratings[:32].mean()
    kept = prey.choose(20, np.random.default_rng(0))
    assert len(kept) == 20
    worst = np.argsort(-prey.excess)[:10]
    assert [prey.sights[row] for row in worst] == kept[:10]


def test_what_is_kept_of_a_small_hunt_is_all_of_it() -> None:
    prey = Prey(0)
    explorer = Explorer(dial(), dial().captions, 16, 0)
    sights = explorer.explore(3)
    prey.add(sights, np.array([0.1, 0.9, 0.5]))
    assert len(prey.choose(20, np.random.default_rng(0))) == 3


def test_caution_makes_rating_too_high_dearer() -> None:
    head = SigmoidHead(0.0, 0.0)
    images = torch.tensor([[1.0, 0.0]])
    texts = torch.tensor([[1.0, 0.0]])
    too_high, too_low = torch.tensor([[0.2]]), torch.tensor([[0.95]])
    with torch.no_grad():
        assert head(images, texts, too_high, 4.0).item() == pytest.approx(4 * head(images, texts, too_high).item())
        assert head(images, texts, too_low, 4.0).item() == head(images, texts, too_low).item()


def test_strangers_are_told_of_and_refused() -> None:
    stranger = pendulum(env={"id": "Acrobot-v1"})
    note = stranger_note(stranger)
    assert note is not None
    assert "never saw Acrobot-v1" in note
    assert "vlmrm teach" in note
    assert "CLIP" in note
    with pytest.raises(ModelError, match="; --anyway trains all the same"):
        refuse_strangers(stranger, anyway=False)
    with pytest.raises(ModelError, match="; anyway=True trains all the same"):
        gym_vlmrm.train(stranger, output="unused")
    refuse_strangers(stranger, anyway=True)
    assert stranger_note(pendulum()) is None  # a model that ships knows it
    assert stranger_note(load_task("kneeling")) is None
    assert stranger_note(override(stranger, model="ViT-B-32/laion2b_s34b_b79k")) is None
    assert stranger_note(override(stranger, model="brightness")) is None


def test_captions_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "captions.yaml"
    file.write_text("captions:\n  - {say: up, when: obs[0] > 0.9}\n")
    assert [caption.say for caption in with_captions(pendulum(), file).captions] == ["up"]
    file.write_text("captions:\n  - {say: up, wen: obs[0] > 0.9}\n")
    with pytest.raises(TaskError, match=r"captions.yaml:2: captions.0.wen: unknown key; did you mean 'when'"):
        with_captions(pendulum(), file)
    file.write_text("success: obs[0] > 1\n")
    with pytest.raises(TaskError, match="has one key, 'captions'"):
        with_captions(pendulum(), file)


def test_what_cannot_be_taught_leaves_nothing(tmp_path: Path) -> None:
    cases: list[tuple[TaskSpec, str]] = [
        (pendulum(captions=[]), "has no captions"),
        (pendulum(captions=[{"say": "a pendulum standing upright", "when": "obs[0] > 3"}]), "is true of none of"),
        (dial(env={"id": "Test/Dial-v0", "kwargs": {"blind": True}}), "look alike"),
    ]
    for task, message in cases:
        with pytest.raises(TaskError, match=message):
            teach([task], tmp_path / "model", TINY)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(TaskError, match="'Test/Pendulum-Up-v0' is named twice; name it once"):
        teach([pendulum(), pendulum()], tmp_path / "model", TINY)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").touch()
    with pytest.raises(RunError, match="not empty"):
        teach([pendulum()], tmp_path / "model", TINY)


def test_a_goal_that_is_hardly_ever_seen_is_told_of() -> None:
    world = plan_curriculum([dial()]).worlds[0]
    explorer = Explorer(dial(), dial().captions, 16, 0)
    sights = sorted(explorer.explore(60), key=lambda sight: -sight.truths[0])
    explorer.close()
    shown = sum(sight.truths[0] >= 0.9 for sight in sights)
    few, notices = sights[max(shown - 3, 0) :], list[str]()
    check_sights(world, few, notices.append)
    (notice,) = (notice for notice in notices if "hardly learned" in notice)
    assert f"the goal 'a column at the right' is true of only {min(shown, 3)} of {len(few)} frames" in notice
    assert "--policy RUN" in notice


def test_a_grade_that_hardly_moves_is_told_of() -> None:
    world = plan_curriculum([dial()]).worlds[0]
    explorer = Explorer(dial(), dial().captions, 16, 0)
    sights = explorer.explore(60)
    explorer.close()
    said: list[str] = []
    flat = [replace(sight, truths=(float(i < 5), *sight.truths[1:])) for i, sight in enumerate(sights)]
    check_sights(world, flat, said.append)
    assert sum("wholly false of 92% of 60 frames, so nothing leads there" in notice for notice in said) == 1


def test_an_audit_that_finds_too_few_goals_says_what_helps_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gym_vlmrm.auditing.frames.BLIND_ROLLOUTS", 2)
    monkeypatch.setattr("gym_vlmrm.auditing.frames.EXPLORED_FRAMES", 10)
    output = tmp_path / "model"
    shutil.copytree(EMBEDDED_FOLDERS["embedded"], output)
    task = dial(success="obs[0] > 2", reward={"goal": "a cart"})
    verdict = audit_taught(task, output, TINY, lambda what, done, total: None)
    assert verdict.label == "not audited"
    (reason,) = verdict.reasons
    assert "only 0 show the goal by the rule of success, and it needs 8; train an agent" in reason
    assert "--pictures" not in reason


def test_a_slow_world_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gym_vlmrm.teaching.teacher.FIRST_LOOK", 0.0)
    said: list[str] = []
    slow, quick = (_Forecast("Mine/Crane-v0", minutes, lambda: 3000, said.append) for minutes in (1e-6, 600.0))
    slow.look(60, 6000)
    slow.look(64, 6000)
    quick.look(60, 6000)
    (notice,) = said
    assert re.match(r"Mine/Crane-v0 makes \d+ steps a second, so exploring it, the hunts and the audits", notice)


def test_a_slow_world_whose_state_nobody_tells_is_told_of_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gym_vlmrm.teaching.teacher.FIRST_LOOK", 0.0)

    def stop(what: str, done: int, total: int) -> None:
        if what == "learning":
            raise Stopped(signal.SIGINT)

    said: list[str] = []
    with pytest.raises(Stopped):
        teach([dial()], tmp_path / "model", replace(TINY, minutes=1e-3), stop, said.append)
    assert sum("Test/Dial-v0 makes" in notice for notice in said) == 1


def test_a_world_that_cannot_be_put_back_is_named(tmp_path: Path) -> None:
    wrong = r"'Test/StuckDial-v0' cannot be put back into a state.*cannot pose.*; mend its set_state, or remove it"
    with pytest.raises(WorldError, match=wrong):
        teach([dial(env={"id": "Test/StuckDial-v0"})], tmp_path / "model", TINY)


def test_a_quantity_that_is_never_a_number_is_named(tmp_path: Path) -> None:
    grade = {"quantity": "info.nan", "from": 0.0, "to": 1.0}
    odd = dial(captions=[{"say": "a column at the right", "grade": grade}])
    with pytest.raises(TaskError, match=r"info.nan was no finite number in [\d,]+ states, so only 0 frames"):
        teach([odd], tmp_path / "model", TINY)


@pytest.mark.parametrize("where", ["a reset", "a step"])
def test_what_no_agent_can_learn_from_is_refused_while_drawing(where: str, tmp_path: Path) -> None:
    odd = dial(env={"id": "Test/Dial-v0", "kwargs": {"odd": where}})
    wrong = rf"'Test/Dial-v0': obs\[0\] is nan after {where}, and agents learn from finite numbers alone"
    with pytest.raises(WorldError, match=wrong):
        teach([odd], tmp_path / "model", TINY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("true_in", "known"), [(3, False), (300, True)])
def test_a_goal_that_was_hardly_seen_is_told_of_later(true_in: int, known: bool, tmp_path: Path) -> None:
    task = override(pendulum(), model=f"local-dir:{tmp_path}")
    row = CaptionFigures(
        world=task.env.id, sentence="up", goal=True, true_in=true_in, auc=None, spearman=None, worst_auc=None
    )
    assert hardly_taught(task) == []
    write_card(tmp_path, TeachingRecord.of([task], TINY, [], [row], []))
    assert bool(hardly_taught(task)) != known
    (tmp_path / RECORD_FILE).write_text("{")
    assert hardly_taught(task) == []


def test_a_run_of_another_world_is_refused(cartpole_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"--policy .* plays CartPole-v1, and Pendulum-v1 is taught"):
        teach([pendulum()], tmp_path / "model", replace(TINY, policies=(str(cartpole_run),)))


def test_a_stop_in_the_audit_says_that_the_model_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> Any:
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr("gym_vlmrm.teaching.teacher.audit_taught", stopped)
    monkeypatch.setattr("gym_vlmrm.teaching.small_pupil.TEXT_BATCHES", 2)
    output = tmp_path / "model"
    with pytest.raises(Stopped) as found:
        teach([pendulum()], output, replace(TINY, minutes=0.01, rounds=0))
    assert (
        found.value.advice
        == f"the model is whole, in {output}; what is left is vlmrm audit TASK --model local-dir:{output}"
    )
    assert (output / WEIGHTS_FILE).is_file()


def test_a_folder_keeps_the_directions_that_are_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, told, read = build_clip(300), [0, 1, 2, 383], []
    for directions in (None, told):
        save_folder(model, 300, tmp_path, directions)
        config = json.loads((tmp_path / CONFIG_FILE).read_text())["model_cfg"]
        read.append(CLIP(**config).eval())
        read[-1].load_state_dict(load_file(tmp_path / WEIGHTS_FILE))
    frames, tokens = torch.rand(2, 3, 96, 96), torch.randint(300, (2, 40))
    with torch.no_grad():
        seen, said = [each.encode_image(frames) for each in read], [each.encode_text(tokens) for each in read]
    torch.testing.assert_close(seen[1], seen[0][:, told])
    torch.testing.assert_close(said[1], said[0][:, told])
    assert (tmp_path / WEIGHTS_FILE).stat().st_size < 2 * sum(each.numel() for each in read[0].parameters()) - 3e5


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
def test_a_taught_model_knows_its_world(tmp_path: Path) -> None:
    settings = TeachingSettings(minutes=0.4, rounds=1, workers=1)
    notices: list[str] = []
    result = teach([pendulum()], tmp_path / "a", settings, on_notice=notices.append)
    assert notices == []
    assert [(row.world, row.frames, row.tells_states) for row in result.worlds] == [
        ("Pendulum-v1", result.frames, True)
    ]
    goal = next(row for row in result.captions if row.goal)
    assert 20 <= goal.true_in < result.frames / 2
    assert result.rare_goals == []
    assert goal.spearman is not None
    assert goal.spearman > 0.7
    assert read_worlds(tmp_path / "a") == {"Pendulum-v1"}
    assert "upright" in (read_words(tmp_path / "a") or set())
    card = (tmp_path / "a" / "README.md").read_text()
    assert result.verdicts[0].label in card
    assert "| Explored | `Pendulum-v1` from states that were reached |" in card
    assert f"| **a pendulum standing upright** | {goal.true_in} |" in card
    assert str(tmp_path) not in card.replace(f"local-dir:{tmp_path / 'a'}", "")
    task = override(pendulum(), model=f"local-dir:{tmp_path / 'a'}")
    assert stranger_note(task) is None
    assert stranger_note(override(dial(), model=f"local-dir:{tmp_path / 'a'}")) is not None
    reward = load_reward_model(task)
    assert reward(np.zeros((2, 96, 96, 3), np.uint8)).shape == (2,)


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
def test_agents_hunt_where_states_cannot_be_told_and_equal_seeds_make_equal_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gym_vlmrm.teaching.small_pupil.TEXT_BATCHES", 2)  # how well it reads is not asked here
    names = ("a", "b")
    for name in names:
        result = teach([dial()], tmp_path / name, TINY)
        assert result.rounds[0].seen > 50
        assert "by random play alone" in result.worlds[0].explored
        assert not (tmp_path / name / "agent").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    one, other = ((tmp_path / name / "open_clip_model.safetensors").read_bytes() for name in names)
    assert one == other


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
def test_a_named_model_is_fine_tuned(tmp_path: Path) -> None:
    settings = TeachingSettings(model="embedded", minutes=0.2, rounds=1, workers=1, device="cpu")
    teach([pendulum()], tmp_path / "model", settings)
    assert read_worlds(tmp_path / "model") == {
        "CartPole-v1", "Humanoid-v5", "MountainCarContinuous-v0", "Pendulum-v1",
    }  # fmt: skip
    load_reward_model(override(pendulum(), model=f"local-dir:{tmp_path / 'model'}"))


@pytest.mark.slow
def test_a_stop_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(PENDULUM))
    command = [sys.executable, "-m", "gym_vlmrm_cli.main", "teach", "task.yaml", "--output", "model", "--workers", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".model.*")):
        assert process.poll() is None
        signal.sigtimedwait([], 0.2)
    signal.sigtimedwait([], 2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["task.yaml"]


def test_the_recipe_for_discrete_actions_can_train_and_needs_no_note(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(training:.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    task = tmp_path / "task.yaml"
    task.write_text(f"id: Test/D-v0\nenv: {{id: Test/Dial-v0}}\nreward: {{goal: a}}\n{block}")
    recipe = load_task(str(task)).training["default"]
    assert check_recipe(recipe).name == "DQN"
    assert recipe_notes(recipe) == []


@pytest.mark.slow
def test_the_tutorial_goes_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    subprocess.run([sys.executable, "-c", code], check=True)
    lines = [line for line in page.splitlines() if line.startswith("vlmrm ") and "crane" in line and "TASK" not in line]
    fewer = {"teach": ["--minutes", "1", "--rounds", "1", "--workers", "1"], "train": ["--workers", "1"]}
    run: Callable[..., Any] = subprocess.run
    for line in dict.fromkeys(line.split("#")[0].strip() for line in lines):
        words = line.split()[1:]
        command = [sys.executable, "-m", "gym_vlmrm_cli.main", *words, *fewer.get(words[0], [])]
        if words[0] == "train":
            command += ["--steps", "4000"]
        if words[0] == "eval":
            command += ["--json"]
        done = run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    scores = json.loads(done.stdout)
    trained, random = scores["policy"], scores["random"]  # of fewer steps than the page's: better, not good
    assert trained["success_share"] > random["success_share"]
    assert trained["vlm_reward"] > random["vlm_reward"]
