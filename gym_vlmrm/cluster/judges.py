"""Replicas of a reward model on a cluster: a batch goes to one that is free, and to another if that dies."""

import os
import queue
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.cluster.connecting import ClusterError, accelerators, free_cores, lost, package_version
from gym_vlmrm.errors import ModelError, VLMRMError, WorkerError
from gym_vlmrm.reward.loading import load_judge
from gym_vlmrm.reward.protocol import check_frames, is_concurrent, signals_of
from gym_vlmrm.reward.threads import take_torch_threads
from gym_vlmrm.task.spec import RewardSpec
from gym_vlmrm.worlds.pools.processes import patience, too_slow, wait_patiently

__all__ = ["ClusterReward", "Judges", "Places", "find_places"]

AHEAD = 2
"""Batches that one replica has at a time: the next one's frames come while it judges."""
TRIES = 10
"""Replicas that a batch may cost: one that ends every replica is at fault itself."""


@dataclass(frozen=True)
class Places:
    """What replicas there are, and what each of them reserves."""

    replicas: int
    cores: int
    gpus: int


def find_places(ray: Any, replicas: int | None = None, cores: int | None = None) -> Places:
    """Say how many replicas a cluster bears: one per free accelerator, else one per `cores` free cores.

    Args:
        ray: connected.
        replicas: how many there shall be, where that is given.
        cores: of each; 1 if not given.
    """
    gpus = accelerators(ray)
    count = gpus or free_cores(ray) // (cores or 1)
    return Places(replicas or max(1, count), cores or 1, min(gpus, 1))


class _Replica:
    """The reward model in a process of its own, somewhere."""

    def __init__(self, judge: dict[str, Any], cores: int) -> None:
        self._failed: Exception | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of prompts: the learner says it
                self._model: Any = load_judge(RewardSpec.model_validate(judge))
        except Exception as error:  # an answer and no death, which Ray would try to cure
            self._failed = error
            return
        on_cpu = str(getattr(self._model, "device", None) or "cpu").startswith("cpu")
        if on_cpu:  # a model whose calls run beside each other has one thread for each, as on one machine
            take_torch_threads(1 if is_concurrent(self._model) else cores)

    def facts(self) -> dict[str, Any]:
        """What the learner needs to know of the model; raises what kept it from loading."""
        if self._failed is not None:
            raise self._failed
        names = ("name", "frame_size", "weights_digest", "precision", "device", "concurrent", "small")
        return {"package": package_version(), **{name: getattr(self._model, name, None) for name in names}}

    def process(self) -> int:
        """Its number on its machine."""
        return os.getpid()

    def signals(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the model tells of pictures."""
        # What comes through Ray's store may not be written to, and a model may well write.
        return signals_of(self._model, pictures if pictures.flags.writeable else pictures.copy())


class Judges:
    """All replicas. Each batch is judged to the end exactly once, whoever dies meanwhile, and its result is its own."""

    def __init__(self, ray: Any, judge: RewardSpec, places: Places, on_notice: Callable[[str], None]) -> None:
        """Start replicas, and wait until one of them is ready.

        Raises:
            ModelError: the model cannot be loaded there, or replicas differ in it.
            ClusterError: no replica starts.
        """
        self._ray, self._on_notice, self._seconds = ray, on_notice, patience()
        self.places = places
        actor = ray.remote(_Replica).options(
            num_cpus=places.cores, num_gpus=places.gpus, max_restarts=-1, max_task_retries=0,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        self.replicas = [actor.remote(judge.model_dump(), places.cores) for _ in range(places.replicas)]
        self._free: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        """Replicas and which of their lives is meant: what was free of one before it died is no more."""
        self._lives = [0] * places.replicas
        self._closed = threading.Event()
        self._changing = threading.Lock()
        self.judged_again = 0
        """Batches that were given to another replica because theirs had died."""
        try:
            self.facts = self._first_facts()
        except BaseException:
            self.close()
            raise
        self._team = ThreadPoolExecutor(AHEAD * places.replicas, thread_name_prefix="judging")

    def _first_facts(self) -> dict[str, Any]:
        """Wait for the first replica; the others join in when they are ready."""
        waiting = {replica.facts.remote(): index for index, replica in enumerate(self.replicas)}
        found = wait_patiently(lambda wait: self._ray.wait(list(waiting), timeout=wait)[0], self._seconds)
        if not found:
            raise ClusterError(
                f"none of {len(self.replicas)} replicas of the judge found its place within {self._seconds:g} s: each "
                f"wants {self.places.cores} cores and {self.places.gpus} accelerators, and the cluster has "
                f"{free_cores(self._ray)} and {accelerators(self._ray)} free"
            )
        try:
            facts: dict[str, Any] = self._ray.get(found[0])
        except self._ray.exceptions.RayError as error:
            raise self._reason(error) from None
        self._check(facts, facts)
        first = waiting.pop(found[0])
        self._join(first)
        for index in waiting.values():
            self._await(index, facts)
        return facts

    def _check(self, facts: dict[str, Any], first: dict[str, Any]) -> None:
        if facts["package"] != package_version():
            raise ModelError(
                f"gym-vlmrm is {package_version()} here and {facts['package']} on a machine of the cluster; install "
                "one version everywhere"
            )
        for name in ("weights_digest", "precision"):
            if facts[name] != first[name]:
                raise ModelError(
                    f"replicas of '{first['name']}' differ in {name} ({first[name]} and {facts[name]}): a run is "
                    "judged by one model; give every machine the same file, and --precision"
                )

    def _join(self, index: int) -> None:
        for _ in range(AHEAD):
            self._free.put((index, self._lives[index]))

    def _await(self, index: int, first: dict[str, Any]) -> None:
        """Let a replica join in once it is up; whether that is ever so, nobody waits for it."""

        def wait() -> None:
            while not self._closed.is_set():
                try:
                    facts = self._ray.get(self.replicas[index].facts.remote(), timeout=5.0)
                    self._check(facts, first)
                except self._ray.exceptions.RayError:
                    self._closed.wait(0.2)
                    continue
                except ModelError as error:
                    self._on_notice(f"{error}. That replica is left out")
                    return
                except Exception:  # Ray was shut down
                    return
                self._join(index)
                return

        threading.Thread(target=wait, name=f"replica-{index}", daemon=True).start()

    def submit(self, pictures: NDArray[np.uint8]) -> "Future[NDArray[np.float32]]":
        """Judge pictures in the background; they must not be changed before the signals are there."""
        return self._team.submit(self._judge, pictures)

    def _judge(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        ray, last = self._ray, ""
        batch = ray.put(np.ascontiguousarray(pictures))
        for _ in range(TRIES):
            place = self._take()
            try:
                signals = self._answer(self.replicas[place[0]].signals.remote(batch))
            except lost(ray) as error:
                last = type(error).__name__
                self.judged_again += 1
                self._lose(*place)
                batch = ray.put(np.ascontiguousarray(pictures))
                continue
            except BaseException:
                self._free.put(place)
                raise
            self._free.put(place)
            return signals
        raise WorkerError(
            f"{TRIES} replicas of the judge died of one batch ({last}); perhaps memory ran out: try a smaller model"
        )

    def _answer(self, asked: Any) -> NDArray[np.float32]:
        found = wait_patiently(lambda wait: self._ray.wait([asked], timeout=wait)[0], self._seconds)
        if not found:
            raise too_slow("a replica of the judge", "score", self._seconds)
        try:
            return np.array(self._ray.get(found[0]))
        except self._ray.exceptions.RayTaskError as error:
            raise self._reason(error) from None

    def _take(self) -> tuple[int, int]:
        """Wait for a replica that is free."""

        def look(seconds: float) -> list[tuple[int, int]]:
            try:
                return [self._free.get(timeout=seconds)]
            except queue.Empty:
                return []

        while True:
            found = wait_patiently(look, self._seconds)
            if not found:
                raise WorkerError(f"no replica of the judge has come back for {self._seconds:g} s; is the cluster up?")
            index, life = found[0]
            if life == self._lives[index]:
                return index, life

    def _lose(self, index: int, life: int) -> None:
        """A replica has died: Ray starts it anew where there is room, and until then others do its work."""
        with self._changing:
            if life != self._lives[index]:  # another batch of it has said so
                return
            self._lives[index] += 1
        self._await(index, self.facts)

    def _reason(self, error: Exception) -> Exception:
        cause = getattr(error, "cause", None)
        if isinstance(cause, VLMRMError):
            return cause
        words = " ".join(str(cause or error).strip().splitlines()[-1:])
        return ModelError(f"a replica of the judge failed: {type(cause or error).__name__}: {words[:300]}")

    def close(self) -> None:
        """End all replicas; what still waits is not judged."""
        self._closed.set()
        if hasattr(self, "_team"):
            self._team.shutdown(wait=False, cancel_futures=True)
        for replica in self.replicas:
            try:
                self._ray.kill(replica)
            except Exception:  # the cluster is gone before its actors
                return


class ClusterReward:
    """The `RewardModel` of a training whose judges are elsewhere.

    Of a plain reward nothing is loaded here. One that is made of parts remembers episodes, and for that its model is
    loaded here too (`local`), which judges nothing.
    """

    def __init__(self, judges: Judges, local: Any = None) -> None:
        facts = judges.facts
        self.name, self.frame_size = str(facts["name"]), int(facts["frame_size"])
        self.weights_digest, self.precision, self.device = (
            facts[name] for name in ("weights_digest", "precision", "device")
        )
        self.concurrent, self.small = bool(facts["concurrent"]), bool(facts["small"])
        self.judges, self.places = judges, AHEAD * judges.places.replicas
        self._local = local
        if local is not None:
            self.memory, self.signals = local.memory, self._signals

    def submit(self, frames: NDArray[np.uint8]) -> "Future[NDArray[np.float32]]":
        """Score frames in the background, somewhere."""
        return self.judges.submit(frames)

    def _signals(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.judges.submit(pictures).result()

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rewards, float32 (N,), of uint8 frames (N, H, W, 3).

        Raises:
            ModelError: the model cannot score them. WorkerError: no replica is left.
        """
        pictures = check_frames(frames)
        if self._local is not None:
            seen = self._local.seen_by_all(pictures)
            return np.asarray(self._local.alone(self._local.parts_alone(self._signals(seen))), np.float32)
        return self._signals(pictures)
