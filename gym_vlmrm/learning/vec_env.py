"""stable-baselines3's view of a Gymnasium vector environment whose observations carry frames."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import iterate
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvStepReturn, VecEnvWrapper

from gym_vlmrm.errors import TrainingError, WorkerError
from gym_vlmrm.learning.adapter import Adapter, Space, States
from gym_vlmrm.learning.continuation import Continuation
from gym_vlmrm.learning.late_rewards import LateRewards
from gym_vlmrm.learning.pool_vec_env import PoolVecEnv
from gym_vlmrm.learning.restarts import Restarts
from gym_vlmrm.wrappers.vector import take_frames

__all__ = ["ImmediateRewards", "LateRewardVecEnv", "PoolSteps", "SpacesOnly", "normalize_states", "pool_spaces"]


def pool_spaces(pool: gym.vector.VectorEnv[Any, Any, Any]) -> tuple[Space, Space]:
    """Return the spaces of one environment's own observations, without the frame, and of its actions."""
    space = pool.single_observation_space
    assert isinstance(space, spaces.Dict), "the pool must carry frames (see FrameObservation)"
    return space["state"], pool.single_action_space


def normalize_states(env: VecEnv, gamma: float = 0.99) -> VecEnv:
    """Scale states by their running mean and variance.

    Of a Dict that is all Box parts but pictures, which policies scale themselves; classes have nothing to scale.
    """
    space, keys = env.observation_space, None
    if isinstance(space, spaces.Dict):
        keys = [key for key, part in space.items() if isinstance(part, spaces.Box) and not is_image_space(part)]
    if not (keys or isinstance(space, spaces.Box)):
        return env
    scaled = VecNormalize(env, norm_reward=False, gamma=gamma, norm_obs_keys=keys)
    limit = scaled.clip_obs

    def floating(part: Space) -> Space:
        """Scaled whole numbers are fractions, which buffers of the space's dtype would cut."""
        whole = isinstance(part, spaces.Box) and not np.issubdtype(part.dtype, np.floating)
        return spaces.Box(-limit, limit, part.shape, np.float32) if whole else part

    if isinstance(space, spaces.Dict):
        scaled.observation_space = spaces.Dict({k: floating(p) if k in (keys or ()) else p for k, p in space.items()})
    else:
        scaled.observation_space = floating(scaled.observation_space)
    return scaled


class PoolSteps:
    """Steps a pool in SAME_STEP mode and sorts what comes back by transition instead of by environment clock.

    Observations and actions are the environments' own. Their infos must hold verdicts alone (see `OnlyVerdicts`).
    """

    def __init__(self, pool: gym.vector.VectorEnv[Any, Any, Any], restarts: Restarts | None = None) -> None:
        """Take a pool in SAME_STEP mode; without `restarts` a worker that dies or hangs is an error."""
        self.pool, self._restarts = pool, restarts
        self._began_with: Any = None
        self._made = 0
        self._latest: Any = None
        self.num_envs = pool.num_envs
        self.terminal_observations: dict[int, Any] = {}
        """Last observation of each episode that ended in the latest step, by environment."""
        self.masks: NDArray[np.bool_] | None = None
        """Which actions are allowed next (N, K), or ``None`` where the environment does not say."""
        self.terminated: NDArray[np.bool_] = np.zeros(self.num_envs, np.bool_)
        self.dones: NDArray[np.bool_] = np.zeros(self.num_envs, np.bool_)
        self.frames: NDArray[np.uint8] = np.zeros(0, np.uint8)
        """The picture (N, S, S, 3) that each transition led to, or those of several cameras (N, C, S, S, 3)."""
        self.begun: NDArray[np.uint8] = np.zeros(0, np.uint8)
        """Of episodes that begin after this step, in order (K, ...): what they begin with, blank where nobody asked."""
        self.task_rewards: NDArray[np.float64] = np.zeros(self.num_envs)
        self.successes: NDArray[np.bool_] | None = None
        """The verdict on each transition (N,), or ``None`` where the task defines no success."""
        self.out_of_time: NDArray[np.bool_] = np.zeros(self.num_envs, np.bool_)
        """Whether each transition was the last one of its episode because of its time limit alone (N,)."""
        self.continued: NDArray[np.bool_] | None = None
        """Which of those episodes go on (N,), or ``None`` where none ever does."""

    def reset(self, seed: int | Sequence[int | None] | None) -> Any:
        """Reset every environment and return N observations, batched as their space says."""
        seeds: Any = list(seed) if isinstance(seed, Sequence) else seed
        try:
            observations, infos = self.pool.reset(seed=seeds)
        except WorkerError as error:
            self._restart(error)
            observations, infos = self.pool.reset(seed=seeds)
        self._began_with, self._made = seeds, 0
        self.masks, self.frames, self._latest = infos.get("action_mask"), observations["frame"], observations["state"]
        return observations["state"]

    def step(self, actions: NDArray[Any]) -> Any:
        """Step every environment and return the N observations to act on next; the rest is in the attributes.

        Where workers were started anew, every episode is cut off at the state that it was in, and another one begins.
        """
        self._made += 1
        try:
            observations, _, terminated, truncated, infos = self.pool.step(actions)
        except WorkerError as error:
            self._restart(error)
            return self._cut_off()
        self.terminated, self.dones = terminated, terminated | truncated
        self.begun = observations["frame"][self.dones]
        self.out_of_time = truncated & ~terminated
        states, self.frames = take_frames(observations, infos)
        self.terminal_observations = {int(index): infos["final_obs"][index] for index in np.flatnonzero(self.dones)}
        self.masks = infos.get("action_mask")
        task_rewards = self._of_transition(infos, "task_reward")
        assert task_rewards is not None, "the environment reports no task_reward (see make_world)"
        self.task_rewards = task_rewards.astype(np.float64)
        successes = self._of_transition(infos, "success")
        self.successes = None if successes is None else successes.astype(np.bool_)
        self._latest = states
        return states

    def hand_over(self, late: LateRewards) -> None:
        """Hand the latest step over to be scored."""
        late.submit(
            self.frames, self.dones, terminated=self.terminated, task_rewards=self.task_rewards, begun=self.begun
        )

    def go_on(self, which: NDArray[np.bool_]) -> None:
        """Take back the reset after the latest step where `which` (N,) says so; time begins anew there, nothing else.

        The observation to act on next is then the one in `terminal_observations`.
        """
        self.continued = which
        pool: Any = self.pool
        if which.any():
            with contextlib.suppress(WorkerError):  # the next step raises it again, and makes it good
                pool.set_attr("goes_on", [bool(one) for one in which])

    def _restart(self, error: WorkerError) -> None:
        if self._restarts is None:
            raise error
        self._restarts.make_good(self.pool, error)

    def _cut_off(self) -> Any:
        """Begin every environment anew; the step that was lost led nowhere, as if time had run out before it."""
        space = self.pool.observation_space
        assert isinstance(space, spaces.Dict)
        self.terminated, self.dones = np.zeros(self.num_envs, np.bool_), np.ones(self.num_envs, np.bool_)
        self.out_of_time = self.terminated
        drawn = np.random.SeedSequence([*_entropy(self._began_with), self._made]).generate_state(self.num_envs)
        seeds: Any = [int(seed % 2**31) for seed in drawn]
        observations, infos = self.pool.reset(seed=seeds)
        left, self._latest = self._latest, observations["state"]
        self.terminal_observations = dict(enumerate(iterate(space["state"], self._latest if left is None else left)))
        self.masks = infos.get("action_mask")
        self.begun = observations["frame"]
        if self.frames.size == 0:
            self.frames = observations["frame"]
        if self.successes is None and "success" in infos:
            self.successes = np.zeros(self.num_envs, np.bool_)
        return self._latest

    def _of_transition(self, infos: dict[str, Any], key: str) -> NDArray[Any] | None:
        """Values (N,) of an info key; for ended episodes they are in ``final_info``, as `infos` is of the next one."""
        final = infos.get("final_info", {})
        if key not in infos:
            return np.asarray(final[key]) if key in final else None
        values = np.array(infos[key])
        if key in final:
            values[self.dones] = np.asarray(final[key])[self.dones]
        return values


def _entropy(seed: Any) -> list[int]:
    """What a reset was seeded with, as whole numbers; none where it was not."""
    given = seed if isinstance(seed, list) else [seed]
    return [int(one) for one in given if one is not None]


def _put_row(states: Any, index: int, state: Any) -> None:
    """Replace the states of one environment."""
    if isinstance(states, dict):
        for key, part in states.items():
            part[index] = state[key]
    else:
        states[index] = state


class LateRewardVecEnv(PoolVecEnv):
    """A pool as a VecEnv: observations are states, rewards are zero until a buffer collects them from `late`."""

    def __init__(
        self,
        pool: gym.vector.VectorEnv[Any, Any, Any],
        late: LateRewards,
        env_id: str = "the environment",
        restarts: Restarts | None = None,
        continuation: Continuation | None = None,
    ) -> None:
        """Wrap a pool in SAME_STEP mode; `env_id` names its environment in messages, `restarts` as in `PoolSteps`.

        With a `continuation`, whose worlds must be able to go on (see `Continuing`), it decides which of them do.

        Raises:
            TrainingError: no policy can read its observations or take its actions.
        """
        self.steps = PoolSteps(pool, restarts)
        self.late, self._continuation = late, continuation
        self.listeners: list[Callable[[PoolSteps], None]] = []
        """Told of every step."""
        super().__init__(pool.num_envs, Adapter(*pool_spaces(pool), env_id))

    def reset(self) -> States:
        """Reset every environment; rewards not yet collected are forgotten."""
        self.late.restart()
        states = self.adapter.states(self.steps.reset(self._seeds))
        self.late.begin(self.steps.frames)
        self._reset_seeds()
        return states

    def step_wait(self) -> VecEnvStepReturn:
        """Step every environment and hand the frames over to be scored."""
        steps = self.steps
        states: Any = self.adapter.states(steps.step(self.adapter.actions(self._actions)))
        steps.hand_over(self.late)
        for index in self._going_on():
            _put_row(states, index, self.adapter.state(steps.terminal_observations[index]))
        for listener in self.listeners:
            listener(steps)
        infos: list[dict[str, Any]] = [{"task_reward": float(reward)} for reward in steps.task_rewards]
        if steps.successes is not None:
            for info, success in zip(infos, steps.successes, strict=True):
                info["success"] = bool(success)
        self._tell_ends(infos, steps.terminal_observations, steps.terminated)
        return states, np.zeros(self.num_envs, np.float32), steps.dones.copy(), infos

    def _going_on(self) -> list[int]:
        """Let episodes that ended well go on; returns the environments that do."""
        if self._continuation is None:
            return []
        over, which = self.steps.out_of_time, np.zeros(self.num_envs, np.bool_)
        if over.any():
            end, best = self.late.moments()
            which[over] = self._continuation(end[over], best[over])
        self.steps.go_on(which)
        return [int(index) for index in np.flatnonzero(which)]

    def close(self) -> None:
        """Nothing: whoever made the pool closes it."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the render mode or, where there are any, the functions of `env_method`; nothing else is known."""
        if attr_name == "render_mode":
            return [self.steps.pool.render_mode] * self.num_envs
        if attr_name == "action_masks" and self.steps.masks is not None:
            return [lambda mask=mask: mask for mask in self.steps.masks]
        raise AttributeError(attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: environments live in the pool."""
        raise NotImplementedError("environments live in the pool")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Return which actions are allowed next; refuse anything else, as environments live in the pool.

        Above all an environment's own ``compute_reward`` must never mix with rewards that are made of frames.
        """
        if method_name == "action_masks" and self.steps.masks is not None:
            return list(self.steps.masks)
        raise TrainingError(f"'{method_name}' of an environment cannot be called in training; rewards are of frames")

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

    def __init__(
        self, num_envs: int, observation_space: Space, action_space: Space, env_id: str = "the environment"
    ) -> None:
        """Take an environment's own spaces; raises TrainingError as `Adapter` does."""
        PoolVecEnv.__init__(self, num_envs, Adapter(observation_space, action_space, env_id))

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return no render mode; nothing else can be asked for."""
        if attr_name == "render_mode":
            return [None] * self.num_envs
        raise AttributeError(attr_name)
