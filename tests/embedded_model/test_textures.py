"""The textures in the package are those that the recipe makes."""

from pathlib import Path

import numpy as np
from PIL import Image

from embedded_model.make_textures import make_all


def test_the_textures_are_what_their_script_makes(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "gym_vlmrm" / "worlds" / "textures"
    made = make_all(tmp_path)
    assert {path.name for path in made} == {path.name for path in shipped.glob("*.png")}
    for path in made:
        difference = np.asarray(Image.open(path), int) - np.asarray(Image.open(shipped / path.name), int)
        assert np.abs(difference).max() <= 2, path.name
