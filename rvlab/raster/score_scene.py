"""A single pass over a prediction and its labels: counts, objects and COG copies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rvlab.errors import RvlabError
from rvlab.model.schema import TableSchema
from rvlab.model.tables import (
    BOUNDARIES_TABLE,
    COUNTED_TABLES,
    OBJECTS_TABLE,
    WINDOWS_TABLE,
)
from rvlab.raster.boundaries import SceneBoundaries
from rvlab.raster.boxes import CELLS, predicted_boxes, truth_boxes
from rvlab.raster.class_scores import read_scores
from rvlab.raster.cog import labels_cog, scores_cog
from rvlab.raster.components import SceneComponents
from rvlab.raster.config import Classes
from rvlab.raster.geopackage import box_polygons, trace_polygons, write_geopackage
from rvlab.raster.labels import ClassIds, SceneLabels, prediction
from rvlab.raster.object_table import table_of_boxes, table_of_components
from rvlab.raster.read import Grid
from rvlab.raster.scene import Scene
from rvlab.raster.strip import Strip
from rvlab.raster.window import Window
from rvlab.raster.window_counts import WindowCounts, strips
from rvlab.store.table_file import arrow_schema

STRIP_BYTES = 40_000_000
COPY_ROWS = 256
"""Rows of a strip of a scene without labels: those of the blocks of predictions and of copies."""

VECTOR_COPY = "vectors.gpkg"


@dataclass
class SceneScores:
    """The result of a pass over a scene.

    Args:
        tables: The counts, by the name of the table: of `COUNTED_TABLES` those that were requested
            and could be computed.
        copies: Paths of the copies that were written, by name: ``labels.tif``, ``scores.tif``,
            ``vectors.gpkg``.
        problems: Messages about results that are missing.
    """

    tables: dict[str, pa.Table] = field(default_factory=dict)
    copies: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def score_scene(
    scene: Scene,
    classes: Classes,
    copies: Path | None = None,
    *,
    tables: Collection[TableSchema] = COUNTED_TABLES,
    distance_px: int | None = None,
    vectors: bool = False,
) -> SceneScores:
    """Count the windows, objects and boundaries of a prediction, and write copies of it.

    The scene is read in strips: a scene that is 10,000 px wide takes about 250 MB of memory, or
    twice that with the scores of four classes. Read and write errors are listed in the result
    instead of raised, and the result has everything else.

    Args:
        scene: Scene with a prediction, as `rvlab.raster.scenes_from_config` returns it.
        classes: Classes of its run.
        copies: Folder for the copies; None writes no copies.
        tables: Which of `COUNTED_TABLES` to count. A chip classification has no objects, and only
            a semantic segmentation has boundaries.
        distance_px: The largest distance of a counted pixel from a contour; see `SceneBoundaries`.
        vectors: Whether a GeoPackage is among the copies.
    """
    done = SceneScores()
    labels = SceneLabels(scene, classes)
    names = [one.name for one in tables]
    try:
        grid = labels.grid
        if scene.task == "semantic_segmentation":
            scene = labels.scene = _with_scores(scene, classes, grid, done)
            try:
                _score_rasters(labels, _Counts(labels, names, distance_px), copies, done)
            except RvlabError as exc:
                if copies is None:
                    raise
                # Writing the copy may have failed: count again without copies.
                _score_rasters(labels, _Counts(labels, names, distance_px), None, done)
                done.problems.append(f"Scene {scene.id}: {exc}")
        else:
            _score_boxes(labels, names, done)
    except RvlabError as exc:
        done.problems.append(f"Scene {scene.id}: {exc}")
    if vectors and copies is not None:
        try:
            _write_vectors(labels, copies / VECTOR_COPY, done)
        except RvlabError as exc:
            done.problems.append(f"Scene {scene.id}: {exc}")
    return done


def _write_vectors(labels: SceneLabels, path: Path, done: SceneScores) -> None:
    """Write the predicted objects or cells, except those of the null class, as vectors."""
    scene, classes = labels.scene, labels.classes
    skip = {one for one in (classes.null_id, classes.unlabelled_id) if one is not None}
    if scene.task == "semantic_segmentation":
        if "labels.tif" not in done.copies:
            return
        polygons = trace_polygons(done.copies["labels.tif"], skip)
    else:
        polygons = box_polygons(predicted_boxes(scene, classes, labels), skip)
    write_geopackage(path, polygons, labels.grid, classes)
    done.copies[VECTOR_COPY] = path


def concat_scenes(
    schema: TableSchema, tables: Iterable[pa.Table], task: str, omitted: Iterable[str] = ()
) -> pa.Table:
    """Concatenate the counts of several scenes.

    Args:
        schema: The schema of the tables.
        tables: The counts of each scene.
        task: The task of the run, for the table's metadata.
        omitted: Labelled scenes that could not be counted, for the table's metadata.
    """
    table = pa.concat_tables([arrow_schema(schema).empty_table(), *tables])
    names = ", ".join(sorted(omitted))
    return table.replace_schema_metadata({"task": task} | ({"omitted": names} if names else {}))


class _Counts:
    """Counts of the strips of a scene."""

    def __init__(
        self, labels: SceneLabels, names: Collection[str], distance_px: int | None
    ) -> None:
        self.labels, self.error = labels, ""
        classes, grid = labels.classes, labels.grid
        self._windows: WindowCounts | None = None
        self._objects: SceneComponents | None = None
        if WINDOWS_TABLE.name in names:
            self._windows = WindowCounts(labels.scene, classes, grid.width, grid.height)
        if OBJECTS_TABLE.name in names:
            ids = np.arange(len(classes))
            labelled = ids != classes.unlabelled_id
            self._objects = SceneComponents(labelled & (ids != classes.null_id), labelled)
        self._boundaries: SceneBoundaries | None = None
        if BOUNDARIES_TABLE.name in names:
            self._boundaries = SceneBoundaries(classes, grid.width, grid.height, distance_px)

    @property
    def bytes_per_px(self) -> int:
        """The memory per pixel of a strip while it is counted."""
        return 3 if self._windows is None else 8

    def add(self, strip: Strip) -> None:
        """Count the windows and objects of a strip."""
        if self._windows is not None:
            self._windows.add(strip)
        if self._objects is not None:
            try:
                self._objects.add(strip)
            except RvlabError as exc:  # too many objects; the rest is counted all the same
                self._objects, self.error = None, str(exc)

    def add_boundaries(self, strip: Strip) -> None:
        """Count the boundaries of a strip, which another thread may do while `add` counts one."""
        if self._boundaries is not None:
            self._boundaries.add(strip)

    def tables(self) -> dict[str, pa.Table]:
        """Return the counts of the whole scene, by the name of the table."""
        found = {}
        if self._windows is not None:
            found[WINDOWS_TABLE.name] = self._windows.table()
        if self._objects is not None:
            parts = self._objects.finish()
            found[OBJECTS_TABLE.name] = table_of_components(self.labels, *parts)
        if self._boundaries is not None:
            found[BOUNDARIES_TABLE.name] = self._boundaries.table(self.labels.scene)
        return found


def _score_boxes(labels: SceneLabels, names: Collection[str], done: SceneScores) -> None:
    scene, classes, grid = labels.scene, labels.classes, labels.grid
    truth, guess = truth_boxes(labels), predicted_boxes(scene, classes, labels)
    if WINDOWS_TABLE.name in names:
        windows = WindowCounts(scene, classes, grid.width, grid.height)
        windows.add_boxes(truth, guess)
        done.tables[WINDOWS_TABLE.name] = windows.table()
    if OBJECTS_TABLE.name in names and scene.task != CELLS:
        done.tables[OBJECTS_TABLE.name] = table_of_boxes(labels, truth, guess)


def _score_rasters(
    labels: SceneLabels, counts: _Counts, copies: Path | None, done: SceneScores
) -> None:
    scene, classes, grid = labels.scene, labels.classes, labels.grid
    truth = _TruthReader(labels)
    with ExitStack() as stack:
        write_labels: Any = None
        write_scores: Any = None
        made = {}
        if copies is not None:
            made["labels.tif"] = copies / "labels.tif"
            write_labels = stack.enter_context(labels_cog(made["labels.tif"], grid, classes))
            if scene.scores_uri:
                made["scores.tif"] = copies / "scores.tif"
                write_scores = stack.enter_context(scores_cog(made["scores.tif"], grid, classes))
        bytes_per_px = counts.bytes_per_px + (8 * len(classes) if scene.scores_uri else 0)
        # Without labels no window is counted, and a wide scene needs less memory.
        unit = None if scene.truth is not None else COPY_ROWS
        parts = strips(grid.width, grid.height, most_px=STRIP_BYTES // bytes_per_px, unit_px=unit)

        def read(part: Window) -> _ReadStrip:
            strip = _read_strip(labels, truth, part)
            if strip.truth is not None:  # here, since reading takes less time than the counts
                counts.add_boundaries(Strip(part, strip.truth, strip.guess, strip.inside))
            return strip

        for strip in _read_ahead(read, parts):
            if write_labels:
                write_labels(strip.part, strip.guess)
            if write_scores:
                write_scores(strip.part, strip.scores)
            if strip.truth is not None:
                score = _predicted_class_score(strip.scores, strip.guess)
                counts.add(Strip(strip.part, strip.truth, strip.guess, strip.inside, score))
    done.copies = made
    if truth.error:
        done.problems.append(f"Scene {scene.id}: {truth.error}")
        return
    done.tables = counts.tables()
    if counts.error:
        done.problems.append(f"Scene {scene.id}: {counts.error}")


class _ReadStrip(NamedTuple):
    """What was read of a strip, shape (rows, columns), or (classes, rows, columns) of scores."""

    part: Window
    guess: ClassIds
    truth: ClassIds | None
    inside: NDArray[np.bool_] | None
    scores: NDArray[np.float32] | None


def _read_strip(labels: SceneLabels, truth: _TruthReader, part: Window) -> _ReadStrip:
    scene, classes, grid = labels.scene, labels.classes, labels.grid
    guess, scores = prediction(scene, classes, part, grid), None
    if scene.scores_uri:
        scores = _read_all_scores(scene.scores_uri, part, classes, grid)
    known = truth.read(part)
    inside = None if known is None else labels.labelled(part)
    return _ReadStrip(part, guess, known, inside, scores)


def _read_all_scores(uri: str, part: Window, classes: Classes, grid: Grid) -> NDArray[np.float32]:
    return read_scores(uri, part, range(len(classes)), grid, null_id=classes.null_id)


def _read_ahead(
    read: Callable[[Window], _ReadStrip], parts: Iterable[Window]
) -> Iterator[_ReadStrip]:
    """Yield the strips in order; the next one is read while the caller counts the last one."""
    with ThreadPoolExecutor(1) as pool:
        begun: Future[_ReadStrip] | None = None
        for part in parts:
            following = pool.submit(read, part)
            if begun is not None:
                yield begun.result()
            begun = following
        if begun is not None:
            yield begun.result()


def _with_scores(scene: Scene, classes: Classes, grid: Grid, done: SceneScores) -> Scene:
    """Return the scene, without its scores if they cannot be read."""
    if scene.scores_uri is None:
        return scene
    try:
        _read_all_scores(scene.scores_uri, Window(0, 0, 1, 1), classes, grid)
    except RvlabError as exc:
        done.problems.append(f"Scene {scene.id}: {exc}")
        return replace(scene, scores_uri=None)
    return scene


class _TruthReader:
    """Reader of a scene's labels that stops at the first error."""

    def __init__(self, labels: SceneLabels) -> None:
        self._labels = labels
        self.error: RvlabError | None = None

    def read(self, part: Window) -> NDArray[np.uint8] | None:
        if self.error is None:
            try:
                return self._labels.truth(part)
            except RvlabError as exc:
                self.error = exc
        return None


def _predicted_class_score(
    scores: NDArray[np.float32] | None, guess: NDArray[np.uint8]
) -> NDArray[np.float32] | None:
    if scores is None:
        return None
    ids = np.minimum(guess, len(scores) - 1)  # ids of no class are not counted
    return np.asarray(np.take_along_axis(scores, ids[None].astype(np.intp), axis=0)[0])
