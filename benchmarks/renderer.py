"""Draw one world of a task for a while, and print frames/s: `python renderer.py TASK SIZE SECONDS`."""

import sys
import time

import gym_vlmrm
from gym_vlmrm.task.catalog import override
from gym_vlmrm.worlds.world import make_world


def main(task: str, size: int, seconds: float) -> None:
    """Every frame is of a new state, whose making is not counted; the first frame, which loads everything, neither."""
    spec = override(gym_vlmrm.load_task(task), model="brightness")
    world = make_world(spec, render_size=size, limited=True)
    world.reset(seed=0)
    world.action_space.seed(0)
    world.render()
    count, spent, end = 0, 0.0, time.perf_counter() + seconds
    while count == 0 or time.perf_counter() < end:
        _, _, terminated, truncated, _ = world.step(world.action_space.sample())
        if terminated or truncated:
            world.reset()
        began = time.perf_counter()
        world.render()
        spent += time.perf_counter() - began
        count += 1
    print(count / spent)
    world.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
