"""``docs/make_experiments.py``: the page says what the data say."""

from typing import Any

import pytest
from make_experiments import page

from gym_vlmrm.errors import RunError
from gym_vlmrm.worlds.poses.poses import GOAL_POSES

AGENT: dict[str, Any] = {
    "processor": "some chip",
    "policy": {"success_rate": 0.5, "success_rate_low": 0.37, "success_rate_high": 0.63, "success_share": 0.456},
}


def test_the_page_says_medians_worst_tasks_and_intervals() -> None:
    tasks = [
        {"task": name, "auc_posed": 0.9 + number / 100, "epic": 0.2 + number / 10}
        for number, name in enumerate(GOAL_POSES)
    ]
    tasks.append({"task": "cartpole", "auc_posed": 0.1, "epic": 0.99})  # no humanoid
    size = {"megabytes": 0.104, "frames": 27000, "states": 4000, "tasks": tasks, "agent": AGENT}
    value = {"value": 0.9, "low": 0.8, "high": 0.95}
    look = {"look": "textured", "auc": value, "epic": value, "agent": AGENT}
    text = page({"scale": [size], "looks": [look]})
    assert "| 0.10 MB | 0.935 (0.900) | 0.550 (0.900) | 50% [37%, 63%] | 45.6% |" in text
    assert "| textured | 0.900 [0.800, 0.950] | 0.900 [0.800, 0.950] | 50% [37%, 63%] | 45.6% |" in text
    assert "27,000 frames" in text
    assert "some chip" in text
    assert text.endswith("(landscapes/README.md).\n")


def test_without_any_experiment_there_is_no_page() -> None:
    with pytest.raises(RunError, match="scale or looks"):
        page({})
