"""Counts of true positives, false positives and false negatives in the windows of a scene."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rvlab import metrics
from rvlab.model.tables import WINDOWS_TABLE
from rvlab.raster.boxes import Boxes, match_outcomes
from rvlab.raster.config import Classes
from rvlab.raster.scene import Scene
from rvlab.raster.strip import Strip
from rvlab.raster.window import Window
from rvlab.store.table_file import columns_to_arrow

CONFIDENT_SCORE = 0.9
"""Minimum score of a confident error (a wrong pixel, cell or box)."""

MIN_WINDOW_PX, MAX_WINDOWS = 64, 2048
STRIP_ROWS = 512


class WindowCounts:
    """Counts of a scene's windows, which are squares that tile it, clipped at its edge.

    Args:
        scene: Scene.
        classes: Classes of its run.
        width: Width of the scene, in pixels.
        height: Height of the scene, in pixels.
    """

    def __init__(self, scene: Scene, classes: Classes, width: int, height: int) -> None:
        self.scene, self.classes = scene, classes
        self.width, self.height = width, height
        self.side = window_side_px(width, height)
        self._shape = (math.ceil(height / self.side), math.ceil(width / self.side))
        k = len(classes)
        self._counts = np.zeros((3, *self._shape, k), np.int64)
        self._confident: NDArray[np.int64] | None = None

    def add(self, strip: Strip) -> None:
        """Count the pixels of a strip that consists of complete windows."""
        part, truth, guess, inside, score = strip
        k, null = len(self.classes), self.classes.unlabelled_id
        counted = (truth < k) & (guess < k)
        if inside is not None:
            counted &= inside
        place = self._window_numbers(part)
        rows = math.ceil(part.height / self.side)
        size = rows * self._shape[1]
        codes = (place * k + truth) * k + guess
        matrix = np.bincount(codes[counted], minlength=size * k * k).reshape(-1, k, k)
        counts = metrics.counts(matrix, ignore=null)
        top = part.row // self.side
        for into, found in zip(self._counts, counts, strict=True):
            into[top : top + rows] += found.reshape(rows, self._shape[1], k).astype(np.int64)
        if score is not None:
            wrong = counted & (truth != guess) & (score >= CONFIDENT_SCORE)
            if null is not None:
                wrong &= (truth != null) & (guess != null)
            sure = np.bincount((place * k + guess)[wrong], minlength=size * k)
            self._confident_counts()[top : top + rows] += sure.reshape(rows, self._shape[1], k)

    def add_boxes(self, truth: Boxes, guess: Boxes, *, iou: float = 0.5) -> None:
        """Count the cells or boxes of the whole scene, each in the window that contains its centre.

        Args:
            truth: As `rvlab.raster.boxes.truth_boxes` returns them.
            guess: As `rvlab.raster.boxes.predicted_boxes` returns them.
            iou: IoU above which a predicted box matches a true one; ignored for cells.
        """
        found = match_outcomes(truth, guess, self.scene.task, iou=iou)
        tp, fp, fn = self._counts
        # Count true positives at the label: then tp + fn is the same for all runs.
        self._add_counts(tp, truth.bounds[found.truth_found], truth.class_ids[found.truth_found])
        self._add_counts(
            fp, guess.bounds[found.false_positives], guess.class_ids[found.false_positives]
        )
        self._add_counts(
            fn, truth.bounds[found.false_negatives], truth.class_ids[found.false_negatives]
        )
        sure = found.false_positives & (guess.scores >= CONFIDENT_SCORE)
        self._add_counts(self._confident_counts(), guess.bounds[sure], guess.class_ids[sure])

    def table(self) -> pa.Table:
        """Return a row per window and class that occurs in it, with `WINDOWS_TABLE`."""
        rows, cols, ids = np.nonzero(self._counts.sum(axis=0))
        left, top = cols * self.side, rows * self.side
        tp, fp, fn = self._counts[:, rows, cols, ids]
        sure = None if self._confident is None else self._confident[rows, cols, ids]
        names = np.array(self.classes.names, object)
        columns: Sequence[Any] = [
            [self.scene.group] * len(rows),
            [self.scene.id] * len(rows),
            left,
            top,
            np.minimum(self.side, self.width - left),
            np.minimum(self.side, self.height - top),
            names[ids],
            tp,
            fp,
            fn,
            [None] * len(rows) if sure is None else sure,
        ]
        return columns_to_arrow(WINDOWS_TABLE, columns)

    def _confident_counts(self) -> NDArray[np.int64]:
        if self._confident is None:
            self._confident = np.zeros(self._counts.shape[1:], np.int64)
        return self._confident

    def _window_numbers(self, part: Window) -> NDArray[np.int32]:
        rows = np.arange(part.height, dtype=np.int32) // self.side * self._shape[1]
        return rows[:, None] + np.arange(part.width, dtype=np.int32) // self.side

    def _add_counts(
        self, into: NDArray[np.int64], bounds: NDArray[np.float64], ids: NDArray[np.int64]
    ) -> None:
        centres = (bounds[:, :2] + bounds[:, 2:]) / 2
        cols, rows = (centres // self.side).astype(np.int64).T
        last_row, last_col = self._shape[0] - 1, self._shape[1] - 1
        np.add.at(into, (rows.clip(0, last_row), cols.clip(0, last_col), ids), 1)


def window_side_px(width: int, height: int) -> int:
    """Return the side of a scene's windows: a power of two that gives at most `MAX_WINDOWS`.

    It depends only on the scene's size, so that all runs have the same windows.
    """
    side = MIN_WINDOW_PX
    while math.ceil(width / side) * math.ceil(height / side) > MAX_WINDOWS:
        side *= 2
    return side


def strips(
    width: int, height: int, *, most_px: int, unit_px: int | None = None
) -> Iterator[Window]:
    """Yield strips of a scene, of complete windows and at most `most_px` pixels if possible.

    Their rows are a multiple of `STRIP_ROWS`, as Raster Vision writes, so that no block is read
    twice. With `unit_px` they are a multiple of `unit_px`, regardless of the windows.
    """
    unit = unit_px or max(window_side_px(width, height), STRIP_ROWS)
    rows = max(1, most_px // width // unit) * unit
    for top in range(0, height, rows):
        yield Window(0, top, width, min(rows, height - top))
