"""The model of a reward made of parts: a picture is embedded once for all parts that look at it by the same model."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import ModelError, TaskError
from gym_vlmrm.reward.parts.arithmetic import combined, terms_of
from gym_vlmrm.reward.parts.memory import PartsMemory
from gym_vlmrm.reward.parts.sight import Block, Sight
from gym_vlmrm.reward.protocol import RewardModel, check_frames, is_concurrent, is_small, score
from gym_vlmrm.task.parts import Part
from gym_vlmrm.task.spec import RewardSpec

__all__ = ["PartsReward"]


class PartsReward:
    """A `RewardModel` of frames, each by itself; steps of episodes are scored by its `signals` and its `memory`."""

    def __init__(self, spec: RewardSpec, models: Sequence[RewardModel]) -> None:
        """Take the reward's specification and one loaded model per part, those of one kind sharing their weights."""
        self.spec, self.parts, self.shots = spec, spec.all_parts, spec.shots
        self._models = list(models)
        for part, model in zip(self.parts, models, strict=True):
            _check_film(part, model)
        known: list[Any] = list({id(_eye(model)): model for model in models}.values())
        self.name = " + ".join(spec.models)
        self.frame_size = max(int(model.frame_size) for model in known)
        self.concurrent = all(is_concurrent(model) for model in known)
        self.small = all(is_small(model) for model in known)
        self.weights_digest = _digest([getattr(model, "weights_digest", None) for model in known])
        self.precision, self.device = _common(known, "precision"), _common(known, "device")
        columns: dict[tuple[Any, ...], Block] = {}
        self.width = 0
        """Signals of one step."""
        self.sights = tuple(self._sight(part, model, columns) for part, model in zip(self.parts, models, strict=True))

    def _sight(self, part: Part, model: Any, columns: dict[tuple[Any, ...], Block]) -> Sight:
        """Lay out the signals that a part reads; parts with windows share the embeddings of a slot."""
        blocks = []
        for slot in part.slots:
            place = self.shots.slots.index(slot)
            wide, film = part.window is not None, part.sees_films
            width = int(model.goal.shape[-1]) if wide and hasattr(model, "embed") else 1
            width = int(model.width) if film else width
            key = (id(_eye(model)), film, place) if wide else (part.name, place)
            if key not in columns:
                columns[key] = Block(self.width, width)
                self.width += width
            blocks.append(columns[key])
        return Sight(part, model, tuple(blocks))

    def signals(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the signals (N, W) of the pictures of N steps, uint8 (N, C, H, W, 3), or (N, H, W, 3) for one slot.

        Raises:
            ModelError: they are no such pictures, or a model fails.
        """
        slots = len(self.shots.slots)
        pictures = np.asarray(pictures)
        shape = pictures.shape
        if slots > 1 and (pictures.ndim != 5 or shape[1] != slots):
            raise ModelError(f"pictures of {slots} cameras must be of shape (N, {slots}, H, W, 3); got {shape}")
        by_slot = pictures if slots > 1 else check_frames(pictures)[:, None]
        signals = np.zeros((len(pictures), self.width), np.float32)
        if not len(pictures):
            return signals
        seen: dict[tuple[int, bool], dict[int, Any]] = {}
        for sight in self.sights:
            looks = self._looks(seen, sight, by_slot)
            for slot, block in zip(sight.part.slots, sight.blocks, strict=True):
                look = looks[self.shots.slots.index(slot)]
                number = block.width == 1 and sight.embeds and not sight.watches
                told = sight.model.value(look)[:, None] if number else look
                signals[:, block.start : block.start + block.width] = told
        if not np.isfinite(signals).all():
            raise ModelError(f"reward model '{self.name}' returned a reward that is not finite; try precision='fp32'")
        return signals

    def _looks(
        self, seen: dict[tuple[int, bool], dict[int, Any]], sight: Sight, by_slot: NDArray[np.uint8]
    ) -> dict[int, Any]:
        """What a model sees in every slot that its parts need (N, D), asked for once and in one batch."""
        eye = id(_eye(sight.model))
        if (eye, sight.watches) not in seen:
            theirs = [other for other in self.sights if id(_eye(other.model)) == eye]
            needed = dict.fromkeys(self.shots.slots.index(slot) for other in theirs for slot in other.part.slots)
            frames = check_frames(np.concatenate([by_slot[:, slot] for slot in needed]))
            watcher = next((other.model for other in theirs if other.watches), None)
            if watcher is not None:  # one look tells embeddings too
                embeddings, remembered = watcher.look(frames)
                told = {True: remembered, **({} if embeddings is None else {False: embeddings})}
            else:
                told = {False: sight.model.embed(frames) if sight.embeds else score(sight.model, frames)[:, None]}
            for kind, rows in told.items():
                seen[eye, kind] = dict(zip(needed, np.split(rows, len(needed)), strict=True))
        return seen[eye, sight.watches]

    def memory(self, num_envs: int) -> PartsMemory:
        """Return a memory of episodes; raises TaskError where potential shaping does not know the algorithm's gamma."""
        place = self.spec.without_gamma
        if place is not None:
            message = "only training knows the algorithm's gamma; write {kind: potential, gamma: 0.99}"
            raise TaskError(f"{'.'.join(map(str, place))}: {message}", field=place)
        return PartsMemory(self.spec, self.sights, num_envs)

    def parts_alone(self, signals: NDArray[np.float32]) -> Floats:
        """Return what each part is worth (N, P) in pictures by themselves, as if an episode had begun with each."""
        memory = PartsMemory(self.spec, self.sights, len(signals))
        memory.begin(np.arange(len(signals)), signals)
        return memory.values

    def views_alone(self, signals: NDArray[np.float32]) -> dict[str, dict[str, Floats]]:
        """Return what each camera says (N,) of pictures by themselves, of every part that looks through several."""
        everybody = np.arange(len(signals))
        memory = PartsMemory(self.spec, self.sights, len(signals))
        memory.begin(everybody, signals)
        return {
            part.name: dict(zip(part.cameras, memory.told(index, everybody, signals), strict=True))
            for index, part in enumerate(self.parts)
            if len(part.slots) > 1
        }

    def parts_in_films(self, signals: NDArray[np.float32], moments: NDArray[np.int64]) -> Floats:
        """Return what each part is worth (N, P) in pictures that follow one another.

        Args:
            signals: of the scored pictures of episodes (N, W), in order.
            moments: the place of each in its episode (N,); 0 begins another one.
        """
        starts = np.flatnonzero(moments == 0)
        films = np.split(signals, starts[starts > 0])
        return np.concatenate([self.film()(film) for film in films])

    def film(self, every: int = 1) -> Callable[[NDArray[np.float32]], Floats]:
        """Return a function of the signals (N, W) of pictures that follow one another: what each part is worth (N, P).

        Called again, it goes on with those that come next.

        Args:
            every: a window goes back by so many pictures at a time; before those, every film begins with its first.
        """
        memories: dict[int, PartsMemory] = {}
        row, moments = np.zeros(1, np.int64), itertools.count()
        began = np.zeros((1, self.width), np.float32)

        def watch(signals: NDArray[np.float32]) -> Floats:
            nonlocal began
            values = np.zeros((len(signals), len(self.parts)))
            for index in range(len(signals)):
                moment, told = next(moments), signals[index : index + 1]
                memory = memories.get(moment % every)
                if memory is None:
                    memory = memories[moment % every] = PartsMemory(self.spec, self.sights, 1)
                    if moment == 0:
                        began = told
                    else:
                        memory.see(row, began)
                memory.see(row, told)
                values[index] = memory.values[0]
            return values

        return watch

    def alone(self, values: Floats) -> Floats:
        """Join what parts are worth (N, P) as a training begins, without shapes and the environment's own reward."""
        joined = combined(self.parts, list(values.T), [part.weight for part in self.parts], self.spec.combine)
        return self.spec.scale * (joined - self.spec.center)

    def terms(self, values: Floats) -> Floats:
        """Return how much each part (N, P) brings to what `alone` joins."""
        weights = [part.weight for part in self.parts]
        return np.stack(terms_of(self.parts, list(values.T), weights, self.spec.combine), axis=-1)

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what frames (N, H, W, 3) are worth by themselves (N,); every camera is taken to have seen each."""
        return self.alone(self.parts_alone(self.signals(self.seen_by_all(check_frames(frames))))).astype(np.float32)

    def seen_by_all(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return frames (N, H, W, 3) as the pictures that `signals` takes, as if every camera had seen each."""
        slots = len(self.shots.slots)
        return frames if slots == 1 else np.repeat(frames[:, None], slots, axis=1)


def _check_film(part: Part, model: Any) -> None:
    """Raise TaskError where a window has not as many pictures as the films that a model sees."""
    film = getattr(model, "film", None)
    if film is not None and part.window is not None and part.window.frames != film:
        place = ("reward", *part.at, "window", "frames")
        message = (
            f"{'.'.join(map(str, place))} is {part.window.frames}, and '{part.model}' sees films of {film} pictures"
        )
        raise TaskError(f"{message}; write {film}", field=place)


def _eye(model: Any) -> Any:
    """What embeds pictures for a model; models with one eye ask it once."""
    return getattr(model, "towers", model)


def _digest(digests: Sequence[str | None]) -> str | None:
    told = [digest for digest in digests if digest is not None]
    if len(told) < len(digests):
        return None
    return told[0] if len(set(told)) == 1 else hashlib.sha256(" ".join(told).encode()).hexdigest()


def _common(models: Sequence[Any], name: str) -> str | None:
    said = list(dict.fromkeys(str(getattr(model, name, None)) for model in models))
    return None if said == ["None"] else " + ".join(said)
