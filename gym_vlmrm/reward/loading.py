"""From a model's name to a reward model; torch is imported only when a model needs it."""

import logging
import os
import pkgutil
import re
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.folders import CONFIG_FILE, check_folder, read_words, read_worlds
from gym_vlmrm.reward.motion.file import read_facts
from gym_vlmrm.reward.motion.video_files import check_video_name, is_video, video_frame_size
from gym_vlmrm.reward.notices import first_to_say
from gym_vlmrm.reward.protocol import RewardModel
from gym_vlmrm.reward.remote.address import base_of, is_remote
from gym_vlmrm.reward.speaking.address import find_address, speaks
from gym_vlmrm.task.catalog import load_task, override
from gym_vlmrm.task.homes import EMBEDDED, EMBEDDED_MODELS
from gym_vlmrm.task.parts import Part
from gym_vlmrm.task.spec import RewardSpec, TaskSpec
from gym_vlmrm.task.yaml_file import shorten

if TYPE_CHECKING:
    from gym_vlmrm.reward.parts.sight import Watcher

__all__ = [
    "EMBEDDED_FOLDER", "EMBEDDED_FOLDERS", "MODELS", "CutPromptWarning", "UnknownWordsWarning", "asks_a_server",
    "check_model_name", "check_watcher", "choose_frame_size", "cut_prompts", "describe_cut", "known_worlds",
    "load_judge", "load_reward_model", "model_frame_size", "model_location", "refuse_strangers", "stranger_note",
    "stranger_to", "tell_of_model", "unknown_words",
]  # fmt: skip

MODELS: dict[str, str] = {
    "brightness": "gym_vlmrm.reward.brightness:BrightnessReward",
}
"""Name to "module:Class" of reward models that read no prompts and are made without arguments; any other name is
``embedded``, a server's (see `gym_vlmrm.reward.speaking.address`) or open_clip's."""
EMBEDDED_FOLDER = Path(__file__).parent / "embedded"
EMBEDDED_FOLDERS: dict[str, Path] = {
    EMBEDDED: EMBEDDED_FOLDER,
    **{name: Path(__file__).parent / name.replace("-", "_") for name in EMBEDDED_MODELS},
}
"""Folders of the models that ship, by name."""
DEFAULT_FRAME_SIZE = 224
logger = logging.getLogger("gym_vlmrm")


class UnknownWordsWarning(UserWarning):
    """A prompt holds words that the model never saw in training."""


class CutPromptWarning(UserWarning):
    """A prompt is longer than what the model reads, so its end changes no reward."""


def load_reward_model(
    task: TaskSpec | str | os.PathLike[str],
    *,
    model: str | None = None,
    goal: str | list[str] | None = None,
    baseline: str | list[str] | None = None,
    alpha: float | None = None,
    device: str | None = None,
    precision: str | None = None,
) -> RewardModel:
    """Load the reward model of a task; each keyword replaces what the task says.

    Args:
        task: a task, or its name, environment ID or path.
        model: ``embedded``, a name of `MODELS`, ``openai:NAME@URL`` (docs/speaking-judges.md), ``http://HOST:PORT``
            (docs/clusters.md), or an open_clip name (see `gym_vlmrm.reward.clip.opening.open_model`).
        goal: goal prompt or prompts.
        baseline: baseline prompt or prompts.
        alpha: strength of the regularisation, in [0, 1].
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8`` (CPU).

    Returns:
        A callable: uint8 frames (N, H, W, 3) to float32 rewards (N,). It shares its weights with every other one of the
        same model, device and arithmetic; they are freed when the last of these is. Of a reward made of parts it says
        what frames are worth by themselves: without windows, shapes and the environment's own reward.

    Raises:
        TaskError: no such task, or a value that is not allowed.
        ModelError: the model is unknown, unreachable or cannot run here.
    """
    spec = task if isinstance(task, TaskSpec) else load_task(task)
    spec = override(spec, model=model, goal=goal, baseline=baseline, alpha=alpha, device=device, precision=precision)
    for name in spec.reward.models:
        tell_of_model(name)
    return load_judge(spec.reward)


def load_judge(judge: RewardSpec) -> RewardModel:
    """Load the reward model that a task's section ``reward:`` describes; see `load_reward_model`."""
    if judge.plain:
        return _load(judge, judge.model, judge.goals, judge.baselines, judge.alpha)
    from gym_vlmrm.reward.parts import PartsReward

    known: dict[str, RewardModel] = {}
    models: list[Any] = []
    for part in judge.all_parts:
        if part.sees_films:
            models.append(_load_watcher(judge, part))
        elif part.model in MODELS:  # one that reads no prompts is the same for every part
            known[part.model] = known.get(part.model) or _load(judge, part.model, [], [], 0.0)
            models.append(known[part.model])
        else:
            models.append(_load(judge, part.model, list(part.goals), list(part.baselines), part.alpha))
    return PartsReward(judge, models)


def _load(judge: RewardSpec, model: str, goals: list[str], baselines: list[str], alpha: float) -> RewardModel:
    """Load the model of one goal, for the device and in the arithmetic that a reward names."""
    if is_video(model):
        raise ModelError(_sees_films(model))
    plain = _make_plain(model)
    if plain is not None:
        return plain
    if speaks(model):
        from gym_vlmrm.reward.speaking.model import SpeakingReward

        return SpeakingReward(model, goals, baselines, alpha)
    if is_remote(model):
        from gym_vlmrm.reward.remote.model import RemoteReward

        return RemoteReward(model, goals, baselines, alpha)
    # Here and not above, because importing them imports torch.
    from gym_vlmrm.reward.clip.model import ClipReward
    from gym_vlmrm.reward.clip.towers import load_towers

    _warn_unknown_words(model, [*goals, *baselines])
    towers = load_towers(model_location(model), judge.device, judge.precision)
    for sentence in dict.fromkeys([*goals, *baselines]):
        if unread := towers.unread_part(sentence):
            message = f"model '{model}' has no room for the end of a prompt: {describe_cut(sentence, unread)}"
            if first_to_say(message):
                warnings.warn(CutPromptWarning(message), stacklevel=4)
    return ClipReward(model, towers, goals, baselines or None, alpha)


def _load_watcher(judge: RewardSpec, part: Part) -> "Watcher":
    """Load the model of a part that sees windows as films."""
    check_watcher(part.model)
    if is_video(part.model):
        from gym_vlmrm.reward.motion.video import VideoReward, load_video

        video = load_video(part.model, judge.device, judge.precision)
        return VideoReward(video, list(part.goals), list(part.baselines) or None, part.alpha)
    from gym_vlmrm.reward.clip.towers import load_towers
    from gym_vlmrm.reward.motion.head import load_head
    from gym_vlmrm.reward.motion.judge import MotionReward

    _warn_unknown_words(part.model, [*part.goals, *part.baselines], motion=True)
    location = model_location(part.model)
    towers = load_towers(location, judge.device, judge.precision)
    head = load_head(location, part.model, towers.weights_digest)
    return MotionReward(part.model, towers, head, list(part.goals), list(part.baselines) or None, part.alpha)


def asks_a_server(model: str) -> bool:
    """Whether a model's name is one of a judge that another server holds."""
    return speaks(model) or is_remote(model)


def _sees_films(model: str) -> str:
    return f"model '{model}' sees films and no single pictures; write 'window: {{frames: 8, join: motion}}'"


def check_watcher(model: str) -> None:
    """Check that a model sees windows as films (``window.join: motion``), without loading it.

    Raises:
        ModelError: it sees single pictures only.
    """
    if is_video(model):
        check_video_name(model)
    else:
        read_facts(model_location(model), model)


def _make_plain(model: str) -> RewardModel | None:
    """Return a model of `MODELS`; ``None`` for any other name."""
    if model not in MODELS:
        return None
    made: RewardModel = pkgutil.resolve_name(MODELS[model])()
    return made


def check_model_name(model: str) -> None:
    """Check that there is a model of this name, without loading it.

    Raises:
        ModelError: unknown architecture or tag, or no such file or folder.
    """
    if model in MODELS:
        return
    if is_video(model):
        raise ModelError(_sees_films(model))
    if speaks(model):
        find_address(model)
        return
    if is_remote(model):
        base_of(model)
        return
    from gym_vlmrm.reward.clip.opening import check_name

    check_name(model_location(model))


def model_frame_size(model: str) -> int:
    """Input size [px] of a model as far as it is known without loading torch; 224 otherwise."""
    plain = _make_plain(model)
    if plain is not None:
        return plain.frame_size
    if is_video(model):
        return video_frame_size(model, DEFAULT_FRAME_SIZE)
    location = model_location(model)
    config = Path(location.removeprefix("local-dir:")) / CONFIG_FILE
    if location.startswith("local-dir:") and config.is_file():
        return _image_size(config, check_folder(config.parent))
    return DEFAULT_FRAME_SIZE


def choose_frame_size(task: TaskSpec, model: Any = None) -> int:
    """Side of a task's frames [px]: what its scene says, else the input size of whatever scores them.

    Args:
        task: the task.
        model: scores the frames and has a ``frame_size``; if not given, the task's model is asked for it unloaded.

    Raises:
        ModelError: the model's folder holds no configuration of open_clip.
    """
    if task.scene.render_size is not None:
        return task.scene.render_size
    if model is not None:
        return int(model.frame_size)
    return max(model_frame_size(name) for name in task.reward.models)


def _image_size(path: Path, config: dict[str, Any]) -> int:
    try:
        vision = config["model_cfg"]["vision_cfg"]
        size = vision.get("image_size", DEFAULT_FRAME_SIZE)
        return int(max(size) if isinstance(size, list) else size)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is no open_clip configuration ({type(error).__name__}: {error})") from None


def unknown_words(model: str, sentences: Sequence[str], *, motion: bool = False) -> list[str]:
    """Return the words that a model's list of training words lacks; empty where the model has no such list.

    Args:
        model: name of the model.
        sentences: prompts.
        motion: whether its motion head reads them, which has words of its own.
    """
    known: set[str] | None = None
    if motion and not is_video(model):
        known = set(read_facts(model_location(model), model).words)
    elif model not in MODELS and not is_video(model) and not asks_a_server(model):
        known = read_words(model_location(model).removeprefix("local-dir:"))
    if known is None:
        return []
    words = dict.fromkeys(word for sentence in sentences for word in re.findall(r"[\w']+", sentence.lower()))
    return [word for word in words if word not in known]


def known_worlds(model: str) -> set[str] | None:
    """Return the environments whose frames a model was trained on, by ID without the module that registers them.

    ``None`` is returned where it does not list them.

    A model that lists them knows nothing else; one that does not, such as a published CLIP, may know anything.

    Raises:
        ModelError: the list cannot be read.
    """
    location = model_location(model)
    if model in MODELS or not location.startswith("local-dir:"):
        return None
    worlds = read_worlds(location.removeprefix("local-dir:"))
    return None if worlds is None else {world.rpartition(":")[2] for world in worlds}


def stranger_note(task: TaskSpec, model: str | None = None) -> str | None:
    """Say that a task's environment is none of those that a model knows, and what to do; ``None`` where it is at home.

    Args:
        task: the task.
        model: the model; those of the task's reward if not given.
    """
    name = stranger_to(task, model)
    if name is None:
        return None
    known = ", ".join(sorted(known_worlds(name) or ()))
    return (
        f"model '{name}' never saw {task.env.id.rpartition(':')[2]} (it knows {known}), so its reward there is a"
        " guess: teach one (vlmrm teach TASK), or name a real CLIP (--model ViT-B-32/laion2b_s34b_b79k)"
    )


def stranger_to(task: TaskSpec, model: str | None = None) -> str | None:
    """Return the first model that never saw a task's environment; ``None`` where none says so."""
    env_id = task.env.id.rpartition(":")[2]
    for name in (model,) if model else task.reward.models:
        worlds = known_worlds(name)
        if worlds is not None and env_id not in worlds:
            return name
    return None


def refuse_strangers(task: TaskSpec, anyway: bool, *, way: str = "--anyway") -> None:
    """Raise ModelError where a model never saw the task's environment, unless it shall be trained `anyway`.

    `way` is how whoever is refused says so.
    """
    note = stranger_note(task)
    if note is not None and not anyway:
        raise ModelError(f"{note}; {way} trains all the same")


def cut_prompts(model: str, sentences: Iterable[str]) -> dict[str, str]:
    """Return the sentences that are longer than what a model reads, each with its end that is not read.

    The model's tokenizer counts; where it is not on this machine yet, nothing is known and nothing returned.
    """
    if model in MODELS or is_video(model) or asks_a_server(model):
        return {}
    from gym_vlmrm.reward.clip.opening import load_tokenizer
    from gym_vlmrm.reward.clip.text import unread_part

    try:
        tokenizer = load_tokenizer(model_location(model))
    except ModelError:
        return {}
    ends = {sentence: unread_part(tokenizer, sentence) for sentence in sentences}
    return {sentence: end for sentence, end in ends.items() if end}


def describe_cut(sentence: str, unread: str) -> str:
    """Say what a model does not read of a prompt."""
    return f"of '{shorten(sentence)}' it never reads '{shorten(unread)}'; use fewer words"


def model_location(model: str) -> str:
    """Return the name by which open_clip knows a model."""
    return f"local-dir:{EMBEDDED_FOLDERS[model]}" if model in EMBEDDED_FOLDERS else model


def _warn_unknown_words(model: str, sentences: Sequence[str], *, motion: bool = False) -> None:
    words = unknown_words(model, sentences, motion=motion)
    if words:
        listed = ", ".join(repr(word) for word in words)
        whose = f"the motion head of model '{model}'" if motion else f"model '{model}'"
        message = f"{whose} never saw {listed} in training; its reward for such a prompt is a guess"
        if first_to_say(message):
            warnings.warn(UnknownWordsWarning(message), stacklevel=5)


def tell_of_model(model: str) -> None:
    """Say once what users of a model need to know."""
    if model in EMBEDDED_FOLDERS:
        _say_once_what_it_is(model)


@cache
def _say_once_what_it_is(model: str) -> None:
    if model == EMBEDDED:
        what = "the embedded model is not zero-shot: it knows the built-in scenes and their words"
    else:
        worlds = ", ".join(sorted(EMBEDDED_MODELS[model]))
        what = f"model '{model}' is not zero-shot: it knows {worlds} and the words of their tasks"
    message = f"{what}; for anything else name an open_clip model"
    if first_to_say(message):
        logger.warning(message)
