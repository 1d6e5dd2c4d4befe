"""Further cameras of a world, and the pictures that a reward needs of one step."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.arrays import Frames
from gym_vlmrm.errors import TaskError
from gym_vlmrm.task.parts import MAIN, Shots
from gym_vlmrm.task.spec import CameraSpec, SceneSpec
from gym_vlmrm.worlds.hidden import HiddenWrapper

__all__ = ["ManyCameras", "main_pictures", "picture_shape", "take_pictures", "with_cameras"]


class ManyCameras(HiddenWrapper):
    """`picture` looks through a camera by its name, and `render` through the main one as ever."""

    counters = ()

    def __init__(self, env: gym.Env[Any, Any], cameras: Mapping[str, CameraSpec]) -> None:
        """Wrap an environment with ``look_through(camera)``; `cameras` has the main one among them.

        Raises:
            TaskError: the environment's model lacks one of them.
        """
        super().__init__(env)
        self._cameras = dict(cameras)
        self._look_through: Any = env.get_wrapper_attr("look_through")
        for name in [*(name for name in cameras if name != MAIN), MAIN]:
            try:
                self._look_through(self._cameras[name])
            except TaskError as error:
                kind = error.field[2:]  # of scene.camera
                place = ("scene", "camera") if name == MAIN else ("scene", "cameras", name)
                raise TaskError(str(error), field=(*place, *kind)) from None

    def picture(self, name: str) -> Any:
        """Return what `render` would through another camera."""
        self._look_through(self._cameras[name])
        try:
            return self.env.render()
        finally:
            self._look_through(self._cameras[MAIN])


def with_cameras(env: gym.Env[Any, Any], scene: SceneSpec, env_id: str) -> gym.Env[Any, Any]:
    """Return the environment of a scene with its further cameras, or as it is where it has none.

    Raises:
        TaskError: it has no such cameras, or none at all.
    """
    if not scene.cameras:
        return env
    field = ("scene", "cameras")
    if not env.has_wrapper_attr("look_through"):
        message = f"scene.cameras is for environments that MuJoCo draws, and '{env_id}' is drawn flat; remove it"
        raise TaskError(message, field=field)
    if scene.camera is None and not env.get_wrapper_attr("has_own_camera"):
        message = f"scene.cameras of '{env_id}' need 'scene.camera:' too, through which it is shown; add it"
        raise TaskError(message, field=field)
    return ManyCameras(env, {name: scene.camera_of(name) for name in (MAIN, *scene.cameras)})


def picture_shape(shots: Shots, size: int) -> tuple[int, ...]:
    """Shape of the pictures of a step: (size, size, 3), with an axis of slots before it where there are several."""
    several = () if len(shots.slots) == 1 else (len(shots.slots),)
    return (*several, size, size, 3)


def main_pictures(frames: Frames) -> Frames:
    """Return of the pictures of N steps those of the first slot, (N, S, S, 3)."""
    return frames if frames.ndim == 4 else frames[:, 0]


def take_pictures(env: gym.Env[Any, Any], shots: Shots, turn: int) -> Frames:
    """Return the pictures of a world's present state, one per slot; what two slots see is drawn once.

    Args:
        env: the world.
        shots: which pictures.
        turn: number of the scored step in its episode, from 0, which says whose turn it is.
    """
    if shots.slots == ((MAIN,),):
        return env.render()  # type: ignore[return-value]
    drawn: dict[str, Any] = {}
    for slot in shots.slots:
        name = slot[turn % len(slot)]
        if name not in drawn:
            drawn[name] = env.render() if name == MAIN else env.get_wrapper_attr("picture")(name)
    pictures = [np.asarray(drawn[slot[turn % len(slot)]]) for slot in shots.slots]
    return pictures[0] if len(pictures) == 1 else np.stack(pictures)
