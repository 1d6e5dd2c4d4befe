"""Frames on their way to the device: through pinned memory, while it computes on the batch before."""

import torch

__all__ = ["Uploads"]


class Uploads:
    """Copies pixels to one device: on CUDA beside what is computed there, at most one batch ahead of it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # With a stream of its own, as work in one stream is done in turn.
        cuda = device.type == "cuda"
        self._copying = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]
        self._before: torch.cuda.Event | None = None

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return pixels, of any shape, on the device; what is computed on them there next waits until they are."""
        if self._copying is None:
            return pixels.to(self._device)
        # Else pinning would make a context on the first GPU, whichever this one is.
        with torch.cuda.device(self._device):
            computing = torch.cuda.current_stream()
            if self._before is not None:
                self._before.synchronize()  # or a long call would lie in pinned memory as a whole
            self._before = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._before.record(computing)
            pinned = pixels.pin_memory()
            with torch.cuda.stream(self._copying):
                there = pinned.to(self._device, non_blocking=True)
            computing.wait_stream(self._copying)
            there.record_stream(computing)  # its memory is not given to the next copy before it was read
            return there
