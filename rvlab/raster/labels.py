"""Class ids of a window, from the labels or from a run's prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError, RvlabError
from rvlab.raster.class_scores import NO_CLASS, likeliest_classes, read_scores
from rvlab.raster.config import (
    BoxSource,
    Classes,
    Files,
    RasterSource,
    VectorSource,
    classes_from_config,
    describe_files,
)
from rvlab.raster.gdal import malformed
from rvlab.raster.read import Chip, Grid, read, read_choosing, resolve_bands
from rvlab.raster.read import read_grid as grid_of
from rvlab.raster.scene import RunSource, Scene, find_scene
from rvlab.raster.vectors import Shapes, read_areas, read_shapes
from rvlab.raster.window import Window

_T = TypeVar("_T")

ClassIds = NDArray[np.uint8]


@dataclass
class SceneLabels:
    """The labels of a scene. Shapes are read once. Safe to use from several threads.

    Args:
        scene: As `scenes_from_config` returns it.
        classes: Classes of the same run.
    """

    scene: Scene
    classes: Classes
    _lock: Any = field(default_factory=RLock, init=False, repr=False)
    _grid: Grid | RvlabError | None = field(default=None, init=False, repr=False)
    _cache: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of_run(cls, run: RunSource, name: str) -> SceneLabels:
        """Return the labels of a scene of a run; NotFound if the run does not have the scene."""
        return cls(find_scene(name, run.scenes, run.group), run.classes)

    @property
    def image_grid(self) -> Grid:
        """The grid of the whole image; if it cannot be read, of the labels, else of the prediction.

        The header is read once.

        Raises:
            RasterError: If none of them can be read; the message is about the image.
        """
        with self._lock:
            if self._grid is None:
                self._grid = self._image_grid_or_error()
            if isinstance(self._grid, RvlabError):
                raise self._grid
            return self._grid

    def _image_grid_or_error(self) -> Grid | RvlabError:
        try:
            return grid_of(self.scene.image.require_files("image"))
        except RvlabError as exc:
            return self._grid_from_labels(exc)

    def _grid_from_labels(self, exc: RvlabError) -> Grid | RvlabError:
        """Return the grid of the labels or prediction, or the image's error without either."""
        truth, guess = self.scene.truth, self.scene.prediction_uri
        same = [truth.files] if isinstance(truth, RasterSource) and not truth.unsupported else []
        for files in [*same, guess] if guess and self.scene.image.bbox is None else same:
            try:
                return grid_of(files)
            except RvlabError:
                continue
        return exc

    @contextmanager
    def image_read(self) -> Iterator[Callable[[Grid], None]]:
        """Store the image's grid while the ``with`` block reads the image, opened only once.

        Other threads that need the grid wait until it is stored.

        Yields:
            A function that the block calls with the grid as soon as the file is open.
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
                yield learn
            except RasterError as exc:
                if self._grid is None:
                    self._grid = self._grid_from_labels(exc)
                raise

    @property
    def grid(self) -> Grid:
        """The grid of the scene: its image cropped to its `bbox`."""
        image = self.image_grid
        box = self.scene.image.bbox
        return image.crop(box.clip(image.width, image.height)) if box else image

    def full_window(self) -> Window:
        """Return the window of the whole scene."""
        grid = self.grid
        return Window(0, 0, grid.width, grid.height)

    def clip(self, window: Window | None) -> Window:
        """Clip a window at the scene's edge; None is the whole scene.

        Raises:
            WindowOutside: If the window does not intersect the scene.
        """
        width, height = self.grid.width, self.grid.height
        return (window or Window(0, 0, width, height)).clip(width, height)

    def truth(self, window: Window | None = None, *, max_px: int | None = None) -> ClassIds:
        """Read the labels as class ids, as Raster Vision's label source returns them.

        Args:
            window: In pixels of the scene; None is the whole scene.
            max_px: Longest side of the result, in pixels; larger windows use nearest resampling.

        Returns:
            Shape (rows, columns).

        Raises:
            RasterError: If the scene has no labels, or rvlab cannot read them.
            WindowOutside: If the window does not intersect the scene.
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
                f"The labels cannot be read: labels of the kind {source.kind} are not a raster."
            )
        files = source.require_files("label raster")
        if source.parts:
            raise RasterError("The labels cannot be read: they are a multi_raster_source.")
        uri = describe_files(files)
        image, box = self.image_grid, self.scene.image.bbox
        chip = _label_chip(
            files, source, lambda own: part.shifted(*_labels_offset(image, box, own, uri)), max_px
        )
        _require_same_shape(chip, part, f"The label raster {uri}")
        return class_ids(uri, chip, source.transformers)

    def labelled(self, window: Window, *, max_px: int | None = None) -> NDArray[np.bool_] | None:
        """Return a mask of the areas of interest in a window; None if the scene has none."""
        found = self.aoi()
        if found is None:
            return None
        part = self.clip(window)
        drawn = found.draw(self._in_image(part), shape=part.shape_within(max_px))
        return np.asarray(drawn == 1)

    def aoi(self) -> Shapes | None:
        """Return the areas of interest in pixels of the whole image; None if the scene has none.

        Raster Vision ignores areas outside the scene. If all are outside, the whole scene counts.
        """
        return self.cached("aoi", self._read_aoi) if self.scene.aoi_uris else None

    def _read_aoi(self) -> Shapes | None:
        import shapely

        found, image = read_areas(self.scene.aoi_uris, self.image_grid), self.image_grid
        area = self.scene.image.bbox or Window(0, 0, image.width, image.height)
        box = shapely.box(area.col, area.row, area.stop_col, area.stop_row)
        near = shapely.intersects(found.geometries, box)
        if not near.any():
            return None
        return Shapes(found.geometries[near], found.class_ids[near])

    def _in_image(self, window: Window) -> Window:
        box = self.scene.image.bbox
        return window.shifted(box.col, box.row) if box else window

    def cached(self, name: str, load: Callable[[], _T]) -> _T:
        """Return a cached value, loading it at the first call; errors are not cached."""
        with self._lock:
            if name not in self._cache:
                self._cache[name] = load()
            found: _T = self._cache[name]
            return found


def prediction(
    scene: Scene, own: Classes, window: Window, grid: Grid, *, max_px: int | None = None
) -> ClassIds:
    """Read the class ids that a run predicted for a window.

    Args:
        scene: The scene of that run.
        own: The run's classes.
        window: In pixels of the scene, within it.
        grid: Grid of the scene that the prediction is compared with; the prediction must have it.
        max_px: As in `SceneLabels.truth`.

    Raises:
        RasterError: If the prediction is missing, or has another grid.
    """
    if scene.task != "semantic_segmentation":
        raise RasterError(f"Predictions of {scene.task} are not a raster of class ids.")
    if scene.prediction_uri is None:
        if scene.scores_uri is None:
            raise RasterError(f"The scene {scene.id} has no prediction.")
        ids, null = range(len(own)), own.null_id
        scores = read_scores(scene.scores_uri, window, ids, grid, max_px=max_px, null_id=null)
        return likeliest_classes(scores, null)
    uri = scene.prediction_uri
    chip = read(uri, window, max_px=max_px, resampling="nearest", alone=True)
    require_grid_of_scene(chip.full_grid, grid)
    return class_ids(uri, chip, scene.prediction_transformers)


def require_grid_of_scene(found: Grid, grid: Grid) -> None:
    """Require that a prediction has the grid of its scene.

    Args:
        found: Grid of the prediction.
        grid: Grid of the scene.

    Raises:
        RasterError: If sizes, CRSs or positions differ. If either has no CRS, only sizes count.
    """
    if (found.width, found.height) != (grid.width, grid.height):
        raise RasterError(
            f"The prediction has {found.width} × {found.height} px, the scene "
            f"{grid.width} × {grid.height} px."
        )
    if found.crs is not None and grid.crs is not None and found.crs != grid.crs:
        raise RasterError(f"The prediction has the CRS {found.crs}, the scene {grid.crs}.")
    if found.crs is not None and grid.crs is not None:
        ours, theirs = found.transform, grid.transform
        if not ours.almost_equals(theirs, 1e-3 * abs(theirs.a)):
            raise RasterError(
                f"The prediction starts at map coordinates {ours.c:.12g}, {ours.f:.12g}, the scene "
                f"at {theirs.c:.12g}, {theirs.f:.12g}."
            )


def class_ids(uri: str, chip: Chip, transformers: tuple[Mapping[str, Any], ...]) -> ClassIds:
    """Return the class ids of a label raster, after its transformers.

    Args:
        uri: Address of the raster, for error messages.
        chip: Pixels of the raster.
        transformers: Raster Vision's transformer settings. As in Raster Vision, pixels without data
            become 0 before they are applied. `rvlab.exchange` writes two fields more: ``nodata`` of
            the first one is the value that these pixels become, and ``others`` is the class of
            values or colors that a transformer does not list.

    Raises:
        RasterError: If rvlab does not support a transformer, or more than one band is left.
    """
    with malformed(f"The transformers of {uri}"):
        return _class_ids(uri, chip, transformers)


def _class_ids(uri: str, chip: Chip, transformers: tuple[Mapping[str, Any], ...]) -> ClassIds:
    empty = transformers[0].get("nodata", 0) if transformers else 0
    array = chip.array if chip.is_complete else np.where(chip.mask, chip.array, empty)
    for step in transformers:
        kind = step.get("type_hint")
        if kind == "rgb_class_transformer" and len(array) == 3:
            array = _from_colors(array, step["class_config"], step.get("others"))
        elif kind == "reclass_transformer":
            mapping = {int(k): int(v) for k, v in step["mapping"].items()}
            array = _map_values(array, mapping, step.get("others"))
        elif kind not in ("cast_transformer", "nan_transformer"):
            raise RasterError(
                f"The labels have a {kind!s:.60}, which only Raster Vision can apply."
            )
    if len(array) != 1:
        raise RasterError(
            f"{uri} has {len(array)} bands. Labels must have one band with class ids, or colors "
            "and an rgb_class_transformer."
        )
    ids = array[0]
    if ids.dtype != np.uint8:  # otherwise 256 would wrap around to class 0
        ids = np.where((ids >= 0) & (ids < NO_CLASS), ids, NO_CLASS)
    return np.asarray(ids, np.uint8)


def _from_colors(
    array: NDArray[Any], config: Mapping[str, Any], others: int | None = None
) -> NDArray[Any]:
    own = classes_from_config(config)
    codes = array.astype(np.uint32)
    joined = (codes[0] << 16 | codes[1] << 8 | codes[2])[np.newaxis]
    ids = {r << 16 | g << 8 | b: number for number, (r, g, b) in enumerate(own.colors)}
    null = own.null_id if own.null_id is not None else len(own)
    # The cast to uint8 leaves the blue value of other colors, as Raster Vision's does.
    return _map_values(joined, {0: null} | ids, others).astype(np.uint8)


def _map_values(
    array: NDArray[Any], mapping: Mapping[int, int], others: int | None = None
) -> NDArray[Any]:
    """Replace values simultaneously, as Raster Vision's ReclassTransformer does.

    Args:
        array: The values.
        mapping: Old value -> new value.
        others: What replaces all other values; None leaves them.
    """
    out = array.copy() if others is None else np.full(array.shape, others, np.int32)
    for old, new in mapping.items():
        out[array == old] = new
    return out


def _labels_offset(image: Grid, box: Window | None, labels: Grid, uri: str) -> tuple[int, int]:
    """Return the column and row of the scene's corner in its label raster.

    Raster Vision assumes that both have the same pixel size. It is checked if both have one CRS.
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
            f"{uri} has a pixel size of {labels.transform.a:g}, the image of "
            f"{image.transform.a:g}; they must be equal."
        )
    return labels.pixel(x, y)


def _label_chip(
    files: Files, source: RasterSource, window: Callable[[Grid], Window], max_px: int | None
) -> Chip:
    order = source.channel_order
    bands = None if order is None else [band + 1 for band in order]
    return read_choosing(
        files,
        window,
        lambda data: resolve_bands(describe_files(files), data, bands),
        max_px=max_px,
        resampling="nearest",
    )


def _require_same_shape(chip: Chip, window: Window, what: str) -> None:
    if (chip.window.width, chip.window.height) != (window.width, window.height):
        raise RasterError(
            f"{what} covers {chip.window.width} × {chip.window.height} px of the window's "
            f"{window.width} × {window.height}."
        )
