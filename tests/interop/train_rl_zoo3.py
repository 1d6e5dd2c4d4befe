"""rl_zoo3.

A command line: `python -m rl_zoo3.train --algo ppo --env VLMRM/CartPole-Balance-v0 --gym-packages gym_vlmrm`. It knows no
hyperparameters of these IDs, so `-conf` names a YAML file or a Python module that has them. It builds its environments itself: one model
each, in this process (`--vec-env subproc` for processes).
"""

import sys
import tempfile
from pathlib import Path

from rl_zoo3.train import train as train_zoo
from telling import run

LIBRARY = "rl_zoo3"
WORKERS = "none"


def train(task: str) -> int:
    folder = Path(tempfile.mkdtemp())
    settings = folder / "zoo.yml"
    # lines
    settings.write_text(f"{task}: {{policy: MlpPolicy, n_timesteps: 256, n_steps: 64, batch_size: 64}}")
    sys.argv = (
        f"train --algo ppo --env {task} --gym-packages gym_vlmrm -conf {settings} -f {folder} --eval-freq -1".split()
    )
    train_zoo()
    # end of lines
    if not list(folder.rglob("*.zip")):
        raise AssertionError("rl_zoo3 saved no agent")
    return 256


if __name__ == "__main__":
    run(train)
