"""The cells of a chip classification and their classes, by Raster Vision 0.31's own rules.

Bounds are arrays of shape (n, 4): col, row, stop_col, stop_row, in pixels of the whole image.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError
from rvlab.model.limits import CELLS
from rvlab.raster.matching import Bounds, IndexArray, rectangles
from rvlab.raster.scene import CellRule
from rvlab.raster.vectors import Shapes
from rvlab.raster.window import Window


def cell_grid(area: Window, size_px: int) -> Bounds:
    """Square cells that cover an area, row by row; the last ones stand out over its edge.

    Raises:
        RasterError: If they have no size, or there are too many.
    """
    number = (
        math.ceil(area.height / size_px) * math.ceil(area.width / size_px) if size_px > 0 else 0
    )
    if not 0 < number <= CELLS:
        raise RasterError(
            f"Cells of {size_px} px make {number:,} in {area}; there are 1 to {CELLS:,}."
        )
    rows = area.row + size_px * np.arange(max(1, math.ceil(area.height / size_px)))
    cols = area.col + size_px * np.arange(max(1, math.ceil(area.width / size_px)))
    top, left = (part.ravel() for part in np.meshgrid(rows, cols, indexing="ij"))
    return np.stack([left, top, left + size_px, top + size_px], axis=1).astype(np.float64)


def infer_classes(cells: Bounds, shapes: Shapes, rule: CellRule) -> IndexArray:
    """The class of each cell, from the shapes that it intersects (``infer_cells``).

    A shape counts when enough of it, or enough of the cell, is in both; else it speaks for the
    background. Of several, the one with the largest part decides, or the smallest class id.
    """
    import shapely

    areas = rectangles(cells)
    cell, shape = shapely.STRtree(shapes.geometries).query(areas, predicate="intersects")
    shared = shapely.area(shapely.intersection(areas[cell], shapes.geometries[shape]))
    whole = shapely.area(areas[cell] if rule.over_cell else shapes.geometries[shape])
    part = shared / whole
    ids = np.where(part < rule.ioa_thresh, rule.background_id, shapes.class_ids[shape])
    # A cell with no shape is a row of its own, in its place: ties rest on the order of the rows.
    lonely = np.setdiff1d(np.arange(len(cells)), cell)
    at = np.searchsorted(cell, lonely)
    cell = np.insert(cell, at, lonely)
    part, ids = np.insert(part, at, -1.0), np.insert(ids, at, rule.background_id)
    if rule.pick_min:
        least = np.full(len(cells), np.iinfo(np.int64).max)
        np.minimum.at(least, cell, ids)
        return least
    order = np.argsort(part)  # pandas' own default, unstable as it is
    out = np.empty(len(cells), np.int64)
    out[cell[order]] = ids[order]
    return out


def cells_from_file(bounds: Bounds, area: Window) -> tuple[Bounds, NDArray[np.intp]]:
    """Cells that are in a file as such, cut to whole pixels (``read_labels``).

    Returns:
        Those in the area, and from which row each has its class and scores. Raster Vision 0.31
        drops cells outside the area but not their classes: behind the first that is dropped,
        each cell has the class of an earlier row. So they are trained on and scored, so they are
        read. Of a cell given twice the last one counts.
    """
    whole = np.trunc(bounds)
    left, top, right, bottom = whole.T
    inside = (right > area.col) & (left < area.stop_col)
    inside &= (bottom > area.row) & (top < area.stop_row)
    kept = whole[inside]
    _, behind = np.unique(kept[::-1], axis=0, return_index=True)
    rows = np.sort(len(kept) - 1 - behind)
    return kept[rows], rows
