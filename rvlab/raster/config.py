"""Classes, and raster and vector sources, of Raster Vision's ``pipeline-config.json``.

The file is read as plain JSON, so that showing a run needs neither Raster Vision nor torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rvlab.errors import RasterError, RecordBroken
from rvlab.metrics import NULL_CLASS, unlabelled_id
from rvlab.model.limits import CLASSES, MOSAIC_FILES, too_large
from rvlab.raster.window import Window

CELL_LABELS, BOX_LABELS = "chip_classification_label_source", "object_detection_label_source"

Address = Callable[[Any], str]
"""Function that validates an address of a config."""

Files = str | tuple[str, ...]
"""A file, or several that form one mosaic."""

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Classes:
    """The classes of a run; the index in `names` is the class id.

    Args:
        names: Class names.
        colors: Red, green and blue from 0 to 255, one color per class.
        null: Name of the class for pixels without label or image, if there is one.
    """

    names: tuple[str, ...]
    colors: tuple[RGB, ...]
    null: str | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def null_id(self) -> int | None:
        """The id of the null class."""
        return None if self.null is None else self.names.index(self.null)

    @property
    def unlabelled_id(self) -> int | None:
        """The id of the class for unlabelled pixels, which scores ignore.

        The table of metrics uses the same rule, `rvlab.metrics.unlabelled_id`.
        """
        return unlabelled_id(self.names, self.null)


@dataclass(frozen=True)
class RasterSource:
    """A raster source of a Raster Vision config.

    Args:
        uris: Files; several form one mosaic. Empty if there are `parts`.
        channel_order: Channels from 0, in the order of use; None is all except alpha.
        transformers: Raster Vision's settings of the raster transformers, in order.
        bbox: Window that is used, in pixels; None is the whole raster.
        unsupported: Reason why rvlab cannot read it, if any.
        parts: Sources whose channels are joined, in order. A time series has the channels of its
            first image first.
        primary: Index of the part that has the grid of the whole.
        temporal: Whether the parts are the dates of a time series.
    """

    uris: tuple[str, ...] = ()
    channel_order: tuple[int, ...] | None = None
    transformers: tuple[Mapping[str, Any], ...] = ()
    bbox: Window | None = None
    unsupported: str | None = None
    parts: tuple[RasterSource, ...] = ()
    primary: int = 0
    temporal: bool = False

    @property
    def leaves(self) -> tuple[RasterSource, ...]:
        """The sources of files, in the order of the parts."""
        return tuple(leaf for part in self.parts for leaf in part.leaves) or (self,)

    @property
    def primary_part(self) -> RasterSource:
        """The source of files that has the grid of the whole."""
        return self.parts[self.primary].primary_part if self.parts else self

    @property
    def files(self) -> Files:
        """The file or files of the primary part."""
        uris = self.primary_part.uris
        return uris[0] if len(uris) == 1 else uris

    def require_files(self, what: str) -> Files:
        """Return the files; raise RasterError if rvlab cannot read the source.

        Args:
            what: The name of the source in the message, such as ``image``.
        """
        if self.unsupported:
            raise RasterError(f"The {what} cannot be read: {self.unsupported}.")
        return self.files

    @property
    def name(self) -> str:
        """The files, for messages."""
        return describe_files(self.files)


@dataclass(frozen=True)
class VectorSource:
    """Shapes that Raster Vision rasterizes to class ids.

    Args:
        uris: GeoJSON files.
        transformers: Raster Vision's settings of the vector transformers, in order.
        background_id: Class of pixels outside all shapes.
        all_touched: Whether a shape covers all pixels that it touches, or only those whose centre
            it contains.
        unsupported: Reason why rvlab cannot read them, if any.
    """

    uris: tuple[str, ...] = ()
    transformers: tuple[Mapping[str, Any], ...] = ()
    background_id: int = 0
    all_touched: bool = False
    unsupported: str | None = None


@dataclass(frozen=True)
class CellRule:
    """Rule that assigns classes to a grid of cells from shapes.

    Args:
        size_px: Side of a cell.
        background_id: Class of a cell without a shape.
        ioa_thresh: Minimum fraction of a shape inside the cell for the shape to count.
        over_cell: Whether the fraction is of the cell's area instead of the shape's.
        pick_min: Whether the smallest class id decides, instead of the largest fraction.
    """

    size_px: int
    background_id: int
    ioa_thresh: float = 0.5
    over_cell: bool = False
    pick_min: bool = False


@dataclass(frozen=True)
class BoxSource:
    """Labels that are rectangles: boxes of object detection, or cells of chip classification.

    Args:
        kind: Raster Vision's type hint, such as ``object_detection_label_source``.
        shapes: Shapes whose bounds are the rectangles, unless there is a `rule`.
        rule: Rule that infers cells from the shapes.
        unsupported: Reason why rvlab cannot read them, if any.
    """

    kind: str
    shapes: VectorSource
    rule: CellRule | None = None
    unsupported: str | None = None

    @property
    def is_cells(self) -> bool:
        """Whether the labels are cells."""
        return self.kind == CELL_LABELS


def classes_from_config(config: Mapping[str, Any]) -> Classes:
    """Return the classes of a run.

    Args:
        config: ``pipeline-config.json``, or its ``class_config``.

    Raises:
        RecordBroken: If the classes are missing or invalid.
    """
    part: Any = config
    if "dataset" in config:
        data = config["dataset"]
        part = data.get("class_config") if isinstance(data, Mapping) else None
    given = part.get("names") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not given:
        raise RecordBroken("pipeline-config.json has no classes.")
    if not isinstance(given, list | tuple) or not all(isinstance(n, str | int) for n in given):
        raise RecordBroken(f"pipeline-config.json: class names must be a list, got {given!r:.100}.")
    if len(given) > CLASSES:
        too_large("pipeline-config.json", len(given), CLASSES, "classes")
    names = tuple(str(name) for name in given)
    shades = part.get("colors") or [(128, 128, 128)] * len(names)
    if not isinstance(shades, list | tuple) or len(shades) != len(names):
        number = len(shades) if isinstance(shades, list | tuple) else "invalid"
        raise RecordBroken(f"pipeline-config.json has {len(names)} classes, {number} colors.")
    null = part.get("null_class") or (NULL_CLASS if NULL_CLASS in names else None)
    if null is not None and null not in names:
        raise RecordBroken(
            f"pipeline-config.json: null_class {null!r:.100} is not one of the classes."
        )
    return Classes(names, tuple(map(parse_color, shades)), null)


def parse_color(color: str | Sequence[float]) -> RGB:
    """Parse a color of a config: a name, ``#rrggbb``, integers to 255, or floats to 1."""
    from PIL import ImageColor

    if isinstance(color, str):
        try:
            r, g, b = ImageColor.getrgb(color)[:3]
        except ValueError as exc:
            raise RecordBroken(f"pipeline-config.json has a color {color!r}: {exc}.") from exc
        return r, g, b
    try:
        if len(color) < 3 or not all(isinstance(part, int | float) for part in color):
            raise TypeError
        if all(isinstance(part, float) for part in color):
            color = [255 * part for part in color]
        r, g, b = (round(part) for part in color[:3])
    except (TypeError, ValueError, LookupError, OverflowError) as exc:
        raise RecordBroken(
            f"pipeline-config.json has a color {color!r:.100}: it must be three numbers."
        ) from exc
    return r, g, b


def color_hex(color: RGB) -> str:
    """Return a color as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def parse_truth_source(
    part: Mapping[str, Any] | None, address: Address
) -> RasterSource | VectorSource | BoxSource | None:
    """Return the labels of a scene.

    Args:
        part: JSON of the scene's label source; None if it has none.
        address: Validates each address.
    """
    if not part:
        return None
    kind = part.get("type_hint")
    if kind in (CELL_LABELS, BOX_LABELS):
        return _boxes(kind, part, address)
    if kind != "semantic_segmentation_label_source":
        return RasterSource(unsupported=f"labels of the kind {kind!s:.60} are not supported")
    source = part["raster_source"]
    if source.get("type_hint") != "rasterized_source":
        return parse_raster_source(source, address)
    drawn = source["rasterizer_config"]
    return replace(
        _vector(source["vector_source"], address),
        background_id=int(drawn["background_class_id"]),
        all_touched=bool(drawn.get("all_touched")),
    )


def _boxes(kind: str, part: Mapping[str, Any], address: Address) -> BoxSource:
    if not part.get("vector_source"):
        return BoxSource(kind, VectorSource(), unsupported="its config has no vector_source")
    shapes = _vector(part["vector_source"], address)
    if kind == BOX_LABELS:
        return BoxSource(kind, shapes)
    if part.get("lazy"):
        why = "its labels are lazy, and Raster Vision does not score cells of lazy labels"
        return BoxSource(kind, shapes, unsupported=why)
    if not part.get("infer_cells"):
        return BoxSource(kind, shapes)
    if not part.get("cell_sz"):
        return BoxSource(kind, shapes, unsupported="its config has no cell_sz")
    thresh = part.get("ioa_thresh")
    rule = CellRule(
        size_px=int(part["cell_sz"]),
        background_id=int(part["background_class_id"]),
        ioa_thresh=0.5 if thresh is None else float(thresh),
        over_cell=bool(part.get("use_intersection_over_cell")),
        pick_min=bool(part.get("pick_min_class_id")),
    )
    return BoxSource(kind, shapes, rule)


def _vector(part: Mapping[str, Any], address: Address) -> VectorSource:
    kind = part.get("type_hint")
    return VectorSource(
        uris=parse_addresses(part.get("uris"), address),
        transformers=parse_transformers(part),
        unsupported=None if kind == "geojson_vector_source" else f"a {kind!s:.60} is not supported",
    )


def parse_raster_source(part: Mapping[str, Any], address: Address) -> RasterSource:
    """Return the raster source of a section of a config.

    Args:
        part: JSON of a RasterioSourceConfig or a MultiRasterSourceConfig.
        address: Validates each address.
    """
    kind, bbox = part.get("type_hint"), part.get("bbox")
    window = None
    if bbox is not None:
        top, left, bottom, right = bbox
        window = Window(left, top, right - left, bottom - top)
    order = part.get("channel_order")
    channels = None if order is None else tuple(map(_channel, order))
    if kind == "multi_raster_source":
        return _parse_parts(part, address, channels or None, window)
    uris = parse_addresses(part.get("uris"), address)
    unread = None
    if kind != "rasterio_source":
        unread = f"a {kind!s:.60} is not supported, only a rasterio_source or multi_raster_source"
    elif not uris:
        unread = "its config names no file"
    elif len(uris) > MOSAIC_FILES:
        unread = f"it has {len(uris):,} files; more than {MOSAIC_FILES:,} are not read"
    return RasterSource(uris, channels, parse_transformers(part), window, unread)


def _parse_parts(
    part: Mapping[str, Any],
    address: Address,
    channels: tuple[int, ...] | None,
    window: Window | None,
) -> RasterSource:
    parts = tuple(parse_raster_source(one, address) for one in part["raster_sources"])
    primary = _channel(part.get("primary_source_idx") or 0)
    return RasterSource(
        channel_order=channels,
        transformers=parse_transformers(part),
        bbox=window or parts[primary].bbox,
        unsupported=parts[primary].unsupported,
        parts=parts,
        primary=primary,
        temporal=bool(part.get("temporal")),
    )


def describe_files(files: Files) -> str:
    """Return a short text for files: the first, and the number of the others."""
    if isinstance(files, str):
        return files
    if not files:
        return "no file"
    more = len(files) - 1
    return f"{files[0]} and {more} more file{'s' if more > 1 else ''}"


def _channel(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise TypeError(f"{number!r:.100} is not a channel number")
    return number


def parse_transformers(part: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the transformers of a source; raise TypeError if they are not a list of objects."""
    found = tuple(part.get("transformers") or ())
    if not all(isinstance(one, Mapping) for one in found):
        raise TypeError(f"{found!r:.100} is not a list of transformers")
    return found


def parse_addresses(uris: Any, address: Address) -> tuple[str, ...]:
    """Return one address, or a list of them, after validation."""
    return tuple(map(address, [uris] if isinstance(uris, str) else uris or ()))
