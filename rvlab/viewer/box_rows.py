"""Encoding of boxes and cells for the page: rows of seven numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rvlab.raster.boxes import CELLS, Boxes, Outcomes
from rvlab.viewer.tiles import Tile

ROW_FIELDS = ("col", "row", "stop_col", "stop_row", "truth", "prediction", "score")
"""Fields of a row. Classes are ids, or -1 if missing; a score may be NaN."""


def boxes_tile(truth: Boxes | None = None, guess: Boxes | None = None) -> Tile:
    """Encode the boxes of the labels or of a run."""
    parts = [_box_rows(truth, truth.class_ids, -1)] if truth is not None else []
    parts += [_box_rows(guess, -1, guess.class_ids)] if guess is not None else []
    return _to_tile(parts)


def outcomes_tile(truth: Boxes, guess: Boxes, found: Outcomes, task: str) -> Tile:
    """Encode a run's errors, so that the page distinguishes outcomes as for pixels.

    A row of a cell has the class of its label. A false positive box has no label class, and a false
    negative has its own row, as Raster Vision counts them.
    """
    if task == CELLS:
        both = found.matched >= 0
        pairs = guess.select(both)
        return _to_tile([_box_rows(pairs, truth.class_ids[found.matched[both]], pairs.class_ids)])
    missing = truth.select(found.false_negatives)
    matched = np.where(found.correct, guess.class_ids, -1)
    return _to_tile(
        [_box_rows(guess, matched, guess.class_ids), _box_rows(missing, missing.class_ids, -1)]
    )


def _box_rows(
    some: Boxes, truth: NDArray[np.int64] | int, guess: NDArray[np.int64] | int
) -> NDArray[np.float32]:
    out = np.empty((len(some), len(ROW_FIELDS)), np.float32)
    out[:, :4], out[:, 4], out[:, 5], out[:, 6] = some.bounds, truth, guess, some.scores
    return out


def _to_tile(parts: list[NDArray[np.float32]]) -> Tile:
    rows = np.concatenate(parts).astype("<f4")
    return Tile("boxes", len(rows), len(ROW_FIELDS), rows.tobytes())
