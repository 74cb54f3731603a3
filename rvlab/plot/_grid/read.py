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
from rvlab.plot._grid.options import (
    GridOptions,
    GridRow,
    RowContext,
    ScoredCell,
    require_drawable_row,
    try_read,
)
from rvlab.raster.boxes import BOX_TASKS
from rvlab.raster.display import select_channels
from rvlab.raster.scene import RunSource


@dataclass(frozen=True)
class PendingRow:
    """Futures of the cells of a row."""

    options: GridOptions
    image: Future[Any] | None
    context: Future[Any]
    truth: Future[Any] | None
    runs: Sequence[tuple[RunSource, Future[Any]]]


def cell_error_text(source: RunSource, error: RvlabError | None) -> str:
    """Return the text of an error cell, without the run's URI, to make it shorter."""
    return (
        str(error).replace(f"{source.uri.rstrip('/')}/", "") if error else "This run has no scenes."
    )


class RowReader:
    """Reader of the cells of a grid, with a task and separate datasets for each cell.

    Args:
        pool: The thread pool. It starts tasks in order. A task is submitted after the tasks that it
            waits for, so that the pool cannot deadlock.
        sources: The runs.
        options: The options of the grid.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, sources: Sequence[RunSource], options: GridOptions
    ) -> None:
        self.pool, self.sources, self.options = pool, sources, options
        self._boxes: dict[tuple[int, str], Future[Any]] = {}

    def submit_rows(self, grid_rows: Sequence[GridRow]) -> list[PendingRow]:
        """Submit the cells of all rows, shared images and truth first."""
        first = [self._submit_shared(grid_row) for grid_row in grid_rows]
        return [
            self._submit_row(grid_row, *shared)
            for grid_row, shared in zip(grid_rows, first, strict=True)
        ]

    def _submit_shared(self, grid_row: GridRow) -> tuple[Future[Any] | None, Future[Any]]:
        """Submit the image, if it is needed, and the truth."""
        options, image = self.options, None
        needs_image = grid_row.task in BOX_TASKS or options.show in ("errors", "overlay")
        if needs_image or "image" in options.columns:
            image = self.pool.submit(try_read, _read_image, grid_row, options)
        return image, self.pool.submit(try_read, _read_truth, grid_row, options)

    def _submit_row(
        self, grid_row: GridRow, image: Future[Any] | None, truth_future: Future[Any]
    ) -> PendingRow:
        pool, options, is_raster = self.pool, self.options, grid_row.task not in BOX_TASKS
        # One context for all cells of the row, so that shared pictures are computed once.
        context = pool.submit(
            lambda: RowContext(grid_row, options, image.result() if image else None)
        )

        def show_truth() -> ScoredCell:
            found = _raise_if_error(truth_future.result())
            shown = segmentation.mask_truth_cell if is_raster else boxes.box_truth_cell
            return shown(context.result(), found)

        def show_run(source: RunSource, comparison: Future[Any] | None) -> ScoredCell:
            require_drawable_row(grid_row, options, grid_row.clipped_window)
            if comparison is not None:
                found = boxes.box_prediction_cell(
                    context.result(), _raise_if_error(comparison.result())
                )
            else:
                scene, classes = require_comparable(source, grid_row)
                # Read before waiting for the truth, so that both are read at the same time.
                was_read = segmentation.read_segmentation(grid_row, options, scene, classes)
                found = segmentation.mask_prediction_cell(
                    context.result(), truth_future.result(), was_read, classes
                )
            if grid_row.labels.scene.truth is None:
                found = replace(found, cell=replace(found.cell, caption=""))
            return found

        truth = pool.submit(try_read, show_truth) if "truth" in options.columns else None
        runs = []
        for number, one in enumerate(self.sources if "runs" in options.columns else ()):
            comparison = (
                None if is_raster else self._submit_comparison(number, one, grid_row, truth_future)
            )
            runs.append((one, pool.submit(try_read, show_run, one, comparison)))
        return PendingRow(options, image, context, truth, runs)

    def _submit_comparison(
        self, run_index: int, source: RunSource, grid_row: GridRow, truth_future: Future[Any]
    ) -> Future[Any]:
        """Submit reading a run's boxes of a scene, once for all windows of the scene."""

        def load() -> boxes.SceneBoxComparison:
            scene, classes = require_comparable(source, grid_row)
            return boxes.read_and_match_boxes(
                grid_row, self.options, truth_future.result(), scene, classes
            )

        key = (run_index, grid_row.scene)
        if key not in self._boxes:
            self._boxes[key] = self.pool.submit(try_read, load)
        return self._boxes[key]


def finish_row(grid_row: GridRow, pending: PendingRow) -> tuple[CellRow, set[int]]:
    """Wait for a row and return it with the class ids in its pictures."""
    cells: list[GridCell] = []
    drawn_ids: set[int] = set()
    for column in pending.options.columns:
        if column == "image" and pending.image is not None:
            found = pending.image.result()
            shade = pending.context.result().shade_outside
            cells.append(_image_cell(grid_row, found, shade))
        elif column == "truth" and pending.truth is not None:
            cells += _build_cells([(grid_row.source, pending.truth.result())], drawn_ids)
        else:
            cells += _build_cells(
                [(one, future.result()) for one, future in pending.runs], drawn_ids
            )
    window = try_read(lambda: grid_row.clipped_window)
    if isinstance(window, RvlabError):
        return CellRow(grid_row.scene, [], cells), drawn_ids
    metres = grid_row.labels.grid.metres_per_px
    first = cells[0]
    if metres and first.pixels is not None:
        cells[0] = replace(first, px_m=metres * window.width / first.pixels.shape[1])
    lines = [f"{window.width} × {window.height} px"]
    if window != grid_row.labels.full_window():
        lines.append(f"col {window.col}, row {window.row}")
    if metres:
        lines.append(f"{metres:.2g} m per px")
    return CellRow(grid_row.scene, lines, cells, window.height / window.width), drawn_ids


def _read_image(grid_row: GridRow, options: GridOptions) -> raster.Chip:
    bands = select_channels(grid_row.source.config, options.bands)
    look: dict[str, Any] = {"max_px": options.max_px, "bands": bands, "stretch": options.stretch}

    with grid_row.labels.image_read() as learn:

        def window_of(grid: raster.Grid) -> raster.Window:
            learn(grid)
            window = grid_row.labels.clip(grid_row.window)
            require_drawable_row(grid_row, options, window)
            return window

        return raster.image(grid_row.labels.scene, window_of, **look)


def _read_truth(grid_row: GridRow, options: GridOptions) -> Any:
    """Read the truth: class ids of the window, or the boxes of the complete scene."""
    if grid_row.task in BOX_TASKS:
        return boxes.read_whole_scene_truth_boxes(grid_row)
    require_drawable_row(grid_row, options, grid_row.clipped_window)
    if grid_row.task != "semantic_segmentation":
        raise RasterError(f"Predictions of {_task_name(grid_row.task)} are not supported.")
    return segmentation.scene_truth_ids(grid_row, options)


def _raise_if_error(result: Any) -> Any:
    if isinstance(result, RvlabError):
        raise result
    return result


def require_comparable(source: RunSource, grid_row: GridRow) -> tuple[raster.Scene, raster.Classes]:
    """Return the scene and classes of a run, if they are comparable with those of the row.

    Raises:
        RasterError: If the scene is missing, or if classes, task or pixel grid differ.
    """
    if source.error is not None:
        raise source.error
    scene = source.scene(grid_row.scene)
    if scene is None:
        raise RasterError(f"This run has no scene {grid_row.scene}.")
    other, wanted = grid_row.source.run, grid_row.run_classes.names
    if source.classes.names != wanted:
        raise RasterError(
            f"Its classes are {', '.join(source.classes.names)}; those of {other} are "
            f"{', '.join(wanted)}."
        )
    if scene.task != grid_row.task:
        raise RasterError(
            f"Its task is {_task_name(scene.task)}; that of {other} is {_task_name(grid_row.task)}."
        )
    if scene.image != grid_row.labels.scene.image:
        _require_same_grid(raster.SceneLabels.of_run(source, grid_row.scene).grid, grid_row)
    return scene, source.classes


def _require_same_grid(run_grid: raster.Grid, grid_row: GridRow) -> None:
    grid, other = grid_row.labels.grid, grid_row.source.run
    if (run_grid.width, run_grid.height) != (grid.width, grid.height):
        raise RasterError(
            f"Its scene {grid_row.scene} has {run_grid.width} × {run_grid.height} px, that of "
            f"{other} {grid.width} × {grid.height} px."
        )
    if run_grid.crs != grid.crs:
        raise RasterError(
            f"Its scene {grid_row.scene} has CRS {_crs_name(run_grid)}, that of {other} has CRS "
            f"{_crs_name(grid)}."
        )
    if not run_grid.transform.almost_equals(grid.transform, 1e-3 * abs(grid.transform.a)):
        ours, theirs = (f"{g.transform.c:.12g}, {g.transform.f:.12g}" for g in (run_grid, grid))
        raise RasterError(
            f"Its scene {grid_row.scene} has its origin at {ours}, that of {other} at {theirs}."
        )


def _crs_name(grid: raster.Grid) -> str:
    return "none" if grid.crs is None else str(grid.crs.to_string()).split("[", 1)[0]


def _task_name(task: str) -> str:
    return task.replace("_", " ")


def _image_cell(
    grid_row: GridRow, chip: raster.Chip | RvlabError, shade: Callable[[Any], Any]
) -> GridCell:
    if isinstance(chip, RvlabError):
        return GridCell(message=cell_error_text(grid_row.source, chip))
    pixels = shade(np.dstack([*chip.array]))
    if not chip.is_complete:
        pixels = np.dstack([pixels, np.where(chip.mask, 255, 0).astype(np.uint8)])
    return GridCell(pixels)


def _build_cells(
    results: Sequence[tuple[RunSource, ScoredCell | RvlabError]], drawn_ids: set[int]
) -> list[GridCell]:
    scores = [got.f1 for _, got in results if isinstance(got, ScoredCell) and got.f1 is not None]
    # Compare rounded values: runs that show the same number are all the best.
    best = max((round(f1, 2) for f1 in scores if not math.isnan(f1)), default=None)
    out = []
    for one, got in results:
        if isinstance(got, RvlabError):
            out.append(GridCell(message=cell_error_text(one, got)))
            continue
        drawn_ids.update(got.seen)
        wins = got.f1 is not None and best is not None and round(got.f1, 2) == best
        out.append(replace(got.cell, best=wins and len(scores) > 1))
    return out
