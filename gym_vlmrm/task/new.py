"""A new task file: commented YAML from a few answers, for people to go on with."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from gym_vlmrm.task.schema import schema_line

__all__ = ["BASES", "new_task_text", "suggest_id"]

BASES: dict[str, dict[str, Any]] = {
    "humanoid": {"include": "_humanoid.yaml"},
    "cartpole": {"id": "CartPole-v1", "max_episode_steps": 200, "kwargs": {"terminate": False}},
    "mountain-car": {"id": "MountainCarContinuous-v0", "max_episode_steps": 200, "kwargs": {"absorbing": True}},
}
"""Scenes of this package by their short names, and how a file stands on them; any other name is a Gymnasium ID."""
LEFT_OUT = ("a", "an", "the", "of", "on", "in", "at", "with", "and", "to", "is", "robot", "humanoid")


def suggest_id(env: str, goal: str) -> str:
    """Return an environment ID made of the sentence, such as ``Mine/Ant-LyingBack-v0``."""
    words = [word for word in re.findall(r"[A-Za-z0-9]+", goal) if word.lower() not in LEFT_OUT]
    name = re.sub(r"-v\d+$", "", env.rpartition(":")[2].rpartition("/")[2])
    stem = "".join(part[:1].upper() + part[1:] for part in re.findall(r"[A-Za-z0-9]+", name))
    return f"Mine/{stem or 'Task'}-{''.join(word.capitalize() for word in words[-3:]) or 'Goal'}-v0"


def new_task_text(
    env: str,
    goal: Sequence[str],
    *,
    task_id: str | None = None,
    baseline: Sequence[str] = (),
    alpha: float = 0.0,
    model: str | None = None,
    success: Sequence[str] = (),
    algorithm: str = "PPO",
    steps: int = 200_000,
    quantities: Mapping[str, str] | None = None,
    max_episode_steps: int | None = None,
    file: str = "mine.yaml",
) -> str:
    """Return the text of a task file.

    Args:
        env: a short name of `BASES`, or a Gymnasium ID.
        goal: goal prompts.
        task_id: environment ID of the task; made of the sentence if not given.
        baseline: baseline prompts.
        alpha: strength of goal-baseline regularisation.
        model: reward model; a line that may be uncommented if not given.
        success: comparisons that must all hold; an example in a comment if not given.
        algorithm: of the recipe `default`.
        steps: environment steps of it.
        quantities: what the environment names, with units, for a comment.
        max_episode_steps: for an environment that has no limit of its own.
        file: name of the file, for its first comment.
    """
    base = BASES.get(env, {"id": env})
    named = shlex.quote(file) if file.isprintable() else "FILE"
    lines = [schema_line(), f"# vlmrm check {named}; vlmrm train {named}"]
    if "include" in base:
        lines.append(f"include: {base['include']}    # scene, camera, episode length, recipes; what stands here wins")
    lines.append(f"id: {_text(task_id or suggest_id(env, goal[0]))}    # raise -v0 when a change alters results")
    if "id" in base:
        lines += ["env:", f"  id: {_text(base['id'])}"]
        limit = max_episode_steps or base.get("max_episode_steps")
        lines.append(f"  {'' if limit else '# '}max_episode_steps: {limit or 200}    # longer episodes are cut")
        if "kwargs" in base:
            lines.append(f"  kwargs: {json.dumps(base['kwargs'])}    # arguments of the environment")
    elif max_episode_steps:
        lines += ["env:", f"  max_episode_steps: {max_episode_steps}"]
    lines += ["reward:", f"  goal: {_texts(goal)}    # one sentence, or a list of several"]
    if baseline:
        lines.append(f"  baseline: {_texts(baseline)}    # the scene without the goal")
    elif "include" not in base:
        lines.append("  # baseline: the scene without the goal; needed for alpha above 0")
    shown = "" if alpha > 0 else "# "
    lines.append(
        f"  {shown}alpha: {alpha if alpha > 0 else 0.5:g}    # 0 to 1: how much only goal minus baseline counts"
    )
    name = _text(model or "ViT-B-32/laion2b_s34b_b79k")
    lines.append(f"  {'' if model else '# '}model: {name}    # `vlmrm models` lists some; embedded if left out")
    lines += _rule(success, quantities or {})
    if "include" not in base:
        lines += [
            "training:",
            "  default:    # any algorithm of stable-baselines3 or sb3-contrib",
            f"    algorithm: {_text(algorithm)}",
            f"    steps: {steps}",
            "    num_envs: 8",
            "    normalize_observation: true",
            f"    {'' if algorithm == 'PPO' else '# '}normalize_reward: true    # on-policy algorithms",
            "    # hyperparameters: {learning_rate: 3.0e-4}    # as stable-baselines3 names them",
        ]
    return "\n".join(lines) + "\n"


def _rule(success: Sequence[str], quantities: Mapping[str, str]) -> list[str]:
    known = ", ".join(f"{name} [{unit}]" if unit else name for name, unit in list(quantities.items())[:6])
    more = f"{known}, ...: all by `vlmrm show`" if known else "obs[0], info.<name>: see `vlmrm show`"
    comment = f"# judges the state, never part of the reward; reads {more}"
    if not success:
        name = next(iter(quantities), "obs[0]")
        return [comment, f'# success: "{name} > 0.5"']
    if len(success) == 1:
        return [comment, f"success: {_text(success[0])}"]
    return [comment, "success:", "  all:", *(f"    - {_text(rule)}" for rule in success)]


def _text(value: str) -> str:
    """Write a text as YAML: plain where it is, else in quotes."""
    plain = re.fullmatch(r"[A-Za-z][\w /,.'()-]*", value) and not re.fullmatch(
        r"(?i)y|n|yes|no|on|off|true|false|null", value
    )
    return value if plain and value == value.strip() and " #" not in value else _quoted(value)


def _quoted(text: str) -> str:
    """Write a text in quotes; what can be seen stays as it is, the rest is escaped as YAML has it."""

    def escaped(letter: str) -> str:
        if letter.isprintable() and letter not in '"\\':
            return letter
        return json.dumps(letter)[1:-1] if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"

    return '"' + "".join(map(escaped, text)) + '"'


def _texts(values: Sequence[str]) -> str:
    return _text(values[0]) if len(values) == 1 else "[" + ", ".join(map(_quoted, values)) + "]"
