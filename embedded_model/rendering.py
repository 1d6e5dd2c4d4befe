"""Pictures of given states: one process per core, each with its own renderer, into one file of frames."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gym_vlmrm.finetuning.scratch import FRAME_SIZE
from gym_vlmrm.worlds.cartpole import CartPoleScene
from gym_vlmrm.worlds.humanoid.env import HumanoidScene
from gym_vlmrm.worlds.mountain_car import MountainCarScene
from gym_vlmrm.worlds.pools.cores import usable_cores

__all__ = ["render_film", "render_now", "render_states"]

ORIGINAL_SHARE = 0.1
"""Share of the frames that wear Gymnasium's own look."""
STANDARD_SHARE = 0.03
"""Share of the humanoid's frames that are drawn with multisampling."""
_CHUNK = 500


def render_states(domain: str, states: NDArray[np.float64], path: Path, seed: int) -> None:
    """Render states, with all cores, into a ``.npy`` file of uint8 frames (N, FRAME_SIZE, FRAME_SIZE, 3).

    Arguments are those of `render_now`, whose variety they get.
    """
    frames = np.lib.format.open_memmap(path, "w+", np.uint8, (len(states), FRAME_SIZE, FRAME_SIZE, 3))
    jobs = [(domain, states[i : i + _CHUNK], [seed, i], True) for i in range(0, len(states), _CHUNK)]
    with ProcessPoolExecutor(usable_cores(), mp_context=get_context("spawn")) as workers:
        for index, chunk in enumerate(workers.map(_render_chunk, *zip(*jobs, strict=True))):
            frames[index * _CHUNK : index * _CHUNK + len(chunk)] = chunk
    frames.flush()


def render_now(domain: str, states: NDArray[np.float64], seed: int, *, jitter: bool = True) -> NDArray[np.uint8]:
    """Render states in this process.

    Args:
        domain: ``humanoid``, ``cartpole`` or ``mountain-car``.
        states: (N, ...) states as `embedded_model.states` draws them.
        seed: draws camera, light and look.
        jitter: vary camera, light and look; otherwise every frame is as the tasks show it.

    Returns:
        uint8 (N, FRAME_SIZE, FRAME_SIZE, 3).
    """
    return _render_chunk(domain, states, [seed], jitter)


def render_film(states: NDArray[np.float64], seed: int) -> NDArray[np.uint8]:
    """Render humanoid states (N, 24) by one camera, in one light and look, drawn by `seed`; as `render_now` returns."""
    return np.stack([_humanoid(state, np.random.default_rng(seed), True) for state in states])


_environments: dict[Any, Any] = {}


def _environment(scene: Callable[..., Any], **kwargs: Any) -> Any:
    """Build an environment once per process."""
    key = (scene, *sorted(kwargs.items()))
    if key not in _environments:
        _environments[key] = scene(render_size=FRAME_SIZE, **kwargs)
        _environments[key].reset(seed=0)
    return _environments[key]


def _render_chunk(domain: str, states: NDArray[np.float64], seed: list[int], jitter: bool) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    draw = {"humanoid": _humanoid, "cartpole": _cartpole, "mountain-car": _mountain_car}[domain]
    return np.stack([draw(state, rng, jitter) for state in states])


def _look(rng: np.random.Generator, jitter: bool) -> str:
    return "original" if jitter and rng.random() < ORIGINAL_SHARE else "textured"


def _humanoid(qpos: NDArray[np.float64], rng: np.random.Generator, jitter: bool) -> NDArray[np.uint8]:
    quality = "standard" if jitter and rng.random() < STANDARD_SHARE else "draft"
    env = _environment(HumanoidScene, look=_look(rng, jitter), quality=quality)
    camera = {"distance": 3.5, "elevation": -10.0, "azimuth": 180.0, "lookat": [0.0, 0.0, 1.0]}
    if jitter:
        wide = 2.0 if rng.random() < 0.2 else 0.6
        camera = {
            "distance": 3.5 + wide * rng.normal(0, 0.12),
            "elevation": -10.0 + wide * rng.normal(0, 4.0),
            "azimuth": 180.0 + wide * rng.normal(0, 8.0),
            "lookat": [*(wide * rng.normal(0, 0.04, 2)), 1.0 + wide * rng.normal(0, 0.04)],
        }
    env.set_camera(**camera)
    if not hasattr(env, "usual_light"):
        env.usual_light = env.model.light_diffuse.copy(), env.model.vis.headlight.diffuse.copy()
    gain = rng.uniform(0.8, 1.2, 2) if jitter else (1.0, 1.0)
    env.model.light_diffuse[:] = env.usual_light[0] * gain[0]
    env.model.vis.headlight.diffuse[:] = env.usual_light[1] * gain[1]
    env.place(qpos)
    return np.asarray(env.render())


def _cartpole(state: NDArray[np.float64], rng: np.random.Generator, jitter: bool) -> NDArray[np.uint8]:
    env = _environment(CartPoleScene, look=_look(rng, jitter))
    env.place(state)
    return np.asarray(env.render())


def _mountain_car(state: NDArray[np.float64], rng: np.random.Generator, jitter: bool) -> NDArray[np.uint8]:
    env = _environment(MountainCarScene, look=_look(rng, jitter))
    env.place(state)
    return np.asarray(env.render())
