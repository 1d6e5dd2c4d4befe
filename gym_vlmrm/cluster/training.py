"""What a training takes from a cluster: its reward model and its pools of worlds."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv

from gym_vlmrm.cluster.connecting import connected
from gym_vlmrm.cluster.judges import ClusterReward, Judges, find_places
from gym_vlmrm.cluster.worlds import ClusterPool
from gym_vlmrm.errors import whole_number
from gym_vlmrm.reward.loading import asks_a_server, load_judge, load_reward_model
from gym_vlmrm.reward.protocol import RewardModel
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.pools.processes import patience

__all__ = ["Cluster", "ClusterTraining"]


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and how much of it; see `vlmrm train --cluster`."""

    address: str
    """``auto`` or ``HOST:PORT``."""
    replicas: int | None = None
    """Of the reward model: one per free accelerator, or per `replica_cores` free cores, if not given."""
    replica_cores: int | None = None
    """Cores of a replica; 1 if not given."""

    def __post_init__(self) -> None:
        for name in ("replicas", "replica_cores"):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), 1)


class ClusterTraining:
    """Judges and worlds on a cluster, ended on leaving. The learner stays in this process."""

    def __init__(self, cluster: Cluster, on_notice: Callable[[str], None]) -> None:
        """Note what is wanted; `on_notice` is told of what is lost and made again."""
        self._cluster, self._on_notice = cluster, on_notice
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> "ClusterTraining":
        self.ray = self._closing.enter_context(connected(self._cluster.address))
        return self

    def __exit__(self, *error: Any) -> None:
        self._closing.close()

    def load_reward_model(self, task: TaskSpec) -> RewardModel:
        """Start replicas of a task's reward model and return it; one that a server holds is asked from here.

        Raises:
            ModelError, ClusterError: it cannot be loaded there.
        """
        if task.reward.plain and asks_a_server(task.reward.model):
            return load_reward_model(task)
        places = find_places(self.ray, self._cluster.replicas, self._cluster.replica_cores)
        self.judges = Judges(self.ray, task.reward, places, self._on_notice)
        self._closing.callback(self.judges.close)
        return ClusterReward(self.judges, None if task.reward.plain else load_judge(task.reward))

    def make_pool(
        self, make_env: Callable[[], gym.Env[Any, Any]], num_envs: int, *, workers: int | None = None,
        autoreset_mode: Any = AutoresetMode.NEXT_STEP, timeout: float | None = None,
    ) -> VectorEnv[Any, Any, Any]:  # fmt: skip
        """Build what `gym_vlmrm.worlds.pools.pool.make_pool` builds, of worlds on the cluster: a share per core.

        Raises:
            WorkerError: a share dies or hangs as it starts.
        """
        cores = int(self.ray.cluster_resources().get("CPU", 1))
        shares = min(num_envs, workers or max(1, cores))
        return ClusterPool(
            self.ray, make_env, num_envs, shares, AutoresetMode(autoreset_mode), patience(timeout), self._on_notice
        )
