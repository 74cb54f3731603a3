"""Scenes and classes of Raster Vision's ``pipeline-config.json``.

The file is read as plain JSON, so that showing a run needs neither Raster Vision nor torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rvlab.errors import NotFound, RecordBroken, did_you_mean
from rvlab.metrics import NULL_CLASS, unlabelled_id
from rvlab.model.limits import CLASSES, too_large
from rvlab.raster.window import Window
from rvlab.store.addresses import checked_address

if TYPE_CHECKING:
    from rvlab.store import Store

SCENE_GROUPS = ("train", "validation", "test")

CELL_LABELS, BOX_LABELS = "chip_classification_label_source", "object_detection_label_source"

RGB = tuple[int, int, int]

Address = Callable[[Any], str]
"""Function that validates an address of a config."""


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
        uris: Files; several form one mosaic.
        channel_order: Bands from 0, in the order of use; None is all except alpha.
        transformers: Raster Vision's settings of the raster transformers, in order.
        bbox: Window that is used, in pixels; None is the whole raster.
        unsupported: Reason why rvlab cannot read it, if any.
    """

    uris: tuple[str, ...] = ()
    channel_order: tuple[int, ...] | None = None
    transformers: tuple[Mapping[str, Any], ...] = ()
    bbox: Window | None = None
    unsupported: str | None = None


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


@dataclass(frozen=True)
class Scene:
    """A scene of a run. The origin of its windows is the corner of its image's `bbox`.

    Args:
        id: Scene id.
        group: ``train``, ``validation`` or ``test``.
        image: Imagery.
        truth: Labels; None if the scene has none.
        prediction_uri: Raster of predicted class ids, written by the step ``predict``; for other
            tasks the GeoJSON file of the predicted cells or boxes.
        prediction_rgb: Whether that raster contains class colors instead of ids.
        aoi_uris: GeoJSON files of the areas of interest; empty means the whole scene.
        task: Raster Vision's name of the task, such as ``semantic_segmentation``.
        scores_uri: Raster of class scores, one band per class, if the step ``predict`` wrote it.
    """

    id: str
    group: str
    image: RasterSource
    truth: RasterSource | VectorSource | BoxSource | None
    prediction_uri: str | None
    prediction_rgb: bool = False
    aoi_uris: tuple[str, ...] = ()
    task: str = "semantic_segmentation"
    scores_uri: str | None = None


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


def scenes_from_config(config: Mapping[str, Any], home: Store | None = None) -> list[Scene]:
    """Return the scenes of a run, in the order of its config: train, validation, test.

    A source that rvlab cannot read raises no error: its `unsupported` gives the reason.

    Args:
        config: ``pipeline-config.json``.
        home: Store that the config was read from; its addresses are restricted to those that
            `rvlab.store.addresses` allows. None trusts the config, as in a step.

    Raises:
        RecordBroken: If the config is malformed.
    """
    data = config.get("dataset", {})

    def address(uri: Any) -> str:
        uri = str(uri) if isinstance(uri, PurePath) else uri  # in a config built in Python
        if not isinstance(uri, str) or not uri:
            raise TypeError(f"{uri!r:.100} is not an address")
        return uri if home is None else checked_address(uri, home)

    task = str(config.get("type_hint", "semantic_segmentation_config")).removesuffix("_config")
    folder = config.get("predict_uri") or f"{config.get('root_uri')}/predict"
    try:
        return [
            _scene(part, group, task, f"{folder}/{part['id']}", address)
            for group in SCENE_GROUPS
            for part in data.get(f"{group}_scenes") or []
        ]
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as exc:
        raise RecordBroken(f"pipeline-config.json has a malformed scene: {exc!r:.300}.") from exc


def find_scene(name: str, known: Sequence[Scene], group: str | None = None) -> Scene:
    """Return the scene with an id.

    Args:
        name: Scene id.
        known: Scenes to search.
        group: Preferred group if several scenes have that id, as when one image is split by areas
            of interest. Without it, or without such a scene, the order is validation, test, train,
            since training scenes are not predicted.

    Raises:
        NotFound: If no scene has the id; the message suggests the nearest.
    """
    found = [scene for scene in known if scene.id == name]
    if not found:
        raise NotFound(f"Unknown scene {name!r}. {did_you_mean(name, [s.id for s in known])}")
    return min(found, key=lambda scene: scene_priority(scene, group))


def scene_priority(scene: Scene, group: str | None = None) -> tuple[bool, bool, bool]:
    """Return a sort key of scenes with one id: first `group`, then validation, test, train."""
    return scene.group != group, scene.group == "train", scene.group != "validation"


def _scene(part: Mapping[str, Any], group: str, task: str, folder: str, address: Address) -> Scene:
    label_store = part.get("label_store") or {}
    is_raster = task == "semantic_segmentation"
    uri = label_store.get("uri") or (folder if is_raster else f"{folder}.json")
    uri = address(uri).rstrip("/")
    return Scene(
        id=str(part["id"]),
        group=group,
        image=_raster(part["raster_source"], address),
        truth=_truth(part.get("label_source"), address),
        prediction_uri=f"{uri}/labels.tif" if is_raster else uri,
        prediction_rgb=bool(label_store.get("rgb")),
        aoi_uris=_as_tuple(part.get("aoi_uris"), address),
        task=task,
        scores_uri=f"{uri}/scores.tif" if is_raster and label_store.get("smooth_output") else None,
    )


def _truth(
    part: Mapping[str, Any] | None, address: Address
) -> RasterSource | VectorSource | BoxSource | None:
    if not part:
        return None
    kind = part.get("type_hint")
    if kind in (CELL_LABELS, BOX_LABELS):
        return _boxes(kind, part, address)
    if kind != "semantic_segmentation_label_source":
        return RasterSource(unsupported=f"labels of the kind {kind!s:.60} are not supported")
    source = part["raster_source"]
    if source.get("type_hint") != "rasterized_source":
        return _raster(source, address)
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
        uris=_as_tuple(part.get("uris"), address),
        transformers=_transformers(part),
        unsupported=None if kind == "geojson_vector_source" else f"a {kind!s:.60} is not supported",
    )


def _raster(part: Mapping[str, Any], address: Address) -> RasterSource:
    kind, uris, bbox = part.get("type_hint"), _as_tuple(part.get("uris"), address), part.get("bbox")
    unread = None
    if kind != "rasterio_source":
        unread = f"a {kind!s:.60} is not supported, only a rasterio_source"
    elif len(uris) != 1:
        unread = f"it is a mosaic of {len(uris)} files, and only single files are supported"
    order = part.get("channel_order")
    window = None
    if bbox is not None:
        top, left, bottom, right = bbox
        window = Window(left, top, right - left, bottom - top)
    return RasterSource(
        uris=uris,
        channel_order=None if order is None else tuple(map(_channel, order)),
        transformers=_transformers(part),
        bbox=window,
        unsupported=unread,
    )


def _channel(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise TypeError(f"{number!r:.100} is not a channel number")
    return number


def _transformers(part: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    found = tuple(part.get("transformers") or ())
    if not all(isinstance(one, Mapping) for one in found):
        raise TypeError(f"{found!r:.100} is not a list of transformers")
    return found


def _as_tuple(uris: Any, address: Address) -> tuple[str, ...]:
    return tuple(map(address, [uris] if isinstance(uris, str) else uris or ()))
