"""Class ids of a window: what the labels say, and what a run predicted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError, RvlabError
from rvlab.raster.class_ids import ClassIds, class_ids
from rvlab.raster.read import Chip, Grid, read, read_choosing, resolve_bands
from rvlab.raster.read import read_grid as grid_of
from rvlab.raster.scene import BoxSource, Classes, RasterSource, Scene, VectorSource
from rvlab.raster.vectors import Shapes, nearest_pixels, read_areas, read_shapes
from rvlab.raster.window import Window

_T = TypeVar("_T")


@dataclass
class SceneLabels:
    """The truth of a scene. Shapes are read once; windows may be asked for by several threads.

    Args:
        scene: As `scenes` returns it.
        classes: Of the same run.
    """

    scene: Scene
    classes: Classes
    _lock: Any = field(default_factory=RLock, init=False, repr=False)
    _grid: Grid | RvlabError | None = field(default=None, init=False, repr=False)
    _cache: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def image_grid(self) -> Grid:
        """Of the whole image. Its header is read once; a lost image's place is told by its labels.

        Raises:
            RasterError: If neither can be read; it tells of the image.
        """
        with self._lock:
            if self._grid is None:
                self._grid = self._image_grid_or_error()
            if isinstance(self._grid, RvlabError):
                raise self._grid
            return self._grid

    def _image_grid_or_error(self) -> Grid | RvlabError:
        try:
            return grid_of(require_readable(self.scene.image, "image"))
        except RvlabError as exc:
            return self._grid_from_labels(exc)

    def _grid_from_labels(self, exc: RvlabError) -> Grid | RvlabError:
        """Of an image that is lost; its own error if nothing else tells where it lay."""
        truth, guess = self.scene.truth, self.scene.prediction_uri
        same = [truth.uris[0]] if isinstance(truth, RasterSource) and not truth.unsupported else []
        for uri in [*same, guess] if guess and self.scene.image.bbox is None else same:
            try:
                return grid_of(uri)
            except RvlabError:
                continue
        return exc

    def read_image(self, read: Callable[[Callable[[Grid], None]], _T]) -> _T:
        """Read the image, and learn its grid from that: it is opened once for both.

        Whoever asks for the grid meanwhile waits until it is told.

        Args:
            read: Reads it, and tells what it is given the image's grid as soon as that is open.
        """
        with ExitStack() as held:
            held.enter_context(self._lock)
            if self._grid is not None:
                held.close()

            def learn(found: Grid) -> None:
                if self._grid is None:
                    self._grid = found
                held.close()

            try:
                return read(learn)
            except RasterError as exc:
                if self._grid is None:
                    self._grid = self._grid_from_labels(exc)
                raise

    @property
    def grid(self) -> Grid:
        """Of the scene: the part of its image that its `bbox` leaves."""
        image = self.image_grid
        box = self.scene.image.bbox
        return image.crop(box.clip(image.width, image.height)) if box else image

    def full_window(self) -> Window:
        """The window of the whole scene."""
        return Window(0, 0, self.grid.width, self.grid.height)

    def clip(self, window: Window | None) -> Window:
        """A window cut at the scene's edge; None is the whole scene.

        Raises:
            WindowOutside: If nothing is left.
        """
        return (window or self.full_window()).clip(self.grid.width, self.grid.height)

    def truth(self, window: Window | None = None, *, max_px: int | None = None) -> ClassIds:
        """Class ids as Raster Vision's label source gives them.

        Args:
            window: In pixels of the scene; None is the whole scene.
            max_px: Longest side of the result; every n-th pixel is taken, none is averaged.

        Returns:
            Shape (rows, columns).

        Raises:
            RasterError: If the scene has no labels, or they cannot be read here.
            WindowOutside: If the window does not touch the scene.
        """
        part = self.clip(window)
        source = self.scene.truth
        if source is None:
            raise RasterError(f"The scene {self.scene.id} has no labels.")
        if isinstance(source, VectorSource):
            drawn = self.cached("truth", lambda: read_shapes(source, self.image_grid, self.classes))
            return drawn.draw(
                self._in_image(part),
                background_id=source.background_id,
                all_touched=source.all_touched,
                shape=part.shape_within(max_px),
            )
        if isinstance(source, BoxSource):
            raise RasterError(
                f"The truth cannot be read: labels of the kind {source.kind} are not drawn."
            )
        uri = require_readable(source, "truth")
        image, box = self.image_grid, self.scene.image.bbox
        chip = _label_chip(
            uri, source, lambda own: part.shifted(*_labels_offset(image, box, own, uri)), max_px
        )
        _require_same_shape(chip, part, f"The truth {uri}")
        return class_ids(uri, chip, source.transformers)

    def labelled(self, window: Window, *, max_px: int | None = None) -> NDArray[np.bool_] | None:
        """Where the scene's areas of interest are; None if all of it counts."""
        found = self.aoi()
        if found is None:
            return None
        part = self.clip(window)
        drawn = found.draw(self._in_image(part), shape=part.shape_within(max_px))
        return np.asarray(drawn == 1)

    def aoi(self) -> Shapes | None:
        """The scene's areas of interest in pixels of the whole image; None if all of it counts."""
        uris = self.scene.aoi_uris
        return self.cached("aoi", lambda: read_areas(uris, self.image_grid)) if uris else None

    def _in_image(self, window: Window) -> Window:
        box = self.scene.image.bbox
        return window.shifted(box.col, box.row) if box else window

    def cached(self, name: str, load: Callable[[], _T]) -> _T:
        """What was loaded by that name, once; an error is not kept."""
        with self._lock:
            if name not in self._cache:
                self._cache[name] = load()
            found: _T = self._cache[name]
            return found


def prediction(
    scene: Scene, own: Classes, window: Window, grid: Grid, *, max_px: int | None = None
) -> ClassIds:
    """Class ids that a run predicted for a window.

    Args:
        scene: Of that run.
        own: Its classes.
        window: In pixels of the scene, within it.
        grid: Of the scene that it is put beside; the prediction must lie on the same pixels.
        max_px: As in `SceneLabels.truth`.

    Raises:
        RasterError: If there is no prediction, or it lies on other pixels.
    """
    if scene.task != "semantic_segmentation":
        raise RasterError(f"Predictions of {scene.task} are no raster of class ids.")
    if scene.prediction_uri is None:
        raise RasterError(f"The scene {scene.id} has no prediction.")
    uri = scene.prediction_uri
    chip = read(uri, window, max_px=max_px, resampling="nearest")
    found = chip.full_grid
    if (found.width, found.height) != (grid.width, grid.height):
        raise RasterError(
            f"The prediction has {found.width} × {found.height} px, the scene "
            f"{grid.width} × {grid.height} px."
        )
    if found.crs is not None and grid.crs is not None and found.crs != grid.crs:
        raise RasterError(f"The prediction lies in {found.crs}, the scene in {grid.crs}.")
    if found.crs is not None and grid.crs is not None:
        ours, theirs = found.transform, grid.transform
        if not ours.almost_equals(theirs, 1e-3 * abs(theirs.a)):
            raise RasterError(
                f"The prediction begins at {ours.c:.12g}, {ours.f:.12g} on the ground, the scene "
                f"at {theirs.c:.12g}, {theirs.f:.12g}."
            )
    rgb = {"type_hint": "rgb_class_transformer", "class_config": own}
    return class_ids(uri, chip, (rgb,) if scene.prediction_rgb else ())


def require_readable(source: RasterSource, what: str) -> str:
    """The one file of a source; RasterError says why if it cannot be read here."""
    if source.unsupported:
        raise RasterError(f"The {what} cannot be read: {source.unsupported}.")
    return source.uris[0]


def subsample(ids: NDArray[Any], max_px: int) -> NDArray[Any]:
    """Every n-th pixel, so that the longer side has `max_px` at most."""
    window = Window(0, 0, ids.shape[1], ids.shape[0])
    rows, cols = nearest_pixels(window, window.shape_within(max_px))
    return ids[np.ix_(rows, cols)]


def _labels_offset(image: Grid, box: Window | None, labels: Grid, uri: str) -> tuple[int, int]:
    """Where the scene begins in the raster of its labels, whose own corner may be another.

    Raster Vision takes both to have the same pixel size; here it is checked.
    """
    from rasterio.warp import transform

    left, top = (box.col, box.row) if box else (0, 0)
    if not (image.has_position and labels.has_position):
        return left, top
    x, y = image.point(left + 0.5, top + 0.5)
    if image.crs != labels.crs and image.crs is not None and labels.crs is not None:
        (x,), (y,) = transform(image.crs, labels.crs, [x], [y])
    elif not np.isclose(labels.transform.a, image.transform.a, rtol=1e-3):
        raise RasterError(
            f"{uri} has pixels of {labels.transform.a:g}, the image of {image.transform.a:g}; "
            "labels must have the image's."
        )
    return labels.pixel(x, y)


def _label_chip(
    uri: str, source: RasterSource, window: Callable[[Grid], Window], max_px: int | None
) -> Chip:
    order = source.channel_order
    bands = None if order is None else [band + 1 for band in order]
    return read_choosing(
        uri,
        window,
        lambda data: resolve_bands(uri, data, bands),
        max_px=max_px,
        resampling="nearest",
    )


def _require_same_shape(chip: Chip, window: Window, what: str) -> None:
    if (chip.window.width, chip.window.height) != (window.width, window.height):
        raise RasterError(
            f"{what} covers {chip.window.width} × {chip.window.height} px of the window's "
            f"{window.width} × {window.height}."
        )
