"""What is asked of a grid of predictions, and where it is to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import numpy as np

from rvlab import raster
from rvlab.errors import RasterError, RvlabError, SpecError, did_you_mean
from rvlab.plot._grid import colorize
from rvlab.plot._grid.colorize import Pixels
from rvlab.plot._grid.layout import GridCell, screen_px
from rvlab.raster.display import Bands, Stretch, select_channels
from rvlab.raster.read import MAX_BYTES, format_megabytes
from rvlab.raster.run_source import RunSource

SHOW_MODES = ("labels", "errors", "overlay", "scores")

_NO_IMAGE = 235  # the grey below outlines and boxes of a scene whose image is lost


@dataclass(frozen=True)
class GridOptions:
    """How windows are to be shown.

    Args:
        show: One of `SHOW_MODES`.
        columns: Some of ``image``, ``truth`` and ``runs``.
        across: Columns of the figure.
        max_px: Longest side of what is read for a cell.
        classes: Names of the classes of interest; None is all but the null class.
        bands: As in `plot.predictions`.
        stretch: As in `raster.image`.
        iou: By more than which boxes must overlap to match.
        down: Rows of the figure.
    """

    show: str = "labels"
    columns: Sequence[str] = ("image", "truth", "runs")
    across: int = 3
    max_px: int = 512
    classes: tuple[str, ...] | None = None
    bands: Bands | None = None
    stretch: Stretch | None = None
    iou: float = 0.5
    down: int = 1

    def class_ids(self, own: raster.Classes) -> tuple[int, ...]:
        """Ids of the classes of interest."""
        if self.classes is None:
            nulls = (own.null_id, own.unlabelled_id)
            return tuple(i for i in range(len(own)) if i not in nulls)
        return tuple(own.names.index(name) for name in self.classes if name in own.names)

    def single_class_id(self, own: raster.Classes) -> int | None:
        """The id of the class if a single one is asked for, which is then scored alone."""
        found = self.class_ids(own)
        return found[0] if self.classes is not None and len(found) == 1 else None


@dataclass(frozen=True)
class GridRow:
    """A window of a scene, and the run whose image and labels are shown of it."""

    scene: str
    window: raster.Window | None
    source: RunSource
    labels: raster.SceneLabels

    # Not kept: functools.cached_property has one lock for all places before Python 3.12, and who
    # waits for the header of one image would keep every other scene waiting.
    @property
    def clipped_window(self) -> raster.Window:
        """The window, cut at the scene's edge.

        Raises:
            WindowOutside: If nothing is left.
            RasterError: If nothing of the scene can be read.
        """
        return self.labels.clip(self.window)

    @property
    def run_classes(self) -> raster.Classes:
        """The classes of that run."""
        return self.source.classes

    @property
    def task(self) -> str:
        """Raster Vision's word for it."""
        return self.labels.scene.task


@dataclass(frozen=True)
class RowContext:
    """Of a window what all of its cells share.

    Args:
        place: The window.
        view: How it is to be shown.
        image: Its imagery, why there is none, or None if nobody needs it.
    """

    place: GridRow
    view: GridOptions
    image: raster.Chip | RvlabError | None
    _lock: Any = field(default_factory=RLock, init=False, repr=False)
    _pixel_cache: dict[str, Pixels] = field(default_factory=dict, init=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a cell's pixels."""
        return self.place.clipped_window.shape_within(self.view.max_px)

    @property
    def scale(self) -> float:
        """Pixels of a cell over pixels of the window."""
        return self.shape[1] / self.place.clipped_window.width

    @property
    def per_point(self) -> float:
        """Pixels of a cell to one of the screen."""
        rows, columns = self.shape
        return max(rows, columns) / screen_px(self.view.across, rows / columns)

    @property
    def dimmed(self) -> Pixels:
        """The image in light grey."""
        return self._cached("dimmed", lambda: colorize.dim_image(self.ground))

    @property
    def ground(self) -> Pixels:
        """The image without transparency, shape (rows, columns, 3)."""
        return self._cached("ground", self._opaque)

    def _opaque(self) -> Pixels:
        if not isinstance(self.image, raster.Chip):
            return np.full((*self.shape, 3), _NO_IMAGE, np.uint8)
        pixels = np.moveaxis(self.image.array, 0, -1)
        return np.where(self.image.mask[..., np.newaxis], pixels, np.uint8(255))

    # Not functools.cached_property: before Python 3.12 it has one lock for all windows, since then
    # none, and each run of a row would make the same picture anew.
    def _cached(self, name: str, make: Callable[[], Pixels]) -> Pixels:
        with self._lock:
            if name not in self._pixel_cache:
                self._pixel_cache[name] = make()
            return self._pixel_cache[name]


@dataclass(frozen=True)
class CellContent:
    """What a cell shows of a run.

    Args:
        cell: Its caption not yet set off as the best.
        seen: The class ids to be seen in it.
        f1: Its score in the window; None if it has none.
    """

    cell: GridCell
    seen: frozenset[int] = field(default_factory=frozenset)
    f1: float | None = None


def validate_size(place: GridRow, view: GridOptions) -> None:
    """Refuse grids that take too much memory, and pictures of classes that are not there.

    Raises:
        RasterError: With both numbers; or the run has none of the classes of interest.
    """
    if view.show != "labels" and not view.class_ids(place.run_classes):
        raise RasterError(
            f"The classes of {place.source.run} are {', '.join(place.run_classes.names)}: none of "
            "those "
            "asked for."
        )
    rows, columns = place.clipped_window.shape_within(view.max_px)
    size = rows * columns * 4 * view.across * view.down
    if size > MAX_BYTES:
        raise RasterError(
            f"{view.down} × {view.across} pictures of {columns} × {rows} px take "
            f"{format_megabytes(size)}, more than the {format_megabytes(MAX_BYTES)} allowed. Give "
            "a smaller "
            "max_px or fewer windows."
        )


def validate_classes(view: GridOptions, places: Sequence[GridRow]) -> None:
    """Refuse classes that no run has.

    Raises:
        SpecError: It names the nearest; or there is none to show at all.
    """
    known = dict.fromkeys(name for place in places for name in place.run_classes.names)
    for word in view.classes or ():
        if word not in known:
            raise SpecError(f"There is no class {word!r}. {did_you_mean(word, known)}")
    if view.show != "labels" and not any(view.class_ids(place.run_classes) for place in places):
        raise SpecError("The runs have no class but the null class. Name classes of interest.")


def class_names(classes: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """The argument `classes` as a tuple; None stays.

    Raises:
        SpecError: If it is empty.
    """
    if classes is None:
        return None
    names = (classes,) if isinstance(classes, str) else tuple(dict.fromkeys(map(str, classes)))
    if not names:
        raise SpecError("classes is empty. Name a class, or leave it out for all of them.")
    return names


def validate_bands(view: GridOptions, places: Sequence[GridRow]) -> None:
    """Refuse bands that no config knows before anything is read.

    Raises:
        SpecError: If there is no group of that name, or the numbers are none.
    """
    for place in places:
        select_channels(place.source.config, view.bands)
