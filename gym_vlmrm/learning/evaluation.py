"""How good a trained policy is: success by the paper's rule, rewards against a random policy, and a film."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from scipy.stats import binomtest
from scipy.stats import t as student

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import RunError, whole_number
from gym_vlmrm.files import make_folder, write_json
from gym_vlmrm.learning.agents import Agent, RandomAgent
from gym_vlmrm.learning.building import with_gamma
from gym_vlmrm.learning.film_layout import FILM_SIZE, FilmLayout
from gym_vlmrm.learning.filming import Shot, film
from gym_vlmrm.learning.playing import Episode, play
from gym_vlmrm.learning.provenance import library_versions
from gym_vlmrm.learning.records import MAX_SEED, JudgeRecord
from gym_vlmrm.learning.reward_check import KeptFrames, check_rewards_of_episodes, write_contact_sheet, write_frames
from gym_vlmrm.learning.rollout_statistics import finite_mean
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.scores import Evaluation, FilmedEpisode, FilmRecord, LongScores, Scores, SeenScores
from gym_vlmrm.learning.stored_policy import load_agent
from gym_vlmrm.learning.vec_env import pool_spaces
from gym_vlmrm.learning.video import Reel, write_gif, write_mp4
from gym_vlmrm.reward import RewardModel, choose_frame_size, load_reward_model
from gym_vlmrm.reward.threads import one_torch_thread
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.world import episode_limit, make_worlds

__all__ = ["Evaluation", "Scores", "evaluate", "summarize", "wilson_interval"]

EVALUATION_SEED = 20_000
"""Added to the seed, so that no evaluated episode starts like one of training or of checkpoint judging."""
MAX_ENVS = 16
DEFAULT_FPS = 30.0
FILM_SECONDS = 9.0
"""An episode that is shorter than this is filmed slower, a whole number of times, at most `SLOWEST`."""
SLOWEST = 4
_NOTHING: Frames = np.zeros((0, 0, 3), np.uint8)
REST_SECONDS = 1.0
"""How long a film rests on its last picture."""
HELD = 0.9
"""Share of the steps of its last half from which an episode counts as held."""
MAX_HORIZON = 100_000


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95% Wilson score interval of a proportion, within [0, 1]; all of it where there were no trials."""
    if trials == 0:
        return 0.0, 1.0
    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _interval(shares: Sequence[float]) -> tuple[float | None, float | None]:
    """95% interval of the mean share over episodes, by Student's t, within [0, 1]; none of one episode."""
    if len(shares) < 2:
        return None, None
    half = student.ppf(0.975, len(shares) - 1) * np.std(shares, ddof=1) / np.sqrt(len(shares))
    return max(0.0, float(np.mean(shares) - half)), min(1.0, float(np.mean(shares) + half))


def summarize(episodes: Sequence[Episode], *, ends: bool = False) -> Scores:
    """Return the scores of played episodes; `ends` says whether the judge's verdict ended them."""
    verdicts = [episode.successes for episode in episodes if episode.successes is not None]
    success: dict[str, Any] = {}
    if verdicts:
        successful = sum(bool(verdict.mean() >= 0.5) for verdict in verdicts)
        low, high = wilson_interval(successful, len(verdicts))
        last_halves = [verdict[len(verdict) // 2 :] for verdict in verdicts]
        hold_low, hold_high = _interval([float(half.mean()) for half in last_halves])
        success = {
            "successful_episodes": successful,
            "success_rate": successful / len(verdicts),
            "success_rate_low": low,
            "success_rate_high": high,
            "success_share": float(np.concatenate(verdicts).mean()),
            "hold": float(np.concatenate(last_halves).mean()),
            "hold_low": hold_low,
            "hold_high": hold_high,
            "held_rate": float(np.mean([half.mean() >= HELD for half in last_halves])),
        }
    return Scores(
        episodes=len(episodes),
        vlm_reward=float(np.concatenate([episode.vlm_rewards for episode in episodes]).mean(dtype=np.float64)),
        task_reward=finite_mean(np.concatenate([episode.task_rewards for episode in episodes])),
        episode_length=float(np.mean([len(episode) for episode in episodes])),
        seen=_seen(episodes, ends=ends),
        reward_parts=_part_means(episodes),
        **success,
    )


def _seen(episodes: Sequence[Episode], *, ends: bool) -> SeenScores | None:
    """What the judge says of success, and how that compares with the state's verdict."""
    seen = [episode.seen for episode in episodes if episode.seen is not None]
    if not seen:
        return None
    steps = np.concatenate(seen)
    rates: dict[str, float] = {}
    truths = [episode.successes for episode in episodes if episode.successes is not None]
    if truths:
        truth = np.concatenate(truths)
        if not truth.all():
            rates["false_positive"] = float(steps[~truth].mean())
        if truth.any():
            rates["false_negative"] = float((~steps[truth]).mean())
    if ends:
        ended = [episode for episode in episodes if episode.seen is not None and episode.seen[-1]]
        rates["ended"] = len(ended) / len(seen)
        last = [bool(episode.successes[-1]) for episode in ended if episode.successes is not None]
        if last:
            rates["ended_in_success"] = float(np.mean(last))
    by_episode = float(np.mean([verdict.mean() >= 0.5 for verdict in seen]))
    return SeenScores(success_rate=by_episode, success_share=float(steps.mean()), **rates)


def _part_means(episodes: Sequence[Episode]) -> dict[str, float] | None:
    names = episodes[0].parts if episodes else {}
    return {name: float(np.concatenate([e.parts[name] for e in episodes]).mean()) for name in names} or None


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

    Files are ``eval/evaluation.json``, ``eval/best_frames.png`` (the frames that earned most), ``eval/frames/`` (best,
    median and worst ones), and the film ``video.mp4`` and ``video.gif``.

    Args:
        run: the run folder, or a policy that comes with the package (``zoo:kneeling``), of which ``runs/zoo-kneeling``
            is made.
        checkpoint: ``best`` (by VLM reward; success never selects), ``last``, or a step.
        episodes: episodes of each of the two policies.
        seed: of the episodes' starts and of the random policy.
        horizon: steps of an episode, at least the task's own; the task's figures are then those of the first steps,
            and `Evaluation.longer` says what became of the episodes. The film shows all of it.
        device: where the reward model runs; the task's if not given.
        workers: worker processes; one per core if not given.
        video: whether to film an episode of each policy, both from the state in which the evaluation began.
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
    folder = RunFolder.open_to_write(run)
    task, limit = _with_horizon(override(folder.task, device=device), horizon)
    task = with_gamma(task, folder.record.recipe)
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
            keeper = KeptFrames(reward_model)
            trained = _episodes(pool, agent, keeper, episodes, first_seed, task.reward.every, count)
            random_agent = RandomAgent(pool.single_action_space, num_envs, first_seed, masked=agent.masked)
            random = _episodes(pool, random_agent, reward_model, episodes, first_seed, task.reward.every, count)
        agents = (agent, RandomAgent(pool.single_action_space, 2, first_seed, masked=agent.masked))
        played = (*trained, *random)
        files, filmed = (
            _film(folder, task, agents, reward_model, size, played, first_seed, workers) if video else ([], None)
        )
    kinds = keeper.kinds()
    asked = task.reward.success_seen
    scores = partial(summarize, ends=asked is not None and asked.ends)
    longer = None
    short_trained, short_random = trained, random
    if limit is not None:
        longer = LongScores(horizon=horizon or 0, policy=scores(trained), random=scores(random))
        short_trained, short_random = ([one.first(limit) for one in played] for played in (trained, random))
    result = Evaluation(
        task=task.id,
        goal=task.reward.said if task.reward.goal is None else task.reward.goal,
        model=task.reward.model,
        checkpoint=chosen.step,
        seed=seed,
        policy=scores(short_trained),
        random=scores(short_random),
        longer=longer,
        reward_check=check_rewards_of_episodes(short_trained, short_random),
        video=files,
        film=filmed,
        frames={kind: [reward for reward, _ in frames] for kind, frames in kinds.items()},
        judge=JudgeRecord.of(reward_model),
        versions=library_versions(),
    )
    write_contact_sheet(folder.path / "eval" / "best_frames.png", keeper.best())
    write_frames(folder.path / "eval" / "frames", kinds)
    write_json(folder.path / "eval" / "evaluation.json", result.model_dump(mode="json"))
    return result


def _with_horizon(task: TaskSpec, horizon: int | None) -> tuple[TaskSpec, int | None]:
    """Return the task with longer episodes, and its own limit where they are longer than that."""
    if horizon is None:
        return task, None
    horizon, limit = whole_number("horizon", horizon, 1, MAX_HORIZON, error=RunError), episode_limit(task)
    if limit is not None and horizon < limit:
        raise RunError(f"horizon is {horizon}, but an episode of '{task.id}' has {limit} steps; give at least as many")
    return task.with_limit(horizon), limit if limit is not None and horizon > limit else None


class _Counter:
    """Counts finished episodes over several plays."""

    def __init__(self, on_progress: Callable[[int, int], None] | None, total: int) -> None:
        self.on_progress, self.total, self.before = on_progress, total, 0

    def __call__(self, finished: int) -> None:
        if self.on_progress is not None:
            self.on_progress(self.before + finished, self.total)


def _pool(
    task: TaskSpec, num_envs: int, size: int, workers: int | None, **options: Any
) -> gym.vector.VectorEnv[Any, Any, Any]:
    mode = AutoresetMode.SAME_STEP
    return make_worlds(
        task, num_envs, render_size=size, verdicts=True, workers=workers, autoreset_mode=mode, **options
    )  # fmt: skip


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


def _film(
    folder: RunFolder,
    task: TaskSpec,
    agents: tuple[Agent, Agent],
    reward_model: RewardModel,
    size: int,
    played: Sequence[Episode],
    seed: int,
    workers: int | None,
) -> tuple[list[str], FilmRecord]:
    """Film an episode of each policy; returns the names of the files, and what they show."""
    with contextlib.ExitStack() as closing:
        judged, shown = _pool(task, 2, size, workers), _pool(task, 2, FILM_SIZE, workers, every=1, film=True)
        closing.callback(judged.close)
        closing.callback(shown.close)
        real = float(shown.metadata.get("render_fps") or DEFAULT_FPS)
        length = float(np.mean([len(episode) for episode in played]))
        slowed = int(np.clip(np.ceil(FILM_SECONDS * real / length), 1, SLOWEST))
        fps = real / slowed
        noted: list[Shot] = []
        title = f"{task.id}, first episode of the evaluation" + (f", slowed {slowed} times" if slowed > 1 else "")
        rewards = np.concatenate([episode.vlm_rewards for episode in played])
        layout = FilmLayout(
            "; ".join(task.reward.said),
            title,
            max(len(episode) for episode in played),
            (float(rewards.min()), float(rewards.max())),
        )

        def pictures() -> Iterator[Frames]:
            picture = None
            for shot in film(judged, shown, agents, reward_model, seed=seed, every=task.reward.every):
                trained, random = (
                    dataclasses.replace(take, picture=_NOTHING, seen=_NOTHING) for take in shot
                )  # frames shall not fill the memory
                noted.append((trained, random))
                picture = layout.picture(shot)
                yield picture
            for _ in range(round(REST_SECONDS * fps)):
                assert picture is not None
                yield picture

        reel = Reel(fps)
        frames = reel.keeping(pictures())
        written = write_mp4(folder.path / "video.mp4", frames, fps)
        for _ in frames:  # those that no ffmpeg took
            pass
    write_gif(folder.path / "video.gif", reel, reel.fps)
    record = FilmRecord(seed=seed, fps=fps, slowed=slowed, trained=_filmed(noted, 0), random=_filmed(noted, 1))
    return (["video.mp4", "video.gif"] if written else ["video.gif"]), record


def _filmed(shots: Sequence[Shot], index: int) -> FilmedEpisode:
    takes = [shot[index] for shot in shots if not shot[index].over]
    judged = takes[0].success is not None
    return FilmedEpisode(
        vlm_rewards=[round(take.reward, 6) for take in takes],
        successes=[bool(take.success) for take in takes] if judged else None,
    )
