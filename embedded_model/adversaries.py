"""States that may fool a model: what searches over poses and agents in training find when they chase its reward."""

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from gymnasium.spaces import Box
from numpy.typing import NDArray

from embedded_model.dataset import describe
from embedded_model.grammar import Grammar
from embedded_model.settings import POPULATION, Round
from embedded_model.space import Space
from embedded_model.states import turned
from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.search import minimise_together
from gym_vlmrm.auditing.stage import Stage
from gym_vlmrm.finetuning.scratch import FRAME_SIZE
from gym_vlmrm.learning import choose_recipe, train
from gym_vlmrm.learning.agents import Agent
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.stored_policy import load_agent
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.reward.clip.model import ClipReward
from gym_vlmrm.task.builtin import PAPER_TASKS
from gym_vlmrm.task.catalog import load_task, override
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.pools.cores import usable_cores
from gym_vlmrm.worlds.poses.kinematics import mirror
from gym_vlmrm.worlds.scene import find_scene

__all__ = [
    "OTHER_GOALS",
    "PoseSearch",
    "adversarial_states",
    "chased_tasks",
    "overrated_states",
    "search_poses",
    "search_tasks",
]
OTHER_GOALS = (
    "a humanoid robot squatting",
    "a humanoid robot lying on its back",
    "a humanoid robot on all fours",
    "a humanoid robot standing in a T-pose",
)
"""Goals beside those of the built-in tasks, as users may write them."""
RESTARTS = 10
"""Of the searches that measure a model."""
STEP = 0.3
"""First standard deviation of a search, in edges of the unit cube."""
STRIDE, NOISES = 2, (0.0, 0.2, 0.5)
"""Every which step of an agent's episode is kept, and how noisy its actions are [deviation, of their range]."""
OVERRATED_SHARE = 0.5
"""Share of the states kept of a search that are those which the model overrates most; the others are drawn."""


@dataclass(frozen=True)
class PoseSearch:
    """What R searches for one goal saw, G generations of P states each."""

    goal: NDArray[np.floating]
    """(D,) unit embedding of the goal prompt."""
    states: Floats
    """(R, G, P, 24)"""
    rewards: Floats
    """(R, G, P)"""
    success: NDArray[np.bool_]
    """(R, G, P)"""

    @property
    def winners(self) -> Floats:
        """State (R, 24) of the highest reward in each search."""
        return self.states.reshape(len(self.states), -1, 24)[self._best()]

    @property
    def successes(self) -> NDArray[np.bool_]:
        """Whether each winner is a success (R,)."""
        return self.success.reshape(len(self.success), -1)[self._best()]

    def _best(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        restarts = len(self.rewards)
        return np.arange(restarts), self.rewards.reshape(restarts, -1).argmax(axis=1)


def chased_tasks(model: str, drawn: int = 0, seed: int = 0) -> dict[str, TaskSpec]:
    """Return tasks of the humanoid, all judged by `model`.

    The built-in ones go by their name; those with one of `OTHER_GOALS`, and with one of `drawn` goals that `seed` draws
    from the training sentences, by their goal.
    """
    rng, grammar = np.random.default_rng(seed), Grammar()
    sentences = (grammar.draw(rng) for _ in count())
    named = (sentence.text for sentence in sentences if sentence.domain == "humanoid" and sentence.names)
    paper = {key: load_task(key) for key in PAPER_TASKS}
    tasks = {key: task for key, task in paper.items() if task.env.id == "Humanoid-v5"}
    tasks |= {goal: override(tasks["standing"], goal=goal) for goal in (*OTHER_GOALS, *islice(named, drawn))}
    return {key: override(task, model=model, device="cpu") for key, task in tasks.items()}


def adversarial_states(model: str, folder: Path, plan: Round, seed: int, space: Space) -> Floats:
    """Return states (N, 24) that searches for each task's highest reward visit, and states that its agents do.

    Args:
        model: name of the model, as `load_reward_model` takes it.
        folder: for the agents' runs; what an interrupted call has finished is kept.
        plan: which goals, and how long.
        seed: of searches and agents.
        space: says what the model should have answered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks = {name: override(task, precision="bf16") for name, task in chased_tasks(model, plan.drawn, seed).items()}
    searched = tasks if plan.searched is None else plan.searched
    with ProcessPoolExecutor(usable_cores(), mp_context=get_context("spawn")) as processes:
        jobs = [
            processes.submit(chase, tasks[name], folder / f"{index:02d}", seed + index, plan)
            for chase, names in (
                (_agent_states, plan.agents),
                (partial(_searched_states, space=space), searched),
            )
            for index, name in enumerate(names)
        ]
        return np.concatenate([job.result() for job in jobs])


def search_tasks(
    model: str, generations: int, *, restarts: int = RESTARTS, population: int = POPULATION, seed: int = 79_000
) -> list[dict[str, object]]:
    """Return, for every humanoid task, how many winners of the searches for the highest reward are successes."""
    tasks = {key: task for key, task in chased_tasks(model).items() if key not in OTHER_GOALS}
    with ProcessPoolExecutor(usable_cores(), mp_context=get_context("spawn")) as processes:
        jobs = [
            processes.submit(search_poses, task, seed, generations, restarts, population) for task in tasks.values()
        ]
        successes = [int(job.result().successes.sum()) for job in jobs]
    return [{"task": key, "successes": found, "of": restarts} for key, found in zip(tasks, successes, strict=True)]


def _searched_states(task: TaskSpec, place: Path, seed: int, plan: Round, space: Space) -> Floats:
    finished = place.with_name(f"search_{place.name}.npy")
    if not finished.exists():
        search = search_poses(task, seed, plan.generations, plan.restarts, plan.population)
        np.save(finished, overrated_states(search, plan.kept, seed, space))
    return np.asarray(np.load(finished))


def overrated_states(search: PoseSearch, kept: int, seed: int, space: Space) -> Floats:
    """Choose states (N, 24), N at most `kept`: of each search those that are overrated most, and some at random."""
    rng = np.random.default_rng(seed)
    restarts, generations = search.rewards.shape[:2]
    quota = kept // restarts
    chosen = []
    # The first quarter is still near the random states that the data set has anyway.
    late = slice(generations // 4, None)
    for states, rewards in zip(search.states[:, late], search.rewards[:, late], strict=True):
        rows = states.reshape(-1, 24)
        deserved = space.frames("humanoid", describe("humanoid", rows)) @ search.goal
        worst_first = np.argsort(deserved - rewards.reshape(-1))
        worst, others = np.split(worst_first, [round(OVERRATED_SHARE * quota)])
        chosen.append(rows[np.concatenate([worst, rng.permutation(others)])[:quota]])
    return np.concatenate(chosen)


def search_poses(task: TaskSpec, seed: int, generations: int, restarts: int, population: int) -> PoseSearch:
    """Search from random states for the highest reward of a CLIP-type model, alone of its making, by CMA-ES."""
    torch.set_num_threads(1)
    space, stage = find_scene(task.env.id).search_space(), Stage(task, FRAME_SIZE)
    judge = load_reward_model(task)
    assert isinstance(judge, ClipReward)
    rng = np.random.default_rng(seed)
    states, rewards, success = [], [], []

    def costs(points: Floats, generation: int) -> list[Floats]:
        seen = stage.show(space.decode(points), draw=True)
        states.append(seen.states.reshape(restarts, population, -1))
        rewards.append(judge(seen.frames).astype(np.float64).reshape(restarts, population))
        success.append(seen.success.reshape(restarts, population))
        return list(-rewards[-1])

    starts = [rng.random(space.dimension) for _ in range(restarts)]
    minimise_together(starts, costs, generations, seed, population, STEP)
    stage.world.close()
    return PoseSearch(judge.goal, np.stack(states, axis=1), np.stack(rewards, axis=1), np.stack(success, axis=1))


def _agent_states(task: TaskSpec, place: Path, seed: int, plan: Round) -> Floats:
    """Train an agent, and return states that it passes at every stage of its learning, also mirrored and turned."""
    logging.getLogger("gym_vlmrm").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    finished, path = place.with_name(f"agent_{place.name}.npy"), place.with_name(f"agent_{place.name}")
    if finished.exists():
        return np.asarray(np.load(finished))
    if not (path / "run.json").exists() or RunFolder.open(path).record.status != "finished":
        shutil.rmtree(path, ignore_errors=True)
        name, recipe = choose_recipe(task, steps=plan.steps)
        recipe = recipe.model_copy(update={"checkpoint_every": max(plan.steps // plan.checkpoints, 1)})
        train(task, recipe, recipe_name=name, seed=seed, output=path, workers=1)
    stage = Stage(task, 16)
    states = np.concatenate(list(_play(stage, path, seed, plan.episodes)))
    stage.world.close()
    mirrored = np.stack([mirror(row) for row in states])
    states = np.concatenate([states, mirrored, turned(states, np.random.default_rng(seed))])
    np.save(finished, states)
    return states


def _play(stage: Stage, path: Path, seed: int, episodes: int) -> Iterator[Floats]:
    rng, space = np.random.default_rng(seed), stage.world.action_space
    assert isinstance(space, Box)
    for checkpoint in RunFolder.open(path).checkpoints():
        agent = load_agent(checkpoint.path)
        for _ in range(episodes):
            act = partial(_act, agent, space, rng, rng.choice(NOISES))
            yield stage.roll(int(rng.integers(2**31)), STRIDE, act).states


def _act(agent: Agent, space: Box, rng: np.random.Generator, noise: float, observation: Floats) -> Floats:
    action = agent.act(observation[None].astype(np.float32), np.zeros(1, np.bool_))[0]
    noisy = action + rng.normal(0, noise, action.shape) * space.high
    return np.asarray(np.clip(noisy, space.low, space.high))
