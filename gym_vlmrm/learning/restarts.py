"""A second chance for workers that died or hang, once in a session."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from gym_vlmrm.errors import WorkerError
from gym_vlmrm.interrupts import stop_is_asked
from gym_vlmrm.worlds.pools.pool import EnvPool

__all__ = ["Restarts"]


class Restarts:
    """Starts the workers of a pool anew when one of them died or hangs, and says so; the second time it raises."""

    def __init__(self, on_notice: Callable[[str], None], allowed: int = 1) -> None:
        """Allow so many restarts, of whichever pool; `on_notice` is told of each."""
        self._on_notice, self._left = on_notice, allowed

    def make_good(self, pool: gym.vector.VectorEnv[Any, Any, Any] | None, error: WorkerError) -> None:
        """Start the workers of `pool` anew; its environments must be reset next.

        Args:
            pool: the pool, or ``None`` if it was still starting and is to be made again.
            error: what ended it.

        Raises:
            WorkerError: `error`, where no restart is left or a stop was asked for; another where the new ones fail too.
        """
        if not self._left or stop_is_asked():
            raise error
        self._left -= 1
        self._on_notice(
            f"{error}. All workers were started anew; episodes that were under way are cut off there, and the run goes "
            "on. The next time it ends"
        )
        if isinstance(pool, EnvPool):
            pool.restart()
