"""The humanoid as films and pages show it to people; the reward never sees it, and the physics is the same to the bit.

All that is added is seen alone, without mass and contact; it comes after the geoms that collide, whose order it keeps.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mujoco

__all__ = ["FILM_CAMERA", "dress_for_film"]

FILM_CAMERA: dict[str, float | list[float]] = {
    "distance": 3.1,
    "lookat": [0.0, 0.0, 0.84],
    "elevation": -12.0,
    "azimuth": 148.0,
}
"""Three quarters from the front, nearer than the paper's. Same keys and units as `CameraSpec`."""

Point = tuple[float, float, float]


@dataclass(frozen=True)
class _Material:
    rgb: Point
    specular: float = 0.3
    shininess: float = 0.5
    emission: float = 0.0


_MATERIALS: dict[str, _Material] = {
    "shell": _Material((0.90, 0.91, 0.93), specular=0.35, shininess=0.55),
    "joint": _Material((0.17, 0.18, 0.21), specular=0.25, shininess=0.4),
    "visor": _Material((0.05, 0.06, 0.08), specular=0.9, shininess=0.9),
    "left": _Material((0.96, 0.62, 0.16)),
    "right": _Material((0.83, 0.27, 0.18)),
    "glow": _Material((0.45, 0.88, 0.98), emission=0.9),
}

_PHYSICAL: dict[str, str] = {
    "torso1": "shell",
    "head": "shell",
    "uwaist": "joint",
    "lwaist": "joint",
    "butt": "shell",
    "right_foot": "joint",
    "left_foot": "joint",
    "right_hand": "joint",
    "left_hand": "joint",
    "right_thigh1": "shell",
    "left_thigh1": "shell",
    "right_shin1": "shell",
    "left_shin1": "shell",
    "right_uarm1": "right",
    "left_uarm1": "left",
    "right_larm": "shell",
    "left_larm": "shell",
}
"""Geoms of Gymnasium's model and what they are made of here; amber is left and red is right, as the reward sees it."""


@dataclass(frozen=True)
class _Part:
    """A geom at a place, or between two ends; `size` as MuJoCo takes it [m]."""

    body: str
    shape: str
    place: Point | tuple[Point, Point]
    size: tuple[float, ...]
    material: str


def _head_and_trunk() -> list[_Part]:
    parts = [
        _Part("torso", "cylinder", (0.0, 0.0, 0.09), (0.042, 0.04), "joint"),
        _Part("torso", "ellipsoid", (0.024, 0.0, 0.192), (0.078, 0.081, 0.062), "visor"),
        _Part("torso", "ellipsoid", (0.006, 0.0, -0.01), (0.088, 0.128, 0.088), "shell"),
        _Part("torso", "ellipsoid", (0.0, 0.0, -0.07), (0.072, 0.105, 0.07), "shell"),
        _Part("torso", "ellipsoid", (0.083, 0.0, 0.0), (0.014, 0.026, 0.026), "glow"),
        _Part("torso", "box", (-0.083, 0.0, -0.01), (0.022, 0.07, 0.075), "joint"),
        _Part("lwaist", "ellipsoid", (0.0, 0.0, 0.02), (0.066, 0.092, 0.12), "joint"),
        _Part("pelvis", "ellipsoid", (-0.01, 0.0, 0.03), (0.092, 0.135, 0.085), "shell"),
    ]
    for side in (1, -1):
        parts += [
            _Part("torso", "ellipsoid", (0.096, side * 0.034, 0.2), (0.01, 0.016, 0.012), "glow"),
            _Part("torso", "cylinder", ((0.0, side * 0.08, 0.19), (0.0, side * 0.1, 0.19)), (0.03,), "joint"),
        ]
    return parts


def _limbs(name: str, side: int) -> list[_Part]:
    """The arm and leg of a side: +1 is the left one."""

    def forearm(share: float) -> Point:
        return (0.18 * share, -side * 0.18 * share, 0.18 * share)

    def upper_arm(share: float) -> Point:
        return (0.16 * share, side * 0.16 * share, -0.16 * share)

    arm, lower, thigh, shin, foot = (
        f"{name}_{part}" for part in ("upper_arm", "lower_arm", "thigh", "shin", "foot")
    )  # fmt: skip
    inward = side * -0.01
    return [
        _Part(arm, "sphere", (0.0, 0.0, 0.0), (0.058,), "joint"),
        _Part(arm, "capsule", (upper_arm(0.28), upper_arm(0.72)), (0.046,), name),
        _Part(lower, "sphere", (0.0, 0.0, 0.0), (0.045,), "joint"),
        _Part(lower, "capsule", (forearm(0.3), forearm(0.66)), (0.041,), "shell"),
        _Part(lower, "cylinder", (forearm(0.72), forearm(0.84)), (0.038,), "joint"),
        _Part(lower, "ellipsoid", (forearm(0.86), forearm(1.28)), (0.046,), "joint"),
        _Part(thigh, "sphere", (0.0, 0.0, 0.0), (0.078,), "joint"),
        _Part(thigh, "capsule", ((0.004, inward * 0.4, -0.12), (0.004, inward, -0.26)), (0.07,), name),
        _Part(shin, "sphere", (0.0, 0.0, 0.02), (0.063,), "joint"),
        _Part(shin, "ellipsoid", (0.03, 0.0, 0.015), (0.045, 0.05, 0.06), "shell"),
        _Part(shin, "ellipsoid", (-0.012, 0.0, -0.14), (0.06, 0.056, 0.13), "shell"),
        _Part(foot, "ellipsoid", (0.06, 0.0, 0.07), (0.11, 0.055, 0.045), name),
        _Part(foot, "box", (0.05, 0.0, 0.036), (0.1, 0.045, 0.011), "joint"),
    ]


_LIGHT: Point = (0.64, 0.63, 0.60)
_LAMPS = ((-0.36, -0.36), (-0.41, -0.32), (-0.37, -0.29))
"""Directions (x, y) in which equal parts of the light fall: near to each other, so that the shadow has a soft edge."""


def dress_for_film(spec: "mujoco.MjSpec") -> None:
    """Give a humanoid's specification the looks of a robot in a studio; its physics stays as it is."""
    for name, material in _MATERIALS.items():
        made = spec.add_material(name=f"film_{name}", rgba=[*material.rgb, 1.0])
        made.specular, made.shininess, made.emission = material.specular, material.shininess, material.emission
    for geom in spec.geoms:
        if geom.name in _PHYSICAL:
            geom.material, geom.rgba = f"film_{_PHYSICAL[geom.name]}", [0.5, 0.5, 0.5, 1.0]
    bodies = {body.name: body for body in spec.bodies}
    for part in (*_head_and_trunk(), *_limbs("left", 1), *_limbs("right", -1)):
        _add(bodies[part.body], part)
    _set_stage(spec)


def _add(body: "mujoco.MjsBody", part: _Part) -> None:
    import mujoco

    size = [*part.size, 0.0, 0.0][:3]
    kind = getattr(mujoco.mjtGeom, f"mjGEOM_{part.shape.upper()}")
    geom = body.add_geom(type=kind, size=size, material=f"film_{part.material}")
    if isinstance(part.place[0], tuple):
        geom.fromto = [*part.place[0], *part.place[1]]
    else:
        geom.pos = part.place
    geom.rgba = [0.5, 0.5, 0.5, 1.0]
    geom.mass, geom.contype, geom.conaffinity, geom.group = 0.0, 0, 0, 1


def _set_stage(spec: "mujoco.MjSpec") -> None:
    """A calm floor that ends in haze, a plain sky, one light from above and before, and its shadow."""
    import mujoco

    kinds, built = mujoco.mjtTexture, mujoco.mjtBuiltin
    for texture in list(spec.textures):
        if texture.type == kinds.mjTEXTURE_SKYBOX:
            spec.delete(texture)
    spec.add_texture(
        name="film_sky", type=kinds.mjTEXTURE_SKYBOX, builtin=built.mjBUILTIN_GRADIENT, width=256, height=1536,
        rgb1=[0.55, 0.65, 0.76], rgb2=[0.84, 0.87, 0.90],
    )  # fmt: skip
    spec.add_texture(
        name="film_floor", type=kinds.mjTEXTURE_2D, builtin=built.mjBUILTIN_CHECKER, width=512, height=512,
        rgb1=[0.74, 0.76, 0.79], rgb2=[0.69, 0.71, 0.75],
    )  # fmt: skip
    floor = spec.add_material(name="film_floor", specular=0.0, shininess=0.0, reflectance=0.0)
    floor.texuniform, floor.texrepeat = True, [0.7, 0.7]
    floor.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "film_floor"
    for geom in spec.geoms:
        if geom.name == "floor":
            geom.material, geom.rgba = "film_floor", [1.0, 1.0, 1.0, 1.0]
    for light in list(spec.lights):
        spec.delete(light)
    for x, y in _LAMPS:
        spec.worldbody.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[-4 * x, -4 * y, 4.0], dir=[x, y, -1.0], castshadow=True,
            diffuse=[share / len(_LAMPS) for share in _LIGHT], specular=[0.5 / len(_LAMPS)] * 3, ambient=[0.0] * 3,
        )  # fmt: skip
    head = spec.visual.headlight
    head.ambient, head.diffuse, head.specular = [0.36, 0.37, 0.40], [0.22, 0.22, 0.22], [0.05, 0.05, 0.05]
    spec.visual.rgba.haze = [0.84, 0.87, 0.90, 1.0]
    spec.visual.map.haze = 0.5
    spec.visual.map.shadowclip = 1.0
