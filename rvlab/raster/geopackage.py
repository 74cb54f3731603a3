"""Predictions as vectors: a GeoPackage with a polygon per object, in the CRS of the image."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import MissingExtra, RasterError
from rvlab.raster.boxes import Boxes
from rvlab.raster.config import Classes
from rvlab.raster.read import Grid

LAYER = "predictions"
TRACED_PX = 2**24
"""Pixels of a strip in which polygons are traced at a time."""

BATCH = 50_000
"""Polygons that are written at a time."""


class ClassPolygon(NamedTuple):
    """A polygon in pixels, with the id of its class and its score, which may be NaN."""

    shape: Any
    class_id: int
    score: float


def trace_polygons(labels: Path, skip: Collection[int]) -> Iterator[ClassPolygon]:
    """Yield the connected areas of each class of a raster of class ids, with 4 neighbours.

    The raster is read in strips. Parts of an area in several strips are joined.

    Args:
        labels: A local raster.
        skip: The class ids that are left out.
    """
    import rasterio
    import shapely

    with rasterio.open(labels) as dataset:
        rows = max(1, TRACED_PX // dataset.width // 512) * 512
        open_parts: dict[int, list[Any]] = {}
        for top in range(0, dataset.height, rows):
            bottom = min(top + rows, dataset.height)
            ids = dataset.read(1, window=((top, bottom), (0, dataset.width)))
            border: dict[int, list[Any]] = open_parts
            open_parts = {}
            for shape, class_id in _trace(ids, top, skip):
                _, upper, _, lower = shape.bounds
                if top > 0 and upper <= top:
                    border.setdefault(class_id, []).append(shape)
                elif bottom < dataset.height and lower >= bottom:
                    open_parts.setdefault(class_id, []).append(shape)
                else:
                    yield ClassPolygon(shape, class_id, float("nan"))
            for class_id, parts in border.items():
                for shape in shapely.get_parts(shapely.unary_union(parts)):
                    joined = shapely.simplify(shape, 0)  # without the corners at the border
                    if bottom < dataset.height and joined.bounds[3] >= bottom:
                        open_parts.setdefault(class_id, []).append(joined)
                    else:
                        yield ClassPolygon(joined, class_id, float("nan"))


def _trace(ids: NDArray[np.uint8], top: int, skip: Collection[int]) -> Iterator[tuple[Any, int]]:
    import shapely.geometry
    from affine import Affine
    from rasterio.features import shapes

    wanted = ~np.isin(ids, list(skip))
    for geometry, value in shapes(ids, mask=wanted, transform=Affine.translation(0, top)):
        yield shapely.geometry.shape(geometry), int(value)


def box_polygons(boxes: Boxes, skip: Collection[int]) -> Iterator[ClassPolygon]:
    """Yield the rectangles of boxes or cells, except those of some classes."""
    import shapely

    shapes = shapely.box(*boxes.bounds.T)
    for shape, class_id, score in zip(shapes, boxes.class_ids, boxes.scores, strict=True):
        if class_id not in skip:
            yield ClassPolygon(shape, int(class_id), float(score))


def write_geopackage(
    path: Path, polygons: Iterable[ClassPolygon], grid: Grid, classes: Classes
) -> None:
    """Write polygons as the layer ``predictions`` of a GeoPackage.

    Its columns are ``class``, ``class_id``, ``score``, missing for areas of pixels, and
    ``area_m2``, missing without a CRS. Without georeference the coordinates are pixels, columns and
    rows.

    Args:
        path: The file to write.
        polygons: The polygons, in pixels.
        grid: The grid of the scene.
        classes: The classes of the run.

    Raises:
        MissingExtra: If pyogrio is not installed.
        RasterError: If the file cannot be written.
    """
    try:
        import pyogrio
    except ImportError as exc:
        raise MissingExtra("A GeoPackage needs pyogrio: pip install 'rvlab[vectors]'.") from exc
    names = np.array(classes.names, dtype=object)
    remaining = iter(polygons)
    batch = list(islice(remaining, BATCH))
    is_first = True
    try:
        while batch or is_first:
            _write_batch(pyogrio.raw, path, batch, grid, names, append=not is_first)
            is_first, batch = False, list(islice(remaining, BATCH))
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError) as exc:
        raise RasterError(f"{path.name} cannot be written: {exc}") from exc


def _write_batch(
    raw: Any,
    path: Path,
    batch: list[ClassPolygon],
    grid: Grid,
    names: NDArray[Any],
    *,
    append: bool,
) -> None:
    import shapely

    shapes = np.array([one.shape for one in batch], dtype=object)
    ids = np.array([one.class_id for one in batch], dtype=np.int32)
    px_m2 = grid.square_metres_per_px
    fields = {
        "class": names[ids],
        "class_id": ids,
        "score": np.array([one.score for one in batch], dtype=np.float64),
        "area_m2": shapely.area(shapes) * (np.nan if px_m2 is None else px_m2),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
        raw.write(
            str(path),
            geometry=shapely.to_wkb(_to_map(shapes, grid)),
            field_data=list(fields.values()),
            fields=list(fields),
            geometry_type="Polygon",
            crs=None if grid.crs is None else grid.crs.to_wkt(),
            driver="GPKG",
            layer=LAYER,
            append=append,
            nan_as_null=True,
        )


def _to_map(shapes: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Return shapes in pixels as shapes in map coordinates."""
    import shapely

    t = grid.transform

    def map_points(points: NDArray[Any]) -> NDArray[Any]:
        cols, rows = points.T
        return np.stack([t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f], axis=1)

    return np.asarray(shapely.transform(shapes, map_points))
