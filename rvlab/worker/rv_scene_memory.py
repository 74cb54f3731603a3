"""Prediction of scenes that are larger than memory.

Raster Vision holds the scores, or votes, of a whole scene in memory until it has predicted all of
its windows: 2 bytes per pixel and class, 4 GB for 20,000 x 20,000 px and five classes. But windows
come row by row, and rows above the current window never change again.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import StepError
from rvlab.worker.rv_patches import patch_once

NO_LABEL = 255
"""Id of pixels that no window covers, in the file of labels."""

RASTER_CACHE_MB = 256
"""Memory of GDAL for blocks of images. Its default is a twentieth of the machine's memory."""


def limit_raster_cache() -> None:
    """Limit the memory of GDAL in this process, unless ``GDAL_CACHEMAX`` is set."""
    os.environ.setdefault("GDAL_CACHEMAX", str(RASTER_CACHE_MB))


def patch_scene_memory() -> None:
    """Write finished rows of a predicted scene to disk, with the same values.

    Raster Vision's own classes sum the overlapping windows, in the same order and data type, in a
    band of rows as high as a window.
    """
    from rastervision.core.data import SemanticSegmentationLabels

    patch_once(SemanticSegmentationLabels, "make_empty", lambda _: staticmethod(labels_on_disk))


def labels_on_disk(extent: Any, num_classes: int, smooth: bool = False) -> Any:
    """Return empty labels of a scene that are written to temporary files."""
    return _disk_class()(extent, num_classes, smooth)


@cache
def _disk_class() -> type:
    """Define the class of labels on disk; Raster Vision is imported at the first call."""
    from rastervision.core.box import Box
    from rastervision.core.data import (
        SemanticSegmentationDiscreteLabels,
        SemanticSegmentationLabels,
        SemanticSegmentationSmoothLabels,
    )

    class DiskLabels(SemanticSegmentationLabels):  # type: ignore[misc]
        """Labels of a scene in temporary files, filled by windows in the order of their rows."""

        def __init__(self, extent: Any, num_classes: int, smooth: bool) -> None:
            self._kind = (
                SemanticSegmentationSmoothLabels if smooth else SemanticSegmentationDiscreteLabels
            )
            self._arrays = (
                ("pixel_scores", "pixel_hits") if smooth else ("pixel_counts", "hit_mask")
            )
            self._is_smooth = smooth
            self._top, self._rows = 0, 0
            self._band: Any = None
            super().__init__(extent, num_classes, np.float16 if smooth else np.uint8)
            self._labels = RowFile((self.width,), np.uint8)
            self._scores = RowFile((num_classes, self.width), np.float16)
            self._hits = RowFile((self.width,), np.uint8)

        def add_window(self, window: Any, values: NDArray[Any]) -> None:
            """Add the prediction of a window; windows must come in the order of their rows."""
            if window.ymin < self._top and self._top > 0:
                raise StepError(
                    f"The windows of a scene must come in the order of their rows, but row "
                    f"{window.ymin} follows {self._top}."
                )
            self._finish_rows(max(window.ymin, 0))
            self._require_rows(min(window.ymax, self.height) - self._top)
            self._band.add_window(window.translate(-self._top, 0), values)

        def get_label_arr(self, window: Any, null_class_id: int = -1) -> NDArray[Any]:
            """Return class ids of a window, with `null_class_id` where nothing was predicted."""
            ids = self._read(self._labels, window).astype(np.int64)
            return np.where(ids == NO_LABEL, null_class_id, ids)

        def get_score_arr(self, window: Any) -> NDArray[Any]:
            """Return the scores of a window, shape (classes, rows, columns)."""
            return np.moveaxis(self._read(self._scores, window), 0, 1).copy()

        @property
        def pixel_hits(self) -> NDArray[Any]:
            """The number of windows that cover each pixel, mapped from its file."""
            self._finish_rows(self.height)
            return self._hits.map_rows(self.height)

        def _read(self, file: RowFile, window: Any) -> NDArray[Any]:
            self._finish_rows(self.height)
            y0, x0, y1, x1 = window.intersection(self.extent)
            return file.read(y0, y1)[..., x0:x1]

        def _finish_rows(self, top: int) -> None:
            """Write the rows above `top`, which no later window covers."""
            done = min(top, self.height) - self._top
            if done <= 0:
                return
            self._require_rows(done)
            window = Box(0, 0, done, self.width)
            with np.errstate(invalid="ignore", divide="ignore"):  # rows without a window
                ids = self._band.get_label_arr(window, NO_LABEL)
                if self._is_smooth:
                    self._scores.append(np.moveaxis(self._band.get_score_arr(window), 1, 0))
                    self._hits.append(self._band.pixel_hits[:done])
            self._labels.append(ids.astype(np.uint8))
            self._resize(self._rows - done, skip=done)
            self._top += done

        def _require_rows(self, rows: int) -> None:
            if rows > self._rows:
                self._resize(rows)

        def _resize(self, rows: int, skip: int = 0) -> None:
            """Give the band another number of rows, without its first `skip` rows."""
            old_band, common = self._band, min(rows, self._rows - skip)
            self._band = self._kind(Box(0, 0, rows, self.width), self.num_classes)
            for name in self._arrays if common > 0 else ():
                old_rows = getattr(old_band, name)[..., skip : skip + common, :]
                getattr(self._band, name)[..., :common, :] = old_rows
            self._rows = rows

        def __eq__(self, other: object) -> bool:
            return self is other

        __hash__ = None  # type: ignore[assignment]

        def __add__(self, other: Any) -> Any:
            raise NotImplementedError

        def __delitem__(self, window: Any) -> None:
            raise NotImplementedError

        def save(self, *args: Any, **kwargs: Any) -> None:
            raise NotImplementedError

        def __getitem__(self, window: Any) -> NDArray[Any]:
            return self.get_score_arr(window) if self._is_smooth else self.get_label_arr(window)

        def mask_fill(self, window: Any, mask: Any, fill_value: Any) -> None:
            raise NotImplementedError

    return DiskLabels


class RowFile:
    """An array in an unnamed temporary file, written row by row.

    Args:
        row: The shape of a row.
        dtype: The type of its values.
    """

    def __init__(self, row: tuple[int, ...], dtype: Any) -> None:
        self._row, self._dtype = row, np.dtype(dtype)
        self._size = int(np.prod(row)) * self._dtype.itemsize
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed with this object
        weakref.finalize(self, self._file.close)

    def append(self, rows: NDArray[Any]) -> None:
        """Write rows at the end."""
        np.ascontiguousarray(rows, self._dtype).tofile(self._file)

    def read(self, start: int, end: int) -> NDArray[Any]:
        """Read the rows from `start` up to `end`."""
        self._file.flush()
        data = os.pread(self._file.fileno(), (end - start) * self._size, start * self._size)
        return np.frombuffer(data, self._dtype).reshape(end - start, *self._row)

    def map_rows(self, rows: int) -> NDArray[Any]:
        """Return all rows, mapped into memory."""
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r", shape=(rows, *self._row))
