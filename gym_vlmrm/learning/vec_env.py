"""stable-baselines3's view of a Gymnasium vector environment whose observations carry frames."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvStepReturn, VecEnvWrapper

from gym_vlmrm.errors import TrainingError
from gym_vlmrm.learning.late_rewards import LateRewards
from gym_vlmrm.wrappers.vector import take_frames

__all__ = ["ImmediateRewards", "LateRewardVecEnv", "PoolSteps", "SpacesOnly", "state_space", "to_float32"]


def to_float32(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return the space as policies see it: float64 boxes become float32, which halves every buffer."""
    if isinstance(space, spaces.Box) and space.dtype == np.float64:
        return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
    return space


def state_space(pool: gym.vector.VectorEnv[Any, Any, Any]) -> spaces.Space[Any]:
    """Return the space of one environment's state.

    Raises:
        TrainingError: a policy of stable-baselines3 cannot read such states.
    """
    space = pool.single_observation_space
    assert isinstance(space, spaces.Dict), "the pool must carry frames (see FrameObservation)"
    state = space["state"]
    if not isinstance(state, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise TrainingError(f"states of type {type(state).__name__} cannot be learned from; a Box could")
    return to_float32(state)


class PoolSteps:
    """Steps a pool in SAME_STEP mode and sorts what comes back by transition instead of by environment clock."""

    def __init__(self, pool: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        self.pool = pool
        self.num_envs = pool.num_envs
        self.dtype = state_space(pool).dtype
        self.terminal_states: dict[int, NDArray[Any]] = {}
        """Last state of each episode that ended in the latest step, by environment."""
        self.terminated: NDArray[np.bool_] = np.zeros(self.num_envs, np.bool_)
        self.dones: NDArray[np.bool_] = np.zeros(self.num_envs, np.bool_)
        self.frames: NDArray[np.uint8] = np.zeros(0, np.uint8)
        """The picture (N, S, S, 3) that each transition led to."""
        self.task_rewards: NDArray[np.float64] = np.zeros(self.num_envs)
        self.successes: NDArray[np.bool_] | None = None
        """The verdict on each transition (N,), or ``None`` where the task defines no success."""

    def reset(self, seed: int | Sequence[int | None] | None) -> NDArray[Any]:
        """Reset every environment and return the states (N, ...)."""
        seeds: Any = list(seed) if isinstance(seed, Sequence) else seed
        observations, _ = self.pool.reset(seed=seeds)
        return np.asarray(observations["state"], self.dtype)

    def step(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Step every environment and return the states to act on next (N, ...); the rest is in the attributes."""
        observations, _, terminated, truncated, infos = self.pool.step(actions)
        self.terminated, self.dones = terminated, terminated | truncated
        states, self.frames = take_frames(observations, infos)
        self.terminal_states = {
            int(index): np.asarray(infos["final_obs"][index], self.dtype) for index in np.flatnonzero(self.dones)
        }
        task_rewards = self._of_transition(infos, "task_reward")
        assert task_rewards is not None, "the environment reports no task_reward (see make_world)"
        self.task_rewards = task_rewards.astype(np.float64)
        successes = self._of_transition(infos, "success")
        self.successes = None if successes is None else successes.astype(np.bool_)
        return np.array(states, self.dtype)

    def _of_transition(self, infos: dict[str, Any], key: str) -> NDArray[Any] | None:
        """Values (N,) of an info key; for ended episodes they are in ``final_info``, as `infos` is of the next one."""
        final = infos.get("final_info", {})
        if key not in infos:
            return np.asarray(final[key]) if key in final else None
        values = np.array(infos[key])
        if key in final:
            values[self.dones] = np.asarray(final[key])[self.dones]
        return values


class LateRewardVecEnv(VecEnv):
    """A pool as a VecEnv: observations are states, rewards are zero until a buffer collects them from `late`."""

    def __init__(self, pool: gym.vector.VectorEnv[Any, Any, Any], late: LateRewards) -> None:
        self.steps = PoolSteps(pool)
        self.late = late
        self.listeners: list[Callable[[PoolSteps], None]] = []
        """Told of every step."""
        self._actions: NDArray[Any] = np.zeros(0)
        super().__init__(pool.num_envs, state_space(pool), to_float32(pool.single_action_space))

    def reset(self) -> NDArray[Any]:
        """Reset every environment; rewards not yet collected are forgotten."""
        self.late.restart()
        states = self.steps.reset(self._seeds)
        self._reset_seeds()
        return states

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step every environment and hand the frames over to be scored."""
        steps = self.steps
        states = steps.step(self._actions)
        self.late.submit(steps.frames, steps.dones)
        for listener in self.listeners:
            listener(steps)
        infos: list[dict[str, Any]] = [{"task_reward": float(reward)} for reward in steps.task_rewards]
        if steps.successes is not None:
            for info, success in zip(infos, steps.successes, strict=True):
                info["success"] = bool(success)
        for index, state in steps.terminal_states.items():
            infos[index]["terminal_observation"] = state
            infos[index]["TimeLimit.truncated"] = not steps.terminated[index]
        return states, np.zeros(self.num_envs, np.float32), steps.dones.copy(), infos

    def close(self) -> None:
        """Nothing: whoever made the pool closes it."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the render mode; nothing else can be asked for."""
        if attr_name == "render_mode":
            return [self.steps.pool.render_mode] * self.num_envs
        raise AttributeError(attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: environments live in the pool."""
        raise NotImplementedError("environments live in the pool")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Refuse: environments live in the pool."""
        raise NotImplementedError("environments live in the pool")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Say no for every environment."""
        return [False] * self.num_envs


class ImmediateRewards(VecEnvWrapper):
    """Waits for the rewards of every step; for algorithms that keep no buffer."""

    def __init__(self, venv: VecEnv, source: Any) -> None:
        super().__init__(venv)
        self.source = source

    def reset(self) -> Any:
        """Reset every environment."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Step, and wait for the rewards."""
        states, _, dones, infos = self.venv.step_wait()
        return states, self.source.collect()[0], dones, infos


class SpacesOnly(LateRewardVecEnv):
    """A VecEnv that cannot be stepped: enough to build an algorithm from its stored hyper-parameters."""

    def __init__(self, num_envs: int, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        VecEnv.__init__(self, num_envs, observation_space, action_space)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return no render mode; nothing else can be asked for."""
        if attr_name == "render_mode":
            return [None] * self.num_envs
        raise AttributeError(attr_name)
