"""Episodes of a run's policy, step by step, by whatever checkpoint is the newest while the run still trains."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gym_vlmrm.arrays import Frames
from gym_vlmrm.files import is_held
from gym_vlmrm.learning.agents import TrainedAgent
from gym_vlmrm.learning.building import with_gamma
from gym_vlmrm.learning.run_folder import Checkpoint, RunFolder
from gym_vlmrm.learning.stored_policy import load_agent
from gym_vlmrm.reward import choose_frame_size, load_reward_model
from gym_vlmrm.reward.threads import one_torch_thread
from gym_vlmrm.task.catalog import override
from gym_vlmrm.worlds.scene import SCENES
from gym_vlmrm.worlds.world import make_world
from gym_vlmrm.wrappers import VLMReward

__all__ = ["SHOWN", "Moment", "Which", "check_playable", "pace", "play_live"]

SHOWN = 448
"""Side of the frames that are shown of a scene [px]; those of other environments are what the reward sees."""
PATIENCE = 1.0
"""Time between two looks for the first checkpoint [s]."""
WATCHING_SEED = 30_000
"""Added to the seed: no watched episode starts like one of training, judging or evaluation."""
Which = Literal["best", "last", "newest"] | int


@dataclass(frozen=True)
class Moment:
    """One step."""

    frame: Frames
    """(S, S, 3)"""
    reward: float
    task_reward: float
    success: bool | None
    step: int
    """Of the episode, from 1 on."""
    episode: int
    """From 1 on."""
    checkpoint: int
    """Training step of the policy."""


def play_live(
    run: RunFolder,
    which: Which = "newest",
    *,
    seed: int = 0,
    device: str | None = None,
    episodes: int | None = None,
    on_notice: Callable[[str], None] = lambda _: None,
) -> Iterator[Moment]:
    """Play a run's policy greedily, episode after episode.

    Args:
        run: the run folder.
        which: a checkpoint; ``newest`` looks for the newest before each episode while a process trains into the
            folder, and is the best afterwards.
        seed: of the first episode's start; each one more for the next.
        device: where the reward model runs; the task's if not given.
        episodes: how many; endless if not given.
        on_notice: called with a sentence that the user should read.

    Raises:
        RunError: no such checkpoint, or it is damaged or of another task.
        TaskError, WorldError, RenderingError, ModelError, TrainingError: as their names say.
    """
    task = with_gamma(override(run.task, device=device), run.record.recipe)
    _wait_for_checkpoint(run, on_notice)
    run.name_model()
    model = load_reward_model(task)
    world = make_world(task, render_size=choose_frame_size(task, model), limited=True, verdicts=True)
    rewarded = VLMReward(world, model)
    rewarded.training_steps = math.inf
    shown = task.model_copy(update={"scene": task.scene.model_copy(update={"quality": "standard"})})
    twin = make_world(shown, render_size=SHOWN) if task.env.id in SCENES else None
    agent: TrainedAgent | None = None
    played: Checkpoint | None = None
    episode = 0
    try:
        if twin is not None:
            twin.reset(seed=0)
        while episodes is None or episode < episodes:
            chosen = _choose(run, which)
            if agent is None or chosen != played:
                agent, played = load_agent(chosen.path), chosen
                agent.enter(world.observation_space, world.action_space, task.env.id)
            episode += 1
            agent.restart()
            observation, _ = rewarded.reset(seed=WATCHING_SEED + seed + episode - 1)
            step, over = 0, False
            while not over:
                with one_torch_thread():
                    action = agent.act_alone(observation, world)
                    observation, reward, terminated, truncated, info = rewarded.step(action)
                step += 1
                success = bool(info["success"]) if "success" in info else None
                frame = np.asarray(world.render()) if twin is None else _drawn(twin, world)
                yield Moment(frame, reward, float(info["task_reward"]), success, step, episode, chosen.step)
                over = bool(terminated or truncated)
    finally:
        world.close()
        if twin is not None:
            twin.close()


def check_playable(run: RunFolder, which: Which) -> None:
    """Check, before anything is opened, that there is something to play; a run that trains may still make it.

    Raises:
        RunError: no such checkpoint.
    """
    if not is_held(run.path):
        _choose(run, which)


def _drawn(twin: Any, world: Any) -> Frames:
    """Draw the state of a scene once more, larger; the reward's own frame stays what it is."""
    twin.unwrapped.place(world.unwrapped.configuration())
    return np.asarray(twin.render())


def _choose(run: RunFolder, which: Which) -> Checkpoint:
    if which == "newest":
        return run.checkpoint("last" if is_held(run.path) else "best")
    return run.checkpoint(which)


def _wait_for_checkpoint(run: RunFolder, on_notice: Callable[[str], None]) -> None:
    if is_held(run.path) and not run.checkpoints():
        on_notice(f"'{run.path}' has just begun; waiting for its first checkpoint")
        while is_held(run.path) and not run.checkpoints():
            time.sleep(PATIENCE)


def pace(fps: float) -> Iterator[None]:
    """Yield so many times per second at most."""
    due = time.perf_counter()
    while True:
        yield
        due = max(due + 1 / fps, time.perf_counter())
        time.sleep(max(0.0, due - time.perf_counter()))
