"""Image towers that several threads of Python call at a time."""

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

__all__ = ["SharedTower"]


class SharedTower:
    """Calls an image tower, and traces it as soon as two threads meet in it.

    Between any two of its layers a thread needs Python's lock, and with small batches the layers are short. A trace
    runs without it. It makes the same operations in the same order, so every bit stays (tests/test_tracing.py). One
    thread alone gains nothing, and is spared the tracing.
    """

    def __init__(self, visual: nn.Module) -> None:
        """Take a tower whose operations do not depend on what it sees, nor on how many it sees."""
        self._call: Callable[[torch.Tensor], Any] = visual
        self._lock = threading.Lock()
        self._inside = 0
        self.traced = False
        """Whether two threads have met."""

    def __call__(self, pixels: torch.Tensor) -> Any:
        """Return what the tower makes of images (N, 3, H, W)."""
        with self._entered(pixels):
            return self._call(pixels)

    @contextlib.contextmanager
    def _entered(self, pixels: torch.Tensor) -> Iterator[None]:
        with self._lock:
            if self._inside and not self.traced:
                self._call, self.traced = _trace(self._call, pixels), True
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1


def _trace(visual: Callable[[torch.Tensor], Any], pixels: torch.Tensor) -> Callable[[torch.Tensor], Any]:
    trace: Any = getattr(torch.jit, "trace", None)  # deprecated, with no successor that needs no compiler
    if trace is None:
        return visual
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is deprecated, and that sizes of weights become constants
            traced: Callable[[torch.Tensor], Any] = trace(visual, pixels, check_trace=False)
    except RuntimeError:  # the tower itself says better what it cannot take
        return visual
    return traced
