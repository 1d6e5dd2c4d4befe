"""Reward models as an audit asks them: a frame is embedded once, then any prompt and alpha is a dot product."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.auditing.results import Candidate
from gym_vlmrm.auditing.stage import Seen
from gym_vlmrm.errors import ModelError
from gym_vlmrm.learning.records import JudgeRecord
from gym_vlmrm.reward import RewardModel, goal_baseline_reward, load_reward_model
from gym_vlmrm.reward.formula import average_embedding
from gym_vlmrm.reward.loading import check_model_name, check_watcher
from gym_vlmrm.reward.parts import PartsReward
from gym_vlmrm.reward.protocol import check_frames, check_rewards
from gym_vlmrm.reward.speaking.model import SpeakingReward, contrast
from gym_vlmrm.reward.speaking.speaker import Picture
from gym_vlmrm.task.catalog import override
from gym_vlmrm.task.spec import TaskSpec

__all__ = [
    "CONTROLS", "Judge", "PartsJudge", "PlainJudge", "PromptJudge", "SpeakingJudge", "StateReward", "candidates_of",
    "check_model", "make_judge", "prompts_of",
]  # fmt: skip
CHUNK = 256
"""Frames embedded between two reports of progress."""
OnDone = Callable[[int], None]

CONTROLS: tuple[str, ...] = (
    "a photo of a cat", "an empty room", "a red bicycle", "a bowl of fruit on a table", "two people talking",
    "a car in the valley", "a car on the left slope", "a humanoid robot lying on its back",
    "a humanoid robot doing a handstand", "a humanoid robot sitting", "pole lying on the ground",
    "pole dangling below the cart", "the pole falls to the left", "a glass of water", "a house by the sea",
    "a plane in the sky", "a map of the city", "numbers on a page", "a robot arm in a factory",
    "a dog that runs", "a cup of coffee", "a humanoid robot running", "a mountain", "a wooden box",
)  # fmt: skip
"""Sentences about other things: a goal prompt that separates no better than these says nothing."""


class StateReward(Protocol):
    """A reward computed from the true state instead of a picture: ideal rewards, and planted mistakes."""

    name: str
    frame_size: int

    def of_states(self, quantities: Sequence[dict[str, float]]) -> NDArray[Any]:
        """Return the rewards (N,) of N states, each given by its named quantities."""
        ...


class Judge(Protocol):
    """One model of an audit."""

    name: str
    frame_size: int
    reads_prompts: bool
    parameters: int | None
    costly: bool
    """Whether each answer costs time or money, so that sentences are asked about only where they must be."""
    record: JudgeRecord
    """Which weights, arithmetic and device these are."""

    def read(self, prompts: Iterable[Sequence[str]]) -> None:
        """Embed prompts now, all that will be asked; what only sentences need is given back afterwards."""
        ...

    def look(self, seen: Seen, on_done: OnDone | None = None) -> Floats:
        """Return what is kept of each frame, (N, D)."""
        ...

    def rewards(self, looks: Floats, candidate: Candidate) -> Floats:
        """Return the rewards (N,) of what `look` returned."""
        ...


class PromptJudge:
    """A CLIP-type model: `look` embeds, `rewards` compares with prompts."""

    reads_prompts = True
    costly = False

    def __init__(self, name: str, reward: Any) -> None:
        self.name, self.frame_size, self._towers = name, int(reward.frame_size), reward.towers
        self.parameters: int | None = getattr(reward.towers, "parameters", None)
        self.record = JudgeRecord.of(reward)
        self._embed = lru_cache(maxsize=4096)(self._embed_prompt)

    def read(self, prompts: Iterable[Sequence[str]]) -> None:
        """Embed prompts now, and then give back a large text tower before the first frame needs memory."""
        for sentences in prompts:
            self._embed(tuple(sentences))
        getattr(self._towers, "release_text", lambda: None)()

    def look(self, seen: Seen, on_done: OnDone | None = None) -> Floats:
        """Return the unit embeddings (N, D) of the frames."""
        return _in_chunks(seen, lambda rows: self._towers.embed_frames(seen.frames[rows]), on_done)

    def rewards(self, looks: Floats, candidate: Candidate) -> Floats:
        """Return the rewards (N,) of embeddings (N, D); raises ModelError for an alpha without a baseline."""
        goal = self._embed(tuple(candidate.goal))
        baseline = self._embed(tuple(candidate.baseline)) if candidate.baseline else None
        try:
            rewards = goal_baseline_reward(looks, goal, baseline, candidate.alpha)
        except ValueError as error:
            raise ModelError(str(error)) from None
        return np.asarray(check_rewards(rewards, len(looks), self.name), np.float64)

    def _embed_prompt(self, sentences: tuple[str, ...]) -> Floats:
        return np.asarray(average_embedding(self._towers.embed_sentences(sentences)), np.float64)


class SpeakingJudge:
    """A judge that speaks: `look` keeps pictures, `rewards` asks about them what was never asked before."""

    reads_prompts = True
    costly = True
    parameters: int | None = None

    def __init__(self, reward: SpeakingReward) -> None:
        self.name, self.frame_size, self._speaker = reward.name, reward.frame_size, reward.speaker
        self.record = JudgeRecord.of(reward)
        self._pictures: list[Picture] = []
        self._answers: dict[str, dict[int, float]] = {}
        self._first: tuple[str, ...] = ()

    def read(self, prompts: Iterable[Sequence[str]]) -> None:
        """Note what will be asked first."""
        self._first = next((tuple(sentences) for sentences in prompts), ())

    def look(self, seen: Seen, on_done: OnDone | None = None) -> Floats:
        """Return the numbers of the pictures (N, 1), and ask the first question about them."""

        def ask(rows: slice) -> Floats:
            pictures = [Picture.of(frame) for frame in check_frames(seen.frames[rows])]
            looks = np.arange(len(pictures), dtype=np.float64)[:, None] + len(self._pictures)
            self._pictures += pictures
            self._ask(looks, self._first)
            return looks

        return _in_chunks(seen, ask, on_done)

    def rewards(self, looks: Floats, candidate: Candidate) -> Floats:
        """Return the rewards (N,) of numbered pictures (N, 1); raises ModelError for an alpha without a baseline."""
        if candidate.alpha and not candidate.baseline:
            raise ModelError(f"alpha is {candidate.alpha} but there is no baseline prompt")
        asked = [*candidate.goal, *(candidate.baseline if candidate.alpha else [])]
        return contrast(self._ask(looks, asked), len(candidate.goal), candidate.alpha)

    def _ask(self, looks: Floats, sentences: Sequence[str]) -> Floats:
        """Return the answers (N, S)."""
        numbers = looks[:, 0].astype(int).tolist()
        for sentence in sentences:
            known = self._answers.setdefault(sentence, {})
            new = [number for number in dict.fromkeys(numbers) if number not in known]
            told = self._speaker.ask([self._pictures[number] for number in new], [sentence])[:, 0].tolist()
            known.update(zip(new, told, strict=True))
        return np.array([[self._answers[text][number] for text in sentences] for number in numbers], np.float64)


class PlainJudge:
    """Any other reward model: its reward is all that is known, and prompts do not enter."""

    reads_prompts = False
    costly = False
    parameters: int | None = None

    def __init__(self, reward: RewardModel | StateReward) -> None:
        self.name, self.frame_size, self._reward = reward.name, int(reward.frame_size), reward
        self.record = JudgeRecord.of(reward)

    def read(self, prompts: Iterable[Sequence[str]]) -> None:
        """Do nothing: prompts do not enter."""

    def look(self, seen: Seen, on_done: OnDone | None = None) -> Floats:
        """Return the rewards as one column (N, 1)."""
        if hasattr(self._reward, "of_states"):
            rewards = np.asarray(self._reward.of_states(seen.quantities))
        else:
            chunks = range(0, len(seen), CHUNK)
            frames = check_frames(seen.frames)
            rewards = np.concatenate([self._reward(frames[i : i + CHUNK]) for i in chunks])
        if on_done is not None:
            on_done(len(seen))
        return np.asarray(check_rewards(rewards, len(seen), self.name), np.float64)[:, None]

    def rewards(self, looks: Floats, candidate: Candidate) -> Floats:
        """Return the column (N,)."""
        return np.asarray(looks[:, 0])


class PartsJudge:
    """A reward made of parts: `look` keeps what each part is worth, and prompts are those of the task."""

    reads_prompts = False
    costly = False
    parameters: int | None = None

    def __init__(self, reward: PartsReward) -> None:
        self.name, self.frame_size, self._reward = reward.name, reward.frame_size, reward
        self.parts, self.combine, self.asked = reward.parts, reward.spec.combine, reward.spec.success_seen
        self.record = JudgeRecord.of(reward)

    @property
    def films(self) -> bool:
        """Whether windows are judged as episodes pass."""
        return self._reward.spec.sees_films

    @property
    def unseen(self) -> list[str]:
        """What of the reward has no meaning for a state by itself."""
        spec = self._reward.spec
        films = spec.sees_films  # then all windows are judged as episodes passed
        moving = [part.name for part in self.parts if part.window is not None and not films]
        shaped = [part.name for part in self.parts if part.shape is not None]
        return [
            *(f"the window of '{name}'" for name in moving),
            *(f"the shape of '{name}'" for name in shaped),
            *(["its shape"] if spec.shape is not None else []),
            *([f"the environment's own reward (x {spec.task:g})"] if spec.task else []),
        ]

    def read(self, prompts: Iterable[Sequence[str]]) -> None:
        """Do nothing: the prompts are known."""

    def look(self, seen: Seen, on_done: OnDone | None = None) -> Floats:
        """Return what the parts are worth (N, P), of films in the windows that end with each frame."""

        if seen.moments is None:
            return _in_chunks(seen, lambda rows: self._reward.parts_alone(self._signals(seen, rows)), on_done)
        told = _in_chunks(seen, lambda rows: self._signals(seen, rows), on_done)
        return self._reward.parts_in_films(told.astype(np.float32), seen.moments)

    def views(self, seen: Seen) -> dict[str, dict[str, Floats]]:
        """Return what each camera says (N,), of every part that looks through several."""
        return self._reward.views_alone(self._signals(seen, slice(None)))

    def _signals(self, seen: Seen, rows: slice) -> NDArray[np.float32]:
        pictures = self._reward.seen_by_all(seen.frames[rows]) if seen.views is None else seen.views[rows]
        return self._reward.signals(pictures)

    def rewards(self, looks: Floats, candidate: Candidate) -> Floats:
        """Return the rewards (N,) of what `look` returned."""
        return self._reward.alone(looks)

    def terms(self, looks: Floats) -> Floats:
        """Return what each part brings to the reward (N, P)."""
        return self._reward.terms(looks)


def _in_chunks(seen: Seen, look: Callable[[slice], NDArray[Any]], on_done: OnDone | None) -> Floats:
    """Return what `look` says of all states (N, D), asked for `CHUNK` of them at a time."""
    looks = []
    for start in range(0, len(seen), CHUNK):
        end = min(start + CHUNK, len(seen))
        looks.append(look(slice(start, end)))
        if on_done is not None:
            on_done(end)
    return np.asarray(np.concatenate(looks), np.float64)


def check_model(task: TaskSpec, model: str | RewardModel | StateReward | None) -> None:
    """Find out what can be known of a model without loading it, before minutes of work are lost.

    Raises:
        ModelError: no such model, or an object that scores nothing.
    """
    if model is None or isinstance(model, str):
        for part in override(task, model=model).reward.all_parts:
            (check_watcher if part.sees_films else check_model_name)(part.model)
    elif not (callable(model) or hasattr(model, "of_states")):
        raise ModelError(f"{model!r} is no reward model; give a model's name or an object that scores frames")


def make_judge(task: TaskSpec, model: str | RewardModel | StateReward | None, device: str | None = None) -> Judge:
    """Return the judge of a model's name, of a reward model object, or (``None``) of the task's own model.

    Raises:
        ModelError: the model is unknown, unreachable, cannot run here, or scores nothing.
    """
    check_model(task, model)
    reward: Any = model
    if model is None or isinstance(model, str):
        reward = load_reward_model(override(task, model=model, device=device))
    if isinstance(reward, PartsReward):
        return PartsJudge(reward)
    if isinstance(reward, SpeakingReward):
        return SpeakingJudge(reward)
    return PromptJudge(reward.name, reward) if hasattr(reward, "towers") else PlainJudge(reward)


def candidates_of(task: TaskSpec, alphas: Sequence[float], prompts: Sequence[str]) -> list[Candidate]:
    """Return every pair of a goal prompt and an alpha; the task's own prompt comes first.

    A reward made of parts is one candidate, in words.
    """
    if not task.reward.plain:
        return [Candidate(goal=task.reward.words)]
    own, baselines = task.reward.goals, task.reward.baselines
    goals = [own, *([prompt] for prompt in prompts if [prompt] != own)]
    usable = [alpha for alpha in dict.fromkeys(alphas) if alpha == 0 or baselines]
    return [Candidate(goal=goal, baseline=baselines, alpha=alpha) for goal in goals for alpha in usable]


def prompts_of(candidates: Iterable[Candidate]) -> list[list[str]]:
    """Return every prompt that scoring the candidates asks for: goals and baselines, each one sentence or several."""
    return [prompt for candidate in candidates for prompt in (candidate.goal, candidate.baseline) if prompt]
