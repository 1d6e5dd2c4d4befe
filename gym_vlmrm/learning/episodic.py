"""Algorithms without a buffer, such as ARS: their rollouts end within their updates."""

from collections.abc import Callable
from typing import Any

__all__ = ["is_episodic", "tell_of_rollouts", "tell_of_updates"]


def is_episodic(model: Any) -> bool:
    """Whether an algorithm keeps no buffer; then its updates must be told of, as its rollouts end within them."""
    return not hasattr(model, "replay_buffer") and not hasattr(model, "rollout_buffer")


def tell_of_rollouts(model: Any, before: Callable[[], None]) -> None:
    """Let others act before each rollout of any other algorithm; gSDE draws before a callback hears of it."""
    collect = model.collect_rollouts

    def told(*args: Any, **kwargs: Any) -> Any:
        before()
        return collect(*args, **kwargs)

    model.collect_rollouts = told


def tell_of_updates(model: Any, before: Callable[[], None], after: Callable[[], None], steps: int) -> None:
    """Let others act before and after each update of ARS, and its schedules see the `steps` of the whole run.

    What ARS does between drawing its candidates and taking the best of them is in nobody's reach.
    """
    update, progress = model._do_one_update, model._update_current_progress_remaining

    def told(*args: Any, **kwargs: Any) -> None:
        before()
        update(*args, **kwargs)
        after()

    model._do_one_update = told
    model._update_current_progress_remaining = lambda made, _: progress(made, steps)
