"""Many environments, rewarded by one batched call of the reward model per step."""

import copy
from concurrent.futures import Future
from typing import Any, Self

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate
from numpy.typing import NDArray

from gym_vlmrm.errors import ResetNeededError
from gym_vlmrm.reward.memory import VectorStep, ended_by_judge, memory_of
from gym_vlmrm.reward.protocol import RewardModel
from gym_vlmrm.reward.scoring import FreeCores, ScoringTeam
from gym_vlmrm.worlds.frames import check_every, is_scored
from gym_vlmrm.worlds.pools.pool import INTERRUPTED, EnvPool, Seeds, rows_of
from gym_vlmrm.wrappers.transitions import infos_of_each, joined_infos

__all__ = ["VectorVLMReward", "take_frames"]


class VectorVLMReward(VectorWrapper[Any, Any, Any, Any, Any]):
    """Replaces the rewards of a vector environment by the reward model's scores of the frames of its transitions.

    The environment's observations must carry those frames (see `gym_vlmrm.worlds.frames.FrameObservation`); this
    wrapper takes them out again, so that the observation is the base environment's. Of a reward made of parts
    ``infos["reward_parts"]`` has what each is worth now, float64 (num_envs,), by name.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], reward_model: RewardModel, every: int = 1) -> None:
        """Wrap a vector environment in any autoreset mode.

        Args:
            env: vector environment whose sub-environments are `FrameObservation`s with the same `every`.
            reward_model: scores frames.
            every: score every k-th frame of an episode and hold the reward in between.

        Raises:
            ValueError: the environments draw other frames than every `every`-th.
        """
        super().__init__(env)
        check_every(env, every)
        self.reward_model = reward_model
        self.every = every
        self._team = ScoringTeam(reward_model)
        self.observation_space = env.observation_space["state"]  # type: ignore[index]
        self.single_observation_space = env.single_observation_space["state"]  # type: ignore[index]
        self._mode: AutoresetMode = env.metadata["autoreset_mode"]
        self._steps = np.zeros(env.num_envs, dtype=int)
        self._memory = memory_of(reward_model, env.num_envs)
        self.training_steps: float = 0
        """Steps of training made, by which weights fade: whoever trains sets it, or ``inf`` for the last weights."""
        self._done = np.zeros(env.num_envs, dtype=bool)
        self._whole = True

    @property
    def unwrapped(self) -> Self:
        """This environment itself: libraries read spaces from it, and those of what lies below hold frames."""
        return self

    @property
    def spec(self) -> EnvSpec | None:
        """The specification, which `gymnasium.make_vec` sets."""
        return self.env.spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self.env.spec = spec

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """When an environment whose episode has ended is reset."""
        return self._mode

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method (or read an attribute) of every environment."""
        if name == "observation_space":  # that of the environments below holds frames
            return (self.single_observation_space,) * self.num_envs
        envs: Any = self.env
        return tuple(envs.call(name, *args, **kwargs))

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Read an attribute of every environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment, to one value or, if given a list or tuple, to one value each."""
        envs: Any = self.env
        envs.set_attr(name, values)

    def reset(self, *, seed: Seeds = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those of ``options["reset_mask"]``."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool)).copy()
        was_whole, self._whole = self._whole, False
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        self._steps[mask], self._done[mask] = 0, False
        self._begin(mask, observations["frame"][mask] if self._memory.begins else None)
        self._add_parts(infos, mask)
        self._whole = was_whole or bool(mask.all())
        return observations["state"], infos

    def step(self, actions: Any) -> tuple[Any, NDArray[np.float32], Any, Any, dict[str, Any]]:
        """Step all environments; rewards are float32 (num_envs,).

        Raises:
            ResetNeededError: an exception, such as Ctrl-C, cut the last step or reset short, or an episode has ended
                and nobody reset it (autoreset mode Disabled).
            WorkerError: a process that simulates and draws died or hangs.
            VLMRMError: there are more or fewer actions than environments.
            Whatever an environment or the reward model raises.
        """
        if not self._whole:
            if isinstance(self.env, EnvPool):
                self.env.check_workers()
            raise ResetNeededError(INTERRUPTED)
        rows_of(actions, self.env)  # before anything is half done
        if self._mode is AutoresetMode.DISABLED and self._done.any():
            ended = np.flatnonzero(self._done).tolist()
            raise ResetNeededError(
                f"the episodes of environments {ended} have ended, and the autoreset mode is Disabled; "
                "reset(options={'reset_mask': np.logical_or(terminations, truncations)}) comes first"
            )
        self._whole = False
        was_reset = self._done if self._mode is AutoresetMode.NEXT_STEP else np.zeros_like(self._done)
        self._steps = np.where(was_reset, 0, self._steps + 1)
        scored = ~was_reset & np.array([is_scored(step, self.every) for step in self._steps])
        if isinstance(self.env, EnvPool) and self._team.threads > 1:
            observations, own, terminations, truncations, infos, signals, begun = self._step_pool(
                self.env, actions, scored
            )
        else:
            observations, own, terminations, truncations, infos = self.env.step(actions)
            begun = self._begun(observations["frame"], infos)
            frames = take_frames(observations, infos)[1]
            signals = self._team(_of(frames, scored)) if scored.any() else _NONE
        done = np.logical_or(terminations, truncations)
        if was_reset.any():
            self._begin(was_reset, observations["frame"][was_reset] if self._memory.begins else None)
        step = VectorStep(scored, signals, ~was_reset, terminations, own, self.training_steps)
        rewards = self._memory.step(step)
        if self._memory.ends:
            judged = ended_by_judge(self._memory, ~was_reset)
            terminations, over = np.logical_or(terminations, judged), judged & ~done
            if over.any():
                done = done | over
                observations, infos, begun = self._end(over, observations, infos, begun)
        if self._mode is AutoresetMode.SAME_STEP and done.any():
            self._add_parts(infos.setdefault("final_info", {}), done)
            self._steps[done] = 0
            self._begin(done, begun, self.num_envs)
        self._add_parts(infos, np.ones(self.num_envs, np.bool_))
        self._done = done
        self._whole = True
        return observations["state"], rewards, terminations, truncations, infos

    def _step_pool(self, pool: EnvPool, actions: Any, scored: NDArray[np.bool_]) -> tuple[Any, ...]:
        """Step the pool; the frames of a worker that is ready are scored while others still draw.

        By as many threads as there are cores that no worker uses: taking turns on a core, scoring and drawing would
        each find the other's data in the processor's caches.

        Returns:
            What the pool returns, the signals of the scored frames, and what `_begun` returns.
        """
        parts: dict[int, list[Future[NDArray[np.float32]]]] = {}
        beginnings: dict[int, NDArray[np.uint8] | None] = {}
        turns = FreeCores(pool.num_workers)

        def score(share: slice, observations: dict[str, Any], infos: dict[str, Any]) -> None:
            beginnings[share.start] = self._begun(observations["frame"][share], infos)
            _, frames = take_frames({"state": None, "frame": observations["frame"][share]}, infos)
            turns.free_one()
            batches = self._team.split(_of(frames, scored[share]), pool.num_workers)
            parts[share.start] = [self._team.submit(part, turns) for part in batches]

        try:
            stepped = pool.step(actions, score)
        finally:
            turns.free_all()
        told = [part.result() for start in sorted(parts) for part in parts[start]]
        begun = [frames for _, frames in sorted(beginnings.items()) if frames is not None]
        return *stepped, np.concatenate(told) if told else _NONE, np.concatenate(begun) if begun else None

    def _end(
        self, over: NDArray[np.bool_], observations: dict[str, Any], infos: dict[str, Any], begun: Any
    ) -> tuple[dict[str, Any], dict[str, Any], NDArray[np.uint8] | None]:
        """End the episodes that the judge ends, of which the environments below know nothing, as the mode wants it.

        Returns:
            The observations and infos of the step, and what `_begun` returns of all that has ended now.
        """
        envs: Any = self.env
        if self._mode is AutoresetMode.NEXT_STEP:
            envs.set_attr("over", over.tolist())
        if self._mode is not AutoresetMode.SAME_STEP:
            return observations, infos, begun
        before = infos["_final_obs"] if "final_obs" in infos else np.zeros_like(over)
        last = copy.deepcopy(list(iterate(self.observation_space, observations["state"])))
        after, told = self.env.reset(options={"reset_mask": over.copy()})
        each, begins = infos_of_each(infos, self.num_envs), infos_of_each(told, self.num_envs)
        for row in np.flatnonzero(over):
            each[row] = {**begins[row], "final_obs": last[row], "final_info": each[row]}
        joined = joined_infos(each)
        if not self._memory.begins:
            return after, joined, None
        frames = np.zeros_like(after["frame"])
        if begun is not None:
            frames[before] = begun
        frames[over] = after["frame"][over]
        return after, joined, frames[before | over]

    def _begun(self, frames: NDArray[np.uint8], infos: dict[str, Any]) -> NDArray[np.uint8] | None:
        """Copies of the frames (K, ...) that episodes begin with after a reset in the same step, where they matter."""
        if not self._memory.begins or "final_obs" not in infos:
            return None
        begun: NDArray[np.uint8] = frames[infos["_final_obs"]]
        return begun

    def _begin(self, envs: NDArray[np.bool_], frames: NDArray[np.uint8] | None, made: int = 0) -> None:
        """Begin episodes in some environments (N,), of which these are the first frames (K, ...) where they matter.

        `made` are steps of training that nobody has counted yet.
        """
        signals = None if frames is None or not len(frames) else self._team(frames)
        self._memory.begin(envs, signals, self.training_steps + made)

    def _add_parts(self, infos: dict[str, Any], envs: NDArray[np.bool_]) -> None:
        """Say what the parts are worth to some environments (N,), as Gymnasium's vector environments do."""
        if not self._memory.names:
            return
        said: dict[str, Any] = {}
        for name, values in zip(self._memory.names, self._memory.values.T, strict=True):
            said[name], said[f"_{name}"] = np.where(envs, values, 0.0), envs.copy()
        infos["reward_parts"], infos["_reward_parts"] = said, envs.copy()
        if self._memory.seen is not None:
            infos["success_seen"], infos["_success_seen"] = self._memory.seen & envs, envs.copy()

    def render(self) -> tuple[Any, ...] | None:
        """Return the current frame of every environment."""
        return self.env.render()

    def close(self, **kwargs: Any) -> None:
        """End the threads that score and close the environments."""
        self._team.close()
        super().close(**kwargs)


_NONE = np.zeros(0, np.float32)


def _of(frames: NDArray[np.uint8], scored: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the frames that are scored; where that is all of them, nothing is copied."""
    return frames if scored.all() else frames[scored]


def take_frames(observations: dict[str, Any], infos: dict[str, Any]) -> tuple[Any, NDArray[np.uint8]]:
    """Split observations into states and the frames (num_envs, H, W, 3) of the transitions just made.

    After an automatic reset in the same step the transition's frame is in the final observation; ``infos["final_obs"]``
    is reduced to its states in place.
    """
    frames = observations["frame"]
    final = infos.get("final_obs")
    if final is not None:
        for index in np.flatnonzero(infos["_final_obs"]):
            frames[index] = final[index]["frame"]
            final[index] = final[index]["state"]
    return observations["state"], frames
