"""Grid cells of semantic segmentation: labels, errors, outlines or scores from class ids."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab import raster
from rvlab.errors import RasterError, RvlabError
from rvlab.plot._grid import colorize
from rvlab.plot._grid.colorize import Pixels
from rvlab.plot._grid.layout import GridCell
from rvlab.plot._grid.options import CellContent, GridOptions, GridRow, RowContext
from rvlab.raster.labels import NO_CLASS, ClassIds, count_values, subsample
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


def scene_truth_ids(place: GridRow, view: GridOptions) -> ClassIds:
    """Read the class ids of the truth at the resolution that is scored."""
    return truth_ids(place.labels, place.clipped_window, max_px=view.max_px)


def mask_truth_cell(canvas: RowContext, found: ClassIds) -> CellContent:
    """Build the truth cell of a row."""
    view, own = canvas.view, canvas.place.run_classes
    ids = _thin_ids(found, view)
    if view.show == "errors":
        layer = colorize.blend_over(canvas.dimmed, _area_pixels(ids, own, view))
        return CellContent(GridCell(canvas.shade_outside(layer)))
    if view.show == "scores":
        (class_id, *_) = view.class_ids(own)
        share = np.where(ids == class_id, 1.0, 0.0)
        unlabelled = ids >= len(own) if own.unlabelled_id is None else ids == own.unlabelled_id
        heat = colorize.color_heat(np.where(unlabelled, np.nan, share))
        return CellContent(GridCell(canvas.shade_outside(heat), blend=False))
    return _label_cell(canvas, ids)


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
    place: GridRow, view: GridOptions, scene: raster.Scene, own: raster.Classes
) -> SegmentationPixels:
    """Read a run's prediction in a window.

    Raises:
        RasterError: If scores are shown and the run has none.
    """
    fine: dict[str, Any] = {"max_px": view.max_px}
    ids = try_read(predicted_ids, scene, own, place.clipped_window, place.labels, **fine)
    if view.show != "scores":
        return SegmentationPixels(ids)
    (class_id, *_) = view.class_ids(own)
    return SegmentationPixels(
        ids, class_probability(scene, class_id, place.clipped_window, place.labels.grid, **fine)
    )


def mask_prediction_cell(
    canvas: RowContext,
    found: ClassIds | RvlabError,
    was_read: SegmentationPixels,
    own: raster.Classes,
) -> CellContent:
    """Build the cell of a run.

    Raises:
        RasterError: If the run has nothing to show.
    """
    view, place = canvas.view, canvas.place
    of: dict[str, Any] = {"max_px": view.max_px, "of_class": view.single_class_id(own)}
    scored: ScoredPrediction | RvlabError
    if isinstance(was_read.ids, RvlabError):
        scored = was_read.ids
    else:
        scored = score_prediction(
            was_read.ids, own, place.clipped_window, place.labels, found, **of
        )
    if was_read.share is not None:
        f1 = scored.f1 if isinstance(scored, ScoredPrediction) else None
        heat = canvas.shade_outside(colorize.color_heat(was_read.share))
        return CellContent(GridCell(heat, caption=_score_caption(scored)), f1=f1)
    if isinstance(scored, RvlabError):
        raise scored
    if view.show != "errors":
        return _label_cell(canvas, scored.ids, scored)
    if isinstance(found, RvlabError):
        raise RasterError(f"Errors cannot be shown without truth. {found}")
    ids = _thin_ids(found, view)
    layer = colorize.color_errors(
        ids, scored.ids, own, view.class_ids(own), canvas.inside, colors=view.error_colors
    )
    pixels = colorize.blend_over(canvas.dimmed, layer)
    return CellContent(GridCell(pixels, caption=_score_caption(scored)), f1=scored.f1)


def _label_cell(
    canvas: RowContext, ids: ClassIds, scored: ScoredPrediction | None = None
) -> CellContent:
    """Build a cell of labels or outlines, for the truth or for a run."""
    own, view = canvas.place.run_classes, canvas.view
    caption, f1 = (_score_caption(scored), scored.f1) if scored else ("", None)
    inside = canvas.inside
    if view.show == "overlay":
        if inside is not None:
            ids = np.where(inside, ids, np.uint8(NO_CLASS))
        return CellContent(GridCell(_outline_pixels(canvas, ids), caption=caption), f1=f1)
    counted = ids if inside is None else ids[inside]
    seen = frozenset(np.flatnonzero(count_values(counted)).tolist())
    pixels = canvas.shade_outside(colorize.color_classes(ids, own))
    return CellContent(GridCell(pixels, caption=caption, blend=False), seen, f1)


def _outline_pixels(canvas: RowContext, ids: ClassIds) -> Pixels:
    """Draw outlines over the image, at a higher resolution for small windows.

    A pixel of a small window is larger than a screen pixel, and an outline is thinner than that.
    Outlines are drawn at twice the screen's resolution, so that slanted lines are smooth and
    complete.
    """
    own, ground = canvas.place.run_classes, canvas.ground
    times = max(1, round(2 / canvas.per_point))
    ids, ground = _dilate(ids, times), _dilate(ground, times)
    width = max(1, round(_LINE * canvas.per_point * times))
    of = canvas.view.class_ids(own)
    # A dark line behind each outline makes it visible on areas of the same color.
    shade = colorize.color_outlines(ids, own, of=of, width=width + max(1, width // 2))
    ground = np.where(shade[..., 3:] > 0, ground // _SHADE, ground)
    return colorize.blend_over(ground, colorize.color_outlines(ids, own, of=of, width=width))


def _thin_ids(ids: ClassIds, view: GridOptions) -> ClassIds:
    return ids if max(ids.shape) <= view.max_px else subsample(ids, view.max_px)


def _area_pixels(ids: ClassIds, own: raster.Classes, view: GridOptions) -> Pixels:
    wanted = np.isin(ids, view.class_ids(own))
    layer = np.dstack([colorize.color_classes(ids, own), np.where(wanted, 255, 0)])
    return colorize.set_alpha(layer, _AREA)


def _dilate(array: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    return array if times == 1 else array.repeat(times, axis=0).repeat(times, axis=1)


def _score_caption(scored: ScoredPrediction | RvlabError) -> str:
    if isinstance(scored, RvlabError):
        return ""
    if scored.f1 is None or math.isnan(scored.f1):
        return "F1 –"
    return f"F1 {'' if scored.exact else '≈ '}{scored.f1:.2f}"
