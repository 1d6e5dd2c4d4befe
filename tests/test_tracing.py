"""The image tower that threads share: traced when two of them meet in it, and not a bit different then."""

import threading

import pytest
import torch
from torch import nn

from gym_vlmrm.reward.clip.small import open_small
from gym_vlmrm.reward.clip.tracing import SharedTower
from gym_vlmrm.reward.loading import EMBEDDED_FOLDERS


class _Meeting(nn.Module):
    """A tower in which, at its first call, a second thread turns up."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.meets = True
        self.shared: SharedTower | None = None

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.meets and self.shared is not None:
            self.meets = False
            second = threading.Thread(target=torch.inference_mode()(self.shared.__call__), args=(pixels,))
            second.start()
            second.join()
        found: torch.Tensor = self.tower(pixels)
        return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_trace_has_every_bit(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    opened = open_small(f"local-dir:{EMBEDDED_FOLDERS['embedded']}")
    assert opened is not None
    tower = opened[0].visual.eval().requires_grad_(False).to(dtype)
    meeting = _Meeting(tower)
    shared = meeting.shared = SharedTower(meeting)
    with torch.inference_mode():
        for size in (2, 1, 3, 16, 17, 2, 2, 2, 1):  # TorchScript makes special versions of shapes that come back
            pixels = torch.rand(size, 3, 96, 96).to(dtype)
            assert torch.equal(shared(pixels), tower(pixels))
            assert shared.traced


def test_one_thread_alone_is_not_traced() -> None:
    shared = SharedTower(nn.Conv2d(3, 1, 1))
    for _ in range(3):
        shared(torch.zeros(1, 3, 2, 2))
    assert not shared.traced


def test_a_failing_call_leaves_no_one_inside() -> None:
    shared = SharedTower(nn.Conv2d(3, 1, 1))
    with pytest.raises(RuntimeError):
        shared(torch.zeros(1, 4, 2, 2))
    shared(torch.zeros(1, 3, 2, 2))
    assert not shared.traced


def test_without_torchscript_it_is_called_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.jit, "trace")
    meeting = _Meeting(nn.Conv2d(3, 1, 1))
    shared = meeting.shared = SharedTower(meeting)
    pixels = torch.rand(1, 3, 2, 2)
    assert torch.equal(shared(pixels), meeting.tower(pixels))
    assert torch.equal(shared(pixels), meeting.tower(pixels))
