"""Environments of a pool that are reset and stepped in any subset, with the model's rewards."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import ResetNeededError
from gym_vlmrm.reward.memory import HeldReward, RewardMemory, VectorStep, memory_of
from gym_vlmrm.reward.scoring import ScoringTeam
from gym_vlmrm.worlds.frames import FrameObservation, is_scored
from gym_vlmrm.worlds.pools.pool import INTERRUPTED
from gym_vlmrm.wrappers.transitions import with_parts
from gym_vlmrm.wrappers.vector import VectorVLMReward

__all__ = ["SeparateEnvs"]

Step: TypeAlias = tuple[Any, float, bool, bool, dict[str, Any]]
_Envs: TypeAlias = Sequence[gym.Env[Any, Any]]


class SeparateEnvs:
    """Steps those environments of a pool that are meant, and scores all their frames in one batch.

    Nothing is reset by itself: whoever steps resets what has ended, as the collectors of some libraries do.
    """

    def __init__(self, envs: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        """Take over a pool, or a `VectorVLMReward` over one."""
        self.pool: Any = envs
        self.every, self._team = 1, None
        if isinstance(envs, VectorVLMReward):
            self.pool, self.every = envs.env, envs.every
            self._team = ScoringTeam(envs.reward_model)
        self.num_envs = envs.num_envs
        self.single_observation_space, self.single_action_space = (
            envs.single_observation_space,
            envs.single_action_space,
        )
        self._envs = envs
        self._steps = np.zeros(self.num_envs, int)
        self._memory: RewardMemory = HeldReward(self.num_envs)
        if isinstance(envs, VectorVLMReward):
            self._memory = memory_of(envs.reward_model, self.num_envs)
        self._whole = np.ones(self.num_envs, np.bool_)

    def reset(self, rows: Sequence[int], arguments: Sequence[dict[str, Any]]) -> list[tuple[Any, dict[str, Any]]]:
        """Reset some environments, each with its own ``seed`` and ``options``, and return observations and infos."""
        chosen = list(rows)
        self._whole[chosen] = False
        answers: list[tuple[tuple[Any, dict[str, Any]], Any]] = self.pool.apply(_reset, chosen, list(arguments))
        signals = None
        if self._team is not None and self._memory.begins:
            signals = self._team(np.stack([frame for _, frame in answers]))
        self._memory.begin(np.array(chosen), signals, self._made)
        self._steps[chosen], self._whole[chosen] = 0, True
        return [(answer[0], self._with_parts(answer[1], row)) for row, (answer, _) in zip(chosen, answers, strict=True)]

    def step(self, rows: Sequence[int], actions: Sequence[Any]) -> list[Step]:
        """Step some environments, each by its action, and return Gymnasium's five values of each.

        Raises:
            ResetNeededError: an exception, such as Ctrl-C, cut the last step of one of them short.
            WorkerError: a process that simulates and draws died or hangs.
            Whatever an environment or the reward model raises.
        """
        chosen = list(rows)
        if not self._whole[chosen].all():
            raise ResetNeededError(INTERRUPTED)
        self._whole[chosen] = False
        answers: list[tuple[Step, Any]] = self.pool.apply(_step, chosen, list(actions))
        if self._team is None:
            self._whole[chosen] = True
            return [step for step, _ in answers]
        self._steps[chosen] += 1
        rewards = self._rewards(self._team, chosen, answers)
        self._whole[chosen] = True
        return [
            (step[0], float(rewards[row]), step[2], step[3], self._with_parts(step[4], row))
            for row, (step, _) in zip(chosen, answers, strict=True)
        ]

    def _rewards(self, team: ScoringTeam, chosen: list[int], answers: list[tuple[Step, Any]]) -> NDArray[np.float32]:
        """Rewards (N,) of the environments that made a step; those of others mean nothing."""
        places = [place for place, row in enumerate(chosen) if is_scored(int(self._steps[row]), self.every)]
        scored, moved, terminated = (np.zeros(self.num_envs, np.bool_) for _ in range(3))
        own = np.zeros(self.num_envs)
        order = sorted(places, key=lambda place: chosen[place])  # in the order of environments, as the memory reads it
        scored[[chosen[place] for place in order]], moved[chosen] = True, True
        terminated[chosen] = [step[2] for step, _ in answers]
        own[chosen] = [step[1] for step, _ in answers]
        signals = team(np.stack([answers[place][1] for place in order])) if order else np.zeros(0, np.float32)
        return self._memory.step(VectorStep(scored, signals, moved, terminated, own, self._made))

    @property
    def _made(self) -> float:
        """Steps of training by which weights fade, as whoever trains tells the vector environment."""
        return getattr(self._envs, "training_steps", 0.0)

    def _with_parts(self, info: dict[str, Any], row: int) -> dict[str, Any]:
        return with_parts(info, self._memory, row)

    def close(self) -> None:
        """End the threads that score, and the environments."""
        if self._team is not None:
            self._team.close()
        self._envs.close()


def _reset(envs: _Envs, arguments: Sequence[dict[str, Any]]) -> list[Any]:
    answers = []
    for env, argument in zip(envs, arguments, strict=True):
        observation, info = env.reset(**argument)
        pictured = isinstance(env, FrameObservation)
        state = observation["state"] if pictured else observation
        answers.append(((state, info), observation["frame"] if pictured else None))
    return answers


def _step(envs: _Envs, actions: Sequence[Any]) -> list[Any]:
    """Step all, then draw: taking turns, each would find the other's data in the processor's caches."""
    steps = [env.step(action) for env, action in zip(envs, actions, strict=True)]
    answers = []
    for env, step in zip(envs, steps, strict=True):
        if isinstance(env, FrameObservation):
            drawn = env.draw()
            answers.append(((step[0]["state"], *step[1:]), step[0]["frame"] if drawn is None else drawn))
        else:
            answers.append((step, None))
    return answers
