"""Task files of worlds that need packages of their own; each runs where that package is installed (CONTRIBUTING.md)."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

import gym_vlmrm
from gym_vlmrm.worlds.explore import Explorer

EXTRAS = Path(__file__).parent.parent / "examples" / "extras"
TASKS = sorted(path for path in EXTRAS.glob("*.yaml") if not path.name.startswith("_"))


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.name)
def test_what_is_to_be_taught_can_be_where_its_package_is(path: Path) -> None:
    task = gym_vlmrm.load_task(path)
    package = task.env.id.partition(":")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the package itself
        explorer = Explorer(task, task.captions, 64, 0)
        sights = explorer.explore(40)
        explorer.close()
    assert explorer.tells_states
    assert len(sights) == 40
    assert sights[0].frame.shape == (64, 64, 3)
    assert np.ptp([sight.frame.mean() for sight in sights]) > 0
    truths = np.array([sight.truths for sight in sights])
    said = {sentence: index for index, caption in enumerate(task.captions) for sentence in caption.sentences}
    assert {*task.reward.goals, *task.reward.baselines} <= said.keys()
    assert truths[:, said[task.reward.goals[0]]].max() > 0.5
