"""Grid cells of chip classification and object detection: rectangles over the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rvlab import metrics, raster
from rvlab.errors import RasterError, RvlabError
from rvlab.plot._grid import colorize
from rvlab.plot._grid.colorize import Pixels
from rvlab.plot._grid.layout import GridCell
from rvlab.plot._grid.options import CellContent, GridOptions, GridRow, RowContext
from rvlab.plot._grid.rectangles import Rectangles
from rvlab.raster.boxes import CELLS, Boxes, Outcomes, match_outcomes, predicted_boxes, truth_boxes
from rvlab.raster.scene import RGB

MAX_SCORE_TEXTS = 12  # a grid cell with more boxes shows no scores as text

TRUTH_COLOR: RGB = (255, 255, 255)
"""The color of true boxes over a run's boxes, and of the lines between classified cells."""

_TINT, _STRONG, _HEAT = 0.45, 0.7, 0.88  # alpha of classified cells: on the image, on grey, as heat
_INSET = 0.06  # share of a side, so that the outlines of neighbours do not overlap


@dataclass(frozen=True)
class BoxComparison:
    """Predicted and true boxes of a scene, and their outcomes.

    Args:
        guess: The predicted boxes.
        truth: The true boxes, or the error if they cannot be read.
        found: The outcomes (TP, FP, FN) of both; None without truth.
    """

    guess: Boxes
    truth: Boxes | RvlabError
    found: Outcomes | None


def scene_truth_boxes(place: GridRow) -> Boxes:
    """Read the true boxes of the complete scene."""
    return truth_boxes(place.labels)


def box_truth_cell(canvas: RowContext, found: Boxes) -> CellContent:
    """Build the truth cell of a row."""
    view, own = canvas.view, canvas.place.run_classes
    boxes = found.intersecting(canvas.place.clipped_window)
    if canvas.place.task == CELLS and view.show == "scores":
        share = boxes.class_ids == view.class_ids(own)[0]
        return CellContent(_heat_cell(canvas, boxes, share.astype(np.float64)))
    if view.show != "labels":
        boxes = boxes.select(np.isin(boxes.class_ids, view.class_ids(own)))
    seen = frozenset(boxes.class_ids.tolist())
    if canvas.place.task != CELLS:
        return CellContent(
            GridCell(canvas.ground, boxes=[_box_rectangles(canvas, boxes, own)]), seen
        )
    if view.show == "overlay":
        return CellContent(
            GridCell(canvas.ground, boxes=[_inset_rectangles(canvas, boxes, own)]), seen
        )
    colors = colorize.color_classes(boxes.class_ids, own)
    if view.show == "errors":
        ground = canvas.dimmed
        return CellContent(_tinted_cell(canvas, boxes, colors, ground=ground, alpha=_STRONG), seen)
    return CellContent(_tinted_cell(canvas, boxes, colors), seen)


def compare_boxes(
    place: GridRow,
    view: GridOptions,
    truth: Boxes | RvlabError,
    scene: raster.Scene,
    own: raster.Classes,
) -> BoxComparison:
    """Read the boxes of a run and match them with the truth, once per scene.

    Args:
        place: Any window of the scene.
        view: Its `iou` is the overlap above which boxes match.
        truth: The result of `scene_truth_boxes`.
        scene: The scene in the run's config.
        own: The classes of the run.

    Raises:
        RasterError: If the run has no prediction of the scene.
    """
    guess = predicted_boxes(scene, own, place.labels)
    if isinstance(truth, RvlabError):
        return BoxComparison(guess, truth, None)
    return BoxComparison(guess, truth, match_outcomes(truth, guess, place.task, iou=view.iou))


def box_prediction_cell(canvas: RowContext, comparison: BoxComparison) -> CellContent:
    """Build the cell of a run.

    Raises:
        RasterError: If the run has nothing to show.
    """
    own, show, is_cells = canvas.place.run_classes, canvas.view.show, canvas.place.task == CELLS
    shown = comparison.guess.intersecting(canvas.place.clipped_window)
    # Every classified cell has a probability of the class, whichever class was predicted.
    if show == "overlay" or (show == "scores" and not is_cells):
        shown = shown.select(np.isin(shown.class_ids, canvas.view.class_ids(own)))
    if show == "errors":
        cell, shown = _errors_cell(canvas, comparison), shown.select(np.zeros(len(shown), bool))
    elif show == "overlay":
        cell = _overlay_cell(canvas, shown, comparison.truth)
    elif show == "scores":
        cell = _scores_cell(canvas, shown)
    elif is_cells:
        cell = _tinted_cell(canvas, shown, colorize.color_classes(shown.class_ids, own))
    else:
        cell = GridCell(
            canvas.ground, boxes=[_box_rectangles(canvas, shown, own, texts=_score_texts(shown))]
        )
    caption, f1 = _score_caption(canvas, comparison)
    return CellContent(replace(cell, caption=caption), frozenset(shown.class_ids.tolist()), f1)


def _overlay_cell(canvas: RowContext, boxes: Boxes, truth: Boxes | RvlabError) -> GridCell:
    own, layers = canvas.place.run_classes, []
    is_cells = canvas.place.task == CELLS
    layers.append(
        _inset_rectangles(canvas, boxes, own) if is_cells else _box_rectangles(canvas, boxes, own)
    )
    if isinstance(truth, Boxes):
        truth = truth.intersecting(canvas.place.clipped_window)
        truth = truth.select(np.isin(truth.class_ids, canvas.view.class_ids(own)))
        white = _repeat_color(TRUTH_COLOR, len(truth))
        bounds = _to_cell_pixels(canvas, truth, inset=2.5 * _INSET if is_cells else 0.0)
        layers.append(Rectangles(bounds, white, dashed=True, width=0.9, halo=is_cells))
    return GridCell(canvas.ground, boxes=layers)


def _scores_cell(canvas: RowContext, boxes: Boxes) -> GridCell:
    view, own = canvas.view, canvas.place.run_classes
    if canvas.place.task == CELLS:
        if boxes.probabilities is None and len(boxes):
            raise RasterError("This run's predictions contain no scores.")
        (class_id, *_rest) = view.class_ids(own)
        none = np.zeros((len(boxes), len(own)))
        chances = none if boxes.probabilities is None else boxes.probabilities
        return _heat_cell(canvas, boxes, chances[:, class_id])
    if len(boxes) and np.isnan(boxes.scores).all():
        raise RasterError("This run's predictions contain no scores.")
    bounds = _to_cell_pixels(canvas, boxes)
    return GridCell(
        canvas.ground,
        boxes=[Rectangles(bounds, colorize.color_heat(boxes.scores), texts=_score_texts(boxes))],
    )


def _errors_cell(canvas: RowContext, comparison: BoxComparison) -> GridCell:
    truth, guess, found = comparison.truth, comparison.guess, comparison.found
    if isinstance(truth, RvlabError) or found is None:
        raise RasterError(f"Errors cannot be shown without truth. {truth}")
    of = canvas.view.class_ids(canvas.place.run_classes)
    tp, fp, fn, confused = canvas.view.error_colors
    part, ground = canvas.place.clipped_window, canvas.dimmed
    predicted = np.isin(guess.class_ids, of) & guess.touching(part)
    true_here = np.isin(truth.class_ids, of) & truth.touching(part)
    if canvas.place.task != CELLS:
        sets = [
            (guess.select(predicted & found.correct), tp, False),
            (guess.select(predicted & found.false_positives), fp, False),
            (truth.select(true_here & found.false_negatives), fn, True),
        ]
        layers = [
            Rectangles(
                _to_cell_pixels(canvas, boxes),
                _repeat_color(color, len(boxes)),
                dashed=dashed,
                halo=False,
            )
            for boxes, color, dashed in sets
        ]
        return GridCell(ground, boxes=layers)
    partner = np.where(found.matched >= 0, found.matched, 0)
    truly = np.isin(truth.class_ids, of)[partner] if len(truth) else np.zeros(len(guess), bool)
    touches = guess.touching(part)
    kinds = [
        (predicted & found.correct, tp),
        (predicted & found.false_positives & ~truly, fp),
        (touches & found.false_positives & truly & ~predicted, fn),
        (predicted & found.false_positives & truly, confused),
    ]
    which = np.concatenate([np.flatnonzero(mask) for mask, _ in kinds])
    colors = np.concatenate([_repeat_color(color, int(mask.sum())) for mask, color in kinds])
    return _tinted_cell(canvas, guess.select(which), colors, ground=ground, alpha=_STRONG)


def _score_caption(canvas: RowContext, comparison: BoxComparison) -> tuple[str, float | None]:
    """Return caption and F1 of a window; a box counts in the window that contains its centre."""
    place, view = canvas.place, canvas.view
    truth, guess, found = comparison.truth, comparison.guess, comparison.found
    if isinstance(truth, RvlabError) or found is None:
        return "F1 –", None
    window, k, only = (
        _open_window(place),
        len(place.run_classes),
        view.single_class_id(place.run_classes),
    )
    true, predicted = truth.centred_in(window), guess.centred_in(window)
    sets = (
        truth.class_ids[true & found.truth_found],
        guess.class_ids[predicted & found.false_positives],
        truth.class_ids[true & found.false_negatives],
    )
    counts = metrics.detection_counts(*(np.bincount(ids, minlength=k) for ids in sets))
    f1 = float(metrics.macro_f1(counts) if only is None else metrics.f1(counts)[only])
    caption = "F1 –" if math.isnan(f1) else f"F1 {f1:.2f}"
    if place.task != CELLS:
        of = list(view.class_ids(place.run_classes))
        fp, fn = int(counts.fp[of].sum()), int(counts.fn[of].sum())
        caption += f" · {fn}\N{NO-BREAK SPACE}FN, {fp}\N{NO-BREAK SPACE}FP"
    return caption, f1


def _open_window(place: GridRow) -> raster.Window:
    """Return the window, extended beyond the scene's edges to include boxes there."""
    part, grid, far = place.clipped_window, place.labels.grid, 10**9
    col, row = (start if start > 0 else -far for start in (part.col, part.row))
    stop_col = part.stop_col if part.stop_col < grid.width else far
    stop_row = part.stop_row if part.stop_row < grid.height else far
    return raster.Window(col, row, stop_col - col, stop_row - row)


def _to_cell_pixels(canvas: RowContext, boxes: Boxes, *, inset: float = 0.0) -> NDArray[np.float64]:
    """Return the bounds of boxes in pixels of the cell."""
    part = canvas.place.clipped_window
    moved = (boxes.bounds - np.array([part.col, part.row] * 2)) * canvas.scale
    if inset:
        sides = moved[:, 2:] - moved[:, :2]
        moved = np.hstack([moved[:, :2] + inset * sides, moved[:, 2:] - inset * sides])
    return np.asarray(moved, np.float64)


def _box_rectangles(
    canvas: RowContext, boxes: Boxes, own: raster.Classes, texts: Sequence[str] = ()
) -> Rectangles:
    return Rectangles(
        _to_cell_pixels(canvas, boxes), colorize.color_classes(boxes.class_ids, own), texts=texts
    )


def _inset_rectangles(canvas: RowContext, boxes: Boxes, own: raster.Classes) -> Rectangles:
    colors = colorize.color_classes(boxes.class_ids, own)
    return Rectangles(_to_cell_pixels(canvas, boxes, inset=_INSET), colors)


def _heat_cell(canvas: RowContext, boxes: Boxes, share: NDArray[np.float64]) -> GridCell:
    ground = canvas.dimmed
    return _tinted_cell(canvas, boxes, colorize.color_heat(share), ground=ground, alpha=_HEAT)


def _tinted_cell(
    canvas: RowContext,
    boxes: Boxes,
    colors: Pixels,
    *,
    ground: Pixels | None = None,
    alpha: float = _TINT,
) -> GridCell:
    """Fill classified cells with a translucent color and outline them."""
    placed = _to_cell_pixels(canvas, boxes)
    rows, columns = canvas.shape
    layer = np.zeros((rows, columns, 4), np.uint8)
    edges = np.clip(np.rint(placed).astype(int), 0, [columns, rows] * 2)
    for (left, top, right, bottom), color in zip(edges, colors, strict=True):
        layer[top:bottom, left:right] = [*color, 255]
    pixels = colorize.blend_over(
        canvas.ground if ground is None else ground, colorize.set_alpha(layer, alpha)
    )
    lines = Rectangles(placed, _repeat_color(TRUTH_COLOR, len(boxes)), width=0.6, halo=False)
    return GridCell(pixels, boxes=[lines])


def _score_texts(boxes: Boxes) -> list[str]:
    if len(boxes) > MAX_SCORE_TEXTS:
        return []
    return ["" if math.isnan(score) else f"{score:.2f}" for score in boxes.scores]


def _repeat_color(color: RGB, times: int) -> Pixels:
    return np.tile(np.array(color, np.uint8), (times, 1))
