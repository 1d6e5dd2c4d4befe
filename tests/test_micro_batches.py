"""How many frames go through a tower together: measured on what is no CPU, halved where memory lacks, none lost."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gym_vlmrm.reward.clip import towers  # isort: skip  (loads triton before open_clip, as users' programs do)
import torch

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.clip import batches
from gym_vlmrm.reward.clip.batches import MicroBatches
from gym_vlmrm.reward.clip.uploads import Uploads

MakeFolder = Callable[..., Path]
ELSEWHERE = torch.device("xpu")
"""No CPU, so batches are measured; nothing is computed there."""


def frames(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


class Device:
    """A tower on a device of its own clock, which takes frames by the `lanes` and has room for so many."""

    def __init__(self, tower: Callable[[Any], Any], lanes: int = 8, room: int = 10**9, second: float = 0.001) -> None:
        self.tower, self.lanes, self.room, self.second = tower, lanes, room, second
        self.now, self.seen = 0.0, list[int]()
        self.lack: Exception = torch.OutOfMemoryError("no room")

    def __call__(self, pictures: Any) -> Any:
        self.seen.append(len(pictures))
        if len(pictures) > self.room:
            raise self.lack
        self.now += self.second * -(-len(pictures) // self.lanes)
        return self.tower(pictures)

    def run(self, sizes: MicroBatches, count: int) -> Any:
        self.seen.clear()
        with torch.inference_mode():
            return torch.cat(sizes.run(frames(count), self)).numpy()


@pytest.fixture(scope="module")
def tower(tiny_model: str) -> Callable[[Any], Any]:
    return towers.load_towers(tiny_model, "cpu")._embed_batch


@pytest.fixture
def device(tower: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device(tower)
    monkeypatch.setattr(batches, "time", SimpleNamespace(perf_counter=lambda: device.now))
    monkeypatch.setattr(batches, "MICRO_BATCH", 16)
    return device


def measured(name: str = "a model") -> MicroBatches:
    return MicroBatches(ELSEWHERE, 10**9, name)


def test_what_fits_into_one_batch_is_not_measured(device: Device) -> None:
    sizes = measured()
    device.run(sizes, 16)
    assert (device.seen, sizes.size) == ([16], 16)


def test_the_smallest_of_the_fastest_is_taken(device: Device) -> None:
    expected, sizes = device.run(MicroBatches(torch.device("cpu"), 10**9, "a model"), 100), measured()
    np.testing.assert_allclose(device.run(sizes, 100), expected, atol=1e-5)
    assert device.seen == [*[4] * 4, *[8] * 4, *[16] * 4, *[32] * 4, *[8] * 12, 4]
    device.run(sizes, 100)
    assert device.seen == [*[8] * 12, 4]


def test_a_larger_call_goes_on_from_there(device: Device) -> None:
    device.lanes = 10**6
    sizes = measured()
    device.run(sizes, 20)
    assert sizes.size == 16
    device.run(sizes, 70)
    assert device.seen == [*[32] * 4, *[64] * 4, 64, 6]
    device.run(sizes, 70)
    assert device.seen == [64, 6]


def test_measuring_ends_where_time_does(device: Device) -> None:
    device.lanes, device.second = 1, 0.01
    sizes = measured()
    device.run(sizes, 100)
    assert device.seen == [*[4] * 4, *[8] * 4, *[16] * 4, *[4] * 25]
    assert device.now == pytest.approx(1.12 + 1.0)


@pytest.mark.parametrize("lack", [torch.OutOfMemoryError("no room"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")])
def test_measuring_ends_where_memory_does(device: Device, lack: Exception, caplog: pytest.LogCaptureFixture) -> None:
    device.lanes, device.room, device.lack = 10**6, 20, lack
    sizes = measured()
    assert len(device.run(sizes, 50)) == 50
    assert device.seen == [*[4] * 4, *[8] * 4, *[16] * 4, 32, 16, 16, 16, 2]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_halving_loses_no_frame_and_is_one_line(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    expected = device.run(MicroBatches(torch.device("cpu"), 10**9, "a model"), 40)
    sizes = measured("large")
    device.room = 3
    np.testing.assert_allclose(device.run(sizes, 16), expected[:16], atol=1e-5)
    assert device.seen == [16, 8, 4, *[2] * 8]
    (line,) = caplog.messages
    assert line == "xpu has too little memory for 16 frames of model 'large' at a time: from now on it takes 2"
    np.testing.assert_allclose(device.run(sizes, 40), expected, atol=1e-5)
    assert device.seen == [2] * 20
    assert len(caplog.messages) == 1


def test_a_late_failure_of_another_thread_does_not_raise_the_size(device: Device) -> None:
    sizes = measured()
    sizes.size = 2
    sizes._take_less(16)
    assert sizes.size == 2


def test_what_is_no_lack_of_memory_is_not_tried_again(device: Device) -> None:
    device.room, device.lack = 3, RuntimeError("a kernel failed")
    with pytest.raises(RuntimeError, match="a kernel failed"):
        device.run(measured(), 9)
    assert device.seen == [9]
    device.lack = RuntimeError("DefaultCPUAllocator: can't allocate memory")  # halves would change rewards' last bits
    with pytest.raises(RuntimeError, match="can't allocate"):
        device.run(MicroBatches(torch.device("cpu"), 10**9, "a model"), 9)


def test_a_size_of_ones_own_is_not_measured(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYM_VLMRM_MICRO_BATCH", "5")
    device.run(measured(), 12)
    assert device.seen == [5, 5, 2]
    assert MicroBatches(torch.device("cpu"), 10**9, "a model").size == batches.CPU_MICRO_BATCH
    for text, words in (("many", "must be a whole number, got 'many'"), ("0", "at least 1"), ("9" * 9, "at most 8192")):
        monkeypatch.setenv("GYM_VLMRM_MICRO_BATCH", text)
        with pytest.raises(ModelError, match=f"GYM_VLMRM_MICRO_BATCH {words}|GYM_VLMRM_MICRO_BATCH must be {words}"):
            measured()


class Pixels:
    """Pixels that say what happens to them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def pin_memory(self) -> "Pixels":
        self.say("pinned")
        return self

    def to(self, device: Any, non_blocking: bool = False) -> "Pixels":
        self.say(f"copied to {device}, blocking={not non_blocking}")
        return self

    def record_stream(self, stream: Any) -> None:
        self.say(f"kept for {stream}")


def test_uploads_go_beside_computing_one_batch_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the steps alone; tests/test_cuda.py asks a GPU whether frames arrive."""
    said: list[str] = []

    class Stream:
        def __init__(self, name: Any) -> None:
            self.name = name

        def __str__(self) -> str:
            return str(self.name)

        def __enter__(self) -> None:
            said.append(f"on {self}")

        def __exit__(self, *_: object) -> None:
            said.append("back")

        def wait_stream(self, stream: Any) -> None:
            said.append(f"{self} waits for {stream}")

    class Event:
        def __init__(self, blocking: bool) -> None:
            assert blocking

        def record(self, stream: Any) -> None:
            said.append(f"marked in {stream}")

        def synchronize(self) -> None:
            said.append("waited for the mark")

    stand_in = SimpleNamespace(
        Stream=lambda device: Stream("copying"), device=Stream, stream=lambda stream: stream, Event=Event,
        current_stream=lambda: Stream("computing"),
    )  # fmt: skip
    pixels: Any = Pixels(said.append)
    assert Uploads(torch.device("cpu"))(torch.ones(2)).tolist() == [1, 1]
    monkeypatch.setattr(torch, "cuda", stand_in)
    upload = Uploads(torch.device("cuda:1"))
    assert upload(pixels) is pixels
    once = [
        "on cuda:1", "marked in computing", "pinned", "on copying", "copied to cuda:1, blocking=False", "back",
        "computing waits for copying", "kept for computing", "back",
    ]  # fmt: skip
    assert said == once
    said.clear()
    upload(pixels)
    assert said == [once[0], "waited for the mark", *once[1:]]
