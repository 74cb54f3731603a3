"""A single pass over a prediction and its labels that counts windows and writes COG copies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rvlab.errors import RvlabError
from rvlab.raster.class_scores import read_scores
from rvlab.raster.cog import labels_cog, scores_cog
from rvlab.raster.labels import SceneLabels, prediction
from rvlab.raster.read import Grid
from rvlab.raster.scene import Classes, Scene
from rvlab.raster.window import Window
from rvlab.raster.window_counts import WindowCounts, strips

STRIP_BYTES = 40_000_000


@dataclass
class SceneScores:
    """The result of a pass over a scene.

    Args:
        windows: Counts with the schema `rvlab.model.tables.WINDOWS_TABLE`; None if they
            could not be computed.
        copies: Paths of the copies that were written, by name: ``labels.tif``, ``scores.tif``.
        problems: Messages about results that are missing.
    """

    windows: pa.Table | None = None
    copies: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def score_scene(scene: Scene, classes: Classes, copies: Path | None = None) -> SceneScores:
    """Count the windows of a scene's prediction, and write COG copies of it.

    The scene is read in strips: a scene that is 10,000 px wide takes about 250 MB of memory, or
    twice that with the scores of four classes. Read and write errors are listed in the result
    instead of raised, and the result has everything else.

    Args:
        scene: Scene with a prediction, as `rvlab.raster.scenes_from_config` returns it.
        classes: Classes of its run.
        copies: Folder for the copies; None writes no copies.
    """
    done = SceneScores()
    labels = SceneLabels(scene, classes)
    try:
        grid = labels.grid
        tally = WindowCounts(scene, classes, grid.width, grid.height)
        if scene.task == "semantic_segmentation":
            scene = labels.scene = _with_scores(scene, classes, grid, done)
            try:
                _score_rasters(labels, tally, copies, done)
            except RvlabError as exc:
                if copies is None:
                    raise
                # Writing the copy may have failed: count again without copies.
                _score_rasters(
                    labels, WindowCounts(scene, classes, grid.width, grid.height), None, done
                )
                done.problems.append(f"Scene {scene.id}: {exc}")
        else:
            tally.add_boxes(labels)
            done.windows = tally.table()
    except RvlabError as exc:
        done.problems.append(f"Scene {scene.id}: {exc}")
    return done


def _score_rasters(
    labels: SceneLabels, tally: WindowCounts, copies: Path | None, done: SceneScores
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
        for part in _strips(tally, len(classes) if scene.scores_uri else 0):
            guess = prediction(scene, classes, part, grid)
            scores = None
            if scene.scores_uri:
                scores = read_scores(scene.scores_uri, part, range(len(classes)), grid)
            if write_labels:
                write_labels(part, guess)
            if write_scores:
                write_scores(part, scores)
            if (known := truth.read(part)) is not None:
                tally.add(
                    part, known, guess, labels.labelled(part), _predicted_class_score(scores, guess)
                )
    done.copies = made
    if truth.error:
        done.problems.append(f"Scene {scene.id}: {truth.error}")
    else:
        done.windows = tally.table()


def _with_scores(scene: Scene, classes: Classes, grid: Grid, done: SceneScores) -> Scene:
    """Return the scene, without its scores if they cannot be read."""
    if scene.scores_uri is None:
        return scene
    try:
        read_scores(scene.scores_uri, Window(0, 0, 1, 1), range(len(classes)), grid)
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


def _strips(tally: WindowCounts, bands: int) -> Iterator[Window]:
    return strips(tally.width, tally.height, most_px=STRIP_BYTES // (8 + 8 * bands))
