"""Verdicts: ideal rewards are teachable, planted holes are found, and random weights separate nothing."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import SIZE, ArmsUpReward, BackdoorReward, DarknessReward, save_untrained_model
from thorough import THOROUGH, sample

from gym_vlmrm.auditing import OracleReward, audit
from gym_vlmrm.auditing.judges import make_judge
from gym_vlmrm.auditing.verdict import EXPLOIT_MARGIN
from gym_vlmrm.errors import ModelError, RunError, TaskError, VLMRMError
from gym_vlmrm.task.builtin import PAPER_TASKS
from gym_vlmrm.task.catalog import load_task
from gym_vlmrm.task.spec import TaskSpec

ALL_TASKS = sorted(PAPER_TASKS)
"""Those whose world can be posed."""
HUMANOIDS = [name for name in ALL_TASKS if name not in ("cartpole", "mountain-car")]


def _verdict(task: Any, model: Any, **options: Any) -> Any:
    return audit(task, models=[model], workers=options.pop("workers", 1), **options).report.models[0]


@pytest.mark.parametrize("name", ["cartpole", "mountain-car"])
def test_an_ideal_reward_is_teachable(name: str) -> None:
    task = load_task(name)
    found = _verdict(task, OracleReward(task, frame_size=SIZE), evaluations=800)
    assert found.verdict.label == "teachable"
    assert found.exploit is not None
    assert found.exploit.best_success == pytest.approx(1.0)
    assert found.exploit.best_other < 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", sample(HUMANOIDS, "one-leg"))
def test_an_ideal_reward_is_teachable_for_the_humanoid(name: str) -> None:
    task = load_task(name)
    assert _verdict(task, OracleReward(task, frame_size=SIZE), evaluations=1000).verdict.label == "teachable"


def test_a_reward_for_brightness_is_exploitable() -> None:
    found = _verdict("mountain-car", "brightness", evaluations=800)
    assert found.verdict.label == "exploitable"
    assert not found.exploit.winners[0].success
    assert found.exploit.winners[0].reward > found.exploit.best_success
    assert found.exploit.winners[0].fails


class _TwoPeaks:
    """Equal narrow peaks at two angles of the pole, one of them inside the goal."""

    name = "two peaks"
    frame_size = SIZE

    def of_states(self, quantities: Any) -> Any:
        angle = np.array([state["pole_angle"] for state in quantities])
        return np.maximum(np.exp(-(((angle - 5.3) / 2) ** 2)), np.exp(-(((angle - 65.3) / 2) ** 2)))


def test_both_sides_of_the_search_are_tried_equally_hard() -> None:
    found = _verdict("cartpole", _TwoPeaks(), evaluations=1280).exploit
    assert found.evaluations == 2 * found.defending == 1280
    assert abs(found.margin) < EXPLOIT_MARGIN / 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", sample([DarknessReward, ArmsUpReward, BackdoorReward], DarknessReward, BackdoorReward)
)
def test_planted_holes_in_kneeling_are_found(model: Any) -> None:
    task = load_task("kneeling")
    found = _verdict(task, model(task) if model is BackdoorReward else model(), evaluations=1000)
    assert found.verdict.label == "exploitable"
    winner = found.exploit.winners[0]
    assert not winner.success
    assert winner.reward > found.exploit.best_success
    if model is BackdoorReward:
        # It looks right on most frames: only the search or a standing figure with raised arms tells.
        assert found.verdict.reasons[0].startswith("The search found")


def test_random_weights_separate_nothing(tmp_path: Path) -> None:
    model = save_untrained_model(tmp_path)
    found = _verdict("cartpole", model, evaluations=0)
    assert found.verdict.label == "not separable"
    assert found.parameters is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", sample(ALL_TASKS, "mountain-car"))
def test_random_weights_separate_nothing_in_any_task(name: str, tmp_path: Path) -> None:
    for seed in range(2 if THOROUGH else 1):
        model = save_untrained_model(tmp_path / str(seed), seed)
        assert _verdict(name, model, evaluations=0).verdict.label == "not separable"


def test_equal_seeds_give_equal_audits_however_many_workers() -> None:
    one, two = (audit("mountain-car", models=["brightness"], evaluations=400, seed=3, workers=n).report for n in (1, 2))
    left, right = (report.model_dump(exclude={"seconds"}) for report in (one, two))
    for report in (left, right):
        report["models"][0]["exploit"].pop("seconds")
    assert left == right


def test_every_alpha_and_prompt_is_measured(tmp_path: Path) -> None:
    model = save_untrained_model(tmp_path)
    report = audit("mountain-car", models=[model], alphas=[0, 0.5], prompts=["a car"], evaluations=0, workers=1).report
    asked = [(finding.candidate.goal[0], finding.candidate.alpha) for finding in report.findings]
    own = load_task("mountain-car").reward.goal
    assert asked == [(own, 0), (own, 0.5), ("a car", 0), ("a car", 0.5)]
    assert [line.candidate.alpha for line in report.landscapes[0].lines] == [0, 0.5]
    assert len(report.landscapes[0].x) == len(report.landscapes[0].lines[0].rewards) == 181


def _pendulum(**changes: Any) -> TaskSpec:
    data = {
        "id": "Test/Pendulum-v0",
        "env": {"id": "Pendulum-v1"},
        "reward": {"goal": "a pendulum that points up", "model": "brightness"},
        "success": "obs[0] > 0.3",
        **changes,
    }
    return TaskSpec.model_validate(data)


def test_any_environment_is_audited_by_rollouts() -> None:
    report = audit(_pendulum(), workers=1).report
    assert report.frames == {"random policy": 1000}
    assert report.models[0].exploit is None
    assert report.landscapes[0].axis.startswith("distance to the goal")
    assert report.findings[0].numbers.spearman_distance is not None


def test_an_audit_says_which_weights_judged() -> None:
    model = DarknessReward()
    model.weights_digest, model.precision, model.device = "ab" * 32, "bf16", "cuda:1"  # type: ignore[attr-defined]
    report = audit("mountain-car", models=[model, "brightness"], evaluations=0, workers=1).report
    records = [found.judge for found in report.models]
    assert records[0] is not None
    assert records[0].model_dump() == {
        "model": "darkness", "weights_digest": "ab" * 32, "precision": "bf16", "device": "cuda:1",
    }  # fmt: skip
    assert records[1] is not None
    assert records[1].model == "brightness"


def test_one_model_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    living: list[int] = []
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def loading(*arguments: Any) -> Any:
        gc.collect()
        living.append(len(alive))
        alive.add(judge := make_judge(*arguments))
        return judge

    monkeypatch.setattr("gym_vlmrm.auditing.examine.make_judge", loading)
    models = [save_untrained_model(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    report = audit("mountain-car", models=[*models, "brightness"], alphas=[0], evaluations=0, workers=1).report
    assert [model.model for model in report.models] == [*models, "brightness"]
    assert living == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"models": ["embedded", "ViT-B-23/openai"]}, ModelError, "did you mean 'ViT-B-32'"),
        ({"models": ["embedded", "local-dir:nowhere"]}, ModelError, "no such folder 'nowhere'"),
        ({"prompts": ["a car", " "]}, TaskError, "prompt to compare is empty"),
        ({"policy": "nowhere"}, RunError, "does not exist"),
        ({"frames": "nowhere"}, VLMRMError, "holds 0 pictures"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_drawn(options: Any, error: Any, message: str) -> None:
    done: list[str] = []
    with pytest.raises(error, match=message):
        audit("mountain-car", workers=1, on_progress=lambda what, *_: done.append(what), **options)
    assert done == []


def test_own_frames_need_no_rule(tmp_path: Path) -> None:
    from PIL import Image

    for folder, level in (("goal", 200), ("other", 40)):
        (tmp_path / folder).mkdir()
        for index in range(4):
            frame = np.full((40, 60, 3), level + index, np.uint8)
            Image.fromarray(frame).save(tmp_path / folder / f"{index}.png")
    report = audit(_pendulum(success=None), frames=tmp_path).report
    assert report.frames == {"picture": 8}
    assert report.findings[0].numbers.auc.value == 1
    assert report.models[0].verdict.label == "teachable"


def test_errors_say_what_would_be_right(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="--pictures DIR"):
        audit(_pendulum(success=None))
    never = _pendulum(env={"id": "toys:Toy-v0", "max_episode_steps": 100}, success="obs[0] > 10")
    with pytest.raises(TaskError, match="only 0 of 1000 frames are goal frames"):
        audit(never, workers=1)
    broken = {"id": "CartPole-v1", "kwargs": {"no_such": 1}}
    for workers in (1, 2):
        with pytest.raises(TaskError, match="no_such"):
            audit(_pendulum(env=broken), workers=workers)
    with pytest.raises(ModelError, match="no reward model"):
        audit("cartpole", models=[3])  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="baseline"):
        audit(_pendulum(), alphas=[0.5])


def test_a_given_policy_adds_its_frames(cartpole_run: Path) -> None:
    task = load_task("cartpole")
    report = audit(task, models=["brightness"], policy=cartpole_run, evaluations=0, workers=1).report
    assert report.frames["given policy"] == 120
