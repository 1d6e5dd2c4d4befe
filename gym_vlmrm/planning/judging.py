"""What the judges of a plan cost: arithmetic that is counted, and the stand-ins that are tried on this machine."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gym_vlmrm.errors import ModelError
from gym_vlmrm.planning.devices import Device
from gym_vlmrm.planning.probe import Measured
from gym_vlmrm.reward.folders import SCHEMAS, UNTRAINED
from gym_vlmrm.reward.loading import MODELS
from gym_vlmrm.reward.remote.address import is_remote
from gym_vlmrm.reward.speaking.address import speaks
from gym_vlmrm.reward.speaking.model import FRAME_SIZE
from gym_vlmrm.reward.speaking.speaker import concurrency
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import TaskSpec

__all__ = ["ANSWER", "LARGEST_TRIED", "Judging", "judging_of", "matrix_rate"]

ANSWER = 1.0
"""What one answer of a judge that speaks is taken to take [s]."""
LARGEST_TRIED = 200e6
"""Image towers of more parameters are not tried here; this machine's rate of matrix products stands for them."""
REACHED = 0.5
"""Share of that rate that an image tower is taken to reach on a processor."""
BATCH = 64
LIVE = 3
"""Outputs of the largest layer that are in memory at once, about."""


@dataclass(frozen=True)
class Judging:
    """The judges of a task, and the task with which a probe runs in their place."""

    probed: TaskSpec
    tried: bool
    """Whether the probe's judge takes as long as the task's own."""
    flops: float | None
    """Of one frame; ``None`` where nobody knows."""
    memory: float | None
    """Weights and one batch [bytes]."""
    beside: bool
    """Whether it leaves this machine's cores to the environments."""
    seconds: float
    """Of one frame: on one core, or of what judges beside the cores [s]."""
    questions: int | None
    """To a judge that speaks, about one frame."""
    notes: tuple[str, ...] = ()

    def with_measured(self, measured: Measured) -> "Judging":
        """Take what the probe measured, where it tried the task's own judge."""
        return replace(self, seconds=measured.judge) if self.tried else self

    def compared_with(self, model: str) -> float | None:
        """Return how much arithmetic another model needs beside these; ``None`` where nobody knows."""
        if not self.flops:
            return None
        from gym_vlmrm.reward.clip.flops import image_tower

        return image_tower(model).flops / self.flops


def judging_of(task: TaskSpec, device: Device | None) -> Judging:
    """Count what the judges of a task need, and choose what is tried in their place.

    Raises:
        ModelError: there is no such model.
    """
    names = task.reward.models
    spoken = [name for name in names if speaks(name)]
    if spoken:
        return _spoken(task, spoken)
    flops, parameters, memory = 0.0, 0, 0.0
    for name in names:
        if name in MODELS or is_remote(name):
            continue
        from gym_vlmrm.reward.clip.flops import image_tower

        tower = image_tower(name)
        flops, parameters = flops + tower.flops, max(parameters, tower.parameters)
        memory += tower.parameters * (2 if tower.parameters > 20e6 else 4) + BATCH * LIVE * 2 * tower.widest
    plain = task.reward.plain and names[0] not in MODELS
    known = Judging(task, True, flops, memory, False, 0.0, None)
    if not plain or names[0] == "embedded" or (device is None and names[0].startswith(SCHEMAS)):
        return known
    if device is not None or parameters > LARGEST_TRIED:
        size = task.scene.render_size or image_tower(names[0]).frame_size
        stand_in = override(task, model="brightness", render_size=size)
        rate = matrix_rate() if device is None else 1.0
        notes = () if device is not None else (
            f"the model is too large to be tried here; {REACHED:.0%} of this machine's {rate / 1e9:,.0f} GFLOP/s are "
            "assumed for it",
        )  # fmt: skip
        # The rate is that of all cores together, and no core is left beside it.
        return Judging(stand_in, False, flops, memory, False, _cores() * flops / (rate * REACHED), None, tuple(notes))
    architecture = names[0].partition("/")[0]
    return replace(known, probed=override(task, model=f"{architecture}/{UNTRAINED}"))


def _spoken(task: TaskSpec, names: Sequence[str]) -> Judging:
    if not task.reward.plain:
        raise ModelError("a plan knows judges that speak in rewards of one sentence only; plan without the parts")
    reward = task.reward
    size = task.scene.render_size or FRAME_SIZE
    questions = len(reward.goals) + (len(reward.baselines) if reward.alpha else 0)
    note = f"an answer is taken to take {ANSWER:g} s, {concurrency()} at a time; none was asked, and none is cached"
    stand_in = override(task, model="brightness", render_size=size, alpha=0.0)
    return Judging(stand_in, False, None, None, True, questions * ANSWER / concurrency(), questions, (note,))


def _cores() -> int:
    from gym_vlmrm.worlds.pools.cores import usable_cores

    return usable_cores()


def matrix_rate(seconds: float = 1.0, size: int = 2048) -> float:
    """Measure matrix products with every core, in the arithmetic that large models take here [FLOP/s]."""
    import torch

    from gym_vlmrm.reward.clip.devices import choose_device, choose_precision

    device = choose_device("auto")
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
        choose_precision("auto", device, 10**9)
    ]
    before = torch.get_num_threads()
    torch.set_num_threads(_cores())
    try:
        left = torch.ones(size, size, dtype=kind, device=device)
        left @ left
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            (left @ left).sum().item()
            count += 1
        return count * 2 * size**3 / (time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
