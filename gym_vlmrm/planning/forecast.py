"""From measured times to a plan: how long, how much arithmetic, memory and money, and what would save some of it.

A run collects steps and updates the agent in turns. On this machine's cores, simulation, drawing and judging share what
collecting takes. With accelerators the judge and the drawing work beside the simulation and the learner, so collecting
takes as long as the slower side; updates wait for all rewards, and stay in one process on one core.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gym_vlmrm.errors import VLMRMError
from gym_vlmrm.learning.records import Result
from gym_vlmrm.learning.session import checkpoint_period
from gym_vlmrm.learning.trials import trial_episodes, trial_times
from gym_vlmrm.planning.devices import CORES, DRAWING, UTILISATION, Device, find_device
from gym_vlmrm.planning.judging import Judging, judging_of
from gym_vlmrm.planning.probe import Measured, probe
from gym_vlmrm.reward.loading import asks_a_server
from gym_vlmrm.reward.speaking.address import speaks
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import Recipe, TaskSpec
from gym_vlmrm.worlds.pools.cores import usable_cores
from gym_vlmrm.worlds.world import episode_limit

__all__ = ["Costs", "Part", "Plan", "Saving", "check_asked", "costs_of", "forecast", "make_plan", "worth_it"]

HERE = ("auto", "cpu", "cuda")
WORTH = 0.01
"""Share of the time, or of the money, that a change must save to be told."""
SMALLER = ("ViT-L-14/laion2b_s32b_b82k", "ViT-B-32/laion2b_s34b_b79k")
"""Models whose savings are told, where they need less arithmetic than the plan's."""


class Part(Result):
    """One kind of work."""

    name: str
    hours: float
    share: float
    """Of the whole time."""


class Saving(Result):
    """What another choice would take."""

    change: str
    hours: float
    money: float | None = None


class Plan(Result):
    """What a training will take."""

    task: str
    model: str
    algorithm: str
    steps: int
    frames: int
    """Frames that are scored, in training and in trials of checkpoints."""
    device: str
    accelerators: int
    hours: float
    """From the command's start to its end."""
    parts: list[Part]
    """Where the time goes; shares add up to 1."""
    bottleneck: str
    exaflop: float | None = None
    """Arithmetic of the image tower [1e18 operations]; ``None`` where nobody knows it."""
    memory_gb: float | None = None
    """Here: of all processes, measured. Of an accelerator: weights and one batch, estimated."""
    fits: bool | None = None
    queries: int | None = None
    """Questions to a judge that speaks."""
    money: float | None = None
    """In the currency of the price that was given."""
    savings: list[Saving]
    notes: list[str]
    """What was assumed, and not measured."""


@dataclass(frozen=True)
class Costs:
    """Times of one environment step [s], of what runs beside each other and what does not."""

    simulate: float
    draw: float
    """Of a frame; so is `judge`."""
    judge: float
    every: int
    waiting: float
    """What the learner does for every step besides, and what nobody used."""
    update: float
    beside: bool
    """Whether drawing and judging leave the cores to the simulation."""

    @property
    def collect(self) -> float:
        """One step without updates."""
        stepping, seeing = self.simulate + self.waiting, (self.draw + self.judge) / self.every
        return max(stepping, seeing) if self.beside else stepping + seeing

    @property
    def parts(self) -> dict[str, float]:
        """Time by kind of work; of two that run beside each other, the shorter one's is no time of the run."""
        stepping, seeing = self.simulate + self.waiting, (self.draw + self.judge) / self.every
        seen = not self.beside or seeing > stepping
        stepped = not self.beside or not seen
        return {
            "simulation": self.simulate * stepped,
            "drawing": self.draw / self.every * seen,
            "judging": self.judge / self.every * seen,
            "updates": self.update,
            "learner and waiting": self.waiting * stepped,
        }


def costs_of(measured: Measured, judging: Judging, every: int, device: Device | None, accelerators: int) -> Costs:
    """Return what one step takes, here or on accelerators."""
    cores, drawing = measured.cores, measured.draw / measured.cores
    simulate = measured.simulate / cores
    judge = judging.seconds if judging.beside else judging.seconds / cores
    known = simulate + ((measured.draw + measured.judge) / cores) / every
    waiting = max(measured.collect - known, 0.0)
    if device is None:
        costs = Costs(simulate, drawing, judge, every, waiting, measured.update, judging.beside)
        if judging.tried and known > measured.collect:  # parts alone may be slower than beside each other
            shrunk = measured.collect / known
            costs = replace(costs, simulate=simulate * shrunk, draw=drawing * shrunk, judge=judge * shrunk)
        return costs
    each = 0.0 if judging.flops is None else judging.flops / (device.peak * UTILISATION)
    simulate = measured.simulate / (CORES * accelerators)
    learner, update = measured.learner, measured.learner_update  # whoever else used this machine is not there
    return Costs(simulate, DRAWING / accelerators, each / accelerators, every, learner, update, True)


def forecast(task: TaskSpec, recipe: Recipe, measured: Measured, costs: Costs) -> tuple[float, dict[str, float], int]:
    """Return the time of a whole run [s], its parts, and how many frames are scored."""
    rollout = recipe.num_envs * int(recipe.hyperparameters.get("n_steps", 1))
    steps = math.ceil(recipe.steps / rollout) * rollout
    before = min(int(recipe.hyperparameters.get("learning_starts", 0)), steps)
    period = math.ceil(checkpoint_period(task, recipe) / rollout) * rollout
    checkpoints = (steps - 1) // period + 1
    slower = costs.collect / measured.collect
    trial = measured.trial * slower
    parts = {name: seconds * steps for name, seconds in costs.parts.items()}
    parts["updates"] = costs.update * (steps - before)
    waiting = parts["learner and waiting"] + before * (measured.collect_before - measured.collect) * slower
    parts["learner and waiting"] = max(waiting, 0.0)
    parts["checkpoints and trials"] = checkpoints * (measured.checkpoint + trial) + measured.first_trial
    parts["starting"] = measured.startup
    trials = checkpoints * trial_episodes(recipe) * trial_times(recipe) * (episode_limit(task) or 0)
    return sum(parts.values()), parts, (steps + trials) // costs.every


def is_here(device: str | None) -> bool:
    """Whether a device is this machine's own, and no accelerator that is known by its maker's figures."""
    return device is None or device.partition(":")[0] in HERE


def check_asked(
    task: TaskSpec,
    device: str | None,
    workers: int | None,
    price_per_query: float | None,
    price_per_hour: float | None = None,
) -> None:
    """Check that prices are numbers, and that nothing is asked for that would count for nothing.

    Raises:
        VLMRMError: there is such a thing; its `field` names the argument.
    """
    for name, price in (("price_per_query", price_per_query), ("price_per_hour", price_per_hour)):
        if price is not None and not 0 <= price < math.inf:
            raise VLMRMError(f"{price} is no price; give a number from 0 on", field=(name,))
    asked = [name for name in task.reward.models if asks_a_server(name)]
    if price_per_query is not None and not any(speaks(name) for name in task.reward.models):
        message = f"nobody is paid by the query for model '{' + '.join(task.reward.models)}'; it is for openai: models"
        raise VLMRMError(message, field=("price_per_query",))
    if workers is not None and not is_here(device):
        message = f"worker processes of this machine are none of {device}'s, whose cores are assumed; leave them out"
        raise VLMRMError(message, field=("workers",))
    if asked and not is_here(device):
        message = f"model '{asked[0]}' judges where its server is, whatever '{device}' could do; leave the device out"
        raise VLMRMError(message, field=("device",))


def worth_it(as_it_is: Saving, savings: Sequence[Saving]) -> list[Saving]:
    """Return the savings, from small to large changes, that save `WORTH` of time or money beside the one before."""
    kept, before = list[Saving](), as_it_is
    for one in savings:
        saves = one.hours < (1 - WORTH) * before.hours
        if one.money is not None and before.money is not None:
            saves = saves or one.money < (1 - WORTH) * before.money
        if saves:
            kept.append(one)
            before = one
    return kept


def make_plan(
    task: TaskSpec,
    recipe: Recipe,
    *,
    device: str | None = None,
    accelerators: int = 1,
    workers: int | None = None,
    price_per_hour: float | None = None,
    price_per_query: float | None = None,
    on_phase: Callable[[str, int, int], None] | None = None,
    began: float | None = None,
) -> Plan:
    """Say what a training will take, from some twenty seconds of it on this machine.

    Args:
        task: the task, overrides applied.
        recipe: how it will be trained.
        device: an accelerator of `DEVICES`, whose figures are its maker's; this machine if not given, or for ``auto``,
            ``cpu`` and ``cuda``.
        accelerators: how many; they share frames, as they would behind one queue.
        workers: worker processes here; one per core if not given. Not for an accelerator, whose machine has others.
        price_per_hour: money for one accelerator (or this machine) and hour.
        price_per_query: money for one question to a judge that speaks.
        on_phase: called with what is being done, and how much is done and to do.
        began: when the command began, by `time.perf_counter`.

    Raises:
        VLMRMError: an unknown accelerator, several of them and none named, something that counts for nothing, or what
            a training would raise.
    """
    began = time.perf_counter() if began is None else began
    check_asked(task, device, workers, price_per_query, price_per_hour)
    chosen = None if is_here(device) else find_device(str(device))
    if chosen is None and accelerators > 1:
        raise VLMRMError(f"--accelerators {accelerators} of what? name them by --device, such as --device h100")
    if chosen is None and device is not None:
        task = override(task, device=device)
    judging = judging_of(task, chosen)
    if chosen is not None:
        workers = max(2, usable_cores())  # one alone would work in the learner's own thread, which is timed
    measured = probe(judging.probed, recipe, workers, on_phase=on_phase, began=began)
    judging = judging.with_measured(measured)
    every = recipe.reward_every or task.reward.every
    costs = costs_of(measured, judging, every, chosen, accelerators)
    seconds, parts, frames = forecast(task, recipe, measured, costs)

    def money_for(seconds: float, frames: int) -> float | None:
        money = None if price_per_hour is None else price_per_hour * accelerators * seconds / 3600
        if judging.questions is not None and price_per_query is not None:
            money = (money or 0.0) + frames * judging.questions * price_per_query
        return money

    def saving(change: str, other: Costs) -> Saving:
        seconds, _, frames = forecast(task, recipe, measured, other)
        return Saving(change=change, hours=seconds / 3600, money=money_for(seconds, frames))

    as_it_is = Saving(change="", hours=seconds / 3600, money=money_for(seconds, frames))
    savings = worth_it(
        as_it_is, [saving(f"reward_every: {k * every}", replace(costs, every=k * every)) for k in (2, 4)]
    )
    factors = {name: judging.compared_with(name) for name in SMALLER}
    savings += worth_it(
        as_it_is,
        [
            saving(f"model {name}", replace(costs, judge=costs.judge * factor))
            for name, factor in factors.items()
            if factor is not None and factor < 0.9
        ],
    )
    memory = judging.memory if chosen is not None or not judging.tried else measured.memory
    room = None if chosen is None or memory is None else memory <= chosen.memory
    queries = None if judging.questions is None else frames * judging.questions
    notes = list(judging.notes)
    if chosen is not None:
        notes += [
            f"{chosen.name}: {chosen.peak / 1e12:,.0f} TFLOP/s ({chosen.source}); {UTILISATION:.0%} of it is assumed",
            f"{CORES} cores beside each accelerator are assumed, as fast as this machine's",
            f"drawing by EGL is taken to need {1000 * DRAWING:.2f} ms a frame (MuJoCo's issue 3444)",
        ]
    return Plan(
        task=task.id,
        model=" + ".join(task.reward.models),
        algorithm=recipe.algorithm,
        steps=recipe.steps,
        frames=frames,
        device="this machine" if chosen is None else chosen.name,
        accelerators=accelerators,
        hours=seconds / 3600,
        parts=[Part(name=name, hours=spent / 3600, share=spent / seconds) for name, spent in parts.items()],
        bottleneck=max(parts, key=lambda name: parts[name]),
        exaflop=None if judging.flops is None else judging.flops * frames / 1e18,
        memory_gb=None if memory is None else memory / 1e9,
        fits=room,
        queries=queries,
        money=as_it_is.money,
        savings=savings,
        notes=notes,
    )
