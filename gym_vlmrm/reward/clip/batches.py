"""How many frames go through an image tower together: guessed, measured where it matters, halved where they do not fit.

On a CPU it is a constant, so that equal frames earn equal rewards to the last bit.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError, number_of_variable
from gym_vlmrm.reward.clip.devices import SMALL_TOWER
from gym_vlmrm.reward.protocol import lacks_memory

__all__ = ["MICRO_BATCH_VARIABLE", "MicroBatches", "guess_size"]

Look: TypeAlias = Callable[[NDArray[np.uint8]], torch.Tensor]

MICRO_BATCH_VARIABLE = "GYM_VLMRM_MICRO_BATCH"
"""Environment variable: frames that go through a tower together on an accelerator, instead of a measurement."""
MICRO_BATCH = 64
"""Guess for a large tower on an accelerator; a small one takes `SMALL_MICRO_BATCH`."""
SMALL_MICRO_BATCH = 1024
MIDDLE_MICRO_BATCH = 256
MIDDLE_TOWER = 120_000_000
"""Up to this many parameters (ViT-B and smaller) a tower takes `MIDDLE_MICRO_BATCH` frames on an accelerator."""
CPU_MICRO_BATCH = 16
"""Larger ones were never clearly faster on a CPU, and sometimes slower: they leave the processor's caches."""
LARGEST = 8192
"""Larger ones are not tried."""
CLEARLY = 1.05
"""What is not faster by this factor is as fast: the smaller batch, which takes less memory, is taken."""
ROUNDS = 3
"""Timed calls with each size, of which the fastest counts; one before them warms up."""
SECONDS = 2.0
"""For all measurements of a tower together [s]."""
logger = logging.getLogger("gym_vlmrm")


class MicroBatches:
    """Micro-batches of one image tower on one device.

    A call with no more frames than the guess is one batch, so nothing is measured. The first larger call times batches
    from a quarter of the guess on, each twice as large as the one before, until they are no longer faster, memory or
    time would run out, or the call has no more frames; a later, still larger one goes on from there.
    """

    def __init__(self, device: torch.device, parameters: int, name: str) -> None:
        """Begin with a guess.

        Args:
            device: where the tower runs.
            parameters: size of the tower.
            name: of the model, for messages.

        Raises:
            ModelError: `MICRO_BATCH_VARIABLE` is no whole number from 1 to `LARGEST`.
        """
        self._device, self._name = device, name
        guess = guess_size(device, parameters)
        chosen = guess if device.type == "cpu" else number_of_variable(MICRO_BATCH_VARIABLE, 0, 1, LARGEST, ModelError)
        self._size = chosen or guess
        self._next = 0 if chosen else max(guess // 4, 1)
        self._rates: dict[int, float] = {}
        self._spent = 0.0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Frames that go through the tower together; setting it ends all measuring."""
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        self._size, self._next = size, 0

    def run(self, frames: NDArray[np.uint8], look: Look) -> list[torch.Tensor]:
        """Return what `look` tells of all frames, uint8 (N, H, W, 3), batch by batch, without waiting for the device.

        A batch that does not fit is looked at again in halves, so every frame is told of once.

        Raises:
            ModelError: one frame does not fit into the device's memory.
        """
        if self._next and len(frames) > self._size:
            with self._lock:
                self._measure(frames, look)
        told: list[torch.Tensor] = []
        start, too_many = 0, 0
        while start < len(frames):
            part = frames[start : start + self._size]
            seen = self._try(part, look)
            if seen is None:
                too_many = too_many or len(part)
                self._take_less(len(part))
            else:
                told.append(seen)
                start += len(part)
        if too_many:
            logger.warning(
                "%s has too little memory for %d frames of model '%s' at a time: from now on it takes %d",
                self._device, too_many, self._name, self._size,
            )  # fmt: skip
        return told

    def _try(self, frames: NDArray[np.uint8], look: Look) -> torch.Tensor | None:
        """Return what `look` tells, ``None`` where memory lacks; whatever it took is free then."""
        try:
            return look(frames)
        except torch.OutOfMemoryError:
            pass
        except RuntimeError as error:  # of a library that allocates by itself, or of another accelerator
            if self._device.type == "cpu" or not lacks_memory(error):
                raise
        self._empty()
        return None

    def _take_less(self, tried: int) -> None:
        """Take half as many frames from now on as did not fit."""
        if tried == 1:
            raise ModelError(
                f"model '{self._name}' and one frame at a time do not fit into the memory of {self._device}; use "
                f"precision='bf16', device='cpu' or a smaller model"
            )
        self.size = min(self._size, tried // 2)  # another thread may have halved it meanwhile

    def _measure(self, frames: NDArray[np.uint8], look: Look) -> None:
        before = self._next
        while self._next and self._next <= len(frames):
            size = self._next
            rate = self._rate(frames[:size], look) if self._may_try(size) else 0.0
            if rate:
                self._rates[size] = rate
            self._next = 2 * size if rate and 2 * size <= LARGEST and self._still_rises() else 0
        if self._next != before and self._rates:
            best = max(self._rates.values())
            self._size = min(size for size, rate in self._rates.items() if CLEARLY * rate >= best)
            listed = ", ".join(f"{rate:,.0f} by {size}" for size, rate in self._rates.items())
            logger.info("%s takes %d frames at a time (frames/s: %s)", self._device, self._size, listed)
            self._empty()

    def _rate(self, frames: NDArray[np.uint8], look: Look) -> float:
        """Return the rate of one size [frames/s]; 0 where it does not fit."""
        times = list[float]()
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            seen = self._try(frames, look)
            if seen is None:
                return 0.0
            seen.cpu()  # waits for the device
            times.append(time.perf_counter() - began)
        self._spent += sum(times)
        return len(frames) / min(times[1:])

    def _still_rises(self) -> bool:
        """Whether one of the last two doublings made it clearly faster."""
        rates = list(self._rates.values())
        return len(rates) < 3 or max(rates[-2:]) > CLEARLY * rates[-3]

    def _may_try(self, size: int) -> bool:
        """Whether time is left for a size, and memory that nobody else on the device would miss."""
        if not self._rates:
            return True
        latest = list(self._rates.values())[-1]
        if self._spent + (ROUNDS + 1) * size / latest > SECONDS:
            return False
        if self._device.type != "cuda":
            return True
        # What the size before took lies in torch's cache; this one takes twice as much, of at most half of the rest.
        taken = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        free, _ = torch.cuda.mem_get_info(self._device)
        return 2 * taken < (free + taken) / 2

    def _empty(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def guess_size(device: torch.device, parameters: int) -> int:
    """Return how many frames a tower of so many parameters takes at a time before anything is measured."""
    if device.type == "cpu":
        return CPU_MICRO_BATCH
    if parameters < SMALL_TOWER:
        return SMALL_MICRO_BATCH
    return MIDDLE_MICRO_BATCH if parameters < MIDDLE_TOWER else MICRO_BATCH
