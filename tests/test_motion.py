"""Motions: velocities of the humanoid, the embedded model's motion head, and tasks that go by them."""

import json
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from command_line import vlmrm

import gym_vlmrm
from gym_vlmrm.auditing import audit
from gym_vlmrm.auditing.frames import HELD
from gym_vlmrm.auditing.stage import Stage
from gym_vlmrm.errors import ModelError, TaskError
from gym_vlmrm.reward.loading import EMBEDDED_FOLDER, UnknownWordsWarning, load_reward_model
from gym_vlmrm.reward.motion.file import HEAD_FILE
from gym_vlmrm.task.catalog import builtin_tasks, load_task, task_from_dict
from gym_vlmrm.tensors import load_metadata, load_tensors, save_tensors
from gym_vlmrm.worlds.humanoid.env import HumanoidScene
from gym_vlmrm.worlds.humanoid.velocities import VELOCITIES
from gym_vlmrm.worlds.poses.poses import reference_pose
from gym_vlmrm.worlds.world import make_world

MOTIONS = [name for name, task in builtin_tasks().items() if task.reward.sees_films]
WINDOW = {"frames": 4, "stride": 2, "join": "motion"}


@pytest.fixture(scope="module")
def humanoid() -> Any:
    env = HumanoidScene(render_size=96)
    env.reset(seed=0)
    yield env
    env.close()


def one(goal: str, **reward: Any) -> Any:
    """A task of one sentence about a motion."""
    body = load_task("waving").model_dump(exclude_unset=True)
    written = {"goal": goal, "window": WINDOW, "every": 4, **reward}
    return task_from_dict({**body, "id": "Test/Motion-v0", "reward": written})


# Velocities -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_velocities_are_those_of_finite_differences(humanoid: HumanoidScene, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, pose = humanoid.model, reference_pose("standing", rng=rng, yaw=float(rng.uniform(-3, 3)))
    speeds = rng.normal(0, 1, model.nv)
    humanoid.set_state(pose, speeds)
    told = humanoid.quantities()

    def at(seconds: float) -> Any:
        data = mujoco.MjData(model)
        qpos = np.array(pose)
        mujoco.mj_integratePos(model, qpos, speeds, seconds)
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        return data

    before, now, after, step = at(-1e-5), at(0), at(1e-5), 2e-5
    torso = model.body("torso").id
    speed = (after.xpos[torso] - before.xpos[torso]) / step
    ahead = now.xmat[torso].reshape(3, 3)[:2, 0]
    ahead = ahead / np.linalg.norm(ahead)
    assert told["forward_speed"] == pytest.approx(ahead @ speed[:2], abs=1e-4)
    assert told["leftward_speed"] == pytest.approx(ahead[0] * speed[1] - ahead[1] * speed[0], abs=1e-4)
    assert told["vertical_speed"] == pytest.approx(speed[2], abs=1e-4)
    feet = [model.geom(f"{side}_foot").id for side in ("left", "right")]
    moved = (after.geom_xpos[feet] - before.geom_xpos[feet]).mean(axis=0) / step
    assert told["feet_forward_speed"] == pytest.approx(ahead @ moved[:2], abs=1e-4)
    pelvis = model.body("pelvis").id
    turned = after.xmat[pelvis].reshape(3, 3) @ before.xmat[pelvis].reshape(3, 3).T
    rate = np.degrees((turned[1, 0] - turned[0, 1]) / 2 / step)
    assert told["pelvis_turn_rate"] == pytest.approx(rate, abs=0.5)
    tilts = [np.degrees(np.arccos(data.xmat[torso, 8])) for data in (before, after)]
    assert told["fall_rate"] == pytest.approx((tilts[1] - tilts[0]) / step, abs=0.5)
    for side in ("left", "right"):
        hand = model.geom(f"{side}_hand").id
        places = [
            (data.geom_xpos[hand] - data.xpos[torso]) @ data.xmat[torso].reshape(3, 3) for data in (before, after)
        ]
        assert told[f"{side}_hand_speed"] == pytest.approx(np.linalg.norm(places[1] - places[0]) / step, abs=1e-4)
    assert told["fastest_hand_speed"] == max(told["left_hand_speed"], told["right_hand_speed"])


def test_turning_is_positive_to_the_left_and_a_posed_body_is_at_rest(humanoid: HumanoidScene) -> None:
    speeds = np.zeros(humanoid.model.nv)
    speeds[5] = np.pi / 2
    humanoid.set_state(np.array(reference_pose("standing")), speeds)
    assert humanoid.quantities()["turn_rate"] == pytest.approx(90, abs=0.5)
    assert humanoid.quantities()["fastest_hand_speed"] == pytest.approx(0, abs=1e-9)
    humanoid.place(np.array(reference_pose("standing", "raised")))
    assert [humanoid.quantities()[name] for name in VELOCITIES] == [0.0] * len(VELOCITIES)


def test_toppling_is_no_walking_and_a_twisted_waist_no_turning(humanoid: HumanoidScene) -> None:
    """A body that moves as a whole about its feet, and one whose pelvis stays where it is while the torso turns."""
    model, pose = humanoid.model, np.array(reference_pose("standing"))
    humanoid.place(pose)
    height = humanoid.quantities()["torso_height"] - humanoid.quantities()["lower_foot_height"]
    toppling = np.zeros(model.nv)
    toppling[0], toppling[4] = 1.0, 1.0 / height
    humanoid.set_state(pose, toppling)
    told = humanoid.quantities()
    assert told["forward_speed"] == pytest.approx(1.0, abs=0.02)
    assert abs(told["feet_forward_speed"]) < 0.1 < load_number("walking", "mean(feet_forward_speed, 33)")
    twisting = np.zeros(model.nv)
    twisting[5] = np.pi / 2
    twisting[model.joint("abdomen_z").dofadr[0]] = -np.pi / 2
    humanoid.set_state(pose, twisting)
    told = humanoid.quantities()
    assert told["turn_rate"] == pytest.approx(90, abs=0.5)
    assert abs(told["pelvis_turn_rate"]) < 5 < load_number("turning", "mean(pelvis_turn_rate, 33)")


def load_number(name: str, quantity: str) -> float:
    """What a motion task's rule wants of a quantity, at least."""

    def comparisons(rule: Any) -> Any:
        parts = getattr(rule, "parts", None)
        return [rule] if parts is None else [found for part in parts for found in comparisons(part)]

    rule = load_task(name).success_rule
    return max(part.number for part in comparisons(rule) if part.name == quantity)


# The head -------------------------------------------------------------------------------------------------------------


def test_the_head_is_small_and_belongs_to_the_weights() -> None:
    assert (EMBEDDED_FOLDER / HEAD_FILE).stat().st_size < 500_000
    model: Any = load_reward_model(one("a humanoid robot waving its hand"))
    assert model.sights[0].model.head.sentences.words >= {"waving", "walking", "jumping", "turning", "falling"}


def film(humanoid: HumanoidScene, poses: Any) -> Any:
    frames = []
    for pose in poses:
        humanoid.set_state(np.array(pose), np.zeros(humanoid.model.nv))
        frames.append(humanoid.render())
    return np.stack(frames)


def worth(goal: str, frames: Any, spacing: int = 8) -> float:
    """What a film of four frames is worth by a sentence."""
    model: Any = load_reward_model(one(goal), device="cpu")
    watcher = model.sights[0].model
    _, readings = watcher.look(frames)
    return watcher.watch(readings.astype(np.float64), spacing)


def moved(pose: Any, *, forward: float = 0.0, up: float = 0.0, yaw: float = 0.0) -> Any:
    turned = np.array(pose if not yaw else reference_pose("standing", yaw=yaw))
    turned[0] += forward
    turned[2] += up
    return turned


def motions(humanoid: HumanoidScene) -> dict[str, Any]:
    """Films of plain motions, 0.36 s each; the camera looks into the face of a body that faces +x."""
    body = reference_pose("standing")
    raised = [reference_pose("standing", arms) for arms in ("right_raised", "t_pose")]
    return {
        "standing still": film(humanoid, [body] * 4),
        "walking forward": film(humanoid, [moved(body, forward=0.15 * i) for i in range(4)]),
        "walking backward": film(humanoid, [moved(body, forward=-0.18 * i) for i in range(4)]),
        "turning around": film(humanoid, [moved(body, yaw=0.3 * i) for i in range(4)]),
        "jumping up": film(humanoid, [moved(body, up=height) for height in (0.0, 0.22, 0.3, 0.2)]),
        "waving its hand": film(humanoid, [raised[i % 2] for i in range(4)]),
        "falling over": film(humanoid, [_tilted(body, angle) for angle in (0.1, 0.3, 0.65, 1.2)]),
    }


def _tilted(pose: Any, angle: float) -> Any:
    from scipy.spatial.transform import Rotation

    from gym_vlmrm.worlds.poses.kinematics import set_down, to_quaternion, to_rotation

    fallen = np.array(pose)
    fallen[3:7] = to_quaternion(Rotation.from_euler("x", angle) * to_rotation(fallen[3:7]))
    return set_down(fallen)


def test_every_motion_is_worth_most_by_its_own_sentence(humanoid: HumanoidScene) -> None:
    films = motions(humanoid)
    for motion, frames in films.items():
        values = {goal: worth(f"a humanoid robot {goal}", frames) for goal in films}
        assert max(values, key=lambda goal: values[goal]) == motion, values


def test_the_time_between_pictures_counts(humanoid: HumanoidScene) -> None:
    """What changes as much in less time is faster."""
    frames = film(humanoid, [moved(reference_pose("standing"), forward=0.04 * i) for i in range(4)])
    goal = "a humanoid robot walking forward"
    assert worth(goal, frames, spacing=4) > worth(goal, frames, spacing=16)


def test_words_that_the_head_never_saw_are_warned_about() -> None:
    with pytest.warns(UnknownWordsWarning, match="motion head of model 'embedded' never saw 'somersaulting'"):
        load_reward_model(one("a humanoid robot somersaulting"))


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ({"model": "brightness"}, "'brightness' sees single pictures only"),
        ({"model": "ViT-B-32/laion2b_s34b_b79k"}, "sees single pictures only"),
        ({"window": {"frames": 6, "join": "motion"}}, "reward.window.frames is 6, and 'embedded' sees films of 4"),
    ],
)
def test_what_sees_no_films_is_refused_in_one_line(reward: dict[str, Any], words: str) -> None:
    with pytest.raises((ModelError, TaskError)) as caught:
        load_reward_model(one("a humanoid robot waving its hand", **reward))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_views_that_take_turns_make_no_film() -> None:
    with pytest.raises(TaskError, match="'motion' from one camera to another says nothing"):
        one("x", cameras=["main", "main2"], views="turn")


def test_check_finds_a_model_without_films(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "include: waving.yaml\nid: Test/Mine-v0\nreward:\n  model: brightness\n".replace("waving", "_motion")
    )
    path.write_text(path.read_text() + "  goal: waving\n")
    done = vlmrm("check", path)
    assert done.exit_code == 1
    assert "sees single pictures only" in done.stderr


@pytest.mark.parametrize("harm", ["other weights", "no words", "shapes", "cut"])
def test_a_damaged_head_is_refused_in_one_line(tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED_FOLDER, folder)
    path = folder / HEAD_FILE
    said, tensors = json.loads(load_metadata(path)["motion"]), load_tensors(path)
    if harm == "other weights":
        said["model"] = "0" * 64
    elif harm == "no words":
        del said["words"]
    elif harm == "shapes":
        tensors["look.0.weight"] = tensors["look.0.weight"][:, 1:].contiguous()
    path.unlink()
    save_tensors(path, tensors, {"motion": json.dumps(said)})
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError) as caught:
        load_reward_model(one("waving", model=f"local-dir:{folder}"))
    assert "\n" not in str(caught.value)


# Tasks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MOTIONS)
def test_a_motion_task_pays_what_its_windows_show(name: str) -> None:
    """Single environment, by hand: the last four of every second scored picture, the beginning among them."""
    task = load_task(name)
    env = gym.make(task.id, device="cpu")
    env.action_space.seed(1)
    env.reset(seed=1)
    model: Any = load_reward_model(task, device="cpu")
    pictures = [env.render()]
    for step in range(21):
        _, reward, _, _, info = env.step(env.action_space.sample())
        if step % 4 == 0:
            pictures.append(env.render())
        rows = [max(0, len(pictures) - 1 - back) for back in (6, 4, 2, 0)]
        rows = [row if row % 2 == (len(pictures) - 1) % 2 else row + 1 for row in rows]
        told = {}
        for part, sight in zip(model.parts, model.sights, strict=True):
            _, readings = sight.model.look(np.stack([pictures[row] for row in rows]))
            told[part.name] = sight.model.watch(readings.astype(np.float64), 8)
        assert info["reward_parts"] == pytest.approx(told, abs=1e-5)
        assert reward == pytest.approx(told["goal"] - told.get("avoid", 0.0), abs=1e-5)
    env.close()


def test_trembling_is_no_turning_and_turning_is() -> None:
    """One world, whose torso is told to shake about the vertical or to turn: the verdicts of half a second differ."""
    world = make_world(load_task("turning"), render_size=64, limited=True)
    env: Any = world.unwrapped
    for rates, success in (([120.0, -120.0], False), ([60.0, 60.0], True)):
        world.reset(seed=0)
        pose = np.array(reference_pose("standing"))
        for step in range(40):
            speeds = np.zeros(env.model.nv)
            speeds[5] = np.radians(rates[step % 2])
            env.set_state(pose, speeds)
            *_, info = world.step(np.zeros(17, np.float32))
        assert abs(env.quantities()["turn_rate"]) > 45
        assert info["success"] == success
    world.close()


def test_an_audits_stage_holds_random_actions_on_request() -> None:
    stage = Stage(load_task("mountain-car"), 16)
    actions, step = [], stage.world.step

    def noted(action: Any) -> Any:
        actions.append(float(action[0]))
        return step(action)

    stage.world.step = noted  # type: ignore[method-assign]
    stage.roll(1, 100, hold=HELD)
    assert {len(list(same)) for _, same in groupby(actions)} == {HELD}
    actions.clear()
    stage.roll(1, 100)
    assert len(set(actions)) == len(actions)


def test_posing_says_nothing_of_velocities() -> None:
    from gym_vlmrm.worlds.scene import can_pose

    assert not can_pose(load_task("waving"))
    still = load_task("standing").model_dump(exclude_unset=True)
    assert can_pose(task_from_dict(still))
    assert not can_pose(task_from_dict({**still, "id": "Test/S-v0", "success": "forward_speed > 1"}))
    assert not can_pose(task_from_dict({**still, "id": "Test/S-v0", "success": "mean(torso_up, 9) > 0.8"}))


def test_an_audit_judges_windows_of_play_and_says_so() -> None:
    task = load_task("turning").model_dump(exclude_unset=True)
    easy = task_from_dict({**task, "id": "Test/Turning-v0", "success": {"any": ["turn_rate > 30", "turn_rate < -30"]}})
    found = audit(easy, workers=1).report.models[0]
    assert found.exploit is None
    assert any("windows of the episodes" in reason for reason in found.verdict.reasons)
    assert not any("one by one" in reason for reason in found.verdict.reasons)


def test_a_recipe_of_an_included_file_can_be_removed() -> None:
    assert "hold" in load_task("standing").training
    assert set(load_task("waving").training) == {"default", "paper"}
    assert gym_vlmrm.load_task("waving").training["default"].steps == 300_000
