"""Cells of a chip classification and their classes, by the rules of Raster Vision 0.31.

Bounds are arrays of shape (n, 4): col, row, stop_col, stop_row, in pixels of the whole image.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError
from rvlab.model.limits import MAX_CELLS
from rvlab.raster.config import CellRule
from rvlab.raster.matching import Bounds, IndexArray, rectangles
from rvlab.raster.vectors import Shapes
from rvlab.raster.window import Window


def cell_grid(area: Window, size_px: int) -> Bounds:
    """Return square cells that cover an area, row by row; the last ones extend beyond its edge.

    Raises:
        RasterError: If the size is not positive, or there are too many cells.
    """
    number = (
        math.ceil(area.height / size_px) * math.ceil(area.width / size_px) if size_px > 0 else 0
    )
    if not 0 < number <= MAX_CELLS:
        raise RasterError(
            f"{area} has {number:,} cells of {size_px} px; the number must be 1 to {MAX_CELLS:,}."
        )
    rows = area.row + size_px * np.arange(max(1, math.ceil(area.height / size_px)))
    cols = area.col + size_px * np.arange(max(1, math.ceil(area.width / size_px)))
    top, left = (part.ravel() for part in np.meshgrid(rows, cols, indexing="ij"))
    return np.stack([left, top, left + size_px, top + size_px], axis=1).astype(np.float64)


def infer_classes(cells: Bounds, shapes: Shapes, rule: CellRule) -> IndexArray:
    """Return the class of each cell, from the shapes that it intersects (``infer_cells``).

    A shape counts with its class if the overlap is a large enough fraction of the shape, or of the
    cell; otherwise it counts as background. If several shapes overlap a cell, the one with the
    largest fraction decides, or the smallest class id, as `rule` says.
    """
    import shapely

    areas = rectangles(cells)
    cell, shape = shapely.STRtree(shapes.geometries).query(areas, predicate="intersects")
    shared = shapely.area(shapely.intersection(areas[cell], shapes.geometries[shape]))
    whole = shapely.area(areas[cell] if rule.over_cell else shapes.geometries[shape])
    part = shared / whole
    ids = np.where(part < rule.ioa_thresh, rule.background_id, shapes.class_ids[shape])
    # A cell without a shape gets its own row, in order: ties depend on the order of the rows.
    lonely = np.setdiff1d(np.arange(len(cells)), cell)
    at = np.searchsorted(cell, lonely)
    cell = np.insert(cell, at, lonely)
    part, ids = np.insert(part, at, -1.0), np.insert(ids, at, rule.background_id)
    if rule.pick_min:
        least = np.full(len(cells), np.iinfo(np.int64).max)
        np.minimum.at(least, cell, ids)
        return least
    order = np.argsort(part)  # unstable, like the pandas default in Raster Vision
    out = np.empty(len(cells), np.int64)
    out[cell[order]] = ids[order]
    return out


def cells_from_file(bounds: Bounds, area: Window) -> tuple[Bounds, NDArray[np.intp]]:
    """Return cells that a file lists as shapes, truncated to integer pixels (``read_labels``).

    Returns:
        The cells in the area, and for each the row that holds its class and scores. Raster Vision
        0.31 drops cells outside the area but not their classes: after the first dropped cell, each
        cell has the class of an earlier row. Training and evaluation use these classes, so they
        are reproduced here. If a cell occurs twice, the last one counts.
    """
    whole = np.trunc(bounds)
    left, top, right, bottom = whole.T
    inside = (right > area.col) & (left < area.stop_col)
    inside &= (bottom > area.row) & (top < area.stop_row)
    cells = whole[inside]
    _, from_end = np.unique(cells[::-1], axis=0, return_index=True)
    rows = np.sort(len(cells) - 1 - from_end)
    return cells[rows], rows
