"""The humanoid's textured scene: Gymnasium's own model, with other clothes, other light, other ground and a sky."""

from importlib.resources import files
from typing import TYPE_CHECKING

from gym_vlmrm.worlds.quality import FLOOR_SQUARE, Drawn, set_drawing

if TYPE_CHECKING:
    import mujoco

__all__ = ["PAPER_CAMERA", "dress", "set_quality"]

PAPER_CAMERA: dict[str, float | list[float]] = {
    "distance": 3.5,
    "lookat": [0.0, 0.0, 1.0],
    "elevation": -10.0,
    "azimuth": 180.0,
}
"""The fixed camera of the paper: from the front, at chest height. Same keys and units as `CameraSpec`."""

Colour = tuple[float, float, float]
SHELL: Colour = (0.93, 0.92, 0.88)
LEFT: Colour = (0.98, 0.66, 0.16)
RIGHT: Colour = (0.83, 0.30, 0.16)
DARK: Colour = (0.10, 0.11, 0.20)
FACE: Colour = (0.96, 0.77, 0.60)
CHEST: Colour = (0.22, 0.52, 0.82)
BELLY: Colour = (0.60, 0.70, 0.80)

_COLOURS: dict[str, Colour] = {
    "torso1": SHELL,
    "uwaist": SHELL,
    "lwaist": BELLY,
    "butt": SHELL,
    "head": FACE,
    "right_foot": DARK,
    "left_foot": DARK,
    "right_hand": DARK,
    "left_hand": DARK,
    "right_thigh1": RIGHT,
    "right_shin1": RIGHT,
    "right_uarm1": RIGHT,
    "right_larm": RIGHT,
    "left_thigh1": LEFT,
    "left_shin1": LEFT,
    "left_uarm1": LEFT,
    "left_larm": LEFT,
}
"""Left limbs are amber and right limbs red, so that a small picture still tells which is which."""

_Ornament = tuple[str, str, tuple[float, float, float], tuple[float, float, float], Colour]
_ORNAMENTS: tuple[_Ornament, ...] = (
    ("torso", "cylinder", (0.0, 0.0, 0.09), (0.045, 0.04, 0.0), DARK),  # neck
    ("torso", "ellipsoid", (-0.022, 0.0, 0.215), (0.088, 0.096, 0.085), DARK),  # helmet, open at the face
    ("torso", "sphere", (0.082, 0.033, 0.198), (0.014, 0.0, 0.0), DARK),  # eyes
    ("torso", "sphere", (0.082, -0.033, 0.198), (0.014, 0.0, 0.0), DARK),
    ("torso", "ellipsoid", (0.04, 0.0, 0.0), (0.04, 0.085, 0.055), CHEST),
    ("torso", "ellipsoid", (0.0, 0.0, -0.06), (0.06, 0.1, 0.1), SHELL),  # ribs
    ("lwaist", "ellipsoid", (0.0, 0.0, 0.0), (0.062, 0.095, 0.13), BELLY),
    ("pelvis", "ellipsoid", (-0.01, 0.0, 0.06), (0.062, 0.1, 0.1), SHELL),
    ("torso", "box", (-0.058, 0.0, -0.02), (0.026, 0.075, 0.085), DARK),  # backpack
    ("left_foot", "ellipsoid", (0.055, 0.0, 0.072), (0.105, 0.05, 0.04), DARK),  # shoes
    ("right_foot", "ellipsoid", (0.055, 0.0, 0.072), (0.105, 0.05, 0.04), DARK),
    ("left_lower_arm", "sphere", (0.18, -0.18, 0.18), (0.052, 0.0, 0.0), DARK),  # gloves
    ("right_lower_arm", "sphere", (0.18, 0.18, 0.18), (0.052, 0.0, 0.0), DARK),
    ("left_shin", "sphere", (0.0, 0.0, 0.02), (0.064, 0.0, 0.0), SHELL),  # knees
    ("right_shin", "sphere", (0.0, 0.0, 0.02), (0.064, 0.0, 0.0), SHELL),
    ("left_lower_arm", "sphere", (0.0, 0.0, 0.0), (0.044, 0.0, 0.0), SHELL),  # elbows
    ("right_lower_arm", "sphere", (0.0, 0.0, 0.0), (0.044, 0.0, 0.0), SHELL),
)
"""Body, shape, place [m], size [m], colour of geoms that are only seen: massless and never in contact."""


def dress(spec: "mujoco.MjSpec") -> None:
    """Give a humanoid's specification this package's textures, colours, light and sky; its physics stays as it is."""
    _add_sky(spec)
    _add_floor(spec)
    shell = _add_material(spec, "shell", "shell", cube=True)
    for geom in spec.geoms:
        if geom.name in _COLOURS:
            geom.material, geom.rgba = shell, [*_COLOURS[geom.name], 1.0]
    bodies = {body.name: body for body in spec.bodies}
    _add_ornaments(bodies)
    _set_light(spec)
    _remove_unused(spec)


def set_quality(spec: "mujoco.MjSpec", quality: Drawn, size: int) -> None:
    """Set what a frame of `size` pixels costs; shadows and reflections themselves are flags of the renderer."""
    set_drawing(spec.visual, quality, size)
    for geom in spec.geoms:
        if geom.name == "floor":
            geom.size = [*geom.size[:2], FLOOR_SQUARE]


def _texture_file(name: str) -> str:
    return str(files("gym_vlmrm.worlds.textures").joinpath(f"{name}.png"))


def _add_sky(spec: "mujoco.MjSpec") -> None:
    import mujoco

    for texture in list(spec.textures):
        if texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            spec.delete(texture)
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX)
    for side, face in enumerate(("right", "left", "up", "down", "front", "back")):
        sky.cubefiles[side] = _texture_file(f"sky_{face}")


def _add_material(spec: "mujoco.MjSpec", name: str, texture: str, *, cube: bool) -> str:
    import mujoco

    kind = mujoco.mjtTexture.mjTEXTURE_CUBE if cube else mujoco.mjtTexture.mjTEXTURE_2D
    spec.add_texture(name=f"vlmrm_{texture}", type=kind, file=_texture_file(texture))
    material = spec.add_material(name=f"vlmrm_{name}", specular=0.15, shininess=0.3, texuniform=not cube)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"vlmrm_{texture}"
    return str(material.name)


def _add_floor(spec: "mujoco.MjSpec") -> None:
    name = _add_material(spec, "floor", "floor", cube=False)
    material = spec.material(name)
    material.texrepeat, material.specular, material.reflectance = [0.8, 0.8], 0.0, 0.12
    for geom in spec.geoms:
        if geom.name == "floor":
            geom.material, geom.rgba = name, [1.0, 1.0, 1.0, 1.0]


def _add_ornaments(bodies: dict[str, "mujoco.MjsBody"]) -> None:
    import mujoco

    for body, shape, place, size, colour in _ORNAMENTS:
        if body in bodies:
            kind = getattr(mujoco.mjtGeom, f"mjGEOM_{shape.upper()}")
            geom = bodies[body].add_geom(type=kind, pos=place, size=size, rgba=[*colour, 1.0])
            geom.material, geom.mass, geom.contype, geom.conaffinity, geom.group = "", 0.0, 0, 0, 1


def _remove_unused(spec: "mujoco.MjSpec") -> None:
    """Drop Gymnasium's textures: scaling their odd sizes takes 0.2 s of every new drawing context."""
    used = {geom.material for geom in spec.geoms}
    spec.default.geom.material = ""
    for material in list(spec.materials):
        if material.name not in used:
            spec.delete(material)
    textures = {name for material in spec.materials for name in material.textures}
    for texture in list(spec.textures):
        if texture.name not in textures and texture.name != "sky":
            spec.delete(texture)


def _set_light(spec: "mujoco.MjSpec") -> None:
    for light in spec.lights:
        light.pos, light.dir = [2.0, 1.5, 4.0], [-0.45, -0.35, -1.0]
        light.diffuse, light.specular, light.ambient = [0.62, 0.60, 0.56], [0.2, 0.2, 0.2], [0.0, 0.0, 0.0]
    head = spec.visual.headlight
    head.ambient, head.diffuse, head.specular = [0.34, 0.35, 0.38], [0.24, 0.24, 0.24], [0.0, 0.0, 0.0]
    spec.visual.rgba.haze = [0.86, 0.90, 0.93, 1.0]
    spec.visual.map.haze = 0.35
