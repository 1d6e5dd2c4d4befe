"""One episode of a policy, drawn for people, and beside it a random policy that begins in the same state.

Two pools of two worlds make the same steps: one draws what the reward sees, the other what a film shows. So the reward
in a film is that of its own frames, and nothing that makes a film pleasant can change it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Frames
from gym_vlmrm.learning.agents import Agent
from gym_vlmrm.learning.scores import MAX_FILM
from gym_vlmrm.learning.vec_env import PoolSteps
from gym_vlmrm.reward.memory import VectorStep, memory_of
from gym_vlmrm.reward.protocol import RewardModel, signals_of
from gym_vlmrm.worlds.cameras import main_pictures
from gym_vlmrm.worlds.frames import is_scored

__all__ = ["Shot", "Take", "film"]


@dataclass(frozen=True)
class Take:
    """One policy's part of a shot."""

    picture: Frames
    """(S, S, 3), drawn for people; an episode that is over rests on its last picture."""
    seen: Frames
    """(H, H, 3), the frame that the reward saw last."""
    reward: float
    """VLM reward of this step."""
    success: bool | None
    """The verdict on this step, ``None`` where the task defines none."""
    step: int
    """Steps made so far."""
    over: bool
    """Whether the episode ended before this shot."""


Shot = tuple[Take, Take]
"""What one step of the film shows: the trained policy, and the random one."""


def film(
    judged: gym.vector.VectorEnv[Any, Any, Any],
    shown: gym.vector.VectorEnv[Any, Any, Any],
    agents: tuple[Agent, Agent],
    reward_model: RewardModel,
    *,
    seed: int,
    every: int = 1,
    limit: int = MAX_FILM,
) -> Iterator[Shot]:
    """Yield a shot of each step of two episodes, until both are over.

    Args:
        judged: pool of two worlds in SAME_STEP mode that draw what the reward sees, every `every` steps.
        shown: the same worlds, which draw every step for people.
        agents: who acts in the first and in the second world; each is asked about both.
        reward_model: scores.
        seed: of the resets of all worlds.
        every: score every k-th frame and hold the reward in between.
        limit: most steps.

    Raises:
        TrainingError: an observation or an action is not finite.
        ModelError: the reward model failed.
    """
    pools = PoolSteps(judged), PoolSteps(shown)
    for agent in agents:
        agent.restart()
    observations = [steps.reset([seed, seed]) for steps in pools]
    starts, over = np.ones(2, np.bool_), np.zeros(2, np.bool_)
    together = np.ones(2, np.bool_)
    takes: list[Take] = []
    memory = memory_of(reward_model, 2)
    if memory.begins:
        memory.begin(np.arange(2), signals_of(reward_model, pools[0].frames), np.inf)
    for step in range(1, limit + 1):
        asked = [agent.act(observations[0], starts, pools[0].masks) for agent in agents]
        actions = asked[0].copy()
        actions[1] = asked[1][1]
        observations = [steps.step(actions) for steps in pools]
        starts = pools[0].dones
        together &= _equal_rows(*observations)
        scored = is_scored(step, every)
        signals = signals_of(reward_model, pools[0].frames) if scored else np.zeros(0, np.float32)
        own, both = pools[0].task_rewards, np.ones(2, np.bool_)
        rewards = memory.step(VectorStep(both & scored, signals, both, pools[0].terminated, own, np.inf))
        frames = main_pictures(pools[0].frames)
        new = []
        for index in range(2):
            if over[index]:
                new.append(replace(takes[index], over=True))
                continue
            seen = frames[index].copy() if scored else takes[index].seen
            # What chance in an environment has driven apart is shown as the reward saw it.
            picture = pools[1].frames[index].copy() if together[index] else seen
            verdicts = pools[0].successes
            success = None if verdicts is None else bool(verdicts[index])
            new.append(Take(picture, seen, float(rewards[index]), success, step, over=False))
        takes = new
        yield takes[0], takes[1]
        over |= starts
        if over.all():
            return


def _equal_rows(left: Any, right: Any) -> NDArray[np.bool_]:
    """Say of which of two worlds two batches of observations are equal; NaN equals NaN."""
    if isinstance(left, dict):
        return _all_rows([_equal_rows(left[key], right[key]) for key in left])
    if isinstance(left, tuple) and not isinstance(left[0], int | str):
        return _all_rows([_equal_rows(*parts) for parts in zip(left, right, strict=True)])
    one, other = np.asarray(left), np.asarray(right)
    same = (one == other) | ((one != one) & (other != other))
    return _all_rows(np.asarray(same).reshape(2, -1).T)


def _all_rows(parts: Any) -> NDArray[np.bool_]:
    return np.asarray(np.array(parts, np.bool_).reshape(-1, 2).all(axis=0))
