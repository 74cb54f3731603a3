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
from rvlab.plot._grid.options import GridOptions, GridRow, RowContext, ScoredCell
from rvlab.plot._grid.rectangles import Rectangles
from rvlab.raster.boxes import CELLS, Boxes, Outcomes, match_outcomes, predicted_boxes, truth_boxes
from rvlab.raster.config import RGB

MAX_SCORE_TEXTS = 12  # a grid cell with more boxes shows no scores as text

_TINT, _STRONG, _HEAT = 0.45, 0.7, 0.88  # alpha of classified cells: on the image, on grey, as heat
_INSET = 0.06  # share of a side, so that the outlines of neighbours do not overlap


@dataclass(frozen=True)
class SceneBoxComparison:
    """Predicted and true boxes of a scene, and their outcomes.

    Args:
        guess: The predicted boxes.
        truth: The true boxes, or the error if they cannot be read.
        found: The outcomes (TP, FP, FN) of both; None without truth.
    """

    guess: Boxes
    truth: Boxes | RvlabError
    found: Outcomes | None


def read_whole_scene_truth_boxes(grid_row: GridRow) -> Boxes:
    """Read the true boxes of the complete scene."""
    return truth_boxes(grid_row.labels)


def box_truth_cell(context: RowContext, truth: Boxes) -> ScoredCell:
    """Build the truth cell of a row."""
    options, classes = context.options, context.grid_row.run_classes
    boxes = truth.intersecting(context.grid_row.clipped_window)
    if context.grid_row.task == CELLS and options.show == "scores":
        probability = boxes.class_ids == options.class_ids(classes)[0]
        return ScoredCell(_heat_cell(context, boxes, probability.astype(np.float64)))
    if options.show != "labels":
        boxes = boxes.select(np.isin(boxes.class_ids, options.class_ids(classes)))
    drawn_ids = frozenset(boxes.class_ids.tolist())
    if context.grid_row.task != CELLS:
        return ScoredCell(
            GridCell(context.background, boxes=[_box_rectangles(context, boxes, classes)]),
            drawn_ids,
        )
    if options.show == "overlay":
        return ScoredCell(
            GridCell(context.background, boxes=[_inset_box_rectangles(context, boxes, classes)]),
            drawn_ids,
        )
    colors = colorize.color_classes(boxes.class_ids, classes)
    if options.show == "errors":
        background = context.grey_background
        return ScoredCell(
            _tinted_cell(context, boxes, colors, background=background, alpha=_STRONG), drawn_ids
        )
    return ScoredCell(_tinted_cell(context, boxes, colors), drawn_ids)


def read_and_match_boxes(
    grid_row: GridRow,
    options: GridOptions,
    truth: Boxes | RvlabError,
    scene: raster.Scene,
    classes: raster.Classes,
) -> SceneBoxComparison:
    """Read the boxes of a run in a scene and match them with the truth.

    Args:
        grid_row: Any window of the scene.
        options: Its `iou` is the overlap above which boxes match.
        truth: The result of `read_whole_scene_truth_boxes`.
        scene: The scene in the run's config.
        classes: The classes of the run.

    Raises:
        RasterError: If the run has no prediction of the scene.
    """
    prediction = predicted_boxes(scene, classes, grid_row.labels)
    if isinstance(truth, RvlabError):
        return SceneBoxComparison(prediction, truth, None)
    return SceneBoxComparison(
        prediction, truth, match_outcomes(truth, prediction, grid_row.task, iou=options.iou)
    )


def box_prediction_cell(context: RowContext, comparison: SceneBoxComparison) -> ScoredCell:
    """Build the cell of a run.

    Raises:
        RasterError: For errors without a truth, or scores of boxes without scores.
    """
    classes, show, is_cells = (
        context.grid_row.run_classes,
        context.options.show,
        context.grid_row.task == CELLS,
    )
    shown = comparison.guess.intersecting(context.grid_row.clipped_window)
    # Every classified cell has a probability of the class, whichever class was predicted.
    if show == "overlay" or (show == "scores" and not is_cells):
        shown = shown.select(np.isin(shown.class_ids, context.options.class_ids(classes)))
    if show == "errors":
        cell, shown = _errors_cell(context, comparison), shown.select(np.zeros(len(shown), bool))
    elif show == "overlay":
        cell = _overlay_cell(context, shown, comparison.truth)
    elif show == "scores":
        cell = _scores_cell(context, shown)
    elif is_cells:
        cell = _tinted_cell(context, shown, colorize.color_classes(shown.class_ids, classes))
    else:
        cell = GridCell(
            context.background,
            boxes=[_box_rectangles(context, shown, classes, texts=_score_texts(shown))],
        )
    caption, f1 = _score_caption(context, comparison)
    return ScoredCell(replace(cell, caption=caption), frozenset(shown.class_ids.tolist()), f1)


def _overlay_cell(context: RowContext, boxes: Boxes, truth: Boxes | RvlabError) -> GridCell:
    classes, layers = context.grid_row.run_classes, []
    is_cells = context.grid_row.task == CELLS
    layers.append(
        _inset_box_rectangles(context, boxes, classes)
        if is_cells
        else _box_rectangles(context, boxes, classes)
    )
    if isinstance(truth, Boxes):
        truth = truth.intersecting(context.grid_row.clipped_window)
        truth = truth.select(np.isin(truth.class_ids, context.options.class_ids(classes)))
        white = _repeat_color(colorize.TRUTH_COLOR, len(truth))
        bounds = _to_cell_pixels(context, truth, inset=2.5 * _INSET if is_cells else 0.0)
        layers.append(Rectangles(bounds, white, dashed=True, width=0.9, halo=is_cells))
    return GridCell(context.background, boxes=layers)


def _scores_cell(context: RowContext, boxes: Boxes) -> GridCell:
    options, classes = context.options, context.grid_row.run_classes
    if context.grid_row.task == CELLS:
        if boxes.probabilities is None and len(boxes):
            raise RasterError("This run's predictions contain no scores.")
        (class_id, *_rest) = options.class_ids(classes)
        none = np.zeros((len(boxes), len(classes)))
        chances = none if boxes.probabilities is None else boxes.probabilities
        return _heat_cell(context, boxes, chances[:, class_id])
    if len(boxes) and np.isnan(boxes.scores).all():
        raise RasterError("This run's predictions contain no scores.")
    bounds = _to_cell_pixels(context, boxes)
    return GridCell(
        context.background,
        boxes=[Rectangles(bounds, colorize.color_heat(boxes.scores), texts=_score_texts(boxes))],
    )


def _errors_cell(context: RowContext, comparison: SceneBoxComparison) -> GridCell:
    truth, prediction, found = comparison.truth, comparison.guess, comparison.found
    if isinstance(truth, RvlabError) or found is None:
        raise RasterError(f"Errors cannot be shown without truth. {truth}")
    class_ids = context.options.class_ids(context.grid_row.run_classes)
    tp, fp, fn, confused = context.options.error_colors
    window, background = context.grid_row.clipped_window, context.grey_background
    predicted = np.isin(prediction.class_ids, class_ids) & prediction.touching(window)
    true_here = np.isin(truth.class_ids, class_ids) & truth.touching(window)
    if context.grid_row.task != CELLS:
        sets = [
            (prediction.select(predicted & found.correct), tp, False),
            (prediction.select(predicted & found.false_positives), fp, False),
            (truth.select(true_here & found.false_negatives), fn, True),
        ]
        layers = [
            Rectangles(
                _to_cell_pixels(context, boxes),
                _repeat_color(color, len(boxes)),
                dashed=dashed,
                halo=False,
            )
            for boxes, color, dashed in sets
        ]
        return GridCell(background, boxes=layers)
    partner = np.where(found.matched >= 0, found.matched, 0)
    truly = (
        np.isin(truth.class_ids, class_ids)[partner]
        if len(truth)
        else np.zeros(len(prediction), bool)
    )
    touches = prediction.touching(window)
    kinds = [
        (predicted & found.correct, tp),
        (predicted & found.false_positives & ~truly, fp),
        (touches & found.false_positives & truly & ~predicted, fn),
        (predicted & found.false_positives & truly, confused),
    ]
    which = np.concatenate([np.flatnonzero(mask) for mask, _ in kinds])
    colors = np.concatenate([_repeat_color(color, int(mask.sum())) for mask, color in kinds])
    return _tinted_cell(
        context, prediction.select(which), colors, background=background, alpha=_STRONG
    )


def _score_caption(context: RowContext, comparison: SceneBoxComparison) -> tuple[str, float | None]:
    """Return caption and F1 of a window; a box counts in the window that contains its centre."""
    grid_row, options = context.grid_row, context.options
    truth, prediction, found = comparison.truth, comparison.guess, comparison.found
    if isinstance(truth, RvlabError) or found is None:
        return "F1 –", None
    window, k, only = (
        _window_beyond_scene_edges(grid_row),
        len(grid_row.run_classes),
        options.single_class_id(grid_row.run_classes),
    )
    true, predicted = truth.centred_in(window), prediction.centred_in(window)
    sets = (
        truth.class_ids[true & found.truth_found],
        prediction.class_ids[predicted & found.false_positives],
        truth.class_ids[true & found.false_negatives],
    )
    counts = metrics.detection_counts(*(np.bincount(ids, minlength=k) for ids in sets))
    f1 = float(metrics.macro_f1(counts) if only is None else metrics.f1(counts)[only])
    caption = "F1 –" if math.isnan(f1) else f"F1 {f1:.2f}"
    if grid_row.task != CELLS:
        class_ids = list(options.class_ids(grid_row.run_classes))
        fp, fn = int(counts.fp[class_ids].sum()), int(counts.fn[class_ids].sum())
        caption += f" · {fn}\N{NO-BREAK SPACE}FN, {fp}\N{NO-BREAK SPACE}FP"
    return caption, f1


def _window_beyond_scene_edges(grid_row: GridRow) -> raster.Window:
    """Return the window, extended beyond the scene's edges to include boxes there."""
    window, grid, far = grid_row.clipped_window, grid_row.labels.grid, 10**9
    col, row = (start if start > 0 else -far for start in (window.col, window.row))
    stop_col = window.stop_col if window.stop_col < grid.width else far
    stop_row = window.stop_row if window.stop_row < grid.height else far
    return raster.Window(col, row, stop_col - col, stop_row - row)


def _to_cell_pixels(
    context: RowContext, boxes: Boxes, *, inset: float = 0.0
) -> NDArray[np.float64]:
    """Return the bounds of boxes in pixels of the cell."""
    window = context.grid_row.clipped_window
    moved = (boxes.bounds - np.array([window.col, window.row] * 2)) * context.scale
    if inset:
        sides = moved[:, 2:] - moved[:, :2]
        moved = np.hstack([moved[:, :2] + inset * sides, moved[:, 2:] - inset * sides])
    return np.asarray(moved, np.float64)


def _box_rectangles(
    context: RowContext, boxes: Boxes, classes: raster.Classes, texts: Sequence[str] = ()
) -> Rectangles:
    return Rectangles(
        _to_cell_pixels(context, boxes),
        colorize.color_classes(boxes.class_ids, classes),
        texts=texts,
    )


def _inset_box_rectangles(context: RowContext, boxes: Boxes, classes: raster.Classes) -> Rectangles:
    colors = colorize.color_classes(boxes.class_ids, classes)
    return Rectangles(_to_cell_pixels(context, boxes, inset=_INSET), colors)


def _heat_cell(context: RowContext, boxes: Boxes, probability: NDArray[np.float64]) -> GridCell:
    background = context.grey_background
    return _tinted_cell(
        context, boxes, colorize.color_heat(probability), background=background, alpha=_HEAT
    )


def _tinted_cell(
    context: RowContext,
    boxes: Boxes,
    colors: Pixels,
    *,
    background: Pixels | None = None,
    alpha: float = _TINT,
) -> GridCell:
    """Fill classified cells with a translucent color and outline them."""
    placed = _to_cell_pixels(context, boxes)
    rows, columns = context.shape
    layer = np.zeros((rows, columns, 4), np.uint8)
    edges = np.clip(np.rint(placed).astype(int), 0, [columns, rows] * 2)
    for (left, top, right, bottom), color in zip(edges, colors, strict=True):
        layer[top:bottom, left:right] = [*color, 255]
    pixels = colorize.blend_over(
        context.background if background is None else background, colorize.scale_alpha(layer, alpha)
    )
    lines = Rectangles(
        placed, _repeat_color(colorize.TRUTH_COLOR, len(boxes)), width=0.6, halo=False
    )
    return GridCell(pixels, boxes=[lines])


def _score_texts(boxes: Boxes) -> list[str]:
    if len(boxes) > MAX_SCORE_TEXTS:
        return []
    return ["" if math.isnan(score) else f"{score:.2f}" for score in boxes.scores]


def _repeat_color(color: RGB, times: int) -> Pixels:
    return np.tile(np.array(color, np.uint8), (times, 1))
