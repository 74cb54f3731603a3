"""The cells of the grid of predictions, read by several threads at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rvlab import raster
from rvlab.errors import RasterError, RvlabError
from rvlab.plot import boxed, segmented
from rvlab.plot.mosaic import Cell, Row
from rvlab.plot.view import Canvas, Look, Place, View, fits
from rvlab.raster.boxes import CELLS, DETECTION
from rvlab.raster.chips import attempt
from rvlab.raster.display import channels
from rvlab.raster.source import Source

_BOXED = (CELLS, DETECTION)


@dataclass(frozen=True)
class Begun:
    """The cells of a row while they are read."""

    view: View
    image: Future[Any] | None
    truth: Future[Any] | None
    runs: Sequence[tuple[Source, Future[Any]]]


def said(one: Source, error: RvlabError | None) -> str:
    """An error in a cell: without the run's own address, which only makes it longer."""
    return str(error).replace(f"{one.uri.rstrip('/')}/", "") if error else "It has no scenes."


class Reading:
    """Reads the cells of a grid, each by a thread and with datasets of its own.

    Args:
        pool: Of threads. It starts in order, and what is waited for is submitted first, so that no
            thread waits in vain.
        sources: The runs.
        view: How they are to be shown.
    """

    def __init__(self, pool: ThreadPoolExecutor, sources: Sequence[Source], view: View) -> None:
        self.pool, self.sources, self.view = pool, sources, view
        self._boxes: dict[tuple[int, str], Future[Any]] = {}

    def begin(self, places: Sequence[Place]) -> list[Begun]:
        """Have the cells of all rows read: first what others wait for."""
        first = [self._shared(place) for place in places]
        return [self._row(place, *found) for place, found in zip(places, first, strict=True)]

    def _shared(self, place: Place) -> tuple[Future[Any] | None, Future[Any]]:
        """The image, where it is needed, and the truth."""
        view, image = self.view, None
        needs_image = place.task in _BOXED or view.show in ("errors", "overlay")
        if needs_image or "image" in view.columns:
            image = self.pool.submit(attempt, _image, place, view)
        return image, self.pool.submit(attempt, _known, place, view)

    def _row(self, place: Place, image: Future[Any] | None, known: Future[Any]) -> Begun:
        pool, view, is_raster = self.pool, self.view, place.task not in _BOXED
        # One for all cells of the row: what they have in common is made once.
        canvas = pool.submit(lambda: Canvas(place, view, image.result() if image else None))

        def show_truth() -> Look:
            found = _raised(known.result())
            shown = segmented.truth_look if is_raster else boxed.truth_look
            return shown(canvas.result(), found)

        def show_run(one: Source, boxes: Future[Any] | None) -> Look:
            fits(place, view)
            if boxes is not None:
                return boxed.run_look(canvas.result(), _raised(boxes.result()))
            scene, own = comparable(one, place)
            was_read = segmented.read(place, view, scene, own)  # while the truth is read, too
            return segmented.run_look(canvas.result(), known.result(), was_read, own)

        truth = pool.submit(attempt, show_truth) if "truth" in view.columns else None
        runs = []
        for number, one in enumerate(self.sources if "runs" in view.columns else ()):
            boxes = None if is_raster else self._compared(number, one, place, known)
            runs.append((one, pool.submit(attempt, show_run, one, boxes)))
        return Begun(view, image, truth, runs)

    def _compared(self, number: int, one: Source, place: Place, known: Future[Any]) -> Future[Any]:
        """The boxes of a run in a scene, read once for all its windows."""

        def load() -> boxed.Compared:
            scene, own = comparable(one, place)
            return boxed.compared(place, self.view, known.result(), scene, own)

        key = (number, place.scene)
        if key not in self._boxes:
            self._boxes[key] = self.pool.submit(attempt, load)
        return self._boxes[key]


def finish(place: Place, begun: Begun) -> tuple[Row, set[int]]:
    """The row, and the class ids to be seen in it."""
    cells: list[Cell] = []
    seen: set[int] = set()
    for column in begun.view.columns:
        if column == "image" and begun.image is not None:
            cells.append(_image_cell(place, begun.image.result()))
        elif column == "truth" and begun.truth is not None:
            cells += _cells([(place.source, begun.truth.result())], seen)
        else:
            cells += _cells([(one, future.result()) for one, future in begun.runs], seen)
    window = attempt(lambda: place.part)
    if isinstance(window, RvlabError):
        return Row(place.scene, [], cells), seen
    metres = place.labels.grid.metres_per_px
    first = cells[0]
    if metres and first.pixels is not None:
        cells[0] = replace(first, px_m=metres * window.width / first.pixels.shape[1])
    lines = [f"{window.width} × {window.height} px"]
    if window != place.labels.whole():
        lines.append(f"col {window.col}, row {window.row}")
    if metres:
        lines.append(f"{metres:.2g} m per px")
    return Row(place.scene, lines, cells, window.height / window.width), seen


def _image(place: Place, view: View) -> raster.Chip:
    bands = channels(place.source.config, view.bands)
    look: dict[str, Any] = {"max_px": view.max_px, "bands": bands, "stretch": view.stretch}

    def read(learn: Callable[[raster.Grid], None]) -> raster.Chip:
        def part(whole: raster.Grid) -> raster.Window:
            learn(whole)
            fits(place, view)
            return place.part

        return raster.image(place.labels.scene, part, **look)

    return place.labels.with_image(read)


def _known(place: Place, view: View) -> Any:
    """The truth: class ids of the window, or the boxes of its whole scene."""
    if place.task in (CELLS, DETECTION):
        return boxed.known(place)
    fits(place, view)
    if place.task != "semantic_segmentation":
        raise RasterError(f"Predictions of {_words(place.task)} cannot be drawn.")
    return segmented.known(place, view)


def _raised(found: Any) -> Any:
    if isinstance(found, RvlabError):
        raise found
    return found


def comparable(one: Source, place: Place) -> tuple[raster.Scene, raster.Classes]:
    """The scene and classes of a run, if they can be put beside those of the row's."""
    if one.error is not None:
        raise one.error
    scene = one.scene(place.scene)
    if scene is None:
        raise RasterError(f"This run has no scene {place.scene}.")
    other, wanted = place.source.run, place.own.names
    if one.classes.names != wanted:
        raise RasterError(
            f"Its classes are {', '.join(one.classes.names)}; those of {other} are "
            f"{', '.join(wanted)}."
        )
    if scene.task != place.task:
        raise RasterError(f"It does {_words(scene.task)}; {other} does {_words(place.task)}.")
    if scene.image != place.labels.scene.image:
        _same_pixels(one.labels(place.scene).grid, place)
    return scene, one.classes


def _same_pixels(own: raster.Grid, place: Place) -> None:
    grid, other = place.labels.grid, place.source.run
    if (own.width, own.height) != (grid.width, grid.height):
        raise RasterError(
            f"Its scene {place.scene} has {own.width} × {own.height} px, that of {other} "
            f"{grid.width} × {grid.height} px."
        )
    if own.crs != grid.crs:
        raise RasterError(
            f"Its scene {place.scene} lies in {_crs(own)}, that of {other} in {_crs(grid)}."
        )
    if not own.transform.almost_equals(grid.transform, 1e-3 * abs(grid.transform.a)):
        ours, theirs = (f"{g.transform.c:.12g}, {g.transform.f:.12g}" for g in (own, grid))
        raise RasterError(
            f"Its scene {place.scene} begins at {ours} on the ground, that of {other} at {theirs}."
        )


def _crs(grid: raster.Grid) -> str:
    return "no CRS" if grid.crs is None else str(grid.crs.to_string()).split("[", 1)[0]


def _words(task: str) -> str:
    return task.replace("_", " ")


def _image_cell(place: Place, found: raster.Chip | RvlabError) -> Cell:
    if isinstance(found, RvlabError):
        return Cell(words=said(place.source, found))
    alpha = np.where(found.mask, 255, 0).astype(np.uint8)
    return Cell(np.dstack([*found.array, alpha]))


def _cells(found: Sequence[tuple[Source, Look | RvlabError]], seen: set[int]) -> list[Cell]:
    scores = [got.f1 for _, got in found if isinstance(got, Look) and got.f1 is not None]
    # As they are read: two runs that show the same number are both the best.
    best = max((round(f1, 2) for f1 in scores if not math.isnan(f1)), default=None)
    out = []
    for one, got in found:
        if isinstance(got, RvlabError):
            out.append(Cell(words=said(one, got)))
            continue
        seen.update(got.seen)
        wins = got.f1 is not None and best is not None and round(got.f1, 2) == best
        out.append(replace(got.cell, best=wins and len(scores) > 1))
    return out
