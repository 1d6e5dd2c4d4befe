"""Moving bodies: puppets whose joints are led by hand, without physics, and bodies that physics moves."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from embedded_model.states import hold_pose, turned
from gym_vlmrm.arrays import Floats
from gym_vlmrm.worlds.humanoid.env import HumanoidScene
from gym_vlmrm.worlds.poses.arms import Target, mirror_arm, solve_arm
from gym_vlmrm.worlds.poses.kinematics import JOINTS, clip_joints, set_down, to_quaternion, to_rotation
from gym_vlmrm.worlds.poses.poses import ARM_POSES, LEG_POSES, can_combine, pose_path, reference_pose
from gym_vlmrm.worlds.poses.reach import LEFT_ARM, RIGHT_ARM

__all__ = ["FILMED", "SPACINGS", "STEP", "Bank", "Film", "draw_films"]

STEP = 0.015
"""Time of one environment step [s]."""
FILMED = 10
"""Pictures per film."""
SPACINGS = (1, 2, 4, 4, 6, 8, 8, 8, 8, 8, 12, 16)
"""Steps from one picture of a film to the next; one is drawn per film."""
PHYSICS_SHARE = 0.3
_STANDING, _OTHERS, _SWINGS = 160, 160, 80
_JOINT = {name: 7 + number for number, name in enumerate(JOINTS)}
_GRAVITY = 9.81


@dataclass(frozen=True)
class Film:
    """A body that moves."""

    states: Floats
    """(T, 24) configurations, one per environment step."""
    spacing: int
    """Every so many of them is drawn, the first and the last among them."""


@dataclass(frozen=True)
class _Swing:
    """Two places of a right arm between which it swings (3,) [rad]."""

    first: Floats
    second: Floats


class Bank:
    """Poses and swings that films begin with: solving arms anew for each would take minutes."""

    def __init__(self, seed: int) -> None:
        """Draw them; equal seeds draw equal ones."""
        rng = np.random.default_rng(seed)
        arms = [name for name in ARM_POSES if can_combine("standing", name)]
        pairs = [(legs, name) for legs in LEG_POSES for name in ARM_POSES if can_combine(legs, name)]

        def held(legs: str, name: str) -> Floats:
            return reference_pose(legs, name, rng=rng, variation=float(rng.choice([0.5, 1.0, 1.5])))

        self.standing = [held("standing", "down" if i % 3 else str(rng.choice(arms))) for i in range(_STANDING)]
        self.others = [held(*pairs[rng.integers(len(pairs))]) for _ in range(_OTHERS)]
        self.waves = [_swing(rng, low=0.15, high=0.5) for _ in range(_SWINGS)]
        self.swings = [_swing(rng, low=-0.4, high=0.05) for _ in range(_SWINGS)]


def _swing(rng: np.random.Generator, *, low: float, high: float) -> _Swing:
    ahead, height = rng.uniform(-0.05, 0.3), rng.uniform(low, high)
    middle, reach = rng.uniform(-0.4, -0.12), rng.uniform(0.08, 0.25)
    across = np.array([rng.normal(0, 0.3), 1.0, rng.normal(0, 0.4)])
    across *= reach / np.linalg.norm(across)
    places = [np.array([ahead, middle, height]) + sign * across for sign in (-1, 1)]
    return _Swing(*(solve_arm(Target((float(x), float(y), float(z)))) for x, y, z in places))


def draw_films(bank: Bank, count: int, rng: np.random.Generator) -> list[Film]:
    """Draw films of `FILMED` pictures each."""
    env = HumanoidScene(terminate_when_unhealthy=False)
    films = []
    for _ in range(count):
        spacing = int(rng.choice(SPACINGS))
        steps = (FILMED - 1) * spacing + 1
        if rng.random() < PHYSICS_SHARE:
            states = _played(env, bank, steps, rng)
        else:
            states = _PUPPETS[rng.integers(len(_PUPPETS))](bank, steps, rng)
        films.append(Film(_elsewhere(states, rng), spacing))
    env.close()
    return films


def _elsewhere(states: Floats, rng: np.random.Generator) -> Floats:
    """Turn a whole film about the vertical and move it about: agents walk towards the camera and away from it."""
    beginning = turned(states[:1], rng)[0]
    spin = to_rotation(beginning[3:7]) * to_rotation(states[0, 3:7]).inv()
    moved = states.copy()
    moved[:, 3:7] = to_quaternion(spin * to_rotation(states[:, 3:7]))
    away = spin.apply(states[:, :3] - states[0, :3] * (1, 1, 0))
    place = np.array([rng.normal(0.2, 0.4), rng.normal(0, 0.25)])
    moved[:, :2] = away[:, :2] + place
    return moved


def _times(steps: int) -> Floats:
    return np.arange(steps, dtype=np.float64) * STEP


def _base(bank: Bank, rng: np.random.Generator) -> Floats:
    return bank.standing[rng.integers(len(bank.standing))].copy()


def _steady(pose: Floats, steps: int) -> Floats:
    return np.repeat(pose[None], steps, axis=0)


def _down(states: Floats, lifts: Floats | None = None) -> Floats:
    """Set every state down on the floor, or `lifts` [m] above it."""
    states[:, 7:] = [clip_joints(joints) for joints in states[:, 7:]]
    return np.stack([set_down(row, lift=0.0 if lifts is None else lifts[i]) for i, row in enumerate(states)])


def _step_legs(states: Floats, rng: np.random.Generator, share: float = 1.0) -> None:
    """Let the legs step, and perhaps the arms swing."""
    t, rate = _times(len(states)), rng.uniform(0.6, 3.0)
    phase = 2 * np.pi * rate * t + rng.uniform(0, 2 * np.pi)
    stride, lift = share * np.radians(rng.uniform(5, 38)), share * np.radians(rng.uniform(5, 70))
    for sign, side in ((1, "right"), (-1, "left")):
        states[:, _JOINT[f"{side}_hip_y"]] += sign * stride * np.sin(phase) - 0.3 * lift
        states[:, _JOINT[f"{side}_knee"]] -= lift * np.maximum(0.0, sign * np.cos(phase))
    if rng.random() < 0.5:
        swing = np.radians(rng.uniform(5, 25))
        for sign, side in ((-1, "right"), (1, "left")):
            states[:, _JOINT[f"{side}_shoulder1"]] += swing * np.sin(phase) * sign * (1 if side == "right" else -1)


def _travel(states: Floats, forward: float, leftward: float, rng: np.random.Generator) -> None:
    """Move the root at speeds [m/s] in its own frame; the speed sets in within a while."""
    t = _times(len(states))
    ease = np.minimum(1.0, (t + rng.uniform(0, 0.6)) / rng.uniform(0.05, 0.6))
    covered = np.concatenate([[0.0], np.cumsum(ease[1:] * STEP)])
    axes = to_rotation(states[:, 3:7]).as_matrix()
    ahead = axes[:, :2, 0] / np.maximum(np.linalg.norm(axes[:, :2, 0], axis=1, keepdims=True), 1e-6)
    left = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
    change = np.diff(covered, prepend=0.0)[:, None]
    states[:, :2] += np.cumsum(change * (forward * ahead + leftward * left), axis=0)


def _spin(states: Floats, rate: float) -> None:
    """Turn at a rate [rad/s] about the vertical."""
    turns = Rotation.from_euler("z", rate * _times(len(states))[:, None])
    states[:, 3:7] = to_quaternion(turns * to_rotation(states[:, 3:7]))


def _lean(states: Floats, rng: np.random.Generator) -> None:
    tilt = Rotation.from_euler("xyz", [rng.normal(0, 0.08), rng.normal(0.05, 0.12), 0.0])
    states[:, 3:7] = to_quaternion(to_rotation(states[:, 3:7]) * tilt)


def _swing_arms(states: Floats, swings: list[_Swing], rng: np.random.Generator, *, both: bool) -> None:
    t, rate = _times(len(states)), rng.uniform(0.4, 3.5)
    sides = ("right", "left") if both else (str(rng.choice(["right", "left"])),)
    start = rng.uniform(0, 2 * np.pi)
    for side in sides:
        swing = swings[rng.integers(len(swings))]
        share = (0.5 + 0.5 * np.sin(2 * np.pi * rate * t + start))[:, None]
        angles = (1 - share) * swing.first + share * swing.second
        if side == "right":
            states[:, RIGHT_ARM] = angles
        else:
            states[:, LEFT_ARM] = [mirror_arm(row) for row in angles]


def _walk(bank: Bank, steps: int, rng: np.random.Generator) -> Floats:
    states = _steady(_base(bank, rng), steps)
    if rng.random() < 0.85:
        _step_legs(states, rng)
    if rng.random() < 0.2:
        _swing_arms(states, bank.waves, rng, both=False)
    if rng.random() < 0.25:
        _spin(states, rng.normal(0, 1.0))
    _lean(states, rng)
    kind = rng.random()
    forward = rng.uniform(0.1, 2.5) if kind < 0.6 else -rng.uniform(0.1, 1.5) if kind < 0.8 else rng.normal(0, 0.2)
    leftward = rng.normal(0, 0.15) if kind < 0.8 else rng.choice([-1, 1]) * rng.uniform(0.2, 1.2)
    states = _down(states)
    _travel(states, forward, leftward, rng)
    return states


def _turn(bank: Bank, steps: int, rng: np.random.Generator) -> Floats:
    states = _steady(_base(bank, rng), steps)
    if rng.random() < 0.8:
        _step_legs(states, rng, share=0.6)
    _lean(states, rng)
    _spin(states, rng.choice([-1, 1]) * rng.uniform(0.2, 5.0))
    states = _down(states)
    _travel(states, rng.normal(0, 0.2), rng.normal(0, 0.2), rng)
    return states


def _jump(bank: Bank, steps: int, rng: np.random.Generator) -> Floats:
    states = _steady(_base(bank, rng), steps)
    t = _times(steps)
    speed, ground = rng.uniform(0.5, 2.8), rng.uniform(0.1, 0.5)
    air = 2 * speed / _GRAVITY
    phase = (t + rng.uniform(0, air + ground)) % (air + ground)
    lifts = np.where(phase < air, speed * phase - _GRAVITY / 2 * phase**2, 0.0)
    crouch = np.where(phase < air, 0.0, np.sin(np.pi * np.clip((phase - air) / ground, 0, 1)))
    depth = np.radians(rng.uniform(10, 60))
    tuck = np.where(phase < air, np.sin(np.pi * np.clip(phase / air, 0, 1)), 0.0) * np.radians(rng.uniform(0, 50))
    for side in ("right", "left"):
        states[:, _JOINT[f"{side}_hip_y"]] -= depth * crouch + tuck
        states[:, _JOINT[f"{side}_knee"]] -= 2 * depth * crouch + 1.5 * tuck
    if rng.random() < 0.4:
        _swing_arms(states, bank.waves if rng.random() < 0.5 else bank.swings, rng, both=True)
    _lean(states, rng)
    if rng.random() < 0.25:
        _spin(states, rng.normal(0, 2.0))
    states = _down(states, np.maximum(lifts, 0.0))
    _travel(states, rng.normal(0, 0.4), rng.normal(0, 0.2), rng)
    return states


def _wave(bank: Bank, steps: int, rng: np.random.Generator) -> Floats:
    pose = _base(bank, rng) if rng.random() < 0.8 else bank.others[rng.integers(len(bank.others))].copy()
    states = _steady(pose, steps)
    _swing_arms(states, bank.waves if rng.random() < 0.7 else bank.swings, rng, both=rng.random() < 0.35)
    if rng.random() < 0.3:
        _step_legs(states, rng, share=0.4)
    _lean(states, rng)
    if rng.random() < 0.2:
        _spin(states, rng.normal(0, 0.6))
    return _down(states)


def _fall(bank: Bank, steps: int, rng: np.random.Generator) -> Floats:
    """Tip over about the feet, ever faster, or rise the same way."""
    states = _steady(_base(bank, rng), steps)
    t = _times(steps)
    angle = rng.uniform(0.05, 0.5) * np.cosh(rng.uniform(2.0, 4.5) * (t - rng.uniform(0, 0.3)))
    angle = np.minimum(angle, rng.uniform(1.3, 1.65))
    if rng.random() < 0.25:
        angle = angle[::-1]
    aim = rng.uniform(-np.pi, np.pi)
    axis = np.array([-np.sin(aim), np.cos(aim), 0.0])
    states[:, 3:7] = to_quaternion(Rotation.from_rotvec(angle[:, None] * axis) * to_rotation(states[:, 3:7]))
    limp = rng.normal(0, 0.5, 17) * (angle / 1.6)[:, None]
    states[:, 7:] += limp
    height = states[0, 2]
    states[:, :2] += height * np.sin(angle)[:, None] * np.array([np.cos(aim), np.sin(aim)])
    if rng.random() < 0.4:
        _swing_arms(states, bank.swings, rng, both=True)
    return _down(states)


def _move(bank: Bank, steps: int, rng: np.random.Generator) -> Floats:
    """Go from one pose to another: sit down, get up, raise an arm, stretch."""
    ends = [_base(bank, rng), bank.others[rng.integers(len(bank.others))]]
    if rng.random() < 0.5:
        ends.reverse()
    if rng.random() < 0.3:
        ends[0] = bank.others[rng.integers(len(bank.others))]
    length = max(3, int(rng.uniform(0.3, 1.6) / STEP))
    path = pose_path(ends[0], ends[1], length)
    start = int(rng.integers(0, max(1, length - steps // 2)))
    rows = np.clip(np.arange(start, start + steps) - int(rng.integers(0, 20)), 0, length - 1)
    return np.asarray(path[rows])


def _rest(bank: Bank, steps: int, rng: np.random.Generator) -> Floats:
    """Hold a pose, perhaps not quite still."""
    pose = _base(bank, rng) if rng.random() < 0.6 else bank.others[rng.integers(len(bank.others))]
    states = _steady(pose, steps)
    if rng.random() < 0.5:
        sway = np.sin(2 * np.pi * rng.uniform(0.3, 2.0) * _times(steps) + rng.uniform(0, 6))
        states[:, 7:] += sway[:, None] * rng.normal(0, 0.04, 17)
        states = _down(states)
    return states


def _wriggle(bank: Bank, steps: int, rng: np.random.Generator) -> Floats:
    """Move joints to and fro where the body stands."""
    states = _steady(_base(bank, rng), steps)
    t, some = _times(steps), rng.random(17) < rng.uniform(0.1, 0.8)
    waves = np.sin(2 * np.pi * rng.uniform(0.4, 3.0, 17) * t[:, None] + rng.uniform(0, 6, 17))
    states[:, 7:] += waves * some * rng.uniform(0.1, 0.7)
    _lean(states, rng)
    return _down(states)


_PUPPETS: tuple[Callable[[Bank, int, np.random.Generator], Floats], ...] = (
    *(_walk, _walk, _walk, _turn, _turn, _jump, _jump, _wave, _wave, _wave, _fall, _fall, _move, _rest, _wriggle),
)


def _played(env: HumanoidScene, bank: Bank, steps: int, rng: np.random.Generator) -> Floats:
    """Let physics move a body that acts at random, holds a pose, goes to another, or is limp, perhaps pushed."""
    start = env.init_qpos + rng.uniform(-0.01, 0.01, env.init_qpos.shape)
    if rng.random() < 0.3:
        start = (_base(bank, rng) if rng.random() < 0.6 else bank.others[rng.integers(len(bank.others))]).copy()
    env.reset(seed=int(rng.integers(2**31)))
    speeds = rng.normal(0, 0.1, env.model.nv)
    if rng.random() < 0.5:
        speeds[:3] += rng.normal(0, (1.0, 0.5, 0.8))
        speeds[3:6] += rng.normal(0, (0.6, 0.6, 2.0))
    env.set_state(start, speeds)  # type: ignore[no-untyped-call]
    goal = _base(bank, rng) if rng.random() < 0.7 else bank.others[rng.integers(len(bank.others))]
    strength, shake = rng.choice([0.0, 0.0, 0.5, 1.0]), rng.choice([0.0, 0.1, 0.4, 1.0, 1.0])
    drive, skipped = rng.normal(0, 0.5, env.model.nu) * rng.choice([0.0, 1.0]), int(rng.integers(0, 50))
    states = []
    for step in range(skipped + steps):
        action = strength * hold_pose(env, goal) + shake * rng.uniform(-0.4, 0.4, env.model.nu) + 0.4 * drive
        env.step(np.clip(action, -0.4, 0.4).astype(np.float32))
        if step >= skipped:
            states.append(env.data.qpos.copy())
    return np.stack(states)
