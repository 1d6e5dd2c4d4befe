"""Draw a frame of every built-in task, in a state that its rule accepts: ``python docs/make_pictures.py [PNG]``."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from gym_vlmrm import load_task
from gym_vlmrm.worlds.poses.poses import GOAL_POSES, reference_pose
from gym_vlmrm.worlds.world import make_world

SIZE, COLUMNS = 176, 5
# Two goals show more with their arms in view.
POSES = {**GOAL_POSES, "lotus": ("lotus", "hands_on_knees"), "one-leg": ("one_leg_left", "t_pose")}


def draw(name: str) -> Image.Image:
    """Draw one task's goal."""
    world = make_world(load_task(name), render_size=2 * SIZE)
    world.reset(seed=0)
    scene = world.unwrapped
    if name in POSES:
        scene.set_state(reference_pose(*POSES[name]), np.zeros(scene.model.nv))
    else:
        scene.state = np.array([0.6, 0.0, 0.03, 0.0] if name == "cartpole" else [0.5, 0.0])
    picture = Image.fromarray(world.render())
    world.close()
    # The humanoid fills half of the paper's frame; here its middle is shown.
    if name in POSES:
        picture = picture.crop((SIZE // 3, SIZE // 3, 2 * SIZE - SIZE // 3, 2 * SIZE - SIZE // 3))
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def draw_all(path: Path) -> None:
    """Draw the strip."""
    names = [*POSES, "cartpole", "mountain-car"]
    sheet = Image.new("RGB", (COLUMNS * SIZE, len(names) // COLUMNS * SIZE))
    for index, name in enumerate(names):
        sheet.paste(draw(name), (index % COLUMNS * SIZE, index // COLUMNS * SIZE))
    sheet.quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("frames.png"))
