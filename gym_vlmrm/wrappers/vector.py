"""Many environments, rewarded by one batched call of the reward model per step."""

from concurrent.futures import Future
from typing import Any, Self

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from gym_vlmrm.errors import ResetNeededError
from gym_vlmrm.reward.protocol import RewardModel
from gym_vlmrm.reward.scoring import FreeCores, ScoringTeam
from gym_vlmrm.worlds.frames import check_every, is_scored
from gym_vlmrm.worlds.pools.pool import INTERRUPTED, EnvPool, Seeds, rows_of

__all__ = ["VectorVLMReward", "take_frames"]


class VectorVLMReward(VectorWrapper[Any, Any, Any, Any, Any]):
    """Replaces the rewards of a vector environment by the reward model's scores of the frames of its transitions.

    The environment's observations must carry those frames (see `gym_vlmrm.worlds.frames.FrameObservation`); this
    wrapper takes them out again, so that the observation is the base environment's.
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
        self._held = np.zeros(env.num_envs, dtype=np.float32)
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
        self._steps[mask], self._held[mask], self._done[mask] = 0, 0.0, False
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
        self._held[was_reset] = 0.0
        scored = ~was_reset & np.array([is_scored(step, self.every) for step in self._steps])
        if isinstance(self.env, EnvPool) and self._team.threads > 1:
            observations, terminations, truncations, infos = self._step_pool(self.env, actions, scored)
        else:
            observations, _, terminations, truncations, infos = self.env.step(actions)
            frames = take_frames(observations, infos)[1]
            if scored.any():
                self._held[scored] = self._team(_of(frames, scored))
        done = np.logical_or(terminations, truncations)
        returned = self._held.copy()
        if self._mode is AutoresetMode.SAME_STEP:
            self._steps[done], self._held[done] = 0, 0.0
        self._done = done
        self._whole = True
        return observations["state"], returned, terminations, truncations, infos

    def _step_pool(
        self, pool: EnvPool, actions: Any, scored: NDArray[np.bool_]
    ) -> tuple[dict[str, Any], Any, Any, dict[str, Any]]:
        """Step the pool; the frames of a worker that is ready are scored while others still draw.

        By as many threads as there are cores that no worker uses: taking turns on a core, scoring and drawing would
        each find the other's data in the processor's caches.
        """
        parts: dict[int, list[Future[NDArray[np.float32]]]] = {}
        turns = FreeCores(pool.num_workers)

        def score(share: slice, observations: dict[str, Any], infos: dict[str, Any]) -> None:
            _, frames = take_frames({"state": None, "frame": observations["frame"][share]}, infos)
            turns.free_one()
            batches = self._team.split(_of(frames, scored[share]))
            parts[share.start] = [self._team.submit(part, turns) for part in batches]

        try:
            observations, _, terminations, truncations, infos = pool.step(actions, score)
        finally:
            turns.free_all()
        if scored.any():
            self._held[scored] = np.concatenate([part.result() for start in sorted(parts) for part in parts[start]])
        return observations, terminations, truncations, infos

    def render(self) -> tuple[Any, ...] | None:
        """Return the current frame of every environment."""
        return self.env.render()

    def close(self, **kwargs: Any) -> None:
        """End the threads that score and close the environments."""
        self._team.close()
        super().close(**kwargs)


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
