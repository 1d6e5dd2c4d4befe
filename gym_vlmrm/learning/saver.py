"""What a training leaves on disk to go on from: all of its state where that is whole, else what can be had."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gym_vlmrm.learning.callbacks import TrainingCallback
from gym_vlmrm.learning.checkpoint_replay import buffer_bytes, has_room
from gym_vlmrm.learning.checkpoints import forget_state, save_checkpoint
from gym_vlmrm.learning.metrics_table import MetricsTable
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.running_means import put_running_means, running_means
from gym_vlmrm.learning.setup import Setup
from gym_vlmrm.learning.whole_state import Due, WholeState, take_state
from gym_vlmrm.task.spec import Recipe

__all__ = ["Saver"]

KEPT = 2
"""Checkpoints that keep all of their state; of older ones policy and optimisers stay."""


@dataclass(frozen=True)
class Kept:
    """What there was between two rollouts: until the next update only this changes."""

    step: int
    training: dict[str, Any]
    worlds: list[Any] | None
    means: dict[str, Any]


class Saver:
    """Writes checkpoints of one training, and remembers its last whole state within a rollout."""

    def __init__(self, setup: Setup, recipe: Recipe, run: RunFolder, table: MetricsTable) -> None:
        self.setup, self.recipe, self.run, self.table = setup, recipe, run, table
        self.callback: TrainingCallback
        """Knows whether a rollout is under way; set before learning begins."""
        self.place: Path
        """The last checkpoint."""
        self.saved: int | None = None
        """Step of the last checkpoint with all state, written or gone on from."""
        self.rough = False
        """Whether an error has left the algorithm between two whole states."""
        self._kept: Kept | None = None

    @property
    def _model(self) -> Any:
        return self.setup.model

    def keep(self) -> None:
        """Remember the state between two rollouts, where a stop may come within one."""
        if not hasattr(self._model, "replay_buffer"):
            training, worlds = take_state(self.setup, update=False)
            self._kept = Kept(self._model.num_timesteps, training, worlds, running_means(self._model))

    def back_to_last_rollout(self) -> bool:
        """Where a rollout is under way, go back to what was before it; says whether all is whole now."""
        if self._kept is None or not self.callback.within_rollout:
            return False
        self._model.num_timesteps = self._kept.step
        put_running_means(self._model, self._kept.means)
        return True

    def write(self, due: Due, with_buffer: bool = True) -> list[Any] | None:
        """Save the policy and all that going on needs; of what may be large, that of the last two is kept.

        Returns:
            The state of each world, if they can tell.
        """
        step, state = self._model.num_timesteps, None
        size = buffer_bytes(self._model) if with_buffer else 0
        fits = has_room(self.run.path, size)
        if size and not fits:
            self.setup.notices.once(
                "buffer",
                f"the disk has no room for the replay buffer ({size / 1e6:,.0f} MB), so it is not stored; "
                "a resumed run fills it again before learning goes on",
            )
        if not self.rough:
            state = self._whole_state(due)

        def save(folder: Path) -> None:
            with_it = size > 0 and fits
            save_checkpoint(folder, self._model, self.recipe, self.setup.scale, with_buffer=with_it, state=state)

        self.place = self.run.write_checkpoint(step, save).path
        self.saved = None if state is None else step
        for checkpoint in self.run.checkpoints()[:-KEPT]:
            forget_state(checkpoint.path)
        return None if state is None else state.worlds

    def _whole_state(self, due: Due) -> WholeState:
        if self._kept is not None and self.callback.within_rollout:
            training, worlds = self._kept.training, self._kept.worlds
        else:
            if hasattr(self._model, "replay_buffer"):
                self._model.replay_buffer.fill()
            training, worlds = take_state(self.setup, update=due.update is not None)
        return WholeState(due, self.table.text(), self.run.best, worlds, training)
