"""The reward model of a process that holds none: it asks the server of this host."""

import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.errors import ModelError, TaskError, VLMRMError, WorkerError
from gym_vlmrm.reward import loading
from gym_vlmrm.reward.parts import PartsReward
from gym_vlmrm.reward.protocol import check_frames, check_rewards, check_sides
from gym_vlmrm.serving.place import find_place
from gym_vlmrm.serving.starting import ask, find_server
from gym_vlmrm.serving.wire import MAX_COUNT, MAX_FRAMES, GoneError, SharedFrames, Wire, WireError
from gym_vlmrm.task.spec import RewardSpec
from gym_vlmrm.worlds.pools.processes import patience

__all__ = ["SharedReward", "share_reward_model"]


def share_reward_model(judge: RewardSpec) -> "SharedReward | PartsReward":
    """Return the reward model of a task's section ``reward:``; the servers of this host hold what it asks.

    Of a reward made of parts each part asks by itself, those of one model the same server.

    Raises:
        ModelError: a model is unknown, unreachable or cannot run here.
        TaskError: a part has a window, which needs embeddings, and servers tell rewards.
        WorkerError: a server dies or does not answer.
    """
    parts = () if judge.plain else judge.all_parts
    for part in parts:
        if part.window is not None:
            message = f"part '{part.name}' has a window, and a shared model tells no embeddings; leave out share_model"
            raise TaskError(message, field=("reward", *part.at, "window"))
    for name in judge.models:
        loading.tell_of_model(name)
    if judge.plain:
        return SharedReward(judge)
    arithmetic = {"device": judge.device, "precision": judge.precision}
    asked = [
        RewardSpec(goal=list(part.goals), baseline=list(part.baselines) or None, alpha=part.alpha, model=part.model)
        for part in parts
    ]
    return PartsReward(judge, [SharedReward(spec.model_copy(update=arithmetic)) for spec in asked])


class SharedReward:
    """Scores frames by the server's model; see `gym_vlmrm.reward.protocol.RewardModel`."""

    concurrent = False

    def __init__(self, judge: RewardSpec) -> None:
        """Connect to the server, started if need be; raises as `share_reward_model` does."""
        self._judge = judge
        self._link = _Link.of_process(judge)
        facts = self._link.facts
        for said in self._link.warnings_of(judge):
            kind, _, text = said.partition(": ")
            category = getattr(loading, kind, None)
            warnings.warn(category(text) if category in _CATEGORIES else UserWarning(text), stacklevel=3)
        self.name, self.frame_size = judge.model, int(facts["frame_size"])
        self.weights_digest, self.precision, self.device = (
            str(facts[key]) for key in ("weights_digest", "precision", "device")
        )

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 RGB frames (N, H, W, 3).

        Raises:
            ModelError: the frames are no such pictures, have too long a side, or the server's model cannot score them.
            WorkerError: the server died twice in a row, or does not answer.
        """
        pictures = check_frames(frames)
        check_sides(*pictures.shape[1:3])
        most = min(MAX_COUNT, MAX_FRAMES // max(1, int(np.prod(pictures.shape[1:]))))
        if most == 0:
            raise ModelError(f"a frame of shape {pictures.shape[1:]} is too large for the reward server")
        parts = [pictures[start : start + most] for start in range(0, len(pictures), most)]
        rewards = [np.asarray(self._link.score(self._judge, part), np.float32) for part in parts]
        found = np.concatenate(rewards) if rewards else np.zeros(0, np.float32)
        return check_rewards(found, len(pictures), self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return share_reward_model, (self._judge,)


_CATEGORIES = (loading.UnknownWordsWarning, loading.CutPromptWarning)


class _Link:
    """This process's connection to the server of one model; all of its environments share it."""

    def __init__(self, judge: RewardSpec) -> None:
        self._spec = judge
        self._lock = threading.Lock()
        self._wire: Wire | None = None
        self._frames: SharedFrames | None = None
        self._judges: dict[str, int] = {}
        self._warnings: dict[str, list[str]] = {}
        self.facts: dict[str, Any] = {}
        with self._lock:
            self._open()

    @classmethod
    def of_process(cls, judge: RewardSpec) -> "_Link":
        """Return the link of this process to a model's server, made if there is none."""
        key = find_place(judge).key
        with _MAKING:
            link = _LINKS.get(key)
            if link is None:
                link = _LINKS[key] = cls(judge)
            return link

    def warnings_of(self, judge: RewardSpec) -> list[str]:
        """Give the server prompts, and return what there is to warn of them."""
        self._try_twice(lambda: self._number(judge))
        return self._warnings[_name(judge)]

    def score(self, judge: RewardSpec, frames: NDArray[np.uint8]) -> list[float]:
        """Return the rewards of frames (N, H, W, 3)."""

        def once() -> Any:
            number = self._number(judge)
            assert self._frames is not None
            self._frames.write(frames)
            return self._ask({"do": "score", "judge": number, "shape": list(frames.shape[:3])})["rewards"]

        rewards: list[float] = self._try_twice(once)
        return rewards

    def _try_twice(self, action: Any) -> Any:
        """Do something, and once more with a new server where the old one has gone."""
        with self._lock:
            for last in (False, True):
                try:
                    if self._wire is None:
                        self._open()
                    return action()
                except GoneError as error:
                    self._drop()
                    if last:
                        raise WorkerError(
                            f"the reward server went away twice in a row ({error}); perhaps memory ran out: try a "
                            "smaller model, or fewer environments"
                        ) from None
                except WireError as error:
                    self._drop()
                    raise ModelError(f"the reward server's answer cannot be understood: {error}") from None
                except BaseException as error:
                    # What the server refused in so many words leaves the talk whole; anything else, in pieces.
                    if not isinstance(error, VLMRMError) or isinstance(error, WorkerError):
                        self._drop()
                    raise
        raise AssertionError("unreachable")

    def _open(self) -> None:
        wire, facts = find_server(self._spec)
        before = self.facts.get("weights_digest")
        if before is not None and facts["weights_digest"] != before:
            wire.close()
            raise ModelError(f"model '{self._spec.model}' has other weights than before; start again")
        self._wire, self.facts, self._judges = wire, facts, {}
        self._frames = SharedFrames()
        self._ask({"do": "memory"}, self._frames.descriptor)

    def _number(self, judge: RewardSpec) -> int:
        name = _name(judge)
        if name not in self._judges:
            asked = {"goal": judge.goals, "baseline": judge.baselines or None, "alpha": judge.alpha}
            answer = self._ask({"do": "prompts", **asked})
            self._judges[name], self._warnings[name] = int(answer["judge"]), [str(text) for text in answer["warnings"]]
        return self._judges[name]

    def _ask(self, message: dict[str, Any], descriptor: int | None = None) -> dict[str, Any]:
        assert self._wire is not None
        return ask(self._wire, message, patience(), descriptor)

    def _drop(self) -> None:
        if self._wire is not None:
            self._wire.close()
        if self._frames is not None:
            self._frames.close()
        self._wire = self._frames = None

    def forget(self) -> None:
        """Leave the connection to the process that this one was forked from."""
        self._lock = threading.Lock()
        self._drop()

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not ending():  # else modules are empty already, and the system closes what is open
            self._drop()


def _name(judge: RewardSpec) -> str:
    return repr((judge.goals, judge.baselines, judge.alpha))


_LINKS: "WeakValueDictionary[str, _Link]" = WeakValueDictionary()
_MAKING = threading.Lock()


def _after_fork() -> None:
    """A forked process opens connections of its own: two that speak through one would read each other's rewards."""
    global _MAKING
    _MAKING = threading.Lock()
    for link in list(_LINKS.values()):
        link.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
