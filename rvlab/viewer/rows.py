"""Boxes and cells as the page draws them: rows of seven numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rvlab.raster.boxes import CELLS, Boxes, Outcomes
from rvlab.viewer.tiles import Tile

NUMBERS = ("col", "row", "stop_col", "stop_row", "truth", "prediction", "score")
"""Of a row. The classes are ids, -1 where there is none; a score may be NaN."""


def boxes(truth: Boxes | None = None, guess: Boxes | None = None) -> Tile:
    """Boxes of the truth or of a run."""
    parts = [_rows(truth, truth.class_ids, -1)] if truth is not None else []
    parts += [_rows(guess, -1, guess.class_ids)] if guess is not None else []
    return _sent(parts)


def compared(truth: Boxes, guess: Boxes, found: Outcomes, task: str) -> Tile:
    """What is right and wrong of a run, so that the page tells outcomes as it does of pixels.

    Cells have the class of their truth beside them. A box that is wrong has none, and the truth
    that it missed is a row of its own, as Raster Vision counts them.
    """
    if task == CELLS:
        both = found.matched >= 0
        pairs = guess.pick(both)
        return _sent([_rows(pairs, truth.class_ids[found.matched[both]], pairs.class_ids)])
    missed, said = truth.pick(found.missed), np.where(found.right, guess.class_ids, -1)
    return _sent([_rows(guess, said, guess.class_ids), _rows(missed, missed.class_ids, -1)])


def _rows(
    some: Boxes, truth: NDArray[np.int64] | int, guess: NDArray[np.int64] | int
) -> NDArray[np.float32]:
    out = np.empty((len(some), len(NUMBERS)), np.float32)
    out[:, :4], out[:, 4], out[:, 5], out[:, 6] = some.bounds, truth, guess, some.scores
    return out


def _sent(parts: list[NDArray[np.float32]]) -> Tile:
    rows = np.concatenate(parts).astype("<f4")
    return Tile("boxes", len(rows), len(NUMBERS), rows.tobytes())
