"""How a model's rewards run along states in order: paths to the goals, the pole's angle, the car's position."""

import numpy as np

from gym_vlmrm.catalog import builtin_tasks
from gym_vlmrm.envs.humanoid.poses import GOAL_POSES, pose_path, reference_pose
from gym_vlmrm.metrics import spearman
from gym_vlmrm.pretraining.measure import rewards_of
from gym_vlmrm.pretraining.rendering import render_now
from gym_vlmrm.reward.towers import Towers

__all__ = ["path_correlations", "pole_landscape"]

POLE_POSITIONS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Cart positions [m] at which the pole's landscape is measured."""


def path_correlations(towers: Towers, *, steps: int = 41) -> dict[str, float]:
    """Spearman correlation of reward with progress on the straight path in joint space from standing to each goal."""
    tasks = builtin_tasks()
    result = {}
    for key, pair in GOAL_POSES.items():
        if key == "standing":
            continue  # every path begins there
        path = pose_path(reference_pose("standing"), reference_pose(*pair), steps)
        frames = render_now("humanoid", path, 0, jitter=False)
        scores = rewards_of(towers, towers.embed_frames(frames), tasks[key].reward.goals)
        result[key] = float(spearman(scores, np.arange(steps, dtype=float)))
    x = np.linspace(-0.5, 0.6, steps)[:, None]
    frames = render_now("mountain-car", x, 0, jitter=False)
    rewards = rewards_of(towers, towers.embed_frames(frames), tasks["mountain-car"].reward.goals)
    result["mountain-car"] = float(spearman(rewards, x[:, 0]))
    return result


def pole_landscape(towers: Towers, *, step: float = 2.5) -> list[dict[str, float]]:
    """Follow CartPole's reward over the pole's angle, every `step` degrees, at several cart positions.

    Returns:
        One row per cart position [m]: the angle of the highest reward [deg], and the larger of the two sides' Spearman
        correlations of reward with the distance from upright, -1 where it falls all the way to 90 degrees.
    """
    goal = builtin_tasks()["cartpole"].reward.goals
    angles = np.arange(-90, 90 + step, step)
    rows = []
    for cart in POLE_POSITIONS:
        states = np.stack([np.full(len(angles), cart), np.radians(angles)], axis=1)
        rewards = rewards_of(towers, towers.embed_frames(render_now("cartpole", states, 0, jitter=False)), goal)
        sides = [spearman(rewards[side], np.abs(angles[side])) for side in (angles >= 0, angles <= 0)]
        rows.append({"cart": cart, "peak": float(angles[rewards.argmax()]), "spearman": float(max(sides))})
    return rows
