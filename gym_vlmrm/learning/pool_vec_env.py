"""stable-baselines3's view of a vector environment in SAME_STEP mode: what every such view does alike."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvStepReturn

from gym_vlmrm.errors import TrainingError
from gym_vlmrm.learning.adapter import Adapter, States
from gym_vlmrm.worlds.pools import each
from gym_vlmrm.wrappers.transitions import infos_of_transitions
from gym_vlmrm.wrappers.vector import VectorVLMReward

__all__ = ["PoolVecEnv", "RewardedVecEnv"]


class PoolVecEnv(VecEnv):
    """Environments that live in a pool; observations and actions are those of an `Adapter`."""

    def __init__(self, num_envs: int, adapter: Adapter) -> None:
        self.adapter = adapter
        self._actions: NDArray[Any] = np.zeros(0)
        super().__init__(num_envs, adapter.observation_space, adapter.action_space)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def _tell_ends(self, infos: list[dict[str, Any]], last: Mapping[int, Any], terminated: NDArray[np.bool_]) -> None:
        """Add what stable-baselines3 wants to know of episodes that ended; `last` are their last observations."""
        for row, observation in last.items():
            infos[row]["terminal_observation"] = self.adapter.state(observation)
            infos[row]["TimeLimit.truncated"] = not terminated[row]


class RewardedVecEnv(PoolVecEnv):
    """A vector environment of this package as a VecEnv, whose rewards are there as soon as the step is made.

    Everything that stable-baselines3 asks of single environments reaches them, wherever they are.
    """

    def __init__(self, envs: gym.vector.VectorEnv[Any, Any, Any], env_id: str) -> None:
        """Take over what `gym_vlmrm.entry_points.build_vec_env` returned in SAME_STEP mode.

        Args:
            envs: the environments; `close` closes them.
            env_id: what messages call them.

        Raises:
            TrainingError: no policy can read such observations or take such actions.
        """
        self.envs = envs
        self.spec = gym.registry.get(env_id)
        self._pool: Any = envs.env if isinstance(envs, VectorVLMReward) else envs
        # Models must load where gym.make made the environment, which has float64 where it has.
        adapter = Adapter(envs.single_observation_space, envs.single_action_space, env_id, halve=False)
        super().__init__(envs.num_envs, adapter)

    def reset(self) -> States:
        """Reset every environment, with the seeds and options that were set before.

        Raises:
            TrainingError: environments were given different options.
        """
        options = self._options[0] if self._options else {}
        if any(other != options for other in self._options):
            raise TrainingError("environments of one pool are reset with equal options; give one dict to set_options")
        observations, infos = self.envs.reset(seed=self._seeds, options=options or None)  # type: ignore[arg-type]
        self.reset_infos = infos_of_transitions(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return self.adapter.states(observations)

    def step_wait(self) -> VecEnvStepReturn:
        """Step every environment; rewards are float32 (N,).

        Raises:
            WorkerError: a process that simulates and draws died or hangs.
            ModelError, TrainingError, WorldError: as their names say.
        """
        observations, rewards, terminated, truncated, found = self.envs.step(self.adapter.actions(self._actions))
        states: Any = self.adapter.states(observations)
        dones = np.logical_or(terminated, truncated)
        infos = infos_of_transitions(found, self.num_envs)
        for info in infos:
            info["TimeLimit.truncated"] = False
        self._tell_ends(infos, {int(row): found["final_obs"][row] for row in np.flatnonzero(dones)}, terminated)
        return states, np.asarray(rewards, np.float32), dones, infos

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def get_images(self) -> list[Any]:
        """Return the current picture (H, W, 3) of every environment."""
        return list(self._pool.call("render"))

    def has_attr(self, attr_name: str) -> bool:
        """Whether all environments have an attribute."""
        return all(each.has_attribute(self._pool, attr_name))

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of environments; it must pickle where they are in other processes."""
        known = {"render_mode": self._pool.render_mode, "spec": self.spec}
        if attr_name in known:
            return [known[attr_name]] * len(each.chosen_rows(indices, self.num_envs))
        return each.get_attribute(self._pool, attr_name, indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of environments."""
        each.set_attribute(self._pool, attr_name, value, indices)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of environments, such as ``action_masks``; ``compute_reward`` is refused (see README)."""
        return each.call_method(self._pool, method_name, indices, method_args, method_kwargs)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Whether environments are wrapped by a class; the `VecMonitor` on top is no wrapper of theirs."""
        return each.is_wrapped(self._pool, wrapper_class, indices)
