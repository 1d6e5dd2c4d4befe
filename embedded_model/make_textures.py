"""Make every texture of this package from numbers: ``python -m embedded_model.make_textures [FOLDER]``."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["make_all"]

Field = NDArray[np.float64]
HORIZON = (0.86, 0.90, 0.93)


def noise(height: int, width: int, rows: int, columns: int, rng: np.random.Generator) -> Field:
    """Smooth noise in [0, 1] of shape (height, width) that tiles in both directions, from rows x columns bumps."""
    grid = rng.random((rows, columns))
    y, x = np.arange(height) * rows / height, np.arange(width) * columns / width
    y0, x0 = y.astype(int), x.astype(int)
    fy, fx = (y - y0)[:, None], (x - x0)[None, :]
    fy, fx = fy * fy * (3 - 2 * fy), fx * fx * (3 - 2 * fx)
    y1, x1 = (y0 + 1) % rows, (x0 + 1) % columns
    top = grid[y0][:, x0] * (1 - fx) + grid[y0][:, x1] * fx
    bottom = grid[y1][:, x0] * (1 - fx) + grid[y1][:, x1] * fx
    blended: Field = top * (1 - fy) + bottom * fy
    return blended


def clouds(height: int, width: int, cells: int, octaves: int, seed: int, flat: int = 1) -> Field:
    """Fractal noise in [0, 1] of shape (height, width), tiling; `flat` times wider than high."""
    rng = np.random.default_rng(seed)
    total, weight, amplitude = np.zeros((height, width)), 0.0, 1.0
    for octave in range(octaves):
        total += amplitude * noise(height, width, flat * cells * 2**octave, cells * 2**octave, rng)
        weight, amplitude = weight + amplitude, amplitude / 2
    return total / weight


def mix(first: Field, second: Field, share: Field) -> Field:
    """Blend two colours (3,) or pictures (H, W, 3) by a share (H, W) of the second."""
    return first * (1 - share[..., None]) + second * share[..., None]


def sky(size: int, face: str) -> Field:
    """One face of the sky cube (size, size, 3): haze at the horizon, blue above, soft clouds."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    u, v = np.meshgrid(axis, -axis)
    one = np.ones_like(u)
    forward = {"front": (u, v, one), "back": (-u, v, -one), "right": (one, v, -u), "left": (-one, v, u)}
    vertical = {"up": (u, one, -v), "down": (u, -one, v)}
    x, y, z = (forward | vertical)[face]
    height = y / np.sqrt(x * x + y * y + z * z)
    climb = np.clip(height * 2.4, 0, 1) ** 0.75
    picture = mix(np.array(HORIZON), np.array((0.24, 0.47, 0.78)), climb)
    # clouds: sums of waves over the direction, so that the six faces meet without a seam
    rng = np.random.default_rng(8)
    density = np.zeros_like(u)
    length = np.sqrt(x * x + y * y + z * z)
    for scale in (7.0, 11.0, 17.0, 26.0, 40.0, 62.0, 95.0):
        for _ in range(6):
            a, b, c, phase = rng.normal(size=4) * (1, 2.4, 1, 9)
            density += np.sin((a * x + b * y + c * z) / length * scale + phase) * (7.0 / scale) ** 0.75
    density = np.clip((density - 0.5) / 2.6, 0, 1) * np.clip((height - 0.01) * 12, 0, 1)
    return mix(picture, np.array((0.99, 0.99, 1.0)), 0.9 * density**0.7)


def floor(size: int) -> Field:
    """Two by two stone tiles (size, size, 3) with joints between them; repeats without a seam."""
    grain = clouds(size, size, 8, 5, seed=1)[..., None] - 0.5
    half = size // 2
    row, column = np.indices((size, size)) // half
    light, dark = np.array((0.62, 0.68, 0.68)), np.array((0.53, 0.60, 0.615))
    picture = mix(dark, light, ((row + column) % 2).astype(float)) + 0.10 * grain
    y, x = np.indices((size, size)) % half
    distance = np.minimum.reduce([x, y, half - 1 - x, half - 1 - y]) / size
    joint = np.clip(1 - distance / 0.008, 0, 1)
    return mix(picture, np.array((0.40, 0.46, 0.48)), joint * 0.9)


def shell(size: int) -> Field:
    """Panels of a robot's shell (size, size, 3), nearly white, to be tinted: faint brushed grain and seams."""
    rng = np.random.default_rng(3)
    grain = clouds(size, size, 6, 4, seed=4) - 0.5
    brushed = noise(size, 8, 8, 8, rng).repeat(size // 8, axis=1) - 0.5
    value = 0.95 + 0.07 * grain + 0.03 * brushed
    y = (np.indices((size, size))[0] + 0.5) / size
    seam = np.clip(1 - np.abs(y - 0.5) / 0.02, 0, 1)
    return np.repeat((value * (1 - 0.35 * seam))[..., None], 3, axis=2)


def landscape(size: int, ridges: tuple[tuple[float, float, tuple[float, float, float]], ...], seed: int) -> Field:
    """A backdrop (size, size, 3): sky with clouds, then ridges given by (height, roughness, colour), far to near."""
    y = np.mgrid[0:size, 0:size][0] / size
    picture = mix(np.array((0.42, 0.66, 0.92)), np.array((0.88, 0.94, 0.98)), np.clip(y * 1.25, 0, 1))
    puffs = np.clip((clouds(size, size, 3, 6, seed, flat=3) - 0.5) * 5, 0, 1) * np.clip(1.1 - 1.6 * y, 0, 1)
    picture = mix(picture, np.array((1.0, 1.0, 1.0)), 0.9 * puffs)
    for number, (height, roughness, colour) in enumerate(ridges):
        profile = clouds(size, size, 3, 6, seed + 1 + number)[size // 2]
        grain = clouds(size, size, 24, 3, seed + 9 + number) - 0.5
        depth = (y - (1 - height) - roughness * (profile[None, :] - 0.5)) * size
        shaded = np.array(colour) * (1 + 0.22 * grain + 0.08 * np.clip(depth / size * 4, 0, 1))[..., None]
        picture = mix(picture, shaded, np.clip(depth + 0.5, 0, 1))
    return picture


def rock(size: int) -> Field:
    """Layered rock (size, size, 3), brown and grey."""
    warp = clouds(size, size, 4, 4, seed=21)
    rows = (np.indices((size, size))[0] / size) * 9 + 2.2 * warp
    layers = 0.5 + 0.5 * np.sin(2 * np.pi * rows)
    grain = clouds(size, size, 16, 4, seed=22) - 0.5
    picture = mix(np.array((0.40, 0.32, 0.26)), np.array((0.58, 0.49, 0.40)), layers * 0.75)
    return picture * (1 + 0.45 * grain)[..., None]


def planks(size: int) -> Field:
    """Four wooden planks (size, size, 3)."""
    x = np.mgrid[0:size, 0:size][1] / size
    board = np.floor(x * 4)
    grain = clouds(size, size, 12, 4, seed=31)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (x * 22 + 1.5 * grain + 0.37 * board))
    picture = mix(np.array((0.62, 0.42, 0.22)), np.array((0.80, 0.60, 0.36)), 0.55 * rings + 0.25 * (board % 2))
    gap = np.clip(1 - np.minimum((x * 4) % 1, 1 - (x * 4) % 1) / 0.05, 0, 1)
    return mix(picture, np.array((0.25, 0.15, 0.08)), 0.8 * gap)


MEADOW = ((0.30, 0.16, (0.62, 0.74, 0.80)), (0.21, 0.10, (0.52, 0.68, 0.55)), (0.13, 0.03, (0.45, 0.62, 0.36)))
VALLEY = ((0.62, 0.50, (0.66, 0.74, 0.84)), (0.43, 0.34, (0.50, 0.63, 0.55)))


def make_all(folder: Path) -> list[Path]:
    """Write every texture as PNG into `folder` and return their paths."""
    pictures = {"floor": floor(512), "shell": shell(128), "rock": rock(256), "planks": planks(128)}
    pictures |= {"meadow": landscape(384, MEADOW, seed=41), "valley": landscape(384, VALLEY, seed=61)}
    pictures |= {f"sky_{face}": sky(512, face) for face in ("front", "back", "left", "right", "up", "down")}
    paths = []
    for name, picture in pictures.items():
        path = folder / f"{name}.png"
        Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8)).save(path, optimize=True)
        paths.append(path)
    return paths


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "gym_vlmrm" / "worlds" / "textures"
    for written in make_all(target):
        print(written)
