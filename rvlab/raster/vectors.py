"""Rasterization of vector labels to the class ids of a window, as in Raster Vision.

The shapes are processed in the order of Raster Vision 0.31 (``sanitize_geojson``, then the vector
transformers), without importing Raster Vision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError, RvlabError
from rvlab.raster.config import Classes, VectorSource
from rvlab.raster.filters import build_predicate
from rvlab.raster.pixel_shapes import to_pixels
from rvlab.raster.read import MAX_BYTES, Grid, format_megabytes
from rvlab.raster.vector_files import read_features
from rvlab.raster.window import Window

_BLOCK_PX = 16_000_000  # rasterized at once if the result is resampled


@dataclass(frozen=True)
class Shapes:
    """Shapes in pixels of the whole raster, with their class ids; later ones cover earlier."""

    geometries: NDArray[Any]
    class_ids: NDArray[np.int64]

    def draw(
        self,
        window: Window,
        *,
        background_id: int = 0,
        all_touched: bool = False,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[np.uint8]:
        """Rasterize the shapes to the class ids of a window.

        Args:
            window: In pixels of the whole raster.
            background_id: Class of pixels outside all shapes.
            all_touched: Whether to fill every pixel that a shape touches.
            shape: Rows and columns of the result, if smaller than the window; uses nearest
                resampling.

        Raises:
            RasterError: If the result is larger than a gigabyte.
        """
        wide, tall = (shape or (window.height, window.width))[::-1]
        if wide * tall > MAX_BYTES:
            raise RasterError(
                f"{window} of labels are {format_megabytes(wide * tall)}; the limit is "
                f"{format_megabytes(MAX_BYTES)}. Give a smaller window."
            )
        rows, cols = nearest_pixels(window, shape or (window.height, window.width))
        if len(rows) == window.height and len(cols) == window.width:
            return self._block(window, background_id, all_touched)
        out = np.empty((len(rows), len(cols)), np.uint8)
        step = max(1, _BLOCK_PX // window.width)
        for top in range(0, window.height, step):
            here = (rows >= top) & (rows < top + step)
            if here.any():
                height = min(step, window.height - top)
                part = Window(window.col, window.row + top, window.width, height)
                block = self._block(part, background_id, all_touched)
                out[here] = block[np.ix_(rows[here] - top, cols)]
        return out

    def _block(self, window: Window, background_id: int, touched: bool) -> NDArray[np.uint8]:
        import shapely
        from rasterio.features import rasterize

        size = (window.height, window.width)
        area = shapely.box(window.col, window.row, window.stop_col, window.stop_row)
        near = shapely.intersects(self.geometries, area)
        if not near.any():
            return np.full(size, background_id, np.uint8)
        corner = np.array([window.col, window.row])
        moved = shapely.transform(self.geometries[near], lambda xy: xy - corner)
        pairs = zip(moved, self.class_ids[near].tolist(), strict=True)
        return np.asarray(
            rasterize(
                list(pairs),
                out_shape=size,
                fill=background_id,
                dtype="uint8",
                all_touched=touched,
            )
        )


def nearest_pixels(
    window: Window, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and columns of a window that GDAL's nearest resampling selects."""
    rows = ((np.arange(shape[0]) + 0.5) * window.height / shape[0]).astype(np.int64)
    cols = ((np.arange(shape[1]) + 0.5) * window.width / shape[1]).astype(np.int64)
    return rows, cols


def read_shapes(source: VectorSource, grid: Grid, classes: Classes) -> Shapes:
    """Read the labels of a scene and convert them to pixels of its image.

    Args:
        source: Vector files and their transformers.
        grid: Grid of the whole image, not of its `bbox`.
        classes: Classes, which features may name in ``class_name`` or ``label``.

    Raises:
        RasterError: If a file cannot be read, rvlab does not support a transformer, or a line or
            point has no buffer.
    """
    return shapes_of_features(read_label_features(source, grid, classes))


def read_label_features(source: VectorSource, grid: Grid, classes: Classes) -> list[dict[str, Any]]:
    """Read labels as GeoJSON features, each with a shapely ``geometry`` and a ``class_id``.

    Arguments and errors as `read_shapes`.
    """
    if source.unsupported:
        raise RasterError(f"The labels cannot be read: {source.unsupported}.")
    found = to_pixels([f for uri in source.uris for f in read_features(uri)], grid)
    try:
        for step in source.transformers:
            found = _transform(found, step, classes)
    except (*(ValueError, TypeError, LookupError, AttributeError), RecursionError) as exc:
        if isinstance(exc, RvlabError):
            raise
        raise RasterError(
            f"{', '.join(source.uris)} has a shape with an invalid class: {exc!r}."
        ) from exc
    kinds = {f["geometry"].geom_type for f in found} - {"Polygon", "MultiPolygon"}
    if kinds:
        raise RasterError(
            f"{source.uris[0]} has shapes of the kind {', '.join(sorted(kinds))}, and the config "
            "has no buffer_transformer that converts them to polygons."
        )
    missing = [f for f in found if f["properties"].get("class_id") is None]
    if missing:
        raise RasterError(
            f"{len(missing)} shapes of {source.uris[0]} have no class: the config has no "
            "class_inference_transformer."
        )
    return found


def read_areas(uris: Iterable[str], grid: Grid) -> Shapes:
    """Read areas of interest in pixels of an image, each with the class id 1."""
    found = to_pixels([f for uri in uris for f in read_features(uri)], grid)
    return shapes_of_features([{**f, "properties": {"class_id": 1}} for f in found])


def shapes_of_features(found: list[dict[str, Any]]) -> Shapes:
    """Return the shapes of features that have a class."""
    geometries = np.empty(len(found), object)
    geometries[:] = [f["geometry"] for f in found]
    try:
        ids = np.array([int(f["properties"]["class_id"]) for f in found], np.int64)
    except (ValueError, TypeError, OverflowError) as exc:
        raise RasterError(
            f"A shape of the labels has a class_id that is not a number: {exc}."
        ) from exc
    return Shapes(geometries, ids)


def _transform(
    features: list[dict[str, Any]], step: Mapping[str, Any], classes: Classes
) -> list[dict[str, Any]]:
    kind = step.get("type_hint")
    if kind == "class_inference_transformer":
        return _with_classes(features, step, classes)
    if kind == "buffer_transformer":
        return [_buffer(f, step) for f in features]
    raise RasterError(f"The labels have a {kind!s:.60}, which only Raster Vision can apply.")


def _with_classes(
    features: list[dict[str, Any]], step: Mapping[str, Any], classes: Classes
) -> list[dict[str, Any]]:
    filters = step.get("class_id_to_filter") or {}
    tests = {int(number): build_predicate(expression) for number, expression in filters.items()}
    renamed = step.get("class_name_mapping") or {}

    def class_id(feature: dict[str, Any]) -> int | None:
        has = feature["properties"]
        if has.get("class_id") is not None:
            return int(has["class_id"])
        name = has["class_name"] if has.get("class_name") is not None else has.get("label")
        name = renamed.get(name, name)
        if name in classes.names:
            return classes.names.index(name)
        typed = {**feature, "geometry": {"type": feature["geometry"].geom_type}}
        default: int | None = step.get("default_class_id")
        return next((number for number, test in tests.items() if test(typed)), default)

    found = [(f, class_id(f)) for f in features]
    return [
        {**f, "properties": f["properties"] | {"class_id": number}}
        for f, number in found
        if number is not None
    ]


def _buffer(feature: dict[str, Any], step: Mapping[str, Any]) -> dict[str, Any]:
    if feature["geometry"].geom_type != step["geom_type"]:
        return feature
    by_class = {int(k): v for k, v in (step.get("class_bufs") or {}).items()}
    number = feature["properties"].get("class_id")
    width = by_class.get(number, step.get("default_buf", 1))
    if width is None:
        return feature
    return {**feature, "geometry": feature["geometry"].buffer(width)}
