"""Every viewer of Gymnasium's MuJoCo draws, and ends, in its own OpenGL context, wherever it is kept.

Left to itself it draws in whichever context is current: perhaps in another environment's, where its picture is black.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from gym_vlmrm.worlds.forks import abandon

__all__ = ["current", "keep_viewers_apart", "leave_inherited", "rendering_module"]

_DONE = "_gym_vlmrm_keeps_apart"
_PID = "_gym_vlmrm_pid"


@contextlib.contextmanager
def current(context: Any) -> Iterator[None]:
    """Make an OpenGL context of MuJoCo's current for a while; MuJoCo from 4.0 on restores the one before.

    Things are freed at any moment, so also between another renderer's choice of its context and its drawing.
    """
    restoring = getattr(context, "as_current", None)
    if restoring is None:
        context.make_current()
        yield
    else:
        with restoring():
            yield


def rendering_module() -> Any:
    """Return Gymnasium's module that draws by MuJoCo, or ``None`` as long as nobody has imported it."""
    return sys.modules.get("gymnasium.envs.mujoco.mujoco_rendering")


def keep_viewers_apart() -> None:
    """Teach Gymnasium's class of offscreen viewers to use its own context, once it is imported; at most once.

    Viewers that exist already learn it too. Call this whenever a stranger's code may have imported the class.
    """
    viewer = getattr(rendering_module(), "OffScreenViewer", None)
    if viewer is None or hasattr(viewer, _DONE):
        return
    draw, end = getattr(viewer, "render", None), getattr(viewer, "free", None)
    make, here = viewer.__init__, os.getpid()
    if draw is None or end is None or not hasattr(viewer, "make_context_current"):
        return  # another Gymnasium than 1.1 to 1.4; perhaps it minds its contexts

    @functools.wraps(make)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        setattr(self, _PID, os.getpid())
        make(self, *args, **kwargs)

    @functools.wraps(draw)
    def render(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.make_context_current()
        return draw(self, *args, **kwargs)

    @functools.wraps(end)
    def free(self: Any) -> None:
        drawing, context = vars(self).pop("con", None), getattr(self, "opengl_context", None)
        if getattr(self, _PID) != os.getpid():  # a fork's copy of it
            abandon(drawing, context)
            return
        if drawing is not None and context is not None:
            with contextlib.suppress(Exception), current(context):  # a context that is gone already
                drawing.free()
        end(self)

    viewer.__init__, viewer.render, viewer.free = init, render, free
    setattr(viewer, _PID, here)  # of those that exist already
    setattr(viewer, _DONE, True)


def leave_inherited(renderers: Iterable[Any]) -> None:
    """Have Gymnasium's MuJoCo renderers make new viewers instead of those that a fork copied from the parent."""
    for renderer in renderers:
        known = getattr(renderer, "_viewers", {})
        for mode in [mode for mode, viewer in known.items() if getattr(viewer, _PID, os.getpid()) != os.getpid()]:
            known.pop(mode).free()
            renderer.viewer = None
