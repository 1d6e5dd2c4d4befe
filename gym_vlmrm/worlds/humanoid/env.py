"""Gymnasium's Humanoid-v5 in a scene of this package: same physics, other picture."""

from typing import Any

import mujoco
import numpy as np
from gymnasium.envs.mujoco.humanoid_v5 import DEFAULT_CAMERA_CONFIG, HumanoidEnv
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.task.spec import CameraSpec, Look
from gym_vlmrm.worlds.humanoid.control import steer_by_position
from gym_vlmrm.worlds.humanoid.film_look import FILM_CAMERA, dress_for_film
from gym_vlmrm.worlds.humanoid.look import PAPER_CAMERA, dress, set_quality
from gym_vlmrm.worlds.humanoid.quantities import QUANTITIES, UNITS, quantities
from gym_vlmrm.worlds.humanoid.velocities import VELOCITIES
from gym_vlmrm.worlds.offscreen import OffscreenRenderer
from gym_vlmrm.worlds.poses.survey import BODY_SPACE, PoseSurvey
from gym_vlmrm.worlds.quality import QUALITIES, Drawn
from gym_vlmrm.worlds.scene import BodySurvey, SearchSpace
from gym_vlmrm.worlds.viewers import camera_number

__all__ = ["HumanoidScene"]

_OF_A_STEP = ("x_velocity", "y_velocity", "reward_survive", "reward_forward", "reward_ctrl", "reward_contact")
"""Keys of Gymnasium's infos that are missing after a reset."""
_METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 67}


class HumanoidScene(HumanoidEnv):
    """`HumanoidEnv` whose `render` draws the current ``qpos``, whatever was drawn or simulated before.

    A configuration is ``qpos`` (24,): metres, quaternion (w, x, y, z), radians.
    """

    metadata = _METADATA
    name = "humanoid"
    quantity_names, quantity_units, velocity_names = QUANTITIES, UNITS, tuple(VELOCITIES)
    film_camera = FILM_CAMERA

    def __init__(
        self,
        *,
        look: Look = "textured",
        camera: dict[str, Any] | None = None,
        quality: Drawn = "draft",
        render_size: int = 224,
        render_mode: str = "rgb_array",
        position_targets: bool = False,
        **kwargs: Any,
    ) -> None:
        """Build the humanoid.

        Args:
            look: ``textured`` or ``original``.
            camera: any of `distance` [m], `lookat` [m], `elevation` [deg], `azimuth` [deg]; the rest comes from the
                paper's camera (textured) or Gymnasium's (original). Or `name` or `id` of a camera of the model.
            quality: see `gym_vlmrm.task.spec.SceneSpec`; ``film`` dresses a textured humanoid for people.
            render_size: side of the square frame [px].
            render_mode: only ``rgb_array``.
            position_targets: whether actions are targets of the joints and no torques (see `steer_by_position`).
            kwargs: those of Gymnasium's `HumanoidEnv`.
        """
        self._look, self._quality, self._size, self._targets = look, quality, render_size, position_targets
        self._camera: dict[str, Any] = dict(PAPER_CAMERA)
        if look == "original":
            self._camera |= {"azimuth": 90.0} | {k: v for k, v in DEFAULT_CAMERA_CONFIG.items() if k != "trackbodyid"}
        self._fixed: int | None = None
        self._renderer: OffscreenRenderer | None = None
        super().__init__(render_mode=render_mode, width=render_size, height=render_size, camera_id=-1, **kwargs)
        self.metadata = _METADATA
        self._mirror = mujoco.MjData(self.model)
        if camera:
            self.set_camera(**camera)
        EzPickle.__init__(
            self,
            look=look,
            camera=camera,
            quality=quality,
            render_size=render_size,
            render_mode=render_mode,
            position_targets=position_targets,
            **kwargs,
        )

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        spec = mujoco.MjSpec.from_file(self.fullpath)
        if self._look == "textured":
            dress_for_film(spec) if self._quality == "film" else dress(spec)
        set_quality(spec, self._quality, self._size)
        if self._targets:
            steer_by_position(spec)
        model = spec.compile()
        return model, mujoco.MjData(model)

    def set_camera(self, **camera: Any) -> None:
        """Move the camera: any of `distance` [m], `lookat` [m], `elevation` [deg], `azimuth` [deg].

        `name` or `id` look through a camera of the model instead.

        Raises:
            TaskError: the model has no such camera.
        """
        fixed = {"name", "id"} & camera.keys()
        self._fixed = camera_number("Humanoid-v5", self.model, camera[fixed.pop()]) if fixed else None
        self._camera |= {name: value for name, value in camera.items() if name in self._camera}
        if self._renderer is not None:
            self._aim(self._renderer)

    @property
    def has_own_camera(self) -> bool:
        """Whether a task that names no camera looks through the one of `CameraSpec`'s own numbers."""
        return self._look == "textured"

    def look_through(self, camera: CameraSpec) -> None:
        """Look through another camera from now on; raises TaskError as `set_camera` does."""
        self.set_camera(**camera.model_dump())

    def _aim(self, renderer: OffscreenRenderer) -> None:
        renderer.look_through(self._fixed)
        renderer.camera.lookat[:] = self._camera["lookat"]
        for name in ("distance", "elevation", "azimuth"):
            setattr(renderer.camera, name, float(self._camera[name]))

    def step(self, action: NDArray[np.float32]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step as `HumanoidEnv`; numbers in the info are numpy's."""
        observation, reward, terminated, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        return observation, reward, terminated, truncated, _of_numpy(info)

    def _get_reset_info(self) -> dict[str, Any]:
        # The keys of a step's info, as many libraries want the same ones always.
        info = super()._get_reset_info()  # type: ignore[no-untyped-call]
        return _of_numpy(info | dict.fromkeys(_OF_A_STEP, 0.0))

    def _mirrored(self) -> mujoco.MjData:
        """Return data of the current ``qpos`` with positions computed from it.

        After a step of MuJoCo the positions in ``data`` are still those of its last substep. They must stay so, since
        Humanoid-v5's observations and rewards read them.
        """
        self._mirror.qpos[:] = self.data.qpos
        mujoco.mj_kinematics(self.model, self._mirror)
        return self._mirror

    def render(self) -> NDArray[np.uint8]:
        """Return the current state as uint8 (render_size, render_size, 3)."""
        data = self._mirrored()
        if self._fixed is not None:
            mujoco.mj_comPos(self.model, data)  # which cameras of the model may follow
        mujoco.mj_camlight(self.model, data)
        if self._renderer is None:
            assets = (self.fullpath, self._look, self._quality)
            effects = QUALITIES[self._quality].effects
            self._renderer = OffscreenRenderer(self.model, data, self._size, effects=effects, assets=assets)
            self._aim(self._renderer)
        return self._renderer.render()

    def quantities(self) -> dict[str, float]:
        """Return the named quantities of the current state; see `gym_vlmrm.worlds.humanoid.quantities`."""
        data = self._touching()
        data.qvel[:] = self.data.qvel
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_comVel(self.model, data)
        return quantities(self.model, data)

    def pose_quantities(self) -> dict[str, float]:
        """Return those that are no velocities, in less time."""
        return quantities(self.model, self._touching(), moving=False)

    def _touching(self) -> mujoco.MjData:
        """Return `_mirrored` with contacts."""
        data = self._mirrored()
        mujoco.mj_collision(self.model, data)
        return data

    def place(self, configuration: Floats) -> None:
        """Put the body into a configuration qpos (24,), at rest."""
        self.set_state(configuration, np.zeros(self.model.nv))  # type: ignore[no-untyped-call]

    def configuration(self) -> Floats:
        """Return qpos (24,)."""
        return np.array(self.data.qpos)

    @classmethod
    def search_space(cls) -> SearchSpace:
        """Return joint angles within their limits, the root's rotation and its height above the floor."""
        return BODY_SPACE

    @classmethod
    def survey(cls) -> BodySurvey:
        """Return the humanoid's poses and what lies beside them."""
        return PoseSurvey()

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        super().close()  # type: ignore[no-untyped-call]


def _of_numpy(info: dict[str, Any]) -> dict[str, Any]:
    return {key: np.float64(value) if isinstance(value, float | int) else value for key, value in info.items()}
