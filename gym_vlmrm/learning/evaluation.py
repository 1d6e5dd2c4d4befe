"""How good a trained policy is: success by the paper's rule, rewards against a random policy, and a film."""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from scipy.stats import binomtest

from gym_vlmrm.errors import RunError, whole_number
from gym_vlmrm.files import make_folder, write_json
from gym_vlmrm.learning.agents import Agent, RandomAgent
from gym_vlmrm.learning.checkpoints import load_agent
from gym_vlmrm.learning.playing import Episode, film, play
from gym_vlmrm.learning.provenance import library_versions
from gym_vlmrm.learning.records import MAX_SEED, JudgeRecord
from gym_vlmrm.learning.reward_check import BestFrames, check_rewards_of_episodes, write_contact_sheet
from gym_vlmrm.learning.rollout_statistics import finite_mean
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.scores import Evaluation, LongScores, Scores
from gym_vlmrm.learning.vec_env import pool_spaces
from gym_vlmrm.learning.video import Reel, tile, write_gif, write_mp4
from gym_vlmrm.reward import RewardModel, choose_frame_size, load_reward_model
from gym_vlmrm.reward.threads import one_torch_thread
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.world import episode_limit, make_worlds

__all__ = ["Evaluation", "Scores", "evaluate", "summarize", "wilson_interval"]

EVALUATION_SEED = 20_000
"""Added to the seed, so that no evaluated episode starts like one of training or of checkpoint judging."""
MAX_ENVS = 16
FILMED_EPISODES = 4
FILM_SIZE = 240
"""Side of one filmed episode [px]."""
DEFAULT_FPS = 30.0
HELD = 0.9
"""Share of the steps of its last half from which an episode counts as held."""
MAX_HORIZON = 100_000


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95% Wilson score interval of a proportion, within [0, 1]; all of it where there were no trials."""
    if trials == 0:
        return 0.0, 1.0
    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def summarize(episodes: Sequence[Episode]) -> Scores:
    """Return the scores of played episodes."""
    verdicts = [episode.successes for episode in episodes if episode.successes is not None]
    success: dict[str, Any] = {}
    if verdicts:
        successful = sum(bool(verdict.mean() >= 0.5) for verdict in verdicts)
        low, high = wilson_interval(successful, len(verdicts))
        last_halves = [verdict[len(verdict) // 2 :] for verdict in verdicts]
        success = {
            "successful_episodes": successful,
            "success_rate": successful / len(verdicts),
            "success_rate_low": low,
            "success_rate_high": high,
            "success_share": float(np.concatenate(verdicts).mean()),
            "hold": float(np.concatenate(last_halves).mean()),
            "held_rate": float(np.mean([half.mean() >= HELD for half in last_halves])),
        }
    return Scores(
        episodes=len(episodes),
        vlm_reward=float(np.concatenate([episode.vlm_rewards for episode in episodes]).mean(dtype=np.float64)),
        task_reward=finite_mean(np.concatenate([episode.task_rewards for episode in episodes])),
        episode_length=float(np.mean([len(episode) for episode in episodes])),
        **success,
    )


def evaluate(
    run: RunFolder | str | os.PathLike[str],
    *,
    checkpoint: Literal["best", "last"] | int = "best",
    episodes: int = 100,
    seed: int = 0,
    horizon: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    video: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Play a run's policy greedily and a random one, and write what came of it into the run folder.

    Files are ``eval/evaluation.json``, ``eval/best_frames.png`` (the frames that earned most) and ``video.gif``.

    Args:
        run: the run folder.
        checkpoint: ``best`` (by VLM reward; success never selects), ``last``, or a step.
        episodes: episodes of each of the two policies.
        seed: of the episodes' starts and of the random policy.
        horizon: steps of an episode, at least the task's own; the task's figures are then those of the first steps,
            and `Evaluation.longer` says what became of the episodes. The film shows all of it.
        device: where the reward model runs; the task's if not given.
        workers: worker processes; one per core if not given.
        video: whether to film a few episodes.
        on_progress: called with the number of finished episodes of both policies, and of all.

    Raises:
        RunError: no such run or checkpoint, or it is damaged, of another task, or cannot be written; or a horizon that
            is shorter than the task's.
        TrainingError: an observation of the environment is not finite.
        ModelError, RenderingError: as their names say.
    """
    episodes = whole_number("episodes", episodes, 1, error=RunError)
    seed = whole_number("seed", seed, 0, MAX_SEED, error=RunError)
    workers = None if workers is None else whole_number("workers", workers, 1, error=RunError)
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    task, limit = _with_horizon(override(folder.task, device=device), horizon)
    chosen = folder.checkpoint(checkpoint)
    agent = load_agent(chosen.path)
    folder.name_model()
    reward_model = load_reward_model(task)
    make_folder(folder.path / "eval")
    first_seed = EVALUATION_SEED + seed
    num_envs = min(episodes, MAX_ENVS)
    size = choose_frame_size(task, reward_model)
    with one_torch_thread():
        with contextlib.closing(_pool(task, num_envs, size, workers)) as pool:
            agent.enter(*pool_spaces(pool), task.env.id)
            count = _Counter(on_progress, 2 * episodes)
            keeper = BestFrames(reward_model)
            trained = _episodes(pool, agent, keeper, episodes, first_seed, task.reward.every, count)
            random_agent = RandomAgent(pool.single_action_space, num_envs, first_seed, masked=agent.masked)
            random = _episodes(pool, random_agent, reward_model, episodes, first_seed, task.reward.every, count)
        files = _film(folder, task, agent, min(episodes, FILMED_EPISODES), first_seed, workers) if video else []
    longer = None
    short_trained, short_random = trained, random
    if limit is not None:
        longer = LongScores(horizon=horizon or 0, policy=summarize(trained), random=summarize(random))
        short_trained, short_random = ([one.first(limit) for one in played] for played in (trained, random))
    result = Evaluation(
        task=task.id,
        goal=task.reward.goal,
        model=task.reward.model,
        checkpoint=chosen.step,
        seed=seed,
        policy=summarize(short_trained),
        random=summarize(short_random),
        longer=longer,
        reward_check=check_rewards_of_episodes(short_trained, short_random),
        video=files,
        judge=JudgeRecord.of(reward_model),
        versions=library_versions(),
    )
    write_contact_sheet(folder.path / "eval" / "best_frames.png", keeper.best())
    write_json(folder.path / "eval" / "evaluation.json", result.model_dump(mode="json"))
    return result


def _with_horizon(task: TaskSpec, horizon: int | None) -> tuple[TaskSpec, int | None]:
    """Return the task with longer episodes, and its own limit where they are longer than that."""
    if horizon is None:
        return task, None
    horizon, limit = whole_number("horizon", horizon, 1, MAX_HORIZON, error=RunError), episode_limit(task)
    if limit is not None and horizon < limit:
        raise RunError(f"horizon is {horizon}, but an episode of '{task.id}' has {limit} steps; give at least as many")
    longer = task.model_copy(update={"env": task.env.model_copy(update={"max_episode_steps": horizon})})
    return longer, limit if limit is not None and horizon > limit else None


class _Counter:
    """Counts finished episodes over several plays."""

    def __init__(self, on_progress: Callable[[int, int], None] | None, total: int) -> None:
        self.on_progress, self.total, self.before = on_progress, total, 0

    def __call__(self, finished: int) -> None:
        if self.on_progress is not None:
            self.on_progress(self.before + finished, self.total)


def _pool(task: TaskSpec, num_envs: int, size: int, workers: int | None) -> gym.vector.VectorEnv[Any, Any, Any]:
    mode = AutoresetMode.SAME_STEP
    return make_worlds(task, num_envs, render_size=size, verdicts=True, workers=workers, autoreset_mode=mode)


def _episodes(
    pool: gym.vector.VectorEnv[Any, Any, Any],
    agent: Agent,
    reward_model: RewardModel,
    episodes: int,
    seed: int,
    every: int,
    count: _Counter,
) -> list[Episode]:
    played = play(pool, agent, reward_model, episodes, seed=seed, every=every, on_step=count)
    count.before += episodes
    return played


def _film(folder: RunFolder, task: TaskSpec, agent: Agent, episodes: int, seed: int, workers: int | None) -> list[str]:
    """Film the first episodes of the evaluation, larger; returns the names of the files."""
    filmed = task.model_copy(update={"reward": task.reward.model_copy(update={"every": 1})})
    pool = _pool(filmed, episodes, FILM_SIZE, workers)
    try:
        fps = float(pool.metadata.get("render_fps") or DEFAULT_FPS)
        reel = Reel(fps)
        frames = reel.keeping(tile(shown) for shown in film(pool, agent, seed=seed))
        written = write_mp4(folder.path / "video.mp4", frames, fps)
        for _ in frames:  # those that no ffmpeg took
            pass
    finally:
        pool.close()
    write_gif(folder.path / "video.gif", reel, reel.fps)
    return ["video.gif", "video.mp4"] if written else ["video.gif"]
