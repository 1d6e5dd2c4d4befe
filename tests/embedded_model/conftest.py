"""The embedded model, for the tests of its recipe."""

import pytest

from gym_vlmrm.reward.clip.towers import Towers, load_towers
from gym_vlmrm.reward.loading import EMBEDDED_FOLDER


@pytest.fixture(scope="session")
def towers() -> Towers:
    return load_towers(f"local-dir:{EMBEDDED_FOLDER}", "cpu", "fp32")
