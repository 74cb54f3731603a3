"""One real run of each kind of source, and its pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rvlab import Lab, LocalEngine, plot
from rvlab.plot._grid import colorize
from tests.conftest import TINY
from tests.plot.figure_contents import captions, entries, grid

pytestmark = pytest.mark.extended


@pytest.mark.parametrize("kind", ["files", "sensors", "area"])
def test_run_of_each_kind_of_source_succeeds_and_is_drawn(kind: str, tmp_path: Path) -> None:
    lab = Lab(str(tmp_path / "store"), LocalEngine())
    recipe = TINY.with_name("tiny_sources.py")
    run = lab.submit(recipe, kind=kind, folder=str(tmp_path / "data"), epochs=1, seed=1)
    lab.wait(run)
    runs = lab.runs()
    assert runs["state"].tolist() == ["succeeded"], lab.logs(run)
    figure = plot.predictions(runs, max_px=192)
    assert len(captions(figure)) == 2
    for row in grid(figure):
        image, truth, guess = row
        assert image.shape[:2] == (192, 192)
        assert truth.shape == guess.shape == (192, 192, 3)
        inside = image[45:145, 45:145, :3]
        assert inside.std() > 20  # a town, not one color
        if kind == "area":
            corner = truth[:20, :20]
            assert (corner[..., 0] == corner[..., 1]).all()
            assert corner.max() <= colorize._OUTSIDE[1]
    assert ("outside the areas of interest" in entries(figure)) == (kind == "area")
    found = lab.windows(runs, n=4)
    assert np.isfinite(found["score"]).all()
    assert (found["pixels"] > 0).all()
