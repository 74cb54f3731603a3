"""The cells of the grid of predictions: what is read for each, and what it shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab import raster
from rvlab.errors import RasterError, RvlabError
from rvlab.plot.mosaic import Cell, Row
from rvlab.raster.chips import Predicted, attempt, predicted, truth
from rvlab.raster.labels import thinned
from rvlab.raster.recode import Ids
from rvlab.raster.source import Source

OTHER = (255, 0, 255)  # the color of an id that is none of the classes


@dataclass(frozen=True)
class Place:
    """A window of a scene, and the run whose image and labels are shown of it."""

    scene: str
    window: raster.Window | None
    source: Source
    labels: raster.SceneLabels


@dataclass(frozen=True)
class Begun:
    """The cells of a row while they are read."""

    columns: Sequence[str]
    image: Future[Any] | None
    truth: Future[Any]
    runs: Sequence[tuple[Source, Future[Any]]]
    max_px: int


def said(one: Source, error: RvlabError | None) -> str:
    """An error in a cell: without the run's own address, which only makes it longer."""
    return str(error).replace(f"{one.uri.rstrip('/')}/", "") if error else "It has no scenes."


def begin(
    pool: ThreadPoolExecutor,
    place: Place,
    sources: Sequence[Source],
    columns: Sequence[str],
    max_px: int,
) -> Begun:
    """Have the cells of a row read, each by a thread and with datasets of its own."""

    def show_image() -> raster.Chip:
        return raster.image(place.labels.scene, _window(place), max_px=max_px)

    def show_truth() -> Ids:
        return truth(place.labels, _window(place), max_px=max_px)

    image = pool.submit(attempt, show_image) if "image" in columns else None
    # Before the runs, which wait for it: a pool starts in order, so it is never waited for in vain.
    known = pool.submit(attempt, show_truth)

    def show_run(one: Source) -> Predicted:
        scene, own = _comparable(one, place)
        return predicted(scene, own, _window(place), place.labels, known.result(), max_px=max_px)

    asked = sources if "runs" in columns else []
    runs = [(one, pool.submit(attempt, show_run, one)) for one in asked]
    return Begun(columns, image, known, runs, max_px)


def finish(place: Place, begun: Begun) -> tuple[Row, set[int]]:
    """The row, and the class ids to be seen in it."""
    own = place.source.classes
    cells: list[Cell] = []
    seen: set[int] = set()
    px_m = None
    for column in begun.columns:
        if column == "image" and begun.image is not None:
            cells.append(_image_cell(place, begun.image.result()))
        elif column == "truth":
            found = begun.truth.result()
            cells.append(_labels_cell(place.source, found, own, begun.max_px, seen))
        else:
            cells += _run_cells(begun, own, seen)
    window = attempt(_window, place)
    if isinstance(window, RvlabError):
        return Row(place.scene, [], cells), seen
    metres = place.labels.grid.metres_per_px
    if metres and cells[0].pixels is not None:
        px_m = metres * window.width / cells[0].pixels.shape[1]
        first = cells[0]
        cells[0] = Cell(first.pixels, first.words, first.caption, first.best, px_m)
    lines = [f"{window.width} × {window.height} px"]
    if window != place.labels.whole():
        lines.append(f"col {window.col}, row {window.row}")
    if metres:
        lines.append(f"{metres:.2g} m per px")
    return Row(place.scene, lines, cells, window.height / window.width), seen


def _window(place: Place) -> raster.Window:
    return place.labels.clip(place.window)


def _comparable(one: Source, place: Place) -> tuple[raster.Scene, raster.Classes]:
    if one.error is not None:
        raise one.error
    scene = one.scene(place.scene)
    if scene is None:
        raise RasterError(f"This run has no scene {place.scene}.")
    wanted = place.source.classes.names
    if one.classes.names != wanted:
        raise RasterError(
            f"Its classes are {', '.join(one.classes.names)}; those of {place.source.run} are "
            f"{', '.join(wanted)}."
        )
    return scene, one.classes


def _image_cell(place: Place, found: raster.Chip | RvlabError) -> Cell:
    if isinstance(found, RvlabError):
        return Cell(words=said(place.source, found))
    alpha = np.where(found.mask, 255, 0).astype(np.uint8)
    return Cell(np.dstack([*found.array, alpha]))


def _labels_cell(
    one: Source, found: Ids | RvlabError, own: raster.Classes, max_px: int, seen: set[int]
) -> Cell:
    if isinstance(found, RvlabError):
        return Cell(words=said(one, found))
    ids = thinned(found, max_px)
    seen.update(np.unique(ids).tolist())
    return Cell(_colored(ids, own))


def _run_cells(begun: Begun, own: raster.Classes, seen: set[int]) -> list[Cell]:
    found = [(one, future.result()) for one, future in begun.runs]
    scores = [p.f1 for _, p in found if isinstance(p, Predicted) and p.f1 is not None]
    # As they are read: two runs that show the same number are both the best.
    best = max((round(f1, 2) for f1 in scores if not math.isnan(f1)), default=None)
    out = []
    for one, got in found:
        if isinstance(got, RvlabError):
            out.append(Cell(words=said(one, got)))
            continue
        seen.update(np.unique(got.ids).tolist())
        wins = got.f1 is not None and best is not None and round(got.f1, 2) == best
        caption = _caption(got)
        out.append(Cell(_colored(got.ids, own), "", caption, wins and len(scores) > 1))
    return out


def _caption(got: Predicted) -> str:
    if got.f1 is None or math.isnan(got.f1):
        return "F1 –"
    return f"F1 {'' if got.exact else '≈ '}{got.f1:.2f}"


def _colored(ids: Ids, classes: raster.Classes) -> NDArray[np.uint8]:
    palette = np.full((256, 3), OTHER, np.uint8)
    palette[: len(classes)] = classes.colors
    return np.asarray(palette[ids])
