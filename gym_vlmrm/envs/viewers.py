"""Gymnasium's MuJoCo renderers inside an environment, wherever it keeps them: found, aimed, and each in its context."""

import contextlib
import sys
import weakref
from typing import Any

import gymnasium as gym
import numpy as np

from gym_vlmrm.errors import TaskError, did_you_mean
from gym_vlmrm.spec import CameraSpec

__all__ = ["Viewers", "camera_number", "find_renderers"]

MAX_DEPTH = 12
"""Attributes of attributes that are looked through; wrappers count too."""
MAX_OBJECTS = 1000
MAX_ITEMS = 16
"""Of a list, tuple or dict."""
_OPAQUE = {"builtins", "numpy", "mujoco", "torch", "logging", "collections"}
_CAMERA = ("scene", "camera")
_MODULE = "gymnasium.envs.mujoco.mujoco_rendering"


def find_renderers(env: Any) -> list[Any]:
    """Return every `MujocoRenderer` and loose `OffScreenViewer` that an environment holds, the nearest first.

    Attributes, wrapped environments and small containers are looked through, breadth first and up to a limit. Nothing
    is executed: properties are not read.
    """
    module = sys.modules.get(_MODULE)
    if module is None:
        return []
    wanted = (module.MujocoRenderer, module.OffScreenViewer)
    found: list[Any] = []
    seen = {id(env)}
    level = [env]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for thing in level:
            if isinstance(thing, wanted):
                found.append(thing)
                continue
            for child in _children(thing):
                if id(child) not in seen and len(seen) < MAX_OBJECTS:
                    seen.add(id(child))
                    below.append(child)
        level = below
    return found


def _children(thing: Any) -> list[Any]:
    if isinstance(thing, dict):
        values = list(thing.values())[:MAX_ITEMS]
    elif isinstance(thing, list | tuple):
        values = list(thing[:MAX_ITEMS])
    else:
        values = list(_attributes(thing).values())
    return [value for value in values if isinstance(value, dict | list | tuple) or _attributes(value)]


def _attributes(thing: Any) -> dict[str, Any]:
    """Return what an object keeps, past whatever it does on being asked; nothing of libraries without environments."""
    kind = type(thing)
    if kind.__module__.partition(".")[0] in _OPAQUE or issubclass(kind, type | gym.Space):
        return {}
    try:
        kept: dict[str, Any] = object.__getattribute__(thing, "__dict__")
    except (AttributeError, TypeError):
        return {}
    return kept


class Viewers:
    """What draws an environment by MuJoCo, kept in order although other environments draw in the same process.

    Gymnasium leaves current whichever OpenGL context was made last, and frees drawing objects in whichever is current.
    """

    def __init__(self, env: Any, env_id: str, camera: CameraSpec | None) -> None:
        """Look through `env`, and aim what is there.

        Raises:
            TaskError: no model has the camera, or Gymnasium's MuJoCo renderer does not draw this environment.
        """
        self._env, self._env_id, self._camera = env, env_id, camera
        self._aimed: weakref.WeakSet[Any] = weakref.WeakSet()
        self._has_drawn = False
        self.renderers: list[Any] = []
        self.look_anew()
        if camera is not None and not self.renderers:
            what = f"Gymnasium's MuJoCo renderer draws, and '{env_id}' holds none"
            raise TaskError(f"scene.camera is for environments that {what}; remove it", field=_CAMERA)

    def look_anew(self) -> None:
        """Look now and after the next picture: environments make renderers late, or new ones at a reset.

        Raises:
            TaskError: no model has the camera.
        """
        self._has_drawn = False
        self._look()

    def _look(self) -> None:
        self.renderers = find_renderers(self._env)
        new = [renderer for renderer in self.renderers if renderer not in self._aimed]
        if self._camera is not None and new:
            self._aim(new, self._camera)
        self._aimed.update(new)
        self._bind()

    def after_drawing(self) -> None:
        """Let what was made for the picture draw, and end, in its own context from now on."""
        if self._has_drawn:
            self._bind()
        else:
            self._has_drawn = True
            self._look()

    def _bind(self) -> None:
        for renderer in self.renderers:
            for viewer in _viewers(renderer):
                if "render" not in vars(viewer):
                    _bind(viewer)

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
    known = getattr(renderer, "_viewers", None)
    return [renderer] if known is None else [viewer for viewer in known.values() if hasattr(viewer, "opengl_context")]


def _bind(viewer: Any) -> None:
    # No reference to the viewer itself, so that it dies when it would have, and `free` can be called by its finaliser.
    draw, reference = type(viewer).render, weakref.ref(viewer)
    end, context, drawing = viewer.opengl_context.free, viewer.opengl_context, viewer.con

    def render(*args: Any, **kwargs: Any) -> Any:
        context.make_current()
        return draw(reference(), *args, **kwargs)

    def free() -> None:
        with contextlib.suppress(Exception):  # a context that is gone already
            context.make_current()
            drawing.free()
        end()

    viewer.render, viewer.free = render, free
