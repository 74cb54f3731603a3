"""Whether files of several sources show the same place."""

from __future__ import annotations

import pytest
from affine import Affine
from rasterio.crs import CRS

from rvlab.raster.imagery_checks import covered_fraction
from rvlab.raster.read import Grid

UTM = CRS.from_epsg(32632)


def grid(side: int, px: float, col: int = 0, row: int = 0) -> Grid:
    """Return a grid that begins at a column and a row of pixels of 2 m."""
    corner = (500_000 + 2 * col, 5_000_000 - 2 * row)
    return Grid(side, side, Affine(px, 0, corner[0], 0, -px, corner[1]), UTM)


def test_fraction_of_an_image_that_another_source_covers() -> None:
    main = grid(8, 2)
    for col, row, expected in ((0, 0, 1), (4, 0, 0.5), (4, 4, 0.25), (-4, 6, 0.125), (8, 0, 0)):
        assert covered_fraction(main, grid(4, 4, col, row)) == expected
    world = Grid(360, 180, Affine(1, 0, -180, 0, -1, 90), CRS.from_epsg(4326))
    assert covered_fraction(main, world) == pytest.approx(1)
    narrow, plain = (Grid(cols, 8, Affine.identity(), None) for cols in (4, 8))
    assert (covered_fraction(plain, narrow), covered_fraction(narrow, plain)) == (0.5, 1)
