"""A run's trained policy as a plain object for scripts; `predict` is that of stable-baselines3."""

import os
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gym_vlmrm.errors import TrainingError
from gym_vlmrm.learning.agents import TrainedAgent
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.stored_policy import load_agent
from gym_vlmrm.task.yaml_file import shorten

__all__ = ["Policy", "load_policy"]


class Policy:
    """Acts in the environment that it was trained in: its observations in, its actions out."""

    def __init__(self, agent: TrainedAgent, step: int) -> None:
        """Wrap a loaded agent; `step` is the training step of its checkpoint."""
        self._agent, self.step = agent, step
        self.algorithm = type(agent.model).__name__
        self.observation_space = agent.adapter.own_observation_space
        self.action_space = agent.adapter.own_action_space

    def __repr__(self) -> str:
        return f"Policy({self.algorithm}, step {self.step:,}, {self.observation_space} -> {self.action_space})"

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
        action_masks: NDArray[np.bool_] | None = None,
    ) -> tuple[Any, Any]:
        """Return the action for one observation, or the actions (N, ...) for a batch of N, and the next state.

        Args:
            observation: as the environment gives it, or as a vector environment batches N of them.
            state: what the call before returned, for recurrent policies; others ignore it.
            episode_start: (N,) marks the first observations of episodes, for recurrent policies.
            deterministic: the greedy action, or one drawn from the policy's distribution.
            action_masks: allowed actions, for MaskablePPO.

        Raises:
            TrainingError: the observation is none of the environment's, or it or the action is not finite.
        """
        starts = None if episode_start is None else np.atleast_1d(episode_start)
        masks = None if action_masks is None else np.atleast_2d(action_masks)
        try:
            single = _is_one(self.observation_space, observation)
            if single is None:
                raise ValueError("wrong shape or keys")
            batch = self._agent.adapter.batch_of_one(observation) if single else observation
            actions, state = self._agent.predict(batch, state, starts, masks, deterministic=deterministic)
        except (TypeError, ValueError, LookupError, RuntimeError) as error:
            raise TrainingError(
                f"{shorten(observation)} is no observation of {self.observation_space}, nor a batch of them, "
                f"or masks or state do not fit it ({shorten(error)})"
            ) from None
        return (actions[0] if single else actions), state


def _is_one(space: spaces.Space[Any], observation: Any) -> bool | None:
    """Whether this is one observation (True), a batch (False) or neither (None)."""
    if isinstance(space, spaces.Dict):
        if not isinstance(observation, dict) or set(observation) != set(space):
            return None
        return _of_all([_is_one(part, observation[key]) for key, part in space.items()])
    if isinstance(space, spaces.Tuple):
        if not isinstance(observation, tuple) or len(observation) != len(space):
            return None
        return _of_all([_is_one(part, value) for part, value in zip(space, observation, strict=True)])
    shape, wanted = np.shape(observation), space.shape or ()
    return True if shape == wanted else False if shape[1:] == wanted and len(shape) == len(wanted) + 1 else None


def _of_all(answers: list[bool | None]) -> bool | None:
    return answers[0] if len(set(answers)) == 1 else None


def load_policy(run: RunFolder | str | os.PathLike[str], checkpoint: Literal["best", "last"] | int = "best") -> Policy:
    """Load a run's trained policy; nothing is unpickled.

    Args:
        run: the run folder.
        checkpoint: ``best`` (by VLM reward; success never selects), ``last``, or a step.

    Raises:
        RunError: no such run or checkpoint, or it is damaged.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    chosen = folder.checkpoint(checkpoint)
    agent = load_agent(chosen.path)
    spaces_of = agent.adapter.own_observation_space, agent.adapter.own_action_space
    agent.enter(*spaces_of, folder.task.env.id)  # so that errors name it
    return Policy(agent, chosen.step)
