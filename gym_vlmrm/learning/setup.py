"""What a training works with, put together: the judge, the pool of worlds, the statistics and the algorithm."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from gym_vlmrm.cluster.training import Cluster, ClusterTraining
from gym_vlmrm.errors import TrainingError
from gym_vlmrm.learning.adapter import Adapter
from gym_vlmrm.learning.algorithms import find_algorithm
from gym_vlmrm.learning.asking.asked_rewards import AskedRewards
from gym_vlmrm.learning.asking.checks import cannot_be_drawn_later, check_asking
from gym_vlmrm.learning.buffers import RewardScale, RewardSource
from gym_vlmrm.learning.building import build_algorithm, discount, with_gamma
from gym_vlmrm.learning.continuation import Continuation
from gym_vlmrm.learning.inspection import inspect_recipe, inspect_world
from gym_vlmrm.learning.late_rewards import LateRewards
from gym_vlmrm.learning.records import RunRecord
from gym_vlmrm.learning.restarts import Restarts
from gym_vlmrm.learning.rollout_statistics import RolloutStatistics
from gym_vlmrm.learning.vec_env import (
    ImmediateRewards,
    LateRewardVecEnv,
    PoolSteps,
    normalize_states,
    pool_spaces,
)
from gym_vlmrm.reward import RewardModel, choose_frame_size, load_reward_model
from gym_vlmrm.reward.threads import one_torch_thread
from gym_vlmrm.task.asking import AskSpec
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.continuing import Continuing
from gym_vlmrm.worlds.pools.pool import make_pool
from gym_vlmrm.worlds.world import make_worlds

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = ["Notices", "Setup"]


class Notices:
    """Hands sentences to the user, those of one kind but once."""

    def __init__(self, on_notice: Callable[[str], None]) -> None:
        self._on_notice = on_notice
        self._given: set[str] = set()

    def __call__(self, sentence: str) -> None:
        """Hand on a sentence."""
        self._on_notice(sentence)

    def once(self, kind: str, sentence: str) -> None:
        """Hand on the first sentence of a kind."""
        if kind not in self._given:
            self._given.add(kind)
            self._on_notice(sentence)


class Setup:
    """All of it, built on entering and closed on leaving; torch has one thread in between."""

    def __init__(
        self, task: TaskSpec, record: RunRecord, workers: int | None, notices: Notices, cluster: Cluster | None = None
    ) -> None:
        """Note what is to be built; `record` says by which recipe, from which seed, and whether it trained before.

        With a `cluster` judges and worlds are there, and all the rest is here.
        """
        self._cluster_wanted = cluster
        self.task, self.recipe = with_gamma(task, record.recipe), record.recipe
        self.workers, self.notices = workers, notices
        self._seed, self._resumed, self._made = record.seed, record.step > 0, record.step
        self.every = self.recipe.reward_every or task.reward.every
        """Every k-th frame is scored."""
        ask = task.reward.ask
        self.trial_every = self.every if ask is None else max(self.every, round(1 / ask.share))
        """The same in trials, which the judge alone decides."""
        self.restarts = Restarts(notices)
        """What a worker that dies or hangs gets, in learning and in trials together."""
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> "Setup":
        try:
            self._open()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        self._closing.close()

    def _open(self) -> None:
        # Cheap checks first; nothing is drawn here, as drawing is for the workers.
        self.world = inspect_world(self.task, draw=False)
        inspect_recipe(self.recipe, self.world, resumed=self._resumed)
        check_asking(self.task, self.recipe, self.world)
        # Windows that are seen as films need to know the time between pictures.
        scored = self.task.reward.model_copy(update={"every": self.every})
        scored_task = self.task.model_copy(update={"reward": scored})
        wanted, self.cluster = self._cluster_wanted, None
        if wanted is not None:
            self.cluster = self._closing.enter_context(ClusterTraining(wanted, self.notices))
        load = load_reward_model if self.cluster is None else self.cluster.load_reward_model
        self.reward_model: RewardModel = load(scored_task)
        self._closing.enter_context(one_torch_thread())
        spec = self.recipe.continuation
        asked = self.task.reward.ask
        pool: Any = self.make_pool(
            self.recipe.num_envs,
            every=self.every,
            limit=None if spec is None else spec.every,
            continuing=spec is not None,
            later=asked is not None,
        )
        self.pool: gym.vector.VectorEnv[Any, Any, Any] = pool
        if spec is not None and None in pool.get_attr("world_state"):
            message = f"the state of '{self.task.env.id}' cannot be stored, so no episode can go on from its end"
            raise TrainingError(message, field=("continuation",))
        self.continuation = None if spec is None else Continuation(spec, self.recipe.num_envs, self._seed)
        remembered = None if spec is None else spec.frames
        if asked is None:
            self.late = late = LateRewards(
                self.reward_model, self.recipe.num_envs, self.every, made=self._made, remembered=remembered
            )
        else:
            self.late = late = self._asked_rewards(asked, pool, remembered)
        self._closing.callback(late.close)
        algorithm, gamma = find_algorithm(self.recipe.algorithm), discount(self.recipe)
        self.scale = RewardScale(self.recipe.num_envs, gamma) if self.recipe.normalize_reward else None
        source = RewardSource(late, self.scale)
        base = LateRewardVecEnv(pool, late, self.task.env.id, self.restarts, self.continuation)
        self.source, self.steps = source, base.steps
        self.statistics = RolloutStatistics(self.recipe.num_envs)
        base.listeners.append(self.statistics.add_step)
        base.listeners.append(self._watch_task_rewards)
        source.listeners.append(self.statistics.add_rewards)
        env: VecEnv = ImmediateRewards(base, source) if algorithm.kind == "episodic" else base
        if self.recipe.normalize_observation:
            env = normalize_states(env, gamma)
        self.model: BaseAlgorithm = build_algorithm(
            self.recipe, env, env_id=self.task.env.id, source=source, seed=self._seed
        )
        self._warn_of_idle_runs()

    def _asked_rewards(self, spec: AskSpec, pool: Any, remembered: int | None) -> LateRewards:
        if None in pool.get_attr("world_state"):
            raise cannot_be_drawn_later(self.task.env.id)
        states = Adapter(*pool_spaces(pool), self.task.env.id).observation_space
        return AskedRewards(
            self.reward_model,
            pool,
            states,
            spec,
            every=self.every,
            made=self._made,
            remembered=remembered,
            seed=self._seed,
        )

    def make_pool(
        self, num_envs: int, *, every: int, limit: int | None = None, continuing: bool = False, later: bool = False
    ) -> gym.vector.VectorEnv[Any, Any, Any]:
        """Return a pool that is closed with the rest.

        Args:
            num_envs: number of environments.
            every: every k-th frame is drawn.
            limit: steps of an episode; ``None`` takes the task's.
            continuing: whether episodes whose time is over can go on.
            later: whether frames are drawn when they are asked for alone.

        Raises:
            TaskError, RenderingError: the environment or its scene is wrong, or a worker does not come up.
        """
        task = self.task if limit is None else self.task.with_limit(limit)
        pool = make_worlds(
            task,
            num_envs,
            render_size=choose_frame_size(task, self.reward_model),
            every=every,
            verdicts=True,
            wrap=Continuing if continuing else None,
            later=later,
            workers=self.workers,
            autoreset_mode=AutoresetMode.SAME_STEP,
            make=make_pool if self.cluster is None else self.cluster.make_pool,
        )
        self._closing.callback(pool.close)
        return pool

    def _warn_of_idle_runs(self) -> None:
        steps, starts = self.recipe.steps, getattr(self.model, "learning_starts", 0)
        if starts >= steps:
            self.notices(f"nothing will be learned: learning_starts is {starts:,} but the run has {steps:,} steps")
        buffer = getattr(self.model, "rollout_buffer", None)
        rollout = 0 if buffer is None else buffer.buffer_size * self.recipe.num_envs
        if rollout > steps:
            self.notices(f"one rollout of {self.recipe.algorithm} is {rollout:,} steps, so that many will be made")

    def _watch_task_rewards(self, steps: PoolSteps) -> None:
        odd = steps.task_rewards[~np.isfinite(steps.task_rewards)]
        if odd.size:
            self.notices.once(
                "task reward",
                f"the environment's own reward was {odd[0]} in step {self.model.num_timesteps:,}; means with such a "
                "reward are left out, and the agent, which the reward model rewards, learns all the same",
            )
