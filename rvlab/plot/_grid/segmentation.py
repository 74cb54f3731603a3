"""Grid cells of semantic segmentation: labels, errors, outlines or scores from class ids."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab import raster
from rvlab.errors import RasterError, RvlabError
from rvlab.plot._grid import colorize
from rvlab.plot._grid.colorize import Pixels
from rvlab.plot._grid.layout import GridCell
from rvlab.plot._grid.options import CellContent, GridOptions, GridRow, RowContext
from rvlab.raster.class_scores import NO_CLASS
from rvlab.raster.labels import ClassIds, count_values, subsample
from rvlab.raster.score_prediction import (
    ScoredPrediction,
    class_probability,
    predicted_ids,
    score_prediction,
    truth_ids,
    try_read,
)

_LINE = 2.4  # width of an outline, in screen pixels
_SHADE = 3  # divisor of the image's brightness behind an outline
_AREA = 0.75  # alpha of the truth's areas over the grey image of `errors`


def scene_truth_ids(grid_row: GridRow, options: GridOptions) -> ClassIds:
    """Read the class ids of the truth at the resolution that is scored."""
    return truth_ids(grid_row.labels, grid_row.clipped_window, max_px=options.max_px)


def mask_truth_cell(context: RowContext, truth: ClassIds) -> CellContent:
    """Build the truth cell of a row."""
    options, classes = context.options, context.grid_row.run_classes
    ids = _subsample_ids(truth, options)
    if options.show == "errors":
        layer = colorize.blend_over(
            context.grey_background, _filled_class_layer(ids, classes, options)
        )
        return CellContent(GridCell(context.shade_outside(layer)))
    if options.show == "scores":
        (class_id, *_) = options.class_ids(classes)
        probability = np.where(ids == class_id, 1.0, 0.0)
        unlabelled = (
            ids >= len(classes) if classes.unlabelled_id is None else ids == classes.unlabelled_id
        )
        heat = colorize.color_heat(np.where(unlabelled, np.nan, probability))
        return CellContent(GridCell(context.shade_outside(heat), blend=False))
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


def read_segmentation(
    grid_row: GridRow, options: GridOptions, scene: raster.Scene, classes: raster.Classes
) -> SegmentationPixels:
    """Read a run's prediction in a window.

    Raises:
        RasterError: If scores are shown and the run has none.
    """
    fine: dict[str, Any] = {"max_px": options.max_px}
    ids = try_read(predicted_ids, scene, classes, grid_row.clipped_window, grid_row.labels, **fine)
    if options.show != "scores":
        return SegmentationPixels(ids)
    (class_id, *_) = options.class_ids(classes)
    return SegmentationPixels(
        ids,
        class_probability(scene, class_id, grid_row.clipped_window, grid_row.labels.grid, **fine),
    )


def mask_prediction_cell(
    context: RowContext,
    truth: ClassIds | RvlabError,
    prediction: SegmentationPixels,
    classes: raster.Classes,
) -> CellContent:
    """Build the cell of a run.

    Raises:
        RasterError: If the run has nothing to show.
    """
    options, grid_row = context.options, context.grid_row
    scoring: dict[str, Any] = {
        "max_px": options.max_px,
        "of_class": options.single_class_id(classes),
    }
    scored: ScoredPrediction | RvlabError
    if isinstance(prediction.ids, RvlabError):
        scored = prediction.ids
    else:
        scored = score_prediction(
            prediction.ids, classes, grid_row.clipped_window, grid_row.labels, truth, **scoring
        )
    if prediction.share is not None:
        f1 = scored.f1 if isinstance(scored, ScoredPrediction) else None
        heat = context.shade_outside(colorize.color_heat(prediction.share))
        return CellContent(GridCell(heat, caption=_score_caption(scored)), f1=f1)
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
    pixels = colorize.blend_over(context.grey_background, layer)
    return CellContent(GridCell(pixels, caption=_score_caption(scored)), f1=scored.f1)


def _label_cell(
    context: RowContext, ids: ClassIds, scored: ScoredPrediction | None = None
) -> CellContent:
    """Build a cell of labels or outlines, for the truth or for a run."""
    classes, options = context.grid_row.run_classes, context.options
    caption, f1 = (_score_caption(scored), scored.f1) if scored else ("", None)
    inside = context.inside
    if options.show == "overlay":
        if inside is not None:
            ids = np.where(inside, ids, np.uint8(NO_CLASS))
        return CellContent(GridCell(_outline_pixels(context, ids), caption=caption), f1=f1)
    counted = ids if inside is None else ids[inside]
    drawn_ids = frozenset(np.flatnonzero(count_values(counted)).tolist())
    cell = GridCell(ids, caption=caption, blend=False, palette=colorize.class_palette(classes))
    if inside is not None:
        pixels = context.shade_outside(colorize.color_classes(ids, classes))
        cell = replace(cell, pixels=pixels, palette=None)
    return CellContent(cell, drawn_ids, f1)


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
    return ids if max(ids.shape) <= options.max_px else subsample(ids, options.max_px)


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
