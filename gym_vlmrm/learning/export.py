"""A run's policy as stable-baselines3 saves it, on request: those files are pickles, which run folders never hold."""

from pathlib import Path
from typing import Literal

from gym_vlmrm.files import make_folder, replacing, unwritable
from gym_vlmrm.learning.run_folder import RunFolder
from gym_vlmrm.learning.stored_policy import load_agent

__all__ = ["export_sb3"]


def export_sb3(run: RunFolder | Path, output: Path, checkpoint: Literal["best", "last"] | int = "best") -> list[Path]:
    """Write ``policy.zip`` and, where observations were normalised, ``vecnormalize.pkl``.

    ``PPO.load("policy.zip")`` and ``VecNormalize.load("vecnormalize.pkl", env)`` read what a PPO run wrote.

    Args:
        run: the run folder.
        output: folder to write to; made if missing.
        checkpoint: ``best`` (by VLM reward), ``last``, or a step.

    Raises:
        RunError: no such run or checkpoint, or the folder cannot be written.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(run)
    chosen = folder.checkpoint(checkpoint)
    model = load_agent(chosen.path).model
    written = [output / "policy.zip"]
    make_folder(output)
    try:
        with replacing(written[0]) as part, part.open("wb") as file:
            model.save(file)
        normalizer = model.get_vec_normalize_env()
        if normalizer is not None:
            written.append(output / "vecnormalize.pkl")
            with replacing(written[-1]) as part:
                normalizer.save(str(part))
    except OSError as error:
        raise unwritable(output, error) from None
    return written
