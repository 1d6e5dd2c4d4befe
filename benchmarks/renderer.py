"""Draw one world of a task for a while, and print frames/s: `python renderer.py TASK SIZE SECONDS`."""

import sys

from capacity import calls_per_second

import gym_vlmrm
from gym_vlmrm.task.catalog import override
from gym_vlmrm.worlds.world import make_world


def main(task: str, size: int, seconds: float) -> None:
    """Draw; the first frame, which loads everything, is not counted."""
    spec = override(gym_vlmrm.load_task(task), model="brightness")
    world = make_world(spec, render_size=size, limited=True)
    world.reset(seed=0)
    world.action_space.seed(0)
    world.render()
    print(calls_per_second([world], "render", seconds)[0])
    world.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
