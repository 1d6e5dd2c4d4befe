"""Algorithms without a buffer, such as ARS: their rollouts end within their updates."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gym_vlmrm.learning.callbacks import TrainingCallback

__all__ = ["is_episodic", "tell_of_updates"]


def is_episodic(model: Any) -> bool:
    """Whether an algorithm keeps no buffer; then its updates must be told of, as its rollouts end within them."""
    return not hasattr(model, "replay_buffer") and not hasattr(model, "rollout_buffer")


def tell_of_updates(model: Any, callback: "TrainingCallback", steps: int) -> None:
    """Let the callback act between the updates of ARS, whose rollouts end within them, and its schedules see the run.

    What ARS does between drawing its candidates and taking the best of them is in nobody's reach.
    """
    update, progress = model._do_one_update, model._update_current_progress_remaining

    def told(*args: Any, **kwargs: Any) -> None:
        callback.between_rollouts()
        update(*args, **kwargs)
        callback.after_rollout(None)

    model._do_one_update = told
    model._update_current_progress_remaining = lambda made, _: progress(made, steps)
