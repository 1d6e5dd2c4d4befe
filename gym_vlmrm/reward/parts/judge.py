"""The model of a reward made of parts: a picture is embedded once for all parts that look at it by the same model."""

import hashlib
from collections.abc import Sequence
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
            wide = part.window is not None
            width = int(model.goal.shape[-1]) if wide and hasattr(model, "embed") else 1
            key = (id(_eye(model)), place) if wide else (part.name, place)
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
        seen: dict[int, dict[int, Any]] = {}
        for sight in self.sights:
            looks = self._looks(seen, sight, by_slot)
            for slot, block in zip(sight.part.slots, sight.blocks, strict=True):
                look = looks[self.shots.slots.index(slot)]
                told = look if block.width > 1 or not sight.embeds else sight.model.value(look)[:, None]
                signals[:, block.start : block.start + block.width] = told
        if not np.isfinite(signals).all():
            raise ModelError(f"reward model '{self.name}' returned a reward that is not finite; try precision='fp32'")
        return signals

    def _looks(self, seen: dict[int, dict[int, Any]], sight: Sight, by_slot: NDArray[np.uint8]) -> dict[int, Any]:
        """What a model sees in every slot that its parts need (N, D), asked for once and in one batch."""
        key = id(_eye(sight.model))
        if key not in seen:
            needed = dict.fromkeys(
                self.shots.slots.index(slot)
                for other in self.sights if id(_eye(other.model)) == key
                for slot in other.part.slots
            )  # fmt: skip
            frames = check_frames(np.concatenate([by_slot[:, slot] for slot in needed]))
            told = sight.model.embed(frames) if sight.embeds else score(sight.model, frames)[:, None]
            seen[key] = dict(zip(needed, np.split(told, len(needed)), strict=True))
        return seen[key]

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
