"""Small networks, each begun and taught by other draws, that learn the judge's rewards from states."""

import itertools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd

from gym_vlmrm.worlds.triton import load_triton_apart

__all__ = ["Ensemble"]

MEMBERS = 5
HIDDEN = 64
BATCH = 128
LEARNING_RATE = 1e-3
CLIP = 10.0
"""Standard deviations from the mean beyond which a state's number says no more."""
CHUNK = 4096
"""States that are predicted at once."""
Floats32 = NDArray[np.float32]


class Ensemble:
    """`MEMBERS` networks of two hidden layers, learning from a memory that keeps everything. On the CPU, float32.

    Inputs are a state's numbers, and their sines and cosines: many are angles, and a pole that went round once more
    looks the same. They are scaled by mean and variance of all states seen, targets by those of all rewards told.
    """

    def __init__(self, width: int, random: np.random.Generator) -> None:
        """Begin with states of `width` numbers; `random` draws weights and batches, and belongs to the caller."""
        self._random = random
        self.inputs, self.targets = RunningMeanStd(shape=(3 * width,)), RunningMeanStd(shape=())
        self._states, self._rewards = np.zeros((0, width), np.float32), np.zeros(0, np.float32)
        self._length = 0
        sizes = [3 * width, HIDDEN, HIDDEN, 1]
        self._weights: list[torch.Tensor] = []
        for before, after in itertools.pairwise(sizes):
            bound = 1 / math.sqrt(before)
            for shape in ((MEMBERS, before, after), (MEMBERS, 1, after)):
                drawn = random.uniform(-bound, bound, shape).astype(np.float32)
                self._weights.append(torch.from_numpy(drawn).requires_grad_())
        load_triton_apart()  # the optimiser imports it, and this process may draw
        self._optimizer = torch.optim.Adam(self._weights, LEARNING_RATE)

    def __len__(self) -> int:
        """Return how many states and rewards it remembers."""
        return self._length

    def see(self, states: Floats32) -> None:
        """Take note of how states (N, D) are spread."""
        self.inputs.update(_numbers(states).astype(np.float64))

    def remember(self, states: Floats32, rewards: Floats32) -> None:
        """Keep states (N, D) and what the judge says of them (N,)."""
        if not len(states):
            return
        self.targets.update(rewards.astype(np.float64))
        end = self._length + len(states)
        if end > len(self._rewards):  # never written over: whoever holds a part of it, holds it for good
            room = max(1024, 2 * end)
            more, told = np.zeros((room, states.shape[1]), np.float32), np.zeros(room, np.float32)
            more[: self._length], told[: self._length] = self.memory
            self._states, self._rewards = more, told
        self._states[self._length : end], self._rewards[self._length : end] = states, rewards
        self._length = end

    @property
    def memory(self) -> tuple[Floats32, Floats32]:
        """All states (N, D) and rewards (N,) that it remembers, not copied."""
        return self._states[: self._length], self._rewards[: self._length]

    def learn(self, updates: int) -> None:
        """Make so many updates; each network draws a batch of its own from the whole memory, with replacement."""
        if not self._length:
            return
        mean, spread = self._scale()
        for _ in range(updates):
            rows = self._random.integers(self._length, size=(MEMBERS, BATCH))
            wanted = torch.from_numpy((self._rewards[rows] - np.float32(mean)) / np.float32(spread))
            loss = (self._forward(self._scaled(self._states[rows])) - wanted).square().mean(1).sum()
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()

    def predict(self, states: Floats32) -> Floats32:
        """Return what each network thinks that states (N, D) are worth, (M, N)."""
        mean, spread = self._scale()
        told = [np.zeros((MEMBERS, 0), np.float32)]
        with torch.no_grad():
            for begin in range(0, len(states), CHUNK):
                told.append(self._forward(self._scaled(states[None, begin : begin + CHUNK])).numpy())
        return np.float32(mean) + np.float32(spread) * np.concatenate(told, axis=1)

    def _scale(self) -> tuple[float, float]:
        return float(self.targets.mean), max(math.sqrt(float(self.targets.var)), 1e-8)

    def _scaled(self, states: Floats32) -> torch.Tensor:
        scaled = (_numbers(states) - self.inputs.mean) / np.sqrt(self.inputs.var + 1e-8)
        return torch.from_numpy(np.clip(scaled, -CLIP, CLIP).astype(np.float32))

    def _forward(self, states: torch.Tensor) -> torch.Tensor:
        """What networks make of states (M or 1, N, D), scaled: (M, N)."""
        values = states.expand(MEMBERS, -1, -1)
        for layer in range(0, len(self._weights), 2):
            weight, bias = self._weights[layer : layer + 2]
            values = torch.baddbmm(bias, values, weight)
            if layer + 2 < len(self._weights):
                values = torch.nn.functional.silu(values)
        return values[..., 0]

    def state(self) -> dict[str, Any]:
        """Return all that it is as plain data, copied but for the memory, which only grows."""
        adam = [self._optimizer.state.get(weight) for weight in self._weights]
        states, rewards = self.memory
        return {
            "weights": [weight.detach().numpy().copy() for weight in self._weights],
            "moments": [[np.array(part[name].numpy()) for name in _MOMENTS] if part else [] for part in adam],
            "scales": [[np.array(kind.mean), np.array(kind.var), float(kind.count)] for kind in self._scales],
            "states": states,
            "rewards": rewards,
        }

    def put_state(self, state: dict[str, Any]) -> None:
        """Be as when `state` was asked for; raises KeyError, TypeError or ValueError where it is none of such a one."""
        weights, moments = state["weights"], state["moments"]
        for weight, new, parts in zip(self._weights, weights, moments, strict=True):
            _check(new, weight.shape)
            with torch.no_grad():
                weight.copy_(torch.from_numpy(np.array(new, np.float32)))
            if parts:
                step, *means = (torch.from_numpy(np.array(part, np.float32)) for part in parts)
                for mean in means:
                    _check(mean, weight.shape)
                self._optimizer.state[weight] = dict(zip(_MOMENTS, (step.reshape(()), *means), strict=True))
            else:
                self._optimizer.state.pop(weight, None)
        for kind, (mean, var, count) in zip(self._scales, state["scales"], strict=True):
            _check(mean, np.shape(kind.mean))
            _check(var, np.shape(kind.var))
            if np.min(var) < 0 or not count > 0:
                raise ValueError("no variance")
            kind.mean, kind.var, kind.count = np.array(mean, np.float64), np.array(var, np.float64), float(count)
        states, rewards = np.array(state["states"], np.float32), np.array(state["rewards"], np.float32)
        _check(states, (len(rewards), self._states.shape[1]))
        _check(rewards, (len(rewards),))
        self._states, self._rewards, self._length = states, rewards, len(rewards)

    @property
    def _scales(self) -> tuple[RunningMeanStd, RunningMeanStd]:
        return self.inputs, self.targets


def _numbers(states: Floats32) -> Floats32:
    """Return what is read (..., 3 D) of states (..., D)."""
    return np.concatenate([states, np.sin(states), np.cos(states)], axis=-1)


_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def _check(array: Any, shape: Any) -> None:
    """Raise ValueError where an array is of another shape, or not finite."""
    if tuple(np.shape(array)) != tuple(shape):
        raise ValueError(f"numbers of shape {tuple(np.shape(array))}, not {tuple(shape)}")
    if not np.isfinite(np.asarray(array)).all():
        raise ValueError("a number of the network is not finite")
