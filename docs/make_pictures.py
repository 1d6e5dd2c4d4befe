"""Draw every built-in task in a state that its rule accepts, with sentence and score: ``python docs/make_pictures.py``.

Large: as films show it. Small: the frame that the reward sees. Below: the goal prompt, and what the embedded model
gives that frame and the one of the first state after a reset.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gym_vlmrm import load_reward_model, load_task
from gym_vlmrm.lettering import font, wrapped
from gym_vlmrm.reward import choose_frame_size
from gym_vlmrm.task.spec import TaskSpec
from gym_vlmrm.worlds.poses.poses import GOAL_POSES, reference_pose
from gym_vlmrm.worlds.world import make_world

SIZE, SEEN, GAP, BELOW, COLUMNS = 360, 88, 12, 118, 5
PAPER, INK, SOFT, GOOD = (255, 255, 255), (28, 33, 39), (91, 101, 112), (29, 127, 74)
# Two goals show more with their arms in view.
POSES = {**GOAL_POSES, "lotus": ("lotus", "hands_on_knees"), "one-leg": ("one_leg_left", "t_pose")}
MORE_POSES = {
    "sitting": ("sitting_knees_up", "down"),
    "heel-sitting": ("heel_sitting", "down"),
    "lying-back": ("lying_back", "down"),
    "lying-front": ("lying_front", "down"),
}
"""Tasks that are none of the paper's: they have a picture on their page, not here."""
STATES = {"cartpole": [0.6, 0.0, 0.03, 0.0], "mountain-car": [0.5, 0.0]}


def draw(name: str, task: TaskSpec, size: int, *, film: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames (size, size, 3) of a task's first state and of its goal."""
    world = make_world(task, render_size=size, film=film)
    world.reset(seed=0)
    first, scene = world.render(), world.unwrapped
    if name not in STATES:
        scene.set_state(reference_pose(*{**POSES, **MORE_POSES}[name]), np.zeros(scene.model.nv))
    else:
        scene.state = np.array(STATES[name])
    goal = world.render()
    world.close()
    return first, goal


def tile(name: str) -> Image.Image:
    """Draw one task."""
    task = load_task(name)
    judge = load_reward_model(task, device="cpu")
    seen = draw(name, task, choose_frame_size(task, judge), film=False)
    before, score = judge(np.stack(seen))
    picture = Image.new("RGB", (SIZE, SIZE + BELOW), PAPER)
    picture.paste(Image.fromarray(draw(name, task, SIZE, film=True)[1]), (0, 0))
    corner = 10
    small = Image.fromarray(seen[1]).resize((SEEN, SEEN), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((corner - 2, corner - 2, corner + SEEN + 1, corner + SEEN + 1), fill=PAPER)
    picture.paste(small, (corner, corner))
    lines = wrapped(f"“{task.reward.goals[0]}”", font(19, bold=True), SIZE - 4, 3)
    for row, line in enumerate(lines):
        pen.text((2, SIZE + 6 + 25 * row), line, INK, font(19, bold=True))
    top = SIZE + 8 + 25 * len(lines)
    pen.text((2, top), f"{score:.3f}", GOOD, font(21, bold=True))
    pen.text((84, top + 3), f"at the start {before:.3f}", SOFT, font(18))
    return picture


def draw_all(path: Path) -> None:
    """Draw the sheet."""
    names = [*POSES, *STATES]
    step, height = SIZE + GAP, SIZE + BELOW + GAP
    sheet = Image.new("RGB", (COLUMNS * step - GAP, -(-len(names) // COLUMNS) * height - GAP), PAPER)
    for index, name in enumerate(names):
        sheet.paste(tile(name), (index % COLUMNS * step, index // COLUMNS * height))
    sheet.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("frames.png"))
