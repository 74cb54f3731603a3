"""Predictions of any program as scenes in the form of Raster Vision's ``pipeline-config.json``.

The read path has one description of scenes, so that everything after this works unchanged. The
config is exactly what Raster Vision would write, so that the fingerprints of the truth are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError, RvlabError, SpecError
from rvlab.exchange.class_values import (
    BACKGROUND_CLASS,
    ClassValues,
    Json,
)
from rvlab.metrics import NULL_CLASS, confusion_matrix
from rvlab.raster.class_scores import NO_CLASS, read_scores
from rvlab.raster.config import Classes, classes_from_config
from rvlab.raster.labels import SceneLabels, prediction
from rvlab.raster.profile import RasterProfile, read_profile
from rvlab.raster.read import Grid, read, read_grid
from rvlab.raster.scene import FILES_STORE, scenes_from_config
from rvlab.raster.window import Window
from rvlab.raster.window_counts import strips
from rvlab.store.file_patterns import VECTOR_SUFFIXES

_STRIP_PX = 4_000_000

_PREDICTION, _TRUTH = "prediction", "truth"

_ROUNDING = 1e-3  # of a probability


@dataclass(frozen=True)
class SceneUris:
    """The files of a scene.

    Args:
        id: Scene id.
        truth: Labels: a raster, or a vector file.
        labels: Raster of predicted class ids; None if there are only scores.
        scores: Raster of predicted scores.
        image: Imagery.
        known: JSON of the scene in the config of another run, which has image and labels.
    """

    id: str
    truth: str | None = None
    labels: str | None = None
    scores: str | None = None
    image: str | None = None
    known: Mapping[str, Any] | None = None

    @property
    def has_vectors(self) -> bool:
        """Whether the truth is a vector file."""
        return self.truth is not None and self.truth.lower().endswith(VECTOR_SUFFIXES)


@dataclass(frozen=True)
class CheckedScene:
    """A scene whose files fit together, with its counts.

    Args:
        config: JSON of the scene, as in ``pipeline-config.json``.
        matrix: Confusion matrix, shape (classes, classes), rows = truth.
    """

    config: Json
    matrix: NDArray[np.int64]


def check_scene(files: SceneUris, classes: ClassValues) -> CheckedScene:
    """Read all pixels of a scene once: require that its files fit together, and count them.

    Args:
        files: The files.
        classes: The classes.

    Raises:
        RasterError: If a file cannot be read, the grids do not fit, or a value is not a class.
        SpecError: If a vector file has no class for pixels outside all shapes.
    """
    try:
        return _check_scene(files, classes)
    except RvlabError as exc:
        raise type(exc)(f"Scene {files.id}: {exc}") from exc


def pipeline_config(
    classes: ClassValues, scenes: Mapping[str, Json], group: str, root: str
) -> Json:
    """Return the ``pipeline-config.json`` of the scenes.

    Args:
        classes: The classes.
        scenes: JSON of each scene, by id.
        group: ``validation`` or ``test``.
        root: The ``root_uri``.
    """
    return {
        "type_hint": "semantic_segmentation_config",
        "root_uri": root,
        "dataset": {
            "type_hint": "dataset",
            "class_config": classes.config,
            "train_scenes": [],
            "validation_scenes": [],
            "test_scenes": [],
            f"{group}_scenes": list(scenes.values()),
            "scene_groups": {f"{group}_scenes": sorted(scenes)},
        },
        "evaluators": [
            {"type_hint": "semantic_segmentation_evaluator", "output_uri": f"{root}/eval"}
        ],
    }


def _check_scene(files: SceneUris, classes: ClassValues) -> CheckedScene:
    headers = {
        name: read_profile(uri)
        for name, uri in (
            (_PREDICTION, files.labels),
            ("scores", files.scores),
            (_TRUTH, None if files.has_vectors else files.truth),
            ("image", files.image),
        )
        if uri is not None
    }
    if "scores" in headers:
        classes.require_scores(headers["scores"])
    number = len(classes.names)  # the id of pixels that a header declares as nodata
    nodata_ids: dict[str, int | None] = {_TRUTH: number, _PREDICTION: number}
    config = pipeline_config(
        classes,
        {files.id: _scene_config(files, classes, headers, nodata_ids, strict=True)},
        "validation",
        "",
    )
    (scene,) = scenes_from_config(config)
    labels = SceneLabels(scene, classes_from_config(config))
    _require_crs(headers, labels.grid)
    matrix = np.zeros((number + 1, number + 1), np.int64)
    for counts in _count_strips(labels, files):
        matrix += counts
    null = classes.null_id
    # Where no pixel of the truth lacks data, its settings are those of Raster Vision.
    nodata_ids = {_TRUTH: null if matrix[number].any() else None, _PREDICTION: null}
    matrix[null] += matrix[number]
    matrix[:, null] += matrix[:, number]
    return CheckedScene(
        _scene_config(files, classes, headers, nodata_ids), matrix[:number, :number]
    )


def _require_crs(headers: Mapping[str, RasterProfile], grid: Grid) -> None:
    """Require that all rasters have a CRS, or none, so that their places can be compared."""
    placed = [(name, one.grid.crs) for name, one in headers.items() if one.grid.crs is not None]
    other, crs = placed[0] if placed else ("scene", grid.crs)
    for name, one in headers.items():
        if one.grid.crs is None and crs is not None:
            raise RasterError(
                f"{one.uri} has no CRS, but the {other} has {crs}. Write the {name} with the crs "
                "and the transform of the image."
            )


def _scene_config(
    files: SceneUris,
    classes: ClassValues,
    headers: Mapping[str, RasterProfile],
    nodata_ids: Mapping[str, int | None],
    *,
    strict: bool = False,
) -> Json:
    """Return the JSON of a scene."""
    steps: list[Json] = []
    if _PREDICTION in headers:
        nodata_id = nodata_ids[_PREDICTION]
        steps = classes.transformers(headers[_PREDICTION], nodata_id=nodata_id, strict=strict)
    label_store = {
        "type_hint": FILES_STORE,
        "labels_uri": files.labels,
        "scores_uri": files.scores,
        "transformers": steps,
    }
    if files.known is not None:
        return {**files.known, "label_store": label_store}
    if files.has_vectors:
        source = _vector_source(str(files.truth), classes)
    else:
        nodata_id = nodata_ids[_TRUTH]
        known = classes.transformers(headers[_TRUTH], nodata_id=nodata_id, strict=strict)
        source = _raster_source(str(files.truth), known)
    return {
        "type_hint": "scene",
        "id": files.id,
        "raster_source": _raster_source(files.image, []),
        "label_source": {
            "type_hint": "semantic_segmentation_label_source",
            "raster_source": source,
        },
        "label_store": label_store,
        "aoi_uris": None,
    }


def _raster_source(uri: str | None, transformers: list[Json]) -> Json:
    return {
        "type_hint": "rasterio_source",
        "uris": [] if uri is None else [uri],
        "channel_order": None,
        "transformers": transformers,
        "bbox": None,
        "allow_streaming": False,
    }


def _vector_source(uri: str, classes: ClassValues) -> Json:
    """Return shapes as Raster Vision completes a config that names only the class of shapes."""
    background = classes.null if classes.null != NULL_CLASS else BACKGROUND_CLASS
    if background not in classes.names:
        raise SpecError(
            f"{uri} has shapes, and no class is that of the pixels outside. Name it as null, for "
            "example null='background' with 'background' in classes."
        )
    others = [
        number for number, name in enumerate(classes.names) if name not in (background, NULL_CLASS)
    ]
    infer = {
        "type_hint": "class_inference_transformer",
        # With several classes each shape has its own, in class_id, class_name or label.
        "default_class_id": others[0] if len(others) == 1 else None,
        "class_id_to_filter": None,
        "class_name_mapping": None,
    }
    buffers: list[Json] = [
        {"type_hint": "buffer_transformer", "geom_type": kind, "class_bufs": {}, "default_buf": 1.0}
        for kind in ("Point", "LineString")
    ]
    return {
        "type_hint": "rasterized_source",
        "vector_source": {
            "type_hint": "geojson_vector_source",
            "uris": uri,
            "transformers": [infer, *buffers],
        },
        "rasterizer_config": {
            "type_hint": "rasterizer",
            "background_class_id": classes.names.index(background),
            "all_touched": False,
        },
    }


def _count_strips(labels: SceneLabels, files: SceneUris) -> Iterator[NDArray[np.int64]]:
    """Yield the confusion matrix of each strip, with one class more for nodata.

    Raises:
        RasterError: If a scored value is not that of a class.
    """
    scene, own, grid = labels.scene, labels.classes, labels.grid
    number = len(own)
    counted = Classes((*own.names, ""), (*own.colors, (0, 0, 0)))
    without_label = [i for i in (number, own.unlabelled_id) if i is not None]
    shares = number if scene.scores_uri else 1
    for part in strips(grid.width, grid.height, most_px=_STRIP_PX // shares):
        if scene.scores_uri is not None:
            _require_probabilities(scene.scores_uri, part, labels)
        truth, guess = labels.truth(part), prediction(scene, own, part, grid)
        inside = labels.labelled(part)
        scored = np.ones(truth.shape, bool) if inside is None else inside
        if files.truth is not None:
            _require_classes(truth, scored, files.truth, part, labels)
        scored &= ~np.isin(truth, [*without_label, NO_CLASS])
        if files.labels is not None:
            _require_classes(guess, scored, files.labels, part, labels)
        yield confusion_matrix(truth, guess, len(counted), inside)


def _require_classes(
    ids: NDArray[np.uint8],
    scored: NDArray[np.bool_],
    uri: str,
    part: Window,
    labels: SceneLabels,
) -> None:
    own = labels.classes
    wrong = (ids > len(own)) & scored
    if not wrong.any():
        return
    row, col = (int(places[0]) for places in np.nonzero(wrong))
    value: Any = int(ids[row, col])
    if not uri.lower().endswith(VECTOR_SUFFIXES):
        value = _value_at(uri, labels.grid, part.col + col, part.row + row)
    raise RasterError(
        f"{uri} has the value {value} at column {part.col + col}, row {part.row + row}, which is "
        f"not a class of {', '.join(own.names)}. Add it to classes, or give the value of pixels "
        "without a label as null."
    )


def _value_at(uri: str, grid: Grid, col: int, row: int) -> Any:
    """Return the value of a file at a pixel of the scene; a list of the bands of a color."""
    found = read_grid(uri)
    if grid.has_position and found.has_position:
        col, row = found.pixel(*grid.point(col + 0.5, row + 0.5))
    values = read(uri, Window(col, row, 1, 1), max_px=None).array[:, 0, 0].tolist()
    return values[0] if len(values) == 1 else values


def _require_probabilities(uri: str, part: Window, labels: SceneLabels) -> None:
    own = labels.classes
    ids = range(len(own))
    scores = read_scores(uri, part, ids, labels.grid, null_id=own.null_id)
    known = scores[~np.isnan(scores)]
    if known.size and not (known.min() >= -_ROUNDING and known.max() <= 1 + _ROUNDING):
        raise RasterError(
            f"{uri} has scores from {known.min():.3g} to {known.max():.3g}; they must be from 0 to "
            "1. Apply softmax to logits before writing them."
        )
