"""Cells of chip classification and object detection: rectangles with a class over the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rvlab import metrics, raster
from rvlab.errors import RasterError, RvlabError
from rvlab.plot import paint
from rvlab.plot.mosaic import Cell
from rvlab.plot.paint import FALSE, MISSED, RIGHT, SWAPPED, Pixels
from rvlab.plot.rects import Rects
from rvlab.plot.view import Canvas, Look, Place, View
from rvlab.raster.boxes import (
    CELLS,
    Boxes,
    Outcomes,
    outcomes,
    predicted_boxes,
    true_boxes,
)
from rvlab.raster.scene import RGB

MOST_TEXTS = 12  # boxes in a cell whose scores are written

TRUE_LINE: RGB = (255, 255, 255)
"""The color of the truth over the boxes of a run, and of the lines between cells."""

_TINT, _STRONG, _HEAT = 0.45, 0.7, 0.88  # of cells over the image, and over light grey
_INSET = 0.06  # of a cell's side, so that neighbours have a line each


@dataclass(frozen=True)
class Compared:
    """What a run said of a whole scene, and which of it is right.

    Args:
        guess: The predicted boxes.
        truth: The true ones; an error if there are none to read.
        found: Their outcomes; None without truth.
    """

    guess: Boxes
    truth: Boxes | RvlabError
    found: Outcomes | None


def known(place: Place) -> Boxes:
    """The true boxes of the whole scene."""
    return true_boxes(place.labels)


def truth_look(canvas: Canvas, found: Boxes) -> Look:
    """The cell of the truth."""
    view, own = canvas.view, canvas.place.own
    boxes = found.within(canvas.place.part)
    if canvas.place.task == CELLS and view.show == "scores":
        share = boxes.class_ids == view.of(own)[0]
        return Look(_heated(canvas, boxes, share.astype(np.float64)))
    if view.show != "labels":
        boxes = boxes.pick(np.isin(boxes.class_ids, view.of(own)))
    seen = frozenset(boxes.class_ids.tolist())
    if canvas.place.task != CELLS:
        return Look(Cell(canvas.ground, boxes=[_rects(canvas, boxes, own)]), seen)
    if view.show == "overlay":
        return Look(Cell(canvas.ground, boxes=[_inset(canvas, boxes, own)]), seen)
    colors = paint.colored(boxes.class_ids, own)
    if view.show == "errors":
        ground = canvas.dimmed
        return Look(_tinted(canvas, boxes, colors, ground=ground, alpha=_STRONG), seen)
    return Look(_tinted(canvas, boxes, colors), seen)


def compared(
    place: Place,
    view: View,
    truth: Boxes | RvlabError,
    scene: raster.Scene,
    own: raster.Classes,
) -> Compared:
    """Read the boxes of a run and match them with the truth, once for all windows of a scene.

    Args:
        place: Any window of the scene.
        view: Says how far boxes must overlap.
        truth: What `known` gave.
        scene: Of the run.
        own: Its classes.

    Raises:
        RasterError: If there is no prediction.
    """
    guess = predicted_boxes(scene, own, place.labels)
    if isinstance(truth, RvlabError):
        return Compared(guess, truth, None)
    return Compared(guess, truth, outcomes(truth, guess, place.task, iou=view.iou))


def run_look(canvas: Canvas, told: Compared) -> Look:
    """The cell of a run.

    Raises:
        RasterError: If it has nothing to show.
    """
    own, show, is_cells = canvas.place.own, canvas.view.show, canvas.place.task == CELLS
    shown = told.guess.within(canvas.place.part)
    # The probability of a class is that of all cells, whatever they were taken for.
    if show == "overlay" or (show == "scores" and not is_cells):
        shown = shown.pick(np.isin(shown.class_ids, canvas.view.of(own)))
    if show == "errors":
        cell, shown = _errors(canvas, told), shown.pick(np.zeros(len(shown), bool))
    elif show == "overlay":
        cell = _overlay(canvas, shown, told.truth)
    elif show == "scores":
        cell = _scores(canvas, shown)
    elif is_cells:
        cell = _tinted(canvas, shown, paint.colored(shown.class_ids, own))
    else:
        cell = Cell(canvas.ground, boxes=[_rects(canvas, shown, own, texts=_texts(shown))])
    caption, f1 = _score(canvas, told)
    return Look(replace(cell, caption=caption), frozenset(shown.class_ids.tolist()), f1)


def _overlay(canvas: Canvas, boxes: Boxes, truth: Boxes | RvlabError) -> Cell:
    own, layers = canvas.place.own, []
    is_cells = canvas.place.task == CELLS
    layers.append(_inset(canvas, boxes, own) if is_cells else _rects(canvas, boxes, own))
    if isinstance(truth, Boxes):
        truth = truth.within(canvas.place.part)
        truth = truth.pick(np.isin(truth.class_ids, canvas.view.of(own)))
        white = _one(TRUE_LINE, len(truth))
        bounds = _placed(canvas, truth, inset=2.5 * _INSET if is_cells else 0.0)
        layers.append(Rects(bounds, white, dashed=True, width=0.9, halo=is_cells))
    return Cell(canvas.ground, boxes=layers)


def _scores(canvas: Canvas, boxes: Boxes) -> Cell:
    view, own = canvas.view, canvas.place.own
    if canvas.place.task == CELLS:
        if boxes.probabilities is None and len(boxes):
            raise RasterError("This run's predictions hold no scores.")
        (class_id, *_rest) = view.of(own)
        none = np.zeros((len(boxes), len(own)))
        chances = none if boxes.probabilities is None else boxes.probabilities
        return _heated(canvas, boxes, chances[:, class_id])
    if len(boxes) and np.isnan(boxes.scores).all():
        raise RasterError("This run's predictions hold no scores.")
    bounds = _placed(canvas, boxes)
    return Cell(canvas.ground, boxes=[Rects(bounds, paint.heat(boxes.scores), texts=_texts(boxes))])


def _errors(canvas: Canvas, told: Compared) -> Cell:
    truth, guess, found = told.truth, told.guess, told.found
    if isinstance(truth, RvlabError) or found is None:
        raise RasterError(f"There are no errors to show without truth. {truth}")
    of = canvas.view.of(canvas.place.own)
    part, ground = canvas.place.part, canvas.dimmed
    said = np.isin(guess.class_ids, of) & guess.touching(part)
    there = np.isin(truth.class_ids, of) & truth.touching(part)
    if canvas.place.task != CELLS:
        sets = [
            (guess.pick(said & found.right), RIGHT, False),
            (guess.pick(said & found.wrong), FALSE, False),
            (truth.pick(there & found.missed), MISSED, True),
        ]
        layers = [
            Rects(_placed(canvas, boxes), _one(color, len(boxes)), dashed=dashed, halo=False)
            for boxes, color, dashed in sets
        ]
        return Cell(ground, boxes=layers)
    partner = np.where(found.matched >= 0, found.matched, 0)
    truly = np.isin(truth.class_ids, of)[partner] if len(truth) else np.zeros(len(guess), bool)
    touches = guess.touching(part)
    kinds = [
        (said & found.right, RIGHT),
        (said & found.wrong & ~truly, FALSE),
        (touches & found.wrong & truly & ~said, MISSED),
        (said & found.wrong & truly, SWAPPED),
    ]
    which = np.concatenate([np.flatnonzero(mask) for mask, _ in kinds])
    colors = np.concatenate([_one(color, int(mask.sum())) for mask, color in kinds])
    return _tinted(canvas, guess.pick(which), colors, ground=ground, alpha=_STRONG)


def _score(canvas: Canvas, told: Compared) -> tuple[str, float | None]:
    """Outcomes are of the whole scene; a box counts in the window that holds its centre."""
    place, view = canvas.place, canvas.view
    truth, guess, found = told.truth, told.guess, told.found
    if isinstance(truth, RvlabError) or found is None:
        return "F1 –", None
    window, k, only = _open(place), len(place.own), view.only(place.own)
    true, said = truth.centred_in(window), guess.centred_in(window)
    sets = (
        truth.class_ids[true & found.found],
        guess.class_ids[said & found.wrong],
        truth.class_ids[true & found.missed],
    )
    counts = metrics.detections(*(np.bincount(ids, minlength=k) for ids in sets))
    f1 = float(metrics.macro_f1(counts) if only is None else metrics.f1(counts)[only])
    caption = "F1 –" if math.isnan(f1) else f"F1 {f1:.2f}"
    if place.task != CELLS:
        of = list(view.of(place.own))
        wrong, missed = int(counts.fp[of].sum()), int(counts.fn[of].sum())
        caption += f" · {missed}\N{NO-BREAK SPACE}missed, {wrong}\N{NO-BREAK SPACE}false"
    return caption, f1


def _open(place: Place) -> raster.Window:
    """The window; where it ends at the scene's edge, with all that stands out over it."""
    part, grid, far = place.part, place.labels.grid, 10**9
    col, row = (start if start > 0 else -far for start in (part.col, part.row))
    stop_col = part.stop_col if part.stop_col < grid.width else far
    stop_row = part.stop_row if part.stop_row < grid.height else far
    return raster.Window(col, row, stop_col - col, stop_row - row)


def _placed(canvas: Canvas, boxes: Boxes, *, inset: float = 0.0) -> NDArray[np.float64]:
    """Bounds in pixels of the cell."""
    part = canvas.place.part
    moved = (boxes.bounds - np.array([part.col, part.row] * 2)) * canvas.scale
    if inset:
        sides = moved[:, 2:] - moved[:, :2]
        moved = np.hstack([moved[:, :2] + inset * sides, moved[:, 2:] - inset * sides])
    return np.asarray(moved, np.float64)


def _rects(canvas: Canvas, boxes: Boxes, own: raster.Classes, texts: Sequence[str] = ()) -> Rects:
    return Rects(_placed(canvas, boxes), paint.colored(boxes.class_ids, own), texts=texts)


def _inset(canvas: Canvas, boxes: Boxes, own: raster.Classes) -> Rects:
    colors = paint.colored(boxes.class_ids, own)
    return Rects(_placed(canvas, boxes, inset=_INSET), colors)


def _heated(canvas: Canvas, boxes: Boxes, share: NDArray[np.float64]) -> Cell:
    ground = canvas.dimmed
    return _tinted(canvas, boxes, paint.heat(share), ground=ground, alpha=_HEAT)


def _tinted(
    canvas: Canvas,
    boxes: Boxes,
    colors: Pixels,
    *,
    ground: Pixels | None = None,
    alpha: float = _TINT,
) -> Cell:
    """Cells filled with a color that the image shows through, and a line around each."""
    placed = _placed(canvas, boxes)
    rows, columns = canvas.shape
    layer = np.zeros((rows, columns, 4), np.uint8)
    edges = np.clip(np.rint(placed).astype(int), 0, [columns, rows] * 2)
    for (left, top, right, bottom), color in zip(edges, colors, strict=True):
        layer[top:bottom, left:right] = [*color, 255]
    pixels = paint.over(canvas.ground if ground is None else ground, paint.tinted(layer, alpha))
    lines = Rects(placed, _one(TRUE_LINE, len(boxes)), width=0.6, halo=False)
    return Cell(pixels, boxes=[lines])


def _texts(boxes: Boxes) -> list[str]:
    if len(boxes) > MOST_TEXTS:
        return []
    return ["" if math.isnan(score) else f"{score:.2f}" for score in boxes.scores]


def _one(color: RGB, times: int) -> Pixels:
    return np.tile(np.array(color, np.uint8), (times, 1))
