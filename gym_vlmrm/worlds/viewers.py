"""Gymnasium's MuJoCo renderers inside an environment: found where something leads to them, and aimed."""

import gc
import types
import weakref
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.errors import TaskError, did_you_mean
from gym_vlmrm.task.spec import CameraSpec
from gym_vlmrm.worlds.contexts import rendering_module

__all__ = ["Viewers", "camera_number", "find_renderers"]

MAX_OBJECTS = 20_000
"""That are looked through; wrappers, containers and what they hold count."""
_OPAQUE = {"numpy", "mujoco", "torch", "logging"}
_CAMERA = ("scene", "camera")


def find_renderers(env: Any) -> list[Any]:
    """Return every `MujocoRenderer` and loose `OffScreenViewer` that an environment leads to, the nearest first.

    What the garbage collector sees is looked through, up to a limit: attributes, slots, containers of any size,
    closures, bound methods. Nothing is executed: properties are not read. What only a class or a module holds is not
    the environment's own, and is not found.
    """
    module = rendering_module()
    if module is None:
        return []
    wanted = (module.MujocoRenderer, module.OffScreenViewer)
    found: list[Any] = []
    seen, level = {id(env)}, [env]
    while level:
        below: list[Any] = []
        for thing in level:
            if issubclass(type(thing), wanted):  # `isinstance` would ask the thing
                found.append(thing)
            elif not _is_opaque(thing):
                for child in gc.get_referents(thing):
                    if gc.is_tracked(child) and id(child) not in seen and len(seen) < MAX_OBJECTS:
                        seen.add(id(child))
                        below.append(child)
        level = below
    return found


def _is_opaque(thing: Any) -> bool:
    kind = type(thing)
    if issubclass(kind, type | types.ModuleType | types.FrameType | gym.Space):
        return True
    is_namespace = kind is dict and not {"__builtins__", "__build_class__"}.isdisjoint(thing)
    return is_namespace or kind.__module__.partition(".")[0] in _OPAQUE


class Viewers:
    """The renderers of an environment, all of which look through the camera of its task."""

    def __init__(self, env: Any, env_id: str, camera: CameraSpec | None) -> None:
        """Look through `env`, and aim what is there.

        Raises:
            TaskError: no model has the camera, or no renderer was found.
        """
        self._env, self._env_id, self._camera = env, env_id, camera
        self._aimed: weakref.WeakSet[Any] = weakref.WeakSet()
        self._has_drawn = False
        self.renderers = find_renderers(env)
        if camera is not None and not self.renderers:
            what = f"Gymnasium's MuJoCo renderer draws, and a look through '{env_id}' found none"
            raise TaskError(f"scene.camera is for environments that {what}; remove it", field=_CAMERA)
        self._aim_all()

    def look_anew(self) -> None:
        """Look now and after the next picture: environments make renderers late, or new ones at a reset.

        Raises:
            TaskError: no model has the camera.
        """
        self._has_drawn = False
        self._look()

    def after_drawing(self) -> None:
        """Aim what was made for the first picture; it is the second that is seen through the camera."""
        if not self._has_drawn:
            self._has_drawn = True
            self._look()

    def turn_to(self, camera: CameraSpec) -> None:
        """Look through another camera, from now on.

        Raises:
            TaskError: no model has the camera.
        """
        self._camera = camera
        self._aim(list(self.renderers), camera)

    def _look(self) -> None:
        if self._camera is not None:
            self.renderers = find_renderers(self._env)
            self._aim_all()

    @property
    def cameras(self) -> list[dict[str, dict[str, Any]]]:
        """Where each renderer looks from, by kind of picture; nothing of those that have drawn none yet.

        A camera without a fixed aim is aimed at wherever the body is when the first picture is drawn, so it is part of
        the state of a world.
        """
        self._find_if_none()
        return [{mode: _camera_state(viewer.cam) for mode, viewer in _by_mode(found)} for found in self.renderers]

    def put_cameras(self, cameras: list[dict[str, dict[str, Any]]], draw: Callable[[], Any]) -> None:
        """Aim the renderers as those of another such environment were; `draw` makes them draw.

        Raises:
            ValueError, KeyError, TypeError: they do not fit.
        """
        self._find_if_none()
        if any(cameras) and [set(stored) for stored in cameras] != [set(dict(_by_mode(r))) for r in self.renderers]:
            draw()
            self._find_if_none()
        if any(cameras) and len(cameras) != len(self.renderers):
            raise ValueError(f"{len(cameras)} cameras where there are {len(self.renderers)}")
        for renderer, stored in zip(self.renderers, cameras, strict=False):
            for mode, viewer in _by_mode(renderer):
                if mode in stored:
                    _put_camera(viewer.cam, stored[mode])
                elif viewer is not renderer:  # not yet drawn there: the first picture will aim it
                    viewer.close()
                    del renderer._viewers[mode]

    def _find_if_none(self) -> None:
        if not self.renderers:
            self.renderers = find_renderers(self._env)

    def _aim_all(self) -> None:
        new = [renderer for renderer in self.renderers if renderer not in self._aimed]
        if self._camera is not None and new:
            self._aim(new, self._camera)
        self._aimed.update(new)

    def _aim(self, renderers: list[Any], camera: CameraSpec) -> None:
        if camera.fixed is None:
            for renderer in renderers:
                _set_free(renderer, camera)
            return
        numbers = [_find(renderer.model, camera.fixed) for renderer in renderers]
        if all(number is None for number in numbers):
            raise no_camera(self._env_id, renderers[0].model, camera.fixed)
        for renderer, number in zip(renderers, numbers, strict=True):
            if number is not None:
                _set_fixed(renderer, number)


def camera_number(env_id: str, model: Any, fixed: str | int) -> int:
    """Return the number of a model's camera, given its name or number.

    Raises:
        TaskError: the model has no such camera; those that it has are listed.
    """
    number = _find(model, fixed)
    if number is None:
        raise no_camera(env_id, model, fixed)
    return number


def _find(model: Any, fixed: str | int) -> int | None:
    if isinstance(fixed, int):
        return fixed if fixed < model.ncam else None
    return next((number for number in range(model.ncam) if model.camera(number).name == fixed), None)


def no_camera(env_id: str, model: Any, fixed: str | int) -> TaskError:
    """Return the error that lists the cameras of a model."""
    names = [model.camera(number).name for number in range(model.ncam)]
    listing = ", ".join(f"{number} ({name!r})" if name else str(number) for number, name in enumerate(names))
    if isinstance(fixed, int):
        guess, key = "", "id"
    else:
        guess, key = did_you_mean(fixed, filter(None, names)), "name"
    guess = guess if guess.startswith("; did") else ""
    known = f"cameras: {listing}" if names else "it has no camera of its own; use distance, lookat, elevation, azimuth"
    return TaskError(f"'{env_id}' has no camera {fixed!r}{guess}; {known}", field=(*_CAMERA, key))


def _set_fixed(renderer: Any, number: int) -> None:
    import mujoco

    renderer.camera_id = number
    for viewer in _viewers(renderer):
        viewer.cam.type, viewer.cam.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, number


def _set_free(renderer: Any, camera: CameraSpec) -> None:
    import mujoco

    settings = {**camera.model_dump(), "lookat": np.array(camera.lookat)}
    renderer.camera_id, renderer.default_cam_config = -1, settings
    for viewer in _viewers(renderer):
        viewer.cam.type, viewer.cam.fixedcamid = mujoco.mjtCamera.mjCAMERA_FREE, -1
        viewer.cam.lookat[:] = settings["lookat"]
        for name in ("distance", "elevation", "azimuth"):
            setattr(viewer.cam, name, settings[name])


def _viewers(renderer: Any) -> list[Any]:
    """Return what was made so far of offscreen viewers; a loose one is its own."""
    return [viewer for _, viewer in _by_mode(renderer)]


def _by_mode(renderer: Any) -> list[tuple[str, Any]]:
    known = getattr(renderer, "_viewers", None)
    if known is None:
        return [("", renderer)]
    return [(mode, viewer) for mode, viewer in known.items() if hasattr(viewer, "opengl_context")]


_CAMERA_STATE = ("type", "fixedcamid", "trackbodyid", "distance", "azimuth", "elevation")


def _camera_state(camera: Any) -> dict[str, Any]:
    return {**{name: getattr(camera, name) for name in _CAMERA_STATE}, "lookat": np.array(camera.lookat)}


def _put_camera(camera: Any, state: dict[str, Any]) -> None:
    for name in _CAMERA_STATE:
        setattr(camera, name, state[name])
    camera.lookat[:] = state["lookat"]
