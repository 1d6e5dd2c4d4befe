"""The weights in the package: what they know of the built-in scenes, and what they cost."""

import warnings

import numpy as np
import pytest

from embedded_model.landscapes import path_correlations, pole_landscape
from embedded_model.measure import composition, measure_cost, measure_model
from gym_vlmrm.reward import load_reward_model
from gym_vlmrm.reward.clip.towers import Towers
from gym_vlmrm.reward.loading import EMBEDDED_FOLDER, UnknownWordsWarning, unknown_words


def test_unseen_words_warn_and_are_named() -> None:
    with pytest.warns(UnknownWordsWarning, match="'kangaroo'"):
        load_reward_model("standing", goal="a humanoid robot standing like a kangaroo", device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_reward_model("standing", device="cpu")
    assert unknown_words("embedded", ["a humanoid robot doing a handstand"]) == []


def test_a_handstand_is_not_standing(towers: Towers) -> None:
    standing, handstand = towers.embed_sentences(["a humanoid robot standing up", "a humanoid robot doing a handstand"])
    assert standing @ handstand < 0.6


def test_the_pole_s_reward_peaks_upright(towers: Towers) -> None:
    for row in pole_landscape(towers, step=5.0):
        assert abs(row["peak"]) <= 5
        assert row["spearman"] < -0.95


def test_the_model_is_small_and_its_cost_is_measured(towers: Towers) -> None:
    cost = measure_cost(towers, EMBEDDED_FOLDER, batch=8, repeats=1)
    assert cost["weights_mb"] < 8
    assert cost["ms_per_frame"] > 0


@pytest.mark.slow
def test_the_model_knows_its_scenes(towers: Towers) -> None:
    figures = {row.task: row for row in measure_model(towers, count=1200)}
    assert len(figures) == 10
    for name, row in figures.items():
        assert row.auc_posed > 0.93, name
    assert min(path_correlations(towers).values()) > 0.85
    assert np.median(list(composition(towers, per_pair=4).values())) > 0.9
