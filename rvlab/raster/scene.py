"""Scenes and classes, as Raster Vision's ``pipeline-config.json`` describes them.

The file is read as plain JSON, so that looking at a run needs neither Raster Vision nor torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rvlab.errors import NotFound, RecordBroken, did_you_mean
from rvlab.model.classes import NULL_CLASS, unlabelled_id
from rvlab.model.limits import CLASSES, too_large
from rvlab.raster.window import Window
from rvlab.store.addresses import checked_address

if TYPE_CHECKING:
    from rvlab.store import Store

SCENE_GROUPS = ("train", "validation", "test")

CELL_LABELS, BOX_LABELS = "chip_classification_label_source", "object_detection_label_source"

RGB = tuple[int, int, int]

Address = Callable[[Any], str]
"""Checks an address that a config names."""


@dataclass(frozen=True)
class Classes:
    """The classes of a run; the place in `names` is the class id.

    Args:
        names: One a class.
        colors: Red, green and blue from 0 to 255, one a class.
        null: The class that stands in where there is no label or image, if there is one.
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
        """The id of the class of pixels that nobody labelled, which no score counts.

        The table of metrics is made by the same rule, `rvlab.model.classes.unlabelled_id`.
        """
        return unlabelled_id(self.names, self.null)


@dataclass(frozen=True)
class RasterSource:
    """A raster of Raster Vision's.

    Args:
        uris: The files; several are one mosaic.
        channel_order: Bands from 0, in the order in which they are used; None is all but alpha.
        transformers: Raster Vision's own settings of what is done to the pixels, in order.
        bbox: The part that is used, in pixels; None is the whole.
        unsupported: Why it cannot be read here, if it cannot.
    """

    uris: tuple[str, ...] = ()
    channel_order: tuple[int, ...] | None = None
    transformers: tuple[Mapping[str, Any], ...] = ()
    bbox: Window | None = None
    unsupported: str | None = None


@dataclass(frozen=True)
class VectorSource:
    """Shapes that Raster Vision draws into a raster of class ids.

    Args:
        uris: GeoJSON files.
        transformers: Raster Vision's own settings of what is done to the shapes, in order.
        background_id: The class of pixels under no shape.
        all_touched: Whether a pixel counts when a shape touches it, or only its centre.
        unsupported: Why it cannot be read here, if it cannot.
    """

    uris: tuple[str, ...] = ()
    transformers: tuple[Mapping[str, Any], ...] = ()
    background_id: int = 0
    all_touched: bool = False
    unsupported: str | None = None


@dataclass(frozen=True)
class CellRule:
    """How a grid of cells gets its classes from shapes.

    Args:
        size_px: The side of a cell.
        background_id: The class of a cell with no shape.
        ioa_thresh: The least part of a shape that must lie in the cell for it to count.
        over_cell: Whether that is the part of the cell that the shape covers instead.
        pick_min: Whether the smallest class id decides, instead of the largest part.
    """

    size_px: int
    background_id: int
    ioa_thresh: float = 0.5
    over_cell: bool = False
    pick_min: bool = False


@dataclass(frozen=True)
class BoxSource:
    """Labels that are rectangles: the boxes of object detection, the cells of classification.

    Args:
        kind: Raster Vision's word, such as ``object_detection_label_source``.
        shapes: Their bounds are the rectangles, unless there is a `rule`.
        rule: How to make cells of the shapes.
        unsupported: Why they cannot be read here, if they cannot.
    """

    kind: str
    shapes: VectorSource
    rule: CellRule | None = None
    unsupported: str | None = None

    @property
    def is_cells(self) -> bool:
        """Whether they are cells."""
        return self.kind == CELL_LABELS


@dataclass(frozen=True)
class Scene:
    """A scene of a run. Windows of it count from the corner of its image's `bbox`.

    Args:
        id: Its name.
        group: ``train``, ``validation`` or ``test``.
        image: The imagery.
        truth: The labels; None if it has none.
        prediction_uri: The raster of predicted class ids, written by the step ``predict``; of
            other tasks the GeoJSON file of the predicted cells or boxes.
        prediction_rgb: Whether that raster holds class colours instead of ids.
        aoi_uris: GeoJSON files of the areas that are labelled; none is the whole scene.
        task: Raster Vision's word, such as ``semantic_segmentation``.
        scores_uri: The raster of each class's score, a band a class, if predict kept it.
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
    """The classes of a run.

    Args:
        config: ``pipeline-config.json``, or a ``class_config`` from within it.

    Raises:
        RecordBroken: If it has none.
    """
    part: Any = config
    if "dataset" in config:
        data = config["dataset"]
        part = data.get("class_config") if isinstance(data, Mapping) else None
    given = part.get("names") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not given:
        raise RecordBroken("pipeline-config.json names no classes.")
    if not isinstance(given, list | tuple) or not all(isinstance(n, str | int) for n in given):
        raise RecordBroken(f"pipeline-config.json has classes {given!r:.100}: they are no names.")
    if len(given) > CLASSES:
        too_large("pipeline-config.json", len(given), CLASSES, "classes")
    names = tuple(str(name) for name in given)
    shades = part.get("colors") or [(128, 128, 128)] * len(names)
    if not isinstance(shades, list | tuple) or len(shades) != len(names):
        number = len(shades) if isinstance(shades, list | tuple) else "no list of"
        raise RecordBroken(f"pipeline-config.json has {len(names)} classes, {number} colors.")
    null = part.get("null_class") or (NULL_CLASS if NULL_CLASS in names else None)
    if null is not None and null not in names:
        raise RecordBroken(
            f"pipeline-config.json has a null_class {null!r:.100} and no such class."
        )
    return Classes(names, tuple(map(parse_color, shades)), null)


def parse_color(color: str | Sequence[float]) -> RGB:
    """A color as Raster Vision understands it: a name, ``#rrggbb``, 0 to 255, or floats to 1."""
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
            f"pipeline-config.json has a color {color!r:.100}: it is not three numbers."
        ) from exc
    return r, g, b


def scenes_from_config(config: Mapping[str, Any], home: Store | None = None) -> list[Scene]:
    """The scenes of a run, in the order of its config: train, validation, test.

    A source that cannot be read here does not stop the others: its `unread` says why.

    Args:
        config: ``pipeline-config.json``.
        home: The store that the config was read from: addresses in it are opened only as
            `rvlab.store.addresses` allows. None is for a config of one's own, as in a step.

    Raises:
        RecordBroken: If it is not as Raster Vision writes it.
    """
    data = config.get("dataset", {})

    def address(uri: Any) -> str:
        uri = str(uri) if isinstance(uri, PurePath) else uri  # of a config made in Python
        if not isinstance(uri, str) or not uri:
            raise TypeError(f"{uri!r:.100} is no address")
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
        raise RecordBroken(
            f"pipeline-config.json has a scene that no Raster Vision writes: {exc!r:.300}."
        ) from exc


def find_scene(name: str, known: Sequence[Scene], group: str | None = None) -> Scene:
    """The scene with that id.

    Args:
        name: Its id.
        known: The scenes.
        group: Whose scene to take if several have that id, as when one image is split by areas of
            interest. Without it, or without such a scene, it is that of validation, then of test,
            then of train, which nobody predicts.

    Raises:
        NotFound: If there is none; it names the nearest.
    """
    found = [scene for scene in known if scene.id == name]
    if not found:
        raise NotFound(f"There is no scene {name!r}. {did_you_mean(name, [s.id for s in known])}")
    return min(found, key=lambda scene: scene_priority(scene, group))


def scene_priority(scene: Scene, group: str | None = None) -> tuple[bool, bool, bool]:
    """Of scenes with one id, the least is meant: of `group`, validation, test, train."""
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
        return RasterSource(unsupported=f"labels of the kind {kind!s:.60} are not drawn")
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
        return BoxSource(kind, VectorSource(), unsupported="its config names no file of shapes")
    shapes = _vector(part["vector_source"], address)
    if kind == BOX_LABELS:
        return BoxSource(kind, shapes)
    if part.get("lazy"):
        why = "its labels are lazy, and Raster Vision scores no cell of those"
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
        unsupported=None if kind == "geojson_vector_source" else f"no {kind!s:.60} is read here",
    )


def _raster(part: Mapping[str, Any], address: Address) -> RasterSource:
    kind, uris, bbox = part.get("type_hint"), _as_tuple(part.get("uris"), address), part.get("bbox")
    unread = None
    if kind != "rasterio_source":
        unread = f"no {kind!s:.60} is read here, only a rasterio_source"
    elif len(uris) != 1:
        unread = f"it is a mosaic of {len(uris)} files, and only single files are read"
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
        raise TypeError(f"{number!r:.100} is no channel")
    return number


def _transformers(part: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    found = tuple(part.get("transformers") or ())
    if not all(isinstance(one, Mapping) for one in found):
        raise TypeError(f"{found!r:.100} are no transformers")
    return found


def _as_tuple(uris: Any, address: Address) -> tuple[str, ...]:
    return tuple(map(address, [uris] if isinstance(uris, str) else uris or ()))
