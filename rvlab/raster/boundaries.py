"""Pixels near the contours of the classes of two rasters that are read in strips: Boundary IoU.

Cheng, Girshick, Dollár, Berg and Kirillov, "Boundary IoU: Improving object-centric image
segmentation evaluation", CVPR 2021. The boundary of a class consists of its pixels from which a
pixel of another class, or the outside of the scene, is at most `distance_px` rows and columns away:
the pixels that an erosion with a square removes, as in the authors' code.

A strip is packed to one bit per pixel and bit of the class ids, so that an operation on a word of
64 bits processes 64 pixels of one bit plane, and the planes together hold all classes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rvlab.errors import SpecError
from rvlab.model.tables import BOUNDARIES_TABLE
from rvlab.raster.config import Classes
from rvlab.raster.labels import ClassIds
from rvlab.raster.scene import Scene
from rvlab.raster.strip import Strip
from rvlab.store.table_file import columns_to_arrow

DIAGONAL_SHARE, MAX_DISTANCE_PX = 0.02, 15
"""The default distance: 2 % of the diagonal, at most 15 px. See ``docs/decisions``, 36."""

_WORD = np.dtype("<u8")
_WORD_BITS = 64
_BLOCK_WORDS = 40_000
"""Words of a plane that are processed at a time, so that they remain in the processor's cache."""

Words = NDArray[np.uint64]


def default_distance_px(width: int, height: int) -> int:
    """Return the distance from a contour within which pixels are counted, by a scene's size."""
    return min(MAX_DISTANCE_PX, max(1, round(DIAGONAL_SHARE * math.hypot(width, height))))


def require_distance_px(distance_px: int | None) -> None:
    """Raise SpecError if a distance is neither None nor a positive integer."""
    if distance_px is None:
        return
    if not isinstance(distance_px, int | np.integer) or distance_px < 1:
        raise SpecError(f"distance_px must be a positive integer, got {distance_px!r}.")


class SceneBoundaries:
    """Counts of the pixels near the contours of the classes of a scene, from strips in order.

    Pixels without a label, and pixels outside the areas of interest, are counted as if they were
    outside the scene, in the labels and in the prediction.

    Args:
        classes: Classes of the run.
        width: Width of the scene, in pixels.
        height: Height of the scene, in pixels.
        distance_px: The largest distance from a contour, in rows and columns; None uses
            `default_distance_px`.

    Raises:
        SpecError: If `distance_px` is not a positive integer.
    """

    def __init__(
        self, classes: Classes, width: int, height: int, distance_px: int | None = None
    ) -> None:
        require_distance_px(distance_px)
        self.classes = classes
        self.distance_px = int(distance_px or default_distance_px(width, height))
        self._width, self._bits = width, max(1, (len(classes) - 1).bit_length())
        # No distance is larger than the scene: beyond that, all pixels are near a contour.
        self._reach = min(self.distance_px, max(width, height))
        words = (width + self._reach) // _WORD_BITS + 1
        # Planes of the labels, then of the prediction: bits of the class ids, then known pixels.
        self._planes = 2 * (self._bits + 1)
        self._rows: Words = np.zeros((self._planes, self._reach, words), np.uint64)
        self._whole_row: Words = np.zeros((1, words), np.uint64)
        _pack_rows(np.ones((1, width), bool), self._whole_row)
        self._counts = np.zeros((3, len(classes)), np.int64)

    def add(self, strip: Strip) -> None:
        """Add the strip below the last one; its score is ignored."""
        part, truth, guess, inside, _ = strip
        step = max(1, _BLOCK_WORDS // self._rows.shape[2])
        for top in range(0, part.height, step):
            rows = slice(top, top + step)
            mask = None if inside is None else inside[rows]
            self._add(self._pack(truth[rows], guess[rows], mask))

    def finish(self) -> NDArray[np.int64]:
        """Return the number of pixels near the contours of each class, shape (3, classes).

        The rows are: pixels of the labels, of the prediction, and of both.
        """
        _, _, words = self._rows.shape
        self._add(np.zeros((self._planes, self._reach, words), np.uint64))
        return self._counts

    def table(self, scene: Scene) -> pa.Table:
        """Finish, and return a row per class except ``null``, with `BOUNDARIES_TABLE`."""
        truth, guess, shared = self.finish()
        ids = [i for i in range(len(self.classes)) if i != self.classes.unlabelled_id]
        columns: list[Any] = [
            [scene.group] * len(ids),
            [scene.id] * len(ids),
            [self.classes.names[i] for i in ids],
            [self.distance_px] * len(ids),
            *(values[ids] for values in (truth, guess, shared)),
        ]
        return columns_to_arrow(BOUNDARIES_TABLE, columns)

    def _pack(self, truth: ClassIds, guess: ClassIds, inside: NDArray[np.bool_] | None) -> Words:
        k, null = len(self.classes), self.classes.unlabelled_id
        out: Words = np.zeros((self._planes, len(truth), self._rows.shape[2]), np.uint64)
        counted = inside
        if truth.max() >= k:
            counted = truth < k if counted is None else counted & (truth < k)
        if null is not None:
            counted = truth != null if counted is None else counted & (truth != null)
        known = guess < k if guess.max() >= k else None
        half = self._bits + 1
        for ids, first in ((truth, 0), (guess, half)):
            for bit in range(self._bits):
                # A raster of two classes is a mask already.
                _pack_rows(ids if k <= 2 else ids & np.uint8(1 << bit), out[first + bit])
        if counted is None:
            out[half - 1] = self._whole_row
        else:
            _pack_rows(counted, out[half - 1])
        out[-1] = out[half - 1]
        if known is not None:
            _pack_rows(known, out[-1])
            out[-1] &= out[half - 1]
        return out

    def _add(self, more: Words) -> None:
        """Count the rows whose neighbours below are complete; retain the last rows."""
        rows = np.concatenate([self._rows, more], axis=1)
        self._rows = rows[:, -2 * self._reach :]
        if rows.shape[1] <= 2 * self._reach:
            self._rows = rows
            return
        half = self._bits + 1
        sides = rows[:half], rows[half:]
        near_truth, near_guess = (_near_contours(side, self._reach) for side in sides)
        inner = slice(self._reach, rows.shape[1] - self._reach)
        near_truth &= sides[0][-1, inner]
        near_guess &= sides[1][-1, inner]
        for class_id in range(len(self.classes)):
            true = near_truth & _of_class(sides[0][:-1, inner], class_id)
            predicted = near_guess & _of_class(sides[1][:-1, inner], class_id)
            masks = (true, predicted, true & predicted)
            self._counts[:, class_id] += [_count_bits(mask) for mask in masks]


def _pack_rows(mask: NDArray[Any], out: Words) -> None:
    """Pack the rows of a mask, or of an array that is not 0 where the mask is true."""
    packed = np.packbits(mask, axis=1, bitorder="little")
    whole = np.zeros((len(mask), out.shape[1] * (_WORD_BITS // 8)), np.uint8)
    whole[:, : packed.shape[1]] = packed
    out[:] = whole.view(_WORD)


def _near_contours(planes: Words, reach: int) -> Words:
    """Return the pixels that differ in a plane from a pixel within `reach` rows and columns.

    Args:
        planes: Shape (planes, rows, words).
        reach: The distance. The first and the last `reach` rows are read as neighbours only; the
            result does not contain them.
    """
    across = np.bitwise_or.reduce(planes ^ _shift(planes, 1))
    down = np.bitwise_or.reduce(planes[:, 1:] ^ planes[:, :-1])
    # Bit k of `across` says that the pixels k - 1 and k differ.
    size = 1
    while size < 2 * reach:
        step = min(size, 2 * reach - size)
        across |= _shift(across, step)
        size += step
    across = _shift(across, -reach)
    found: Words = across[1:] | down
    size = 1
    while size < 2 * reach:
        step = min(size, 2 * reach - size)
        found = found[:-step] | found[step:]
        size += step
    found |= across[: len(found)]
    return found


def _shift(words: Words, by: int) -> Words:
    """Move each bit to a higher column, or to a lower one if `by` is negative."""
    whole, rest = divmod(abs(by), _WORD_BITS)
    bits, others = np.uint64(rest), np.uint64(_WORD_BITS - rest)
    if whole:
        moved, remaining = np.zeros_like(words), max(0, words.shape[-1] - whole)
        if by > 0:
            moved[..., whole:] = words[..., :remaining]
        else:
            moved[..., :remaining] = words[..., whole:]
        words = moved
    out: Words = words << bits if by > 0 else words >> bits
    if rest and by > 0:
        out[..., 1:] |= words[..., :-1] >> others
    elif rest:
        out[..., :-1] |= words[..., 1:] << others
    return out


def _of_class(planes: Words, class_id: int) -> Words:
    """Return the pixels with a class id, from the planes of the bits of the ids."""
    found: Words = np.full_like(planes[0], np.iinfo(np.uint64).max)
    for bit, plane in enumerate(planes):
        found &= plane if class_id >> bit & 1 else ~plane
    return found


def _count_bits(words: Words) -> int:
    if hasattr(np, "bitwise_count"):  # numpy 2.0 or newer
        return int(np.bitwise_count(words).sum(dtype=np.uint64))
    return int.from_bytes(words.tobytes(), "little").bit_count()
