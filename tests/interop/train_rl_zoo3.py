"""rl_zoo3.

A command line, which takes IDs without the prefix: `--gym-packages` imports. It knows no hyperparameters of these
IDs, so `-conf` names a YAML file or a Python module that has them (here `settings`). It builds its environments
itself: one model each, in this process (`--vec-env subproc` for processes).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from telling import run

LIBRARY = "rl_zoo3"
WORKERS = "none"


def train(task: str) -> int:
    folder = Path(tempfile.mkdtemp())
    settings = folder / "zoo.yml"
    # lines
    settings.write_text(f"{task}: {{policy: MlpPolicy, n_timesteps: 256, n_steps: 64, batch_size: 64}}")
    command = f"-m rl_zoo3.train --algo ppo --env {task} --gym-packages gym_vlmrm -conf {settings} -f {folder}"
    subprocess.run([sys.executable, *command.split()], check=True)
    # end of lines
    if not list(folder.rglob("*.zip")):
        raise AssertionError("rl_zoo3 saved no agent")
    return 256


if __name__ == "__main__":
    run(train)
