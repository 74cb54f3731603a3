"""Options of a grid of predictions, and the windows and data of its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rvlab import raster
from rvlab.errors import RasterError, RvlabError, SpecError, did_you_mean
from rvlab.plot._grid import colorize
from rvlab.plot._grid.colorize import Pixels
from rvlab.plot._grid.layout import GridCell, screen_px
from rvlab.raster.config import RGB
from rvlab.raster.display import Bands, Stretch, select_channels
from rvlab.raster.read import MAX_BYTES, format_megabytes
from rvlab.raster.scene import RunSource

SHOW_MODES = ("labels", "errors", "overlay", "scores")

_NO_IMAGE = 235  # the grey level that replaces an unreadable image
_AREA_PX = 256  # resolution at which a row is searched for pixels outside

_T = TypeVar("_T")


def try_read(call: Callable[..., _T], *args: Any, **kwargs: Any) -> _T | RvlabError:
    """Return the value of a call, or the `RvlabError` that it raised."""
    try:
        return call(*args, **kwargs)
    except RvlabError as exc:
        return exc


@dataclass(frozen=True)
class GridOptions:
    """Options of a grid of predictions.

    Args:
        show: One of `SHOW_MODES`.
        columns: Some of ``image``, ``truth`` and ``runs``.
        figure_columns: Number of columns of the figure.
        max_px: Longest side of the pixels that are read for a cell.
        classes: Names of the classes of interest; None means all except the null class.
        bands: As in `plot.predictions`.
        stretch: As in `raster.image`.
        iou: Intersection over union above which boxes match.
        figure_rows: Number of rows of the figure.
        error_colors: Colors of the outcomes, in the order of `colorize.ERROR_COLORS`.
    """

    show: str = "labels"
    columns: Sequence[str] = ("image", "truth", "runs")
    figure_columns: int = 3
    max_px: int = 512
    classes: tuple[str, ...] | None = None
    bands: Bands | None = None
    stretch: Stretch | None = None
    iou: float = 0.5
    figure_rows: int = 1
    error_colors: Sequence[RGB] = colorize.DEFAULT_ERROR_COLORS

    def class_ids(self, classes: raster.Classes) -> tuple[int, ...]:
        """Return the ids of the classes of interest."""
        if self.classes is None:
            nulls = (classes.null_id, classes.unlabelled_id)
            return tuple(i for i in range(len(classes)) if i not in nulls)
        return tuple(classes.names.index(name) for name in self.classes if name in classes.names)

    def single_class_id(self, classes: raster.Classes) -> int | None:
        """Return the id of the only class of interest, to score that class alone, or None."""
        found = self.class_ids(classes)
        return found[0] if self.classes is not None and len(found) == 1 else None


@dataclass(frozen=True)
class GridRow:
    """A window of a scene, and the run from which its image and labels are read."""

    scene: str
    window: raster.Window | None
    source: RunSource
    labels: raster.SceneLabels

    # Not cached: before Python 3.12, functools.cached_property has one lock for all instances, so
    # that a slow image header would block all other scenes.
    @property
    def clipped_window(self) -> raster.Window:
        """The window, clipped to the scene.

        Raises:
            WindowOutside: If the window does not intersect the scene.
            RasterError: If the scene's size cannot be read.
        """
        return self.labels.clip(self.window)

    @property
    def run_classes(self) -> raster.Classes:
        """The classes of the run."""
        return self.source.classes

    @property
    def task(self) -> str:
        """Raster Vision's name of the task, such as ``semantic_segmentation``."""
        return self.labels.scene.task

    def has_pixels_outside_areas(self) -> bool:
        """Return whether some pixels of the row are outside its areas of interest."""
        inside = try_read(lambda: self.labels.labelled(self.clipped_window, max_px=_AREA_PX))
        return isinstance(inside, np.ndarray) and not bool(inside.all())


@dataclass(frozen=True)
class RowContext:
    """Data that all cells of a row share.

    Args:
        grid_row: The window.
        options: The options of the grid.
        image: The imagery, the error from reading it, or None if no cell needs it.
    """

    grid_row: GridRow
    options: GridOptions
    image: raster.Chip | RvlabError | None
    _lock: Any = field(default_factory=RLock, init=False, repr=False)
    _pixel_cache: dict[str, NDArray[Any]] = field(default_factory=dict, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a cell's pixels."""
        return self.grid_row.clipped_window.shape_within(self.options.max_px)

    @property
    def scale(self) -> float:
        """Pixels of a cell per pixel of the window."""
        return self.shape[1] / self.grid_row.clipped_window.width

    @property
    def px_per_point(self) -> float:
        """Pixels of a cell per screen pixel."""
        rows, columns = self.shape
        return max(rows, columns) / screen_px(self.options.figure_columns, rows / columns)

    @property
    def grey_background(self) -> Pixels:
        """The image in light grey, dark grey outside the areas of interest."""
        return self._cached(
            "dimmed", lambda: self.shade_outside(colorize.fade_to_grey(self._image))
        )

    @property
    def background(self) -> Pixels:
        """The image without transparency, shape (rows, columns, 3), dark grey outside the areas."""
        return self._cached("ground", lambda: self.shade_outside(self._image))

    @property
    def inside(self) -> NDArray[np.bool_] | None:
        """The mask of the areas of interest, shape (rows, columns); None if everything counts."""
        mask = self._cached("inside", self._inside)
        return mask if mask.size else None

    def shade_outside(self, pixels: Pixels) -> Pixels:
        """Show the image in dark grey outside the areas of interest."""
        inside = self._cached("inside", self._inside)
        return colorize.shade_outside(pixels, self._image, inside) if inside.size else pixels

    def _inside(self) -> NDArray[Any]:
        found = try_read(
            self.grid_row.labels.labelled, self.grid_row.clipped_window, max_px=self.options.max_px
        )
        return found if isinstance(found, np.ndarray) else np.zeros(0, bool)

    @property
    def _image(self) -> Pixels:
        return self._cached("image", self._opaque)

    def _opaque(self) -> Pixels:
        if not isinstance(self.image, raster.Chip):
            return np.full((*self.shape, 3), _NO_IMAGE, np.uint8)
        pixels = np.moveaxis(self.image.array, 0, -1)
        return np.where(self.image.mask[..., np.newaxis], pixels, np.uint8(255))

    # Not functools.cached_property: before Python 3.12 it has one lock for all windows. Since then
    # it has no lock, and each run of a row would compute the same picture again.
    def _cached(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        with self._lock:
            if name not in self._pixel_cache:
                self._pixel_cache[name] = make()
            return self._pixel_cache[name]


@dataclass(frozen=True)
class ScoredCell:
    """A cell with its class ids and score.

    Args:
        cell: The cell, not yet marked as the best of its row.
        seen: The class ids in the picture.
        f1: F1 in the window; None if it was not computed.
    """

    cell: GridCell
    seen: frozenset[int] = field(default_factory=frozenset)
    f1: float | None = None


def require_drawable_row(grid_row: GridRow, options: GridOptions, window: raster.Window) -> None:
    """Validate that a grid fits in memory and that the run has a class of interest.

    Args:
        grid_row: A row of the grid.
        options: The arguments of the plot.
        window: The row's window, clipped at the edge of the scene.

    Raises:
        RasterError: If the pictures are larger than the limit, or if the run has none of the
            classes of interest.
    """
    if options.show != "labels" and not options.class_ids(grid_row.run_classes):
        raise RasterError(
            f"Run {grid_row.source.run} has none of the classes of interest. "
            f"Its classes are {', '.join(grid_row.run_classes.names)}."
        )
    rows, columns = window.shape_within(options.max_px)
    size = rows * columns * 4 * options.figure_columns * options.figure_rows
    if size > MAX_BYTES:
        raise RasterError(
            f"{options.figure_rows} × {options.figure_columns} pictures of {columns} × {rows} px "
            f"take {format_megabytes(size)}, more than the {format_megabytes(MAX_BYTES)} allowed. "
            "Give a smaller max_px or fewer windows."
        )


def validate_classes(options: GridOptions, grid_rows: Sequence[GridRow]) -> None:
    """Validate that the runs have the classes of interest.

    Raises:
        SpecError: If no run has a named class, or only the null class could be shown.
    """
    known = dict.fromkeys(name for grid_row in grid_rows for name in grid_row.run_classes.names)
    for word in options.classes or ():
        if word not in known:
            raise SpecError(f"Unknown class {word!r}. {did_you_mean(word, known)}")
    if options.show != "labels" and not any(
        options.class_ids(grid_row.run_classes) for grid_row in grid_rows
    ):
        raise SpecError("The runs have only the null class. Name classes of interest.")


def as_class_names(classes: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the argument `classes` as a tuple, or None for all classes.

    Raises:
        SpecError: If it is empty.
    """
    if classes is None:
        return None
    names = (classes,) if isinstance(classes, str) else tuple(dict.fromkeys(map(str, classes)))
    if not names:
        raise SpecError("classes is empty. Name a class, or omit classes for all of them.")
    return names


def validate_bands(options: GridOptions, grid_rows: Sequence[GridRow]) -> None:
    """Validate `bands` against the configs, before anything is read.

    Raises:
        SpecError: If no display group has that name, or if the channel numbers are invalid.
    """
    for grid_row in grid_rows:
        select_channels(grid_row.source.config, options.bands)
