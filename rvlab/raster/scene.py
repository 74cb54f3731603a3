"""Scenes and classes of Raster Vision's ``pipeline-config.json``.

The file is read as plain JSON, so that showing a run needs neither Raster Vision nor torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rvlab.errors import NotFound, RecordBroken, did_you_mean
from rvlab.metrics import NULL_CLASS, unlabelled_id
from rvlab.model.limits import CLASSES, too_large
from rvlab.raster.sources import (
    Address,
    BoxSource,
    RasterSource,
    VectorSource,
    parse_addresses,
    parse_raster_source,
    parse_transformers,
    parse_truth_source,
)
from rvlab.store.addresses import mark_if_refused

if TYPE_CHECKING:
    from rvlab.store import Store

SCENE_GROUPS = ("train", "validation", "test")

FILES_STORE = "prediction_files"
"""Type hint of the label store of a scene whose predictions are any rasters.

Raster Vision has no such label store: `rvlab.exchange` writes it for predictions of other programs.
Its fields are ``labels_uri`` and ``scores_uri``, of which one may be missing, and ``transformers``
of the labels, as those of a label raster.
"""

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
class Scene:
    """A scene of a run. The origin of its windows is the corner of its image's `bbox`.

    Args:
        id: Scene id.
        group: ``train``, ``validation`` or ``test``.
        image: Imagery.
        truth: Labels; None if the scene has none.
        prediction_uri: Raster of predicted class ids, written by the step ``predict``; for other
            tasks the GeoJSON file of the predicted cells or boxes. None if there are only scores,
            of which the largest one decides.
        prediction_transformers: How its values become class ids, as the transformers of a label
            raster, for example if it contains class colors.
        aoi_uris: GeoJSON files of the areas of interest; empty means the whole scene.
        task: Raster Vision's name of the task, such as ``semantic_segmentation``.
        scores_uri: Raster of class scores, one band per class, if the step ``predict`` wrote it.
    """

    id: str
    group: str
    image: RasterSource
    truth: RasterSource | VectorSource | BoxSource | None
    prediction_uri: str | None
    prediction_transformers: tuple[Mapping[str, Any], ...] = ()
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


def color_hex(color: RGB) -> str:
    """Return a color as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


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
        return uri if home is None else mark_if_refused(uri, home)

    task = task_of_config(config)
    folder = config.get("predict_uri") or f"{config.get('root_uri')}/predict"
    try:
        classes = data.get("class_config")
        return [
            _scene(part, group, task, f"{folder}/{part['id']}", address, class_config=classes)
            for group in SCENE_GROUPS
            for part in data.get(f"{group}_scenes") or []
        ]
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as exc:
        raise RecordBroken(f"pipeline-config.json has a malformed scene: {exc!r:.300}.") from exc


def task_of_config(config: Mapping[str, Any]) -> str:
    """Return Raster Vision's name of the task of a config, such as ``object_detection``."""
    return str(config.get("type_hint", "semantic_segmentation_config")).removesuffix("_config")


def custom_groups(config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the scene ids of each group that a config defines besides Raster Vision's three."""
    data = config.get("dataset")
    groups = data.get("scene_groups") if isinstance(data, Mapping) else None
    return {
        str(name): tuple(map(str, ids))
        for name, ids in (groups.items() if isinstance(groups, Mapping) else ())
        if str(name).removesuffix("_scenes") not in SCENE_GROUPS and isinstance(ids, list | tuple)
    }


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


def _scene(
    part: Mapping[str, Any],
    group: str,
    task: str,
    folder: str,
    address: Address,
    *,
    class_config: Any,
) -> Scene:
    scene = Scene(
        id=str(part["id"]),
        group=group,
        image=parse_raster_source(part["raster_source"], address),
        truth=parse_truth_source(part.get("label_source"), address),
        prediction_uri=None,
        aoi_uris=parse_addresses(part.get("aoi_uris"), address),
        task=task,
    )
    label_store = part.get("label_store") or {}
    if label_store.get("type_hint") == FILES_STORE:
        labels, scores = (label_store.get(name) for name in ("labels_uri", "scores_uri"))
        return replace(
            scene,
            prediction_uri=labels and address(labels),
            prediction_transformers=parse_transformers(label_store),
            scores_uri=scores and address(scores),
        )
    is_raster = task == "semantic_segmentation"
    uri = label_store.get("uri") or (folder if is_raster else f"{folder}.json")
    uri = address(uri).rstrip("/")
    colors = {"type_hint": "rgb_class_transformer", "class_config": class_config}
    return replace(
        scene,
        # Raster Vision 0.12 wrote predict/{scene}.tif.
        prediction_uri=f"{uri}/labels.tif" if is_raster and not uri.endswith(".tif") else uri,
        prediction_transformers=(colors,) if label_store.get("rgb") else (),
        scores_uri=f"{uri}/scores.tif" if is_raster and label_store.get("smooth_output") else None,
    )
