"""Worlds that several cameras see, cheap reward models for them, and what rewards made of parts should pay there."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gym_vlmrm.task.parts import MAIN, Part
from gym_vlmrm.task.spec import RewardSpec

SIZE, CAMERAS = 4, ("main", "a", "b")


def looks(index: int, episode: int, count: int) -> dict[str, tuple[int, int, int]]:
    """What each camera sees of a state: three colours."""
    draw = np.random.default_rng([index, episode, count])
    return {camera: tuple(draw.integers(1, 250, 3).tolist()) for camera in CAMERAS}


class AngleWorld(gym.Env[Any, Any]):
    """Episode e of world i ends after 2 to 6 steps, in a terminal state or by time as its number has it."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self, index: int) -> None:
        self.index, self.episode, self.count, self.drawn = index, -1, 0, 0
        self.observation_space = spaces.Box(-1e3, 1e3, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return self._state(), {"count": self.count}

    def step(self, action: Any) -> Any:
        self.count += 1
        reward, over = own_reward(self.index, self.episode, self.count), self.count == length(self.index, self.episode)
        terminal = ends_in_terminal(self.index, self.episode)
        return self._state(), reward, over and terminal, over and not terminal, self._info(reward)

    def _info(self, reward: float) -> dict[str, Any]:
        return {"task_reward": np.float64(reward), "count": self.count}

    def render(self) -> Any:
        return self.picture(MAIN)

    def picture(self, name: str) -> Any:
        self.drawn += 1
        return np.full((SIZE, SIZE, 3), looks(self.index, self.episode, self.count)[name], np.uint8)

    def _state(self) -> Any:
        return np.array([self.episode, self.count], np.float32)


def length(index: int, episode: int) -> int:
    return 2 + (3 * index + 5 * episode) % 5


def ends_in_terminal(index: int, episode: int) -> bool:
    return (index + episode) % 2 == 0


def own_reward(index: int, episode: int, count: int) -> float:
    return float(np.sin(1.0 + index + 10 * episode + 100 * count))


class Reds:
    """A plain model: one number of a frame."""

    name, frame_size, concurrent = "reds", SIZE, False

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, frames: Any) -> Any:
        self.asked += len(frames)
        return (frames[:, 0, 0, 0] / 200 - 0.25).astype(np.float32)


class Colours:
    """A model that embeds: the embedding of a frame is its colour as a unit vector."""

    name, frame_size, concurrent = "colours", SIZE, False

    def __init__(self, goal: Any = (0.0, 0.6, 0.8), baseline: Any = (1.0, 0.0, 0.0)) -> None:
        self.goal, self.baseline, self.asked = np.array(goal, np.float32), np.array(baseline, np.float32), 0
        self.towers = Eye(self)

    def __call__(self, frames: Any) -> Any:
        return self.value(self.embed(frames))

    def embed(self, frames: Any) -> Any:
        self.towers.asked += len(frames)
        colours = frames[:, 0, 0].astype(np.float32)
        return colours / np.sqrt((colours**2).sum(-1, keepdims=True))

    def value(self, embeddings: Any) -> Any:
        return (1 - ((embeddings - self.goal) ** 2).sum(-1) / 2).astype(np.float32)

    def change(self, first: Any, last: Any) -> float:
        line = self.goal - self.baseline
        return float(((last - first) * line).sum()) / float(np.sqrt((line * line).sum()))


class Films:
    """A model that sees films, by the eye of `Colours` where it shares that, else by its own."""

    name, frame_size, concurrent, width, film = "films", SIZE, False, 2, None

    def __init__(self, colours: "Colours | None" = None) -> None:
        self.colours = colours
        self.towers = Eye(self) if colours is None else colours.towers

    def look(self, frames: Any) -> Any:
        remembered = frames[:, 0, 0, 1:].astype(np.float32) / 200
        if self.colours is None:
            self.towers.asked += len(frames)
            return None, remembered
        return self.colours.embed(frames), remembered

    def watch(self, pictures: Any, spacing: int) -> float:
        places = np.arange(1.0, len(pictures) + 1)
        return float((places[:, None] * pictures * (0.1, -0.03)).sum() / spacing)


class Eye:
    """What two models of the same kind share; it counts what it is asked."""

    def __init__(self, model: Any) -> None:
        self.asked = 0


@dataclass
class Expected:
    """What one world should be paid, by a second way of computing it: an episode at a time, as the words say."""

    rewards: list[float] = field(default_factory=list)
    parts: list[list[float]] = field(default_factory=list)
    dones: list[bool] = field(default_factory=list)
    seen: list[bool] = field(default_factory=list)
    terminal: list[bool] = field(default_factory=list)


def expected(spec: RewardSpec, models: Any, index: int, steps: int, every: int, num_envs: int) -> Expected:
    """Rewards of `steps` transitions of world `index` among `num_envs`."""
    result, episode, made = Expected(), 0, 0
    while len(result.rewards) < steps:
        seen: list[dict[str, Any]] = [looks(index, episode, 0)]  # scored pictures, the beginning first
        turns = [0]
        values = [_value(part, model, seen, turns, every) for part, model in zip(spec.all_parts, models, strict=True)]
        last, streak = _potentials(spec, values, made), 0
        for count in range(1, length(index, episode) + 1):
            if (count - 1) % every == 0:
                seen.append(looks(index, episode, count))
                turns.append((count - 1) // every)
                values = [
                    _value(part, model, seen, turns, every) for part, model in zip(spec.all_parts, models, strict=True)
                ]
            over = count == length(index, episode)
            terminal = over and ends_in_terminal(index, episode)
            if spec.success_seen is not None:
                weighted = [
                    _weight(part.weight, part.fade, made) * v for part, v in zip(spec.all_parts, values, strict=True)
                ]
                worth = _joined(spec, weighted if spec.combine == "sum" else values, made)
                streak = streak + 1 if worth > spec.success_seen.above else 0
                result.seen.append(streak >= spec.success_seen.hold)
                if spec.success_seen.ends and result.seen[-1]:
                    over = terminal = True
            reward, last = _paid(spec, values, last, made, terminal)
            result.rewards.append(float(np.float32(reward + spec.task * own_reward(index, episode, count))))
            result.parts.append(values)
            result.dones.append(over)
            result.terminal.append(terminal)
            made += num_envs
            if over:
                break
        episode += 1
    return result


def _value(part: Part, model: Any, seen: list[dict[str, Any]], turns: list[int], every: int) -> float:
    told = []
    for slot in part.slots:
        pictures = []
        frames = 1 if part.window is None else part.window.frames
        stride = 1 if part.window is None else part.window.stride
        for place in range(len(seen) - 1, -1, -stride)[:frames]:
            camera = slot[turns[place] % len(slot)]
            pictures.append(np.full((1, SIZE, SIZE, 3), seen[place][camera], np.uint8))
        if part.window is not None and part.window.join == "motion":
            film = [model.look(picture)[1][0].astype(np.float64) for picture in reversed(pictures)]
            film = [film[0]] * (frames - len(film)) + film
            told.append(model.watch(np.stack(film), stride * every))
        elif hasattr(model, "embed"):
            embeddings = [model.embed(picture)[0].astype(np.float64) for picture in pictures]
            if part.window is not None and part.window.join == "change":
                told.append(model.change(embeddings[-1], embeddings[0]))
            elif part.window is not None:
                mean = np.mean(embeddings, axis=0)
                unit = mean / np.sqrt((mean * mean).sum())
                told.append(float(model.value(unit[None].astype(np.float32))[0]))
            else:
                told.append(float(model.value(embeddings[0][None].astype(np.float32))[0]))
        else:
            numbers = [float(model(picture)[0]) for picture in pictures]
            change = part.window is not None and part.window.join == "change"
            told.append(numbers[0] - numbers[-1] if change else float(np.mean(numbers)))
    joined = {"max": max, "min": min, "mean": lambda of: sum(of) / len(of), "turn": lambda of: of[0]}[part.views](told)
    return float(part.scale * (joined - part.center))


def _weight(weight: float, fade: Any, made: int) -> float:
    if fade is None:
        return weight
    return weight + (fade.to - weight) * min(max((made - fade.after) / fade.over, 0.0), 1.0)


def _joined(spec: RewardSpec, worths: list[float], made: int) -> float:
    """The whole before its weight and shape; `worths` of a sum have their weights."""
    if spec.combine == "sum":
        total = sum(-worth if part.avoid else worth for part, worth in zip(spec.all_parts, worths, strict=True))
    else:
        truths = []
        for part, worth in zip(spec.all_parts, worths, strict=True):
            truth = min(max(worth, 0.0), 1.0)
            truth = 1 - truth if part.avoid else truth
            truths.append(truth ** _weight(part.weight, part.fade, made) if spec.combine == "product" else truth)
        total = min(truths) if spec.combine == "min" else float(np.prod(truths))
    return spec.scale * (total - spec.center)


def _potentials(spec: RewardSpec, values: list[float], made: int) -> Any:
    weighted = [
        _weight(part.weight, part.fade, made) * value for part, value in zip(spec.all_parts, values, strict=True)
    ]
    worths = weighted if spec.combine == "sum" else values
    whole = _weight(spec.weight, spec.fade, made)
    return [whole * worth for worth in weighted], whole * _joined(spec, worths, made)


def _paid(spec: RewardSpec, values: list[float], last: Any, made: int, terminal: bool) -> Any:
    now = _potentials(spec, values, made)

    def shaped(shape: Any, after: float, before: float) -> float:
        if shape.kind == "difference":
            return after - before
        return shape.gamma * (0.0 if terminal else after) - before

    whole = _weight(spec.weight, spec.fade, made)
    if any(part.shape is not None for part in spec.all_parts):  # of a sum; their potentials have all weights
        total = 0.0
        for place, part in enumerate(spec.all_parts):
            paid = now[0][place] if part.shape is None else shaped(part.shape, now[0][place], last[0][place])
            total += -paid if part.avoid else paid
        return spec.scale * (total - whole * spec.center), now
    return (now[1] if spec.shape is None else shaped(spec.shape, now[1], last[1])), now
