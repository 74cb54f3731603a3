"""How right a prediction is, window by window: one pass over it and its truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rvlab import metrics
from rvlab.raster.boxes import match_outcomes, predicted_boxes, truth_boxes
from rvlab.raster.class_ids import ClassIds
from rvlab.raster.labels import SceneLabels
from rvlab.raster.scene import Classes, Scene
from rvlab.raster.window import Window

WINDOWS_SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("scene", pa.string()),
        ("col", pa.int32()),
        ("row", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("class", pa.string()),
        ("tp", pa.int64()),
        ("fp", pa.int64()),
        ("fn", pa.int64()),
        ("confident_fp", pa.int64()),
    ]
)
"""Columns of the table of windows; a class that a window does not hold has no row there."""

CONFIDENT_SCORE = 0.9
"""A wrong pixel, cell or box counts as confident from this score on."""

MIN_WINDOW_PX, MAX_WINDOWS = 64, 2048
STRIP_ROWS = 512


class WindowCounts:
    """Counts of a scene's windows, which are squares that tile it, cut at its edge.

    Args:
        scene: The scene.
        classes: Of its run.
        width: Of the scene, in pixels.
        height: Of the scene, in pixels.
    """

    def __init__(self, scene: Scene, classes: Classes, width: int, height: int) -> None:
        self.scene, self.classes = scene, classes
        self.width, self.height = width, height
        self.side = window_side_px(width, height)
        self._shape = (math.ceil(height / self.side), math.ceil(width / self.side))
        k = len(classes)
        self._counts = np.zeros((3, *self._shape, k), np.int64)
        self._confident: NDArray[np.int64] | None = None

    def add(
        self,
        part: Window,
        truth: ClassIds,
        guess: ClassIds,
        inside: NDArray[np.bool_] | None = None,
        score: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        """Count the pixels of a part that begins at a window's corner and spans whole windows.

        Args:
            part: In pixels of the scene.
            truth: Class ids, shape (rows, columns).
            guess: Those predicted, same shape.
            inside: Where pixels count; None is everywhere.
            score: Of the class that was predicted, from 0 to 1, same shape; None if it is not kept.
        """
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

    def add_boxes(self, labels: SceneLabels, *, iou: float = 0.5) -> None:
        """Count the cells or boxes of the whole scene, each in the window that holds its centre.

        Args:
            labels: Of the scene.
            iou: From which a predicted box is taken for the true one; cells need none.

        Raises:
            RasterError: If labels or predictions cannot be read.
        """
        truth = truth_boxes(labels)
        guess = predicted_boxes(self.scene, self.classes, labels)
        found = match_outcomes(truth, guess, self.scene.task, iou=iou)
        tp, fp, fn = self._counts
        # A hit counts where the truth is: then tp + fn is the truth, whatever a run predicted.
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
        """A row per window and class that occurs in it, of the schema `WINDOWS_SCHEMA`."""
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
        arrays = [pa.array(c, f.type) for c, f in zip(columns, WINDOWS_SCHEMA, strict=True)]
        return pa.table(arrays, schema=WINDOWS_SCHEMA)

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
    """The side of a scene's windows: a power of two, so that there are some two thousand at most.

    It rests on the scene's size alone: all runs count in the same windows.
    """
    side = MIN_WINDOW_PX
    while math.ceil(width / side) * math.ceil(height / side) > MAX_WINDOWS:
        side *= 2
    return side


def strips(width: int, height: int, *, most_px: int) -> Iterator[Window]:
    """Parts of a scene from edge to edge, of whole windows, and of so many pixels if they can.

    Their rows are a multiple of `STRIP_ROWS`, as Raster Vision writes: no strip is read twice.
    """
    unit = max(window_side_px(width, height), STRIP_ROWS)
    rows = max(1, most_px // width // unit) * unit
    for top in range(0, height, rows):
        yield Window(0, top, width, min(rows, height - top))


def concat_windows(tables: Iterable[pa.Table], task: str) -> pa.Table:
    """The windows of several scenes in one table, whose metadata tell the task."""
    table = pa.concat_tables([WINDOWS_SCHEMA.empty_table(), *tables])
    return table.replace_schema_metadata({"task": task})
