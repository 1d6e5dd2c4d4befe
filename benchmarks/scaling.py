"""What becomes the bottleneck with more accelerators: a small, seeded simulation of the queue of frames.

``python benchmarks/scaling.py docs/scaling.md`` writes the page's table anew. It follows what training does: all
environments make a step, their frames go into a bounded queue, accelerators take batches from it, and once a rollout is
made the learner waits for its last reward and then learns.
"""

import heapq
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from gym_vlmrm.learning.late_rewards import BATCH_FRAMES, WAITING_FRAMES
from gym_vlmrm.planning.devices import CORES, DEVICES, DRAWING, UTILISATION

BEGIN, END = "<!-- python benchmarks/scaling.py docs/scaling.md -->", "<!-- end of table -->"
FLOPS = {"bigG": 967.5e9, "L-14": 162.0e9}
"""Arithmetic of a frame, counted by `gym_vlmrm.reward.clip.flops`."""
SIMULATE, LEARNER, UPDATE = 0.55e-3, 0.20e-3, 0.11e-3
"""Of one step [s]: physics on one core; what the learner does for it; its share of the updates; see docs/scaling.md."""
ENVIRONMENTS = 64
"""For each accelerator."""
ROLLOUT = 64
"""Vector steps between updates."""
JITTER = 0.1
"""Standard deviation of the logarithm of how long a step of a core, or a batch of an accelerator, takes."""
DISPATCH = 1e-3
"""Time of handing a batch to an accelerator and taking its rewards back [s]."""
STEPS = 10_000_000


@dataclass(frozen=True)
class Found:
    """What a simulation found, or the arithmetic."""

    rate: float
    """Steps/s."""
    simulation: float
    """Share of the time in which the cores step environments; so for the others."""
    accelerators: float
    learner: float

    @property
    def bottleneck(self) -> str:
        """What is busy for most of the time."""
        shares = {"simulation": self.simulation, "accelerators": self.accelerators, "learner": self.learner}
        return max(shares, key=lambda name: shares[name])


def simulate(accelerators: int, flops: float, every: int, faster: float, rollouts: int = 4, seed: int = 0) -> Found:
    """Follow some rollouts; `faster` divides the learner's times, as one of many processes might."""
    random = np.random.default_rng(seed)
    device = DEVICES["h100"]
    envs, cores = ENVIRONMENTS * accelerators, CORES * accelerators
    batch_time = BATCH_FRAMES * (flops / (device.peak * UTILISATION) + DRAWING) + DISPATCH
    free = [0.0] * accelerators  # when each accelerator is free, a heap
    waiting: list[float] = []  # when each batch in the queue will be done, a heap
    most = max(1, WAITING_FRAMES * accelerators // BATCH_FRAMES)
    now = simulating = judging = learning = 0.0
    gathered, step = 0, 0
    for _ in range(rollouts):
        last = now
        for _ in range(ROLLOUT):
            # The step lasts as long as the slowest core's: one draw from the distribution of the maximum.
            slowest = NormalDist().inv_cdf(min(max(random.random(), 1e-12) ** (1 / cores), 1 - 1e-12))
            spent = envs / cores * SIMULATE * math.exp(JITTER * slowest)
            own = envs * LEARNER / faster
            now += spent + own
            simulating, learning, step = simulating + spent, learning + own, step + 1
            gathered += envs if step % every == 0 else 0
            while gathered >= BATCH_FRAMES:
                gathered -= BATCH_FRAMES
                while waiting and (waiting[0] <= now or len(waiting) >= most):
                    now = max(now, heapq.heappop(waiting))
                took = batch_time * math.exp(JITTER * random.standard_normal())
                done = max(now, heapq.heappop(free)) + took
                heapq.heappush(free, done)
                heapq.heappush(waiting, done)
                judging, last = judging + took, max(last, done)
        now = max(now, last)
        own = ROLLOUT * envs * UPDATE / faster
        now, learning = now + own, learning + own
    made = rollouts * ROLLOUT * envs
    return Found(made / now, simulating / now, judging / accelerators / now, learning / now)


def reckon(accelerators: int, flops: float, every: int, faster: float) -> float:
    """Return the steps/s that the arithmetic of `vlmrm plan` gives."""
    each = flops / (DEVICES["h100"].peak * UTILISATION) + DRAWING
    collect = max(SIMULATE / CORES / accelerators + LEARNER / faster, each / every / accelerators)
    return 1 / (collect + UPDATE / faster)


def table() -> str:
    """Return the page's table."""
    lines = [
        "| accelerators | model | every | learner | steps/s, simulated | reckoned | cores busy | accelerators busy "
        "| learner busy | busiest | 10 M steps |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model, every, faster in (("bigG", 1, 1.0), ("L-14", 1, 1.0), ("bigG", 4, 1.0), ("bigG", 1, 20.0)):
        for accelerators in (1, 8, 64, 1000):
            rollouts = 2 if accelerators == 1000 else 4
            found = simulate(accelerators, FLOPS[model], every, faster, rollouts)
            reckoned = reckon(accelerators, FLOPS[model], every, faster)
            busy = (found.simulation, found.accelerators, found.learner)
            shares = " | ".join(f"{share:.0%}" for share in busy)
            learner = "as it is" if faster == 1 else f"{faster:.0f} times faster"
            rates = f"{found.rate:,.0f} | {reckoned:,.0f}"
            hours = f"{STEPS / found.rate / 3600:.2f} h"
            cells = (f"{accelerators:,}", model, str(every), learner, rates, shares, found.bottleneck, hours)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(page: Path) -> None:
    """Write the table into a page; raises ValueError where that has no place for it."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no place for the table: the page needs the lines '{BEGIN}' and '{END}'")
    page.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
