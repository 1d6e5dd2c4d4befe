"""`python -m embedded_model captions`: a folder that `vlmrm finetune` reads, and true sentences in it."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from embedded_model.__main__ import app
from embedded_model.captions import SCENES, draw_captions
from gym_vlmrm.finetuning.captions import read_captions, read_picture


@pytest.mark.parametrize("scene", [pytest.param("humanoid", marks=pytest.mark.slow), "cartpole", "mountain-car"])
def test_every_frame_has_sentences_and_equal_seeds_draw_equal_ones(scene: str) -> None:
    assert scene in SCENES
    frames, captions = draw_captions(scene, 6, 3)
    assert len(frames) == len(captions) == 6
    assert all(len(texts) >= 5 for texts in captions)
    again, same = draw_captions(scene, 6, 3)
    assert captions == same
    np.testing.assert_array_equal(frames, again)


def test_a_folder_is_written_once_and_read_by_finetuning(tmp_path: Path) -> None:
    arguments = ["captions", "mountain-car", str(tmp_path / "pictures"), "--frames", "5", "--seed", "3"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    frames, captions = draw_captions("mountain-car", 5, 3)
    found = read_captions(tmp_path / "pictures")
    assert found.captions == captions
    for path, frame in zip(found.pictures, frames, strict=True):
        np.testing.assert_array_equal(read_picture(Path(str(path))), frame)
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "not empty" in again.output


def test_a_scene_that_is_none_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["captions", "hopper", str(tmp_path)])
    assert result.exit_code == 2
    assert "mountain-car" in result.output
