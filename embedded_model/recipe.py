"""The whole way from nothing to the embedded model's folder."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_model.adversaries import adversarial_states
from embedded_model.concepts import Concepts
from embedded_model.dataset import add_states, describe, load_domain
from embedded_model.fitting import Weights, averaged_image, fit_image, fit_text, refit_image
from embedded_model.grammar import Grammar, Sentence
from embedded_model.settings import RecipeSettings
from embedded_model.space import BLOCKS, DOMAINS, Space
from embedded_model.states import cartpole_states, humanoid_states, mountain_car_states
from gym_vlmrm.arrays import Floats
from gym_vlmrm.files import write_text
from gym_vlmrm.finetuning.scratch import build_clip, save_folder
from gym_vlmrm.finetuning.vocabulary import write_vocabulary
from gym_vlmrm.reward.folders import WORLDS_FILE
from gym_vlmrm.worlds.scene import SCENES

__all__ = ["build_space", "empty_space", "sentence_target", "train_model", "write_image_targets"]


def build_space(settings: RecipeSettings) -> tuple[Space, Concepts]:
    """Build the embedding space and place every concept in it; equal settings give equal spaces."""
    space, seed = empty_space(settings), settings.seed + 1000
    return space, Concepts(space, humanoid_states(settings.bodies, seed + 1).qpos, seed)


def empty_space(settings: RecipeSettings) -> Space:
    """Build the space without its concepts, which take minutes to fit."""
    seed, small = settings.seed + 1000, settings.landmarks // 3
    landmarks = {
        **describe("humanoid", humanoid_states(settings.landmarks, seed).qpos),
        **describe("cartpole", cartpole_states(small, seed)),
        **describe("mountain-car", mountain_car_states(small, seed)),
    }
    return Space(landmarks)


def sentence_target(space: Space, concepts: Concepts, sentence: Sentence) -> Floats:
    """Return the unit target (SIZE,) of a sentence; what it denies points the other way."""
    parts = {block: concepts.directions[block][name] for block, name in sentence.names.items()}
    for excluded in sentence.excluded:
        block, name = excluded.split(".")
        direction = concepts.directions[block][name]
        parts[block] = parts.get(block, np.zeros_like(direction)) - direction / np.linalg.norm(direction)
    # Who speaks of the pole takes for granted that the cart can be seen.
    hints = {"cart": concepts.cart_in_view} if "angle" in parts and "cart" not in parts else None
    return space.sentence(sentence.domain, parts, hints)


def concept_targets(space: Space, concepts: Concepts) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the unit targets (K, SIZE) of every concept alone, and those (G, SIZE) of the paper's goals."""
    alone = [
        space.sentence(BLOCKS[block].domain, {block: direction})
        for block, directions in concepts.directions.items()
        for direction in directions.values()
    ]
    goals = [sentence_target(space, concepts, goal) for goal in Grammar().goals()]
    return np.stack(alone).astype(np.float32), np.stack(goals).astype(np.float32)


def train_model(data: Path, folder: Path, settings: RecipeSettings, say: Callable[[str], None]) -> None:
    """Train both towers on a data set, harden the image tower in rounds, and write the model's folder.

    The towers need nothing of each other once their targets are known, so they train side by side, one core each. In
    each round searches and agents chase the reward of the model so far, and what they find is learned too. Whatever an
    interrupted run has finished is kept.

    Args:
        data: folder that `make_dataset` filled.
        folder: where config, weights, vocabulary and list of words go.
        settings: sizes and seeds.
        say: receives lines of progress.
    """
    work = data / "targets"
    stage = work / "stage_0"
    stage.mkdir(parents=True, exist_ok=True)
    vocabulary = write_vocabulary(stage, Grammar().phrases())
    write_text(stage / WORLDS_FILE, "\n".join(sorted(SCENES)) + "\n")
    if not (work / "concepts.npy").exists():
        _write_targets(data, work, settings)
        say("embedding space built, targets written")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        text_job = processes.submit(fit_text, work, stage, vocabulary, settings)
        image_job = processes.submit(fit_image, data, work, settings)
        text, image = text_job.result(), image_job.result()
    _save(text | image, vocabulary, stage)
    for number in range(1, len(settings.rounds) + 1):
        _collect(data, work / f"stage_{number - 1}", number, settings, say)
        image = refit_image(data, work, number, settings)
        shutil.copytree(stage, work / f"stage_{number}", dirs_exist_ok=True)
        _save(text | image, vocabulary, work / f"stage_{number}")
    shutil.copytree(stage, work / "final", dirs_exist_ok=True)
    _save(text | averaged_image(work, settings), vocabulary, work / "final")
    shutil.copytree(work / "final", folder, dirs_exist_ok=True)
    say(f"wrote {folder}")


def _save(state: Weights, vocabulary: int, folder: Path) -> None:
    model = build_clip(vocabulary)
    model.load_state_dict(state)
    save_folder(model, vocabulary, folder)


def _collect(data: Path, model: Path, number: int, settings: RecipeSettings, say: Callable[[str], None]) -> None:
    """Render what fools the model of the round before, and write its targets."""
    folder = data / f"round_{number}"
    if (folder / "targets.npy").exists():
        return
    say(f"round {number}: searches and agents chase the reward ...")
    seed = settings.seed + 100 * (number - 1)
    space = empty_space(settings)
    states = adversarial_states(f"local-dir:{model}", folder, settings.rounds[number - 1], seed, space)
    say(f"round {number}: rendering {len(states)} of their states ...")
    add_states(folder, states, seed)
    targets = space.frames("humanoid", describe("humanoid", load_domain(folder, "humanoid").states))
    np.save(folder / "targets.npy", targets.astype(np.float32))


def _write_targets(data: Path, work: Path, settings: RecipeSettings) -> None:
    """Write what the towers learn: sentences and their targets, targets of all frames, targets of concepts."""
    space, concepts = build_space(settings)
    _write_sentences(space, concepts, work, settings)
    write_image_targets(space, concepts, data, work)


def _write_sentences(space: Space, concepts: Concepts, work: Path, settings: RecipeSettings) -> None:
    sentences = _draw_sentences(settings)
    (work / "sentences.json").write_text(json.dumps([sentence.text for sentence in sentences]))
    rows = [sentence_target(space, concepts, sentence) for sentence in sentences]
    np.save(work / "sentences.npy", np.stack(rows).astype(np.float32))


def write_image_targets(space: Space, concepts: Concepts, data: Path, work: Path) -> None:
    """Write what the image tower learns of a data set: targets of all frames, of the goals, and of concepts, last."""
    domains = [load_domain(data, domain) for domain in DOMAINS]
    frames = [space.frames(domain.domain, describe(domain.domain, domain.states)) for domain in domains]
    np.save(work / "frames.npy", np.concatenate(frames).astype(np.float32))
    alone, goals = concept_targets(space, concepts)
    np.save(work / "goals.npy", goals)
    np.save(work / "concepts.npy", alone)


def _draw_sentences(settings: RecipeSettings) -> list[Sentence]:
    rng, grammar = np.random.default_rng(settings.seed), Grammar()
    return [grammar.draw(rng) for _ in range(settings.sentences)]
