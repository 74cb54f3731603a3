"""Connected components of the classes of two rasters that are read in strips, and their overlaps.

A strip is encoded as runs of equal pixels in a row (run-length encoding). Components are those of
the graph of runs that touch in neighbouring rows (He, Chao and Suzuki, "A run-based two-scan
labeling algorithm", IEEE Transactions on Image Processing 17, 2008): the work on each pixel is one
comparison, for all classes at once. Pixels are connected with 4 neighbours, as in
``rasterio.features.shapes``, so that a component is a valid polygon.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError
from rvlab.metrics import Floats
from rvlab.raster.class_scores import NO_CLASS
from rvlab.raster.labels import ClassIds
from rvlab.raster.strip import Strip
from rvlab.raster.window import Window

MAX_OBJECTS = 100_000
"""Largest number of true, and of predicted, objects of a scene; more are noise, not objects."""

Ints = NDArray[np.int64]


class Components(NamedTuple):
    """Connected components of the classes of a raster, in the order of their first pixels.

    Args:
        class_ids: Shape (n,).
        area_px: Number of pixels, shape (n,).
        bounds: Shape (n, 4): col, row, stop_col, stop_row.
        centers: Mean position of the pixels, shape (n, 2): col, row. The centre of the first pixel
            is at 0.5, 0.5.
        scores: Mean score of the pixels, shape (n,); NaN without scores.
    """

    class_ids: Ints
    area_px: Ints
    bounds: Ints
    centers: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.class_ids)


class Overlaps(NamedTuple):
    """Pairs of a true and a predicted object of the same class that overlap.

    Args:
        truth: Index of the true object, shape (n,).
        guess: Index of the predicted object, shape (n,).
        iou: Intersection over union, shape (n,).
    """

    truth: Ints
    guess: Ints
    iou: Floats


class SceneComponents:
    """Components of the labels and the prediction of a scene, from strips in order.

    Args:
        is_object: Mask of the class ids that are objects, shape (classes,).
        labelled: Mask of the class ids of labelled pixels, shape (classes,). A pixel with another
            true class belongs to no object.
    """

    def __init__(self, is_object: NDArray[np.bool_], labelled: NDArray[np.bool_]) -> None:
        self._is_object, self._labelled = (np.zeros(256, bool) for _ in range(2))
        self._is_object[: len(is_object)] = is_object
        self._labelled[: len(labelled)] = labelled
        self._truth, self._guess = _Side("true"), _Side("predicted")
        self._pairs: list[Ints] = []

    def add(self, strip: Strip) -> None:
        """Add the strip below the last one.

        Raises:
            RasterError: If the scene has more than `MAX_OBJECTS` objects.
        """
        part, truth, guess, inside, score = strip
        if inside is not None:
            truth = np.where(inside, truth, NO_CLASS)
        true = _Runs.encode(truth)
        if not self._labelled[true.values].all():
            guess = np.where(self._labelled[truth], guess, NO_CLASS)
        predicted = _Runs.encode(guess)
        true_ids = self._truth.add(part, true, self._is_object, None)
        guess_ids = self._guess.add(part, predicted, self._is_object, score)
        # Runs in which neither the truth nor the prediction changes.
        both = _merge_sorted(true.starts, predicted.starts)
        lengths = np.diff(both, append=truth.size)
        t, g = np.cumsum(true.begins[both]) - 1, np.cumsum(predicted.begins[both]) - 1
        same = (true.values[t] == predicted.values[g]) & (true_ids[t] >= 0)
        self._pairs.append(_sum_pairs(true_ids[t[same]], guess_ids[g[same]], lengths[same]))

    def finish(self) -> tuple[Components, Components, Overlaps]:
        """Return the components of the labels and of the prediction, and their overlaps."""
        true, true_ids = self._truth.finish()
        predicted, guess_ids = self._guess.finish()
        t, g, shared = np.concatenate([np.zeros((3, 0), np.int64), *self._pairs], axis=1)
        t, g, shared = _sum_pairs(true_ids[t], guess_ids[g], shared)
        union = true.area_px[t] + predicted.area_px[g] - shared
        return true, predicted, Overlaps(t, g, shared / union)


class _Runs(NamedTuple):
    """Runs of equal pixels of the rows of a strip, which fill it without gaps."""

    begins: NDArray[np.bool_]  # of each pixel in the flat strip, whether a run begins there
    starts: Ints  # positions in it
    stops: Ints
    values: ClassIds
    width: int

    @classmethod
    def encode(cls, ids: ClassIds) -> _Runs:
        flat = np.ascontiguousarray(ids).reshape(-1)
        begins = np.empty(ids.shape, bool)
        np.not_equal(flat[1:], flat[:-1], out=begins.reshape(-1)[1:])
        begins[:, 0] = True
        starts = np.flatnonzero(begins)
        stops = np.append(starts[1:], flat.size)
        return cls(begins.reshape(-1), starts, stops, flat[starts], ids.shape[1])

    def last_row(self) -> tuple[Ints, Ints, ClassIds]:
        """Return the starts, stops and values of the runs of the last row, in its columns."""
        above = len(self.begins) - self.width
        low = int(np.searchsorted(self.starts, above))
        return self.starts[low:] - above, self.stops[low:] - above, self.values[low:]

    def touching(self, starts: Ints, stops: Ints, values: ClassIds) -> tuple[Ints, Ints]:
        """Return pairs of intervals and of runs that overlap them and have the same value.

        Args:
            starts: First positions of the intervals.
            stops: Positions after their last.
            values: Their values.

        Returns:
            Indices of intervals, and of runs.
        """
        first = np.searchsorted(self.starts, starts, side="right") - 1
        counts = np.searchsorted(self.starts, stops, side="left") - first
        interval = np.repeat(np.arange(len(starts)), counts)
        offset = np.arange(len(interval)) - np.repeat(np.cumsum(counts) - counts, counts)
        run = first[interval] + offset
        same = self.values[run] == values[interval]
        return interval[same], run[same]


@dataclass
class _Side:
    """Components of one raster: of each strip, and which of them are connected."""

    what: str
    count: int = 0
    parts: list[dict[str, NDArray[Any]]] = field(default_factory=list)
    links: list[Ints] = field(default_factory=list)
    last: tuple[tuple[Ints, Ints, ClassIds], Ints] | None = None

    def add(
        self,
        part: Window,
        runs: _Runs,
        is_object: NDArray[np.bool_],
        score: NDArray[np.floating[Any]] | None,
    ) -> Ints:
        """Add a strip and return the component of each run; -1 for runs that are not objects."""
        chosen = np.flatnonzero(is_object[runs.values])
        node = np.full(len(runs.starts), -1, np.int64)
        node[chosen] = np.arange(len(chosen))
        begin, end, values = runs.starts[chosen], runs.stops[chosen], runs.values[chosen]
        upper = np.flatnonzero(begin < runs.width * (part.height - 1))
        of, run = runs.touching(begin[upper] + runs.width, end[upper] + runs.width, values[upper])
        own = _connect(len(chosen), upper[of], node[run])
        ids = np.full(len(runs.starts), -1, np.int64)
        ids[chosen] = own + self.count
        if self.last is not None:
            (starts, stops, above), above_ids = self.last
            at = np.flatnonzero(above_ids >= 0)
            of, run = runs.touching(starts[at], stops[at], above[at])
            self.links.append(np.stack([above_ids[at[of]], ids[run]]))
        rows, cols = np.divmod(begin, runs.width)
        self._measure(own, values, rows + part.row, cols + part.col, end - begin)
        if score is not None and len(chosen):
            flat = np.nan_to_num(score.reshape(-1))
            totals = np.add.reduceat(flat, runs.starts, dtype=np.float64)[chosen]
            self.parts[-1]["score"] = np.bincount(own, totals, len(self.parts[-1]["class"]))
        bottom = runs.last_row()
        self.last = bottom, ids[len(ids) - len(bottom[0]) :]
        return ids

    def _measure(self, own: Ints, values: ClassIds, rows: Ints, cols: Ints, lengths: Ints) -> None:
        """Measure the components of a strip from their runs."""
        n = int(own.max()) + 1 if len(own) else 0
        self.count += n
        if self.count > MAX_OBJECTS:
            raise RasterError(
                f"It has more than {MAX_OBJECTS:,} {self.what} objects, which are not counted."
            )
        class_ids = np.zeros(n, np.int64)
        class_ids[own] = values
        low, high = np.full((2, n), np.iinfo(np.int64).max), np.full((2, n), -1)
        for axis, (least, most) in enumerate(((cols, cols + lengths), (rows, rows + 1))):
            np.minimum.at(low[axis], own, least)
            np.maximum.at(high[axis], own, most)
        self.parts.append(
            {
                "class": class_ids,
                "area": np.bincount(own, lengths, n).astype(np.int64),
                "low": low,
                "high": high,
                "col": np.bincount(own, lengths * (cols + lengths / 2), n),
                "row": np.bincount(own, lengths * (rows + 0.5), n),
                "score": np.full(n, np.nan),
            }
        )

    def finish(self) -> tuple[Components, Ints]:
        """Join the components of all strips; return also the index of each before they joined."""
        links = np.concatenate([np.zeros((2, 0), np.int64), *self.links], axis=1)
        ids = _connect(self.count, *links)
        n = int(ids.max()) + 1 if len(ids) else 0

        def values(name: str) -> NDArray[Any]:
            empty = np.zeros((2, 0) if name in ("low", "high") else 0, np.int64)
            return np.concatenate([empty, *(part[name] for part in self.parts)], axis=-1)

        class_ids = np.zeros(n, np.int64)
        class_ids[ids] = values("class")
        low, high = np.full((2, n), np.iinfo(np.int64).max), np.full((2, n), -1)
        for axis in (0, 1):
            np.minimum.at(low[axis], ids, values("low")[axis].astype(np.int64))
            np.maximum.at(high[axis], ids, values("high")[axis].astype(np.int64))
        area, col, row, score = (
            np.bincount(ids, values(name), n) for name in ("area", "col", "row", "score")
        )
        with np.errstate(invalid="ignore"):
            centers, scores = np.stack([col, row], axis=1) / area[:, None], score / area
        bounds = np.concatenate([low, high]).T
        return Components(class_ids, area.astype(np.int64), bounds, centers, scores), ids


def _merge_sorted(first: Ints, second: Ints) -> Ints:
    """Return the distinct values of two sorted arrays that are not empty.

    A stable sort merges them, in a third of the time of searching a mask of the pixels.
    """
    merged = np.concatenate([first, second])
    merged.sort(kind="stable")
    return np.asarray(merged[np.append(True, merged[1:] != merged[:-1])], np.int64)


def _connect(n: int, first: Ints, second: Ints) -> Ints:
    """Return the component of each of n nodes, numbered by their first nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not n:
        return np.zeros(0, np.int64)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    _, found = connected_components(graph, directed=False)
    return np.asarray(found, np.int64)


def _sum_pairs(t: Ints, g: Ints, shared: Ints) -> Ints:
    """Sum the pixels of each pair; return an array of shape (3, pairs)."""
    size = int(g.max()) + 1 if len(g) else 1
    codes, where = np.unique(t * size + g, return_inverse=True)
    total = np.bincount(where.reshape(-1), shared, len(codes)).astype(np.int64)
    return np.stack([codes // size, codes % size, total])
