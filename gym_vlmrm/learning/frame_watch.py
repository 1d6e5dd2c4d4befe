"""Notices pictures and rewards from which nothing can be learned, while there is still time to stop."""

import os
import sys
import warnings

import numpy as np
from numpy.typing import NDArray

__all__ = ["FrameWatch", "only_colour", "plain_words"]

PATIENCE = 300
"""Frames, or rewards, in a row that must be alike before anybody is told."""
SPREAD = 1e-6
"""Rewards that differ by less are alike: this is float32's rounding."""
_GRAIN = 8
"""Every so manieth pixel is compared first; nearly always that is enough."""


class _Run:
    """A run of things that are alike: long enough to mean something?

    What stays alike from the very beginning is suspect after `PATIENCE`. Later an agent may rest at its goal, so a run
    must outlast the end of as many episodes as there are environments, whose next ones begin alike.
    """

    def __init__(self, num_envs: int, *, at_rest: bool = True) -> None:
        self._num_envs, self._at_rest = num_envs, at_rest
        self._length, self._ends, self._broken = 0, 0, False

    def add(self, count: int) -> None:
        self._length += count

    def end_episodes(self, count: int) -> None:
        self._ends += count

    def interrupt(self) -> None:
        self._length, self._ends, self._broken = 0, 0, True

    @property
    def is_long(self) -> bool:
        return self._length >= PATIENCE and (not (self._broken and self._at_rest) or self._ends >= self._num_envs)


class FrameWatch:
    """Warns once (`UserWarning`) where hundreds of frames teach nothing, or rewards have no spread.

    Such frames are equal, of one colour, or change only where an episode begins.
    """

    def __init__(self, num_envs: int) -> None:
        """Watch `num_envs` environments."""
        self._plain, self._equal = _Run(num_envs, at_rest=False), _Run(num_envs)
        self._alike = _Run(num_envs)
        self._frozen, self._moved = 0, False  # frames that had one before them in their episode; did one ever differ?
        self._begun: set[int] = set()
        self._over: set[int] = set()
        """Environments whose episode is over, and whose next one has shown nothing yet."""
        self._colour: tuple[int, ...] | None = None
        self._last: dict[int, NDArray[np.uint8]] = {}
        self._lowest, self._highest = np.inf, -np.inf
        self._warned = False

    def see(self, envs: NDArray[np.intp], frames: NDArray[np.uint8]) -> None:
        """Look at scored frames (K, H, W, 3) of the environments `envs` (K,); they are kept, not copied."""
        for env, frame in zip(envs.tolist(), frames, strict=True):
            if self._warned:
                return
            self._look(env, frame)

    def _look(self, env: int, frame: NDArray[np.uint8]) -> None:
        colour, last = only_colour(frame), self._last.get(env)
        if colour is None or colour != self._colour:
            self._plain.interrupt()
        if last is not None:
            same = _same(last, frame)
            if not same:
                self._equal.interrupt()
            elif env in self._over:
                self._equal.end_episodes(1)
            if env in self._begun:
                self._frozen += 1
                self._moved |= not same
        self._begun.add(env)
        self._over.discard(env)
        self._colour, self._last[env] = colour, frame
        self._plain.add(colour is not None)
        self._equal.add(1)
        if colour is not None and self._plain.is_long:
            self._warn(f"{PATIENCE} frames in a row {plain_words(colour)}")
        elif self._equal.is_long:
            self._warn(
                f"{PATIENCE} frames in a row show the same picture, so the reward cannot teach: the camera does not "
                "see what the agent moves, or the environment draws something else than its state"
            )
        elif self._frozen >= PATIENCE and not self._moved:
            self._warn(
                f"{PATIENCE} frames show what their episode began with, so the reward cannot teach: only resets "
                "change the picture; the camera does not see what the agent moves, or `render` draws the first state"
            )

    def end_episodes(self, envs: NDArray[np.intp]) -> None:
        """Take note of environments (K,) whose episodes ended with the frames just seen."""
        self._over.update(envs.tolist())
        self._begun.difference_update(envs.tolist())

    def begin_episodes(self) -> None:
        """Take note of a reset of every environment."""
        self._begun.clear()

    def hear(self, rewards: NDArray[np.float32], episodes: int) -> None:
        """Take note of rewards (K,) of scored frames, in order, among which so many episodes ended."""
        if self._warned or not rewards.size:
            return
        low, high = float(rewards.min()), float(rewards.max())
        self._lowest, self._highest = min(self._lowest, low), max(self._highest, high)
        if self._highest - self._lowest > SPREAD:
            self._alike.interrupt()
            self._lowest, self._highest = low, high
            if high - low > SPREAD:
                self._lowest, self._highest = np.inf, -np.inf
                return
        self._alike.add(rewards.size)
        if self._alike.is_long:
            self._warn(
                f"{PATIENCE} rewards in a row are the same number, so nothing can be learned: the model sees no "
                "difference between these frames; look at them, and at `vlmrm audit`"
            )
        self._alike.end_episodes(episodes)  # whose successors are yet to be seen

    def _warn(self, words: str) -> None:
        self._warned = True
        self._last.clear()
        warnings.warn(words, stacklevel=2)


def only_colour(frame: NDArray[np.uint8]) -> tuple[int, ...] | None:
    """Return the colour of a frame (H, W, 3) that has just one, else ``None``."""
    first = frame[0, 0]
    if (frame[::_GRAIN, ::_GRAIN] != first).any() or (frame != first).any():
        return None
    return tuple(first.tolist())


def _same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    grain = slice(None, None, _GRAIN)
    return bool((one[grain, grain] == other[grain, grain]).all() and np.array_equal(one, other))


def plain_words(colour: tuple[int, ...]) -> str:
    """Say what frames of one colour show, and why that may be; frames are what the sentence begins with."""
    if max(colour) == 0:
        pygame = os.environ.get("SDL_VIDEODRIVER") == "dummy" and "pygame" in sys.modules
        sdl = "; some pygame environments draw only with SDL_VIDEODRIVER=offscreen, not with 'dummy' as here"
        return (
            "are black: nothing is drawn; the camera ('scene.camera') may be inside something or too far away, "
            f"the light off, or OpenGL not working{sdl if pygame else ''}"
        )
    return f"are of one colour {colour}: the camera ('scene.camera') looks past everything or stands inside something"
