"""Cells of semantic segmentation: rasters of class ids as labels, errors, outlines or scores."""

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
from rvlab.raster.class_ids import ClassIds, count_values
from rvlab.raster.labels import subsample
from rvlab.raster.score_prediction import (
    ScoredPrediction,
    class_probability,
    predicted_ids,
    score_prediction,
    truth_ids,
    try_read,
)

_LINE = 2.4  # pixels of the screen that an outline is wide
_SHADE = 3  # by so much darker is the line behind it
_AREA = 0.75  # of the truth's areas over the grey of errors


def scene_truth_ids(place: GridRow, view: GridOptions) -> ClassIds:
    """Class ids of the truth, as fine as they are scored."""
    return truth_ids(place.labels, place.clipped_window, max_px=view.max_px)


def mask_truth_cell(canvas: RowContext, found: ClassIds) -> CellContent:
    """The cell of the truth."""
    view, own = canvas.view, canvas.place.run_classes
    ids = _thin_ids(found, view)
    if view.show == "errors":
        return CellContent(
            GridCell(colorize.blend_over(canvas.dimmed, _area_pixels(ids, own, view)))
        )
    if view.show == "scores":
        (class_id, *_) = view.class_ids(own)
        share = np.where(ids == class_id, 1.0, 0.0)
        nobody = ids >= len(own) if own.unlabelled_id is None else ids == own.unlabelled_id
        return CellContent(
            GridCell(colorize.color_heat(np.where(nobody, np.nan, share)), blend=False)
        )
    return _label_cell(canvas, ids)


@dataclass(frozen=True)
class SegmentationPixels:
    """What was read of a run in a window.

    Args:
        ids: The class ids that it predicted, or why there are none.
        share: The probability of the class of interest, where that is shown.
    """

    ids: ClassIds | RvlabError
    share: NDArray[np.float32] | None = None


def read_segmentation(
    place: GridRow, view: GridOptions, scene: raster.Scene, own: raster.Classes
) -> SegmentationPixels:
    """Read a run's prediction.

    Raises:
        RasterError: If scores are to be shown, and there are none.
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
    """The cell of a run.

    Raises:
        RasterError: If it has nothing to show.
    """
    view, place = canvas.view, canvas.place
    of: dict[str, Any] = {"max_px": view.max_px, "of_class": view.single_class_id(own)}
    told: ScoredPrediction | RvlabError
    if isinstance(was_read.ids, RvlabError):
        told = was_read.ids
    else:
        told = score_prediction(was_read.ids, own, place.clipped_window, place.labels, found, **of)
    if was_read.share is not None:
        f1 = told.f1 if isinstance(told, ScoredPrediction) else None
        return CellContent(
            GridCell(colorize.color_heat(was_read.share), caption=_score_caption(told)), f1=f1
        )
    if isinstance(told, RvlabError):
        raise told
    if view.show != "errors":
        return _label_cell(canvas, told.ids, told)
    if isinstance(found, RvlabError):
        raise RasterError(f"There are no errors to show without truth. {found}")
    inside = place.labels.labelled(place.clipped_window, max_px=view.max_px)
    ids = _thin_ids(found, view)
    layer = colorize.color_errors(ids, told.ids, own, view.class_ids(own), inside)
    pixels = colorize.blend_over(canvas.dimmed, layer)
    return CellContent(GridCell(pixels, caption=_score_caption(told)), f1=told.f1)


def _label_cell(
    canvas: RowContext, ids: ClassIds, told: ScoredPrediction | None = None
) -> CellContent:
    """Labels or their outlines, of the truth and of runs alike."""
    own, view = canvas.place.run_classes, canvas.view
    caption, f1 = (_score_caption(told), told.f1) if told else ("", None)
    if view.show == "overlay":
        return CellContent(GridCell(_outline_pixels(canvas, ids), caption=caption), f1=f1)
    seen = frozenset(np.flatnonzero(count_values(ids)).tolist())
    return CellContent(
        GridCell(colorize.color_classes(ids, own), caption=caption, blend=False), seen, f1
    )


def _outline_pixels(canvas: RowContext, ids: ClassIds) -> Pixels:
    """A small window has pixels larger than the screen's; a line is thinner than those.

    It is drawn at twice the screen's, so that slanting lines are smooth and none drops out.
    """
    own, ground = canvas.place.run_classes, canvas.ground
    times = max(1, round(2 / canvas.per_point))
    ids, ground = _dilate(ids, times), _dilate(ground, times)
    width = max(1, round(_LINE * canvas.per_point * times))
    of = canvas.view.class_ids(own)
    # Behind each line a dark one, or it is lost on a roof of its own color.
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


def _score_caption(told: ScoredPrediction | RvlabError) -> str:
    if isinstance(told, RvlabError):
        return ""
    if told.f1 is None or math.isnan(told.f1):
        return "F1 –"
    return f"F1 {'' if told.exact else '≈ '}{told.f1:.2f}"
