"""Concurrent reading of the cells of a grid of predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rvlab import raster
from rvlab.errors import RasterError, RvlabError
from rvlab.plot._grid import boxes, segmentation
from rvlab.plot._grid.layout import CellRow, GridCell
from rvlab.plot._grid.options import CellContent, GridOptions, GridRow, RowContext, validate_size
from rvlab.raster.boxes import CELLS, DETECTION
from rvlab.raster.display import select_channels
from rvlab.raster.run_source import RunSource
from rvlab.raster.score_prediction import try_read

_BOX_TASKS = (CELLS, DETECTION)


@dataclass(frozen=True)
class PendingRow:
    """Futures of the cells of a row."""

    view: GridOptions
    image: Future[Any] | None
    canvas: Future[Any]
    truth: Future[Any] | None
    runs: Sequence[tuple[RunSource, Future[Any]]]


def cell_error_text(one: RunSource, error: RvlabError | None) -> str:
    """Return the text of an error cell, without the run's URI, to make it shorter."""
    return str(error).replace(f"{one.uri.rstrip('/')}/", "") if error else "This run has no scenes."


class RowReader:
    """Reader of the cells of a grid, with a task and separate datasets for each cell.

    Args:
        pool: The thread pool. It starts tasks in order. Tasks are submitted after those that they
            wait for, so that the pool cannot deadlock.
        sources: The runs.
        view: The options of the grid.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, sources: Sequence[RunSource], view: GridOptions
    ) -> None:
        self.pool, self.sources, self.view = pool, sources, view
        self._boxes: dict[tuple[int, str], Future[Any]] = {}

    def submit_rows(self, places: Sequence[GridRow]) -> list[PendingRow]:
        """Submit the cells of all rows, shared images and truth first."""
        first = [self._submit_shared(place) for place in places]
        return [self._submit_row(place, *found) for place, found in zip(places, first, strict=True)]

    def _submit_shared(self, place: GridRow) -> tuple[Future[Any] | None, Future[Any]]:
        """Submit the image, if it is needed, and the truth."""
        view, image = self.view, None
        needs_image = place.task in _BOX_TASKS or view.show in ("errors", "overlay")
        if needs_image or "image" in view.columns:
            image = self.pool.submit(try_read, _read_image, place, view)
        return image, self.pool.submit(try_read, _read_truth, place, view)

    def _submit_row(
        self, place: GridRow, image: Future[Any] | None, known: Future[Any]
    ) -> PendingRow:
        pool, view, is_raster = self.pool, self.view, place.task not in _BOX_TASKS
        # One context for all cells of the row, so that shared pictures are computed once.
        canvas = pool.submit(lambda: RowContext(place, view, image.result() if image else None))

        def show_truth() -> CellContent:
            found = _result_or_error(known.result())
            shown = segmentation.mask_truth_cell if is_raster else boxes.box_truth_cell
            return shown(canvas.result(), found)

        def show_run(one: RunSource, comparison: Future[Any] | None) -> CellContent:
            validate_size(place, view, place.clipped_window)
            if comparison is not None:
                return boxes.box_prediction_cell(
                    canvas.result(), _result_or_error(comparison.result())
                )
            scene, own = require_comparable(one, place)
            # Read before waiting for the truth, so that both are read at the same time.
            was_read = segmentation.read_segmentation(place, view, scene, own)
            return segmentation.mask_prediction_cell(canvas.result(), known.result(), was_read, own)

        truth = pool.submit(try_read, show_truth) if "truth" in view.columns else None
        runs = []
        for number, one in enumerate(self.sources if "runs" in view.columns else ()):
            comparison = None if is_raster else self._submit_comparison(number, one, place, known)
            runs.append((one, pool.submit(try_read, show_run, one, comparison)))
        return PendingRow(view, image, canvas, truth, runs)

    def _submit_comparison(
        self, number: int, one: RunSource, place: GridRow, known: Future[Any]
    ) -> Future[Any]:
        """Submit reading a run's boxes of a scene, once for all windows of the scene."""

        def load() -> boxes.BoxComparison:
            scene, own = require_comparable(one, place)
            return boxes.compare_boxes(place, self.view, known.result(), scene, own)

        key = (number, place.scene)
        if key not in self._boxes:
            self._boxes[key] = self.pool.submit(try_read, load)
        return self._boxes[key]


def finish_row(place: GridRow, begun: PendingRow) -> tuple[CellRow, set[int]]:
    """Wait for a row and return it with the class ids in its pictures."""
    cells: list[GridCell] = []
    seen: set[int] = set()
    for column in begun.view.columns:
        if column == "image" and begun.image is not None:
            found = begun.image.result()
            shade = begun.canvas.result().shade_outside
            cells.append(_image_cell(place, found, shade))
        elif column == "truth" and begun.truth is not None:
            cells += _build_cells([(place.source, begun.truth.result())], seen)
        else:
            cells += _build_cells([(one, future.result()) for one, future in begun.runs], seen)
    window = try_read(lambda: place.clipped_window)
    if isinstance(window, RvlabError):
        return CellRow(place.scene, [], cells), seen
    metres = place.labels.grid.metres_per_px
    first = cells[0]
    if metres and first.pixels is not None:
        cells[0] = replace(first, px_m=metres * window.width / first.pixels.shape[1])
    lines = [f"{window.width} × {window.height} px"]
    if window != place.labels.full_window():
        lines.append(f"col {window.col}, row {window.row}")
    if metres:
        lines.append(f"{metres:.2g} m per px")
    return CellRow(place.scene, lines, cells, window.height / window.width), seen


def _read_image(place: GridRow, view: GridOptions) -> raster.Chip:
    bands = select_channels(place.source.config, view.bands)
    look: dict[str, Any] = {"max_px": view.max_px, "bands": bands, "stretch": view.stretch}

    with place.labels.image_read() as learn:

        def window_of(grid: raster.Grid) -> raster.Window:
            learn(grid)
            window = place.labels.clip(place.window)
            validate_size(place, view, window)
            return window

        return raster.image(place.labels.scene, window_of, **look)


def _read_truth(place: GridRow, view: GridOptions) -> Any:
    """Read the truth: class ids of the window, or the boxes of the complete scene."""
    if place.task in (CELLS, DETECTION):
        return boxes.scene_truth_boxes(place)
    validate_size(place, view, place.clipped_window)
    if place.task != "semantic_segmentation":
        raise RasterError(f"Predictions of {_task_name(place.task)} are not supported.")
    return segmentation.scene_truth_ids(place, view)


def _result_or_error(found: Any) -> Any:
    if isinstance(found, RvlabError):
        raise found
    return found


def require_comparable(one: RunSource, place: GridRow) -> tuple[raster.Scene, raster.Classes]:
    """Return the scene and classes of a run, if they are comparable with those of the row.

    Raises:
        RasterError: If the scene is missing, or if classes, task or pixel grid differ.
    """
    if one.error is not None:
        raise one.error
    scene = one.scene(place.scene)
    if scene is None:
        raise RasterError(f"This run has no scene {place.scene}.")
    other, wanted = place.source.run, place.run_classes.names
    if one.classes.names != wanted:
        raise RasterError(
            f"Its classes are {', '.join(one.classes.names)}; those of {other} are "
            f"{', '.join(wanted)}."
        )
    if scene.task != place.task:
        raise RasterError(
            f"Its task is {_task_name(scene.task)}; that of {other} is {_task_name(place.task)}."
        )
    if scene.image != place.labels.scene.image:
        _require_same_grid(one.labels(place.scene).grid, place)
    return scene, one.classes


def _require_same_grid(own: raster.Grid, place: GridRow) -> None:
    grid, other = place.labels.grid, place.source.run
    if (own.width, own.height) != (grid.width, grid.height):
        raise RasterError(
            f"Its scene {place.scene} has {own.width} × {own.height} px, that of {other} "
            f"{grid.width} × {grid.height} px."
        )
    if own.crs != grid.crs:
        raise RasterError(
            f"Its scene {place.scene} has CRS {_crs_name(own)}, that of {other} has CRS "
            f"{_crs_name(grid)}."
        )
    if not own.transform.almost_equals(grid.transform, 1e-3 * abs(grid.transform.a)):
        ours, theirs = (f"{g.transform.c:.12g}, {g.transform.f:.12g}" for g in (own, grid))
        raise RasterError(
            f"Its scene {place.scene} has its origin at {ours}, that of {other} at {theirs}."
        )


def _crs_name(grid: raster.Grid) -> str:
    return "none" if grid.crs is None else str(grid.crs.to_string()).split("[", 1)[0]


def _task_name(task: str) -> str:
    return task.replace("_", " ")


def _image_cell(
    place: GridRow, found: raster.Chip | RvlabError, shade: Callable[[Any], Any]
) -> GridCell:
    if isinstance(found, RvlabError):
        return GridCell(words=cell_error_text(place.source, found))
    alpha = np.where(found.mask, 255, 0).astype(np.uint8)
    return GridCell(np.dstack([shade(np.dstack([*found.array])), alpha]))


def _build_cells(
    found: Sequence[tuple[RunSource, CellContent | RvlabError]], seen: set[int]
) -> list[GridCell]:
    scores = [got.f1 for _, got in found if isinstance(got, CellContent) and got.f1 is not None]
    # Compare rounded values: runs that show the same number are all the best.
    best = max((round(f1, 2) for f1 in scores if not math.isnan(f1)), default=None)
    out = []
    for one, got in found:
        if isinstance(got, RvlabError):
            out.append(GridCell(words=cell_error_text(one, got)))
            continue
        seen.update(got.seen)
        wins = got.f1 is not None and best is not None and round(got.f1, 2) == best
        out.append(replace(got.cell, best=wins and len(scores) > 1))
    return out
