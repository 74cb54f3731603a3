"""Grid cells of semantic segmentation: labels, errors, outlines or scores from class ids."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rvlab import raster
from rvlab.errors import RasterError, RvlabError
from rvlab.metrics import confusion_matrix, count_values, f1, macro_f1
from rvlab.plot._grid import colorize
from rvlab.plot._grid.colorize import Pixels
from rvlab.plot._grid.layout import GridCell
from rvlab.plot._grid.options import GridOptions, GridRow, RowContext, ScoredCell, try_read
from rvlab.raster.class_scores import NO_CLASS, read_scores
from rvlab.raster.labels import ClassIds, prediction
from rvlab.raster.vectors import nearest_pixels

MAX_SCORED_PX = 2**23  # larger windows are scored on the displayed pixels only

_LINE = 2.4  # width of an outline, in screen pixels
_SHADE = 3  # divisor of the image's brightness behind an outline
_AREA = 0.75  # alpha of the truth's areas over the grey image of `errors`


def scene_truth_ids(grid_row: GridRow, options: GridOptions) -> ClassIds:
    """Read the class ids of the truth at the resolution that is scored."""
    window = grid_row.clipped_window
    return grid_row.labels.truth(window, max_px=_scored_px(window, options))


def mask_truth_cell(context: RowContext, truth: ClassIds) -> ScoredCell:
    """Build the truth cell of a row."""
    options, classes = context.options, context.grid_row.run_classes
    ids = _subsample_ids(truth, options)
    if options.show == "errors":
        layer = colorize.blend_over(
            context.grey_background, _filled_class_layer(ids, classes, options)
        )
        return ScoredCell(GridCell(context.shade_outside(layer)))
    if options.show == "scores":
        (class_id, *_) = options.class_ids(classes)
        probability = np.where(ids == class_id, 1.0, 0.0)
        unlabelled = (
            ids >= len(classes) if classes.unlabelled_id is None else ids == classes.unlabelled_id
        )
        heat = colorize.color_heat(np.where(unlabelled, np.nan, probability))
        return ScoredCell(GridCell(context.shade_outside(heat), blend=False))
    return _label_cell(context, ids)


@dataclass(frozen=True)
class SegmentationPixels:
    """Pixels of a run's prediction in a window.

    Args:
        ids: The predicted class ids, or the error from reading them.
        share: The probability of the class of interest; None if scores are not shown.
    """

    ids: ClassIds | RvlabError
    share: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class ScoredPrediction:
    """A run's prediction of a window, with its F1 score.

    Args:
        ids: Class ids for display, shape (rows, columns).
        f1: Macro F1 of the window, or F1 of one class, from 0 to 1. None without labels; NaN if no
            pixel is labelled, or none has that class.
        exact: Whether `f1` was computed on every pixel of the window.
    """

    ids: ClassIds
    f1: float | None
    exact: bool


def read_segmentation(
    grid_row: GridRow, options: GridOptions, scene: raster.Scene, classes: raster.Classes
) -> SegmentationPixels:
    """Read a run's prediction in a window, at the resolution that is scored.

    Args:
        grid_row: The window.
        options: The options of the grid.
        scene: The scene in the run's config.
        classes: The classes of the run.

    Raises:
        RasterError: If scores are shown and the run has none.
    """
    window, grid = grid_row.clipped_window, grid_row.labels.grid
    fine = _scored_px(window, options)
    ids = try_read(prediction, scene, classes, window, grid, max_px=fine)
    if options.show != "scores":
        return SegmentationPixels(ids)
    if scene.scores_uri is None:
        raise RasterError(
            "This run stored no scores. SemanticSegmentationLabelStoreConfig(smooth_output=True) "
            "stores them."
        )
    class_ids = options.class_ids(classes)[:1]
    (share,) = read_scores(scene.scores_uri, window, class_ids, grid, max_px=options.max_px)
    return SegmentationPixels(ids, share)


def score_segmentation(
    grid_row: GridRow,
    options: GridOptions,
    ids: ClassIds,
    classes: raster.Classes,
    truth: ClassIds | RvlabError,
) -> ScoredPrediction:
    """Score the prediction of a window and resample it for display.

    Args:
        grid_row: The window.
        options: The options of the grid; F1 is that of a single class of interest.
        ids: The predicted class ids, from `read_segmentation`.
        classes: The classes of the run.
        truth: The result of `scene_truth_ids`; an error gives no score.
    """
    window = grid_row.clipped_window
    fine = _scored_px(window, options)
    score = None
    if isinstance(truth, np.ndarray):
        inside = grid_row.labels.labelled(window, max_px=fine)
        matrix = confusion_matrix(truth, ids, len(classes), inside)
        only = options.single_class_id(classes)
        if only is None:
            score = float(macro_f1(matrix, ignore=classes.unlabelled_id))
        else:
            score = float(f1(matrix, ignore=classes.unlabelled_id)[only])
    return ScoredPrediction(_subsample_ids(ids, options), score, exact=fine is None)


def _scored_px(window: raster.Window, options: GridOptions) -> int | None:
    return None if window.area <= MAX_SCORED_PX else options.max_px


def mask_prediction_cell(
    context: RowContext,
    truth: ClassIds | RvlabError,
    pixels: SegmentationPixels,
    classes: raster.Classes,
) -> ScoredCell:
    """Build the cell of a run.

    Raises:
        RasterError: If the prediction cannot be read, or errors are shown without a truth.
    """
    options = context.options
    scored: ScoredPrediction | RvlabError
    if isinstance(pixels.ids, RvlabError):
        scored = pixels.ids
    else:
        scored = score_segmentation(context.grid_row, options, pixels.ids, classes, truth)
    if pixels.share is not None:
        score = scored.f1 if isinstance(scored, ScoredPrediction) else None
        heat = context.shade_outside(colorize.color_heat(pixels.share))
        return ScoredCell(GridCell(heat, caption=_score_caption(scored)), f1=score)
    if isinstance(scored, RvlabError):
        raise scored
    if options.show != "errors":
        return _label_cell(context, scored.ids, scored)
    if isinstance(truth, RvlabError):
        raise RasterError(f"Errors cannot be shown without truth. {truth}")
    ids = _subsample_ids(truth, options)
    layer = colorize.color_errors(
        ids,
        scored.ids,
        classes,
        options.class_ids(classes),
        context.inside,
        colors=options.error_colors,
    )
    shown = colorize.blend_over(context.grey_background, layer)
    return ScoredCell(GridCell(shown, caption=_score_caption(scored)), f1=scored.f1)


def _label_cell(
    context: RowContext, ids: ClassIds, scored: ScoredPrediction | None = None
) -> ScoredCell:
    """Build a cell of labels or outlines, for the truth or for a run."""
    classes, options = context.grid_row.run_classes, context.options
    caption, score = (_score_caption(scored), scored.f1) if scored else ("", None)
    inside = context.inside
    if options.show == "overlay":
        if inside is not None:
            ids = np.where(inside, ids, np.uint8(NO_CLASS))
        return ScoredCell(GridCell(_outline_pixels(context, ids), caption=caption), f1=score)
    counted = ids if inside is None else ids[inside]
    drawn_ids = frozenset(np.flatnonzero(count_values(counted)).tolist())
    cell = GridCell(ids, caption=caption, blend=False, palette=colorize.class_palette(classes))
    if inside is not None:
        pixels = context.shade_outside(colorize.color_classes(ids, classes))
        cell = replace(cell, pixels=pixels, palette=None)
    return ScoredCell(cell, drawn_ids, score)


def _outline_pixels(context: RowContext, ids: ClassIds) -> Pixels:
    """Draw outlines over the image, at a higher resolution for small windows.

    A pixel of a small window is larger than a screen pixel, and an outline is thinner than that.
    Outlines are drawn at twice the screen's resolution, so that slanted lines are smooth and
    complete.
    """
    classes, background = context.grid_row.run_classes, context.background
    times = max(1, round(2 / context.px_per_point))
    ids, background = _upsample(ids, times), _upsample(background, times)
    width = max(1, round(_LINE * context.px_per_point * times))
    class_ids = context.options.class_ids(classes)
    # A dark line behind each outline makes it visible on areas of the same color.
    shade = colorize.color_outlines(
        ids, classes, class_ids=class_ids, width=width + max(1, width // 2)
    )
    background = np.where(shade[..., 3:] > 0, background // _SHADE, background)
    return colorize.blend_over(
        background, colorize.color_outlines(ids, classes, class_ids=class_ids, width=width)
    )


def _subsample_ids(ids: ClassIds, options: GridOptions) -> ClassIds:
    """Resample class ids with nearest, so that the longer side has at most `max_px`."""
    if max(ids.shape) <= options.max_px:
        return ids
    window = raster.Window(0, 0, ids.shape[1], ids.shape[0])
    rows, columns = nearest_pixels(window, window.shape_within(options.max_px))
    return ids[np.ix_(rows, columns)]


def _filled_class_layer(ids: ClassIds, classes: raster.Classes, options: GridOptions) -> Pixels:
    wanted = np.isin(ids, options.class_ids(classes))
    layer = np.dstack([colorize.color_classes(ids, classes), np.where(wanted, 255, 0)])
    return colorize.scale_alpha(layer, _AREA)


def _upsample(array: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    return array if times == 1 else array.repeat(times, axis=0).repeat(times, axis=1)


def _score_caption(scored: ScoredPrediction | RvlabError) -> str:
    if isinstance(scored, RvlabError):
        return ""
    if scored.f1 is None or math.isnan(scored.f1):
        return "F1 –"
    return f"F1 {'' if scored.exact else '≈ '}{scored.f1:.2f}"
