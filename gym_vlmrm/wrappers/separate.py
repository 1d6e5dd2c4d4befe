"""Environments of a pool that are reset and stepped in any subset, with the model's rewards."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np

from gym_vlmrm.errors import ResetNeededError
from gym_vlmrm.reward.memory import RewardMemory, VectorStep, info_of_parts, memory_of
from gym_vlmrm.reward.scoring import ScoringTeam
from gym_vlmrm.worlds.frames import FrameObservation, is_scored
from gym_vlmrm.worlds.pools.pool import INTERRUPTED
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
        self._memories: list[RewardMemory] = []
        if isinstance(envs, VectorVLMReward):
            self.pool, self.every = envs.env, envs.every
            self._team = ScoringTeam(envs.reward_model)
            self._memories = [memory_of(envs.reward_model, 1) for _ in range(envs.num_envs)]
        self.num_envs = envs.num_envs
        self.single_observation_space, self.single_action_space = (
            envs.single_observation_space,
            envs.single_action_space,
        )
        self._envs = envs
        self._steps = np.zeros(self.num_envs, int)
        self._whole = np.ones(self.num_envs, np.bool_)

    def reset(self, rows: Sequence[int], arguments: Sequence[dict[str, Any]]) -> list[tuple[Any, dict[str, Any]]]:
        """Reset some environments, each with its own ``seed`` and ``options``, and return observations and infos."""
        chosen = list(rows)
        self._whole[chosen] = False
        answers: list[tuple[Any, dict[str, Any], Any]] = self.pool.apply(_reset, chosen, list(arguments))
        self._steps[chosen] = 0
        found = [(observation, info) for observation, info, _ in answers]
        if self._memories:
            begins = self._memories[0].begins and bool(chosen)
            signals = self._team(np.stack([frame for *_, frame in answers])) if begins else None  # type: ignore[misc]
            for place, row in enumerate(chosen):
                seen = None if signals is None else signals[place : place + 1]
                self._memories[row].begin(_FIRST, seen, self._envs.training_steps)  # type: ignore[attr-defined]
                found[place][1].update(info_of_parts(self._memories[row]))
        self._whole[chosen] = True
        return found

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
        steps = [step for step, _ in answers]
        if self._team is not None:
            self._steps[chosen] += 1
            scored = [is_scored(int(self._steps[row]), self.every) for row in chosen]
            frames = [frame for (_, frame), wanted in zip(answers, scored, strict=True) if wanted]
            signals = iter(self._team(np.stack(frames)) if frames else ())
            steps = [
                self._paid(row, step, next(signals) if wanted else None)
                for row, step, wanted in zip(chosen, steps, scored, strict=True)
            ]
        self._whole[chosen] = True
        return steps

    def _paid(self, row: int, step: Step, signals: Any) -> Step:
        """Return a step with the model's reward and what the parts of that are worth."""
        observation, own, terminated, truncated, info = step
        made = VectorStep(
            np.array([signals is not None]),
            _NONE if signals is None else np.asarray(signals)[None],
            _YES,
            np.array([terminated]),
            np.array([own], np.float64),
            self._envs.training_steps,  # type: ignore[attr-defined]
        )
        reward = float(self._memories[row].step(made)[0])
        return observation, reward, terminated, truncated, {**info, **info_of_parts(self._memories[row])}

    def close(self) -> None:
        """End the threads that score, and the environments."""
        if self._team is not None:
            self._team.close()
        self._envs.close()


_FIRST = np.array([0])
_YES = np.array([True])
_NONE = np.zeros(0, np.float32)


def _reset(envs: _Envs, arguments: Sequence[dict[str, Any]]) -> list[Any]:
    answers = []
    for env, argument in zip(envs, arguments, strict=True):
        observation, info = env.reset(**argument)
        framed = isinstance(env, FrameObservation)
        answers.append((observation["state"], info, observation["frame"]) if framed else (observation, info, None))
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
