"""Cells of semantic segmentation: rasters of class ids as labels, errors, outlines or scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rvlab import raster
from rvlab.errors import RasterError, RvlabError
from rvlab.plot import paint
from rvlab.plot.mosaic import Cell
from rvlab.plot.paint import Pixels
from rvlab.plot.view import Canvas, Look, Place, View
from rvlab.raster.chips import Predicted, attempt, guessed, probability, scored, truth
from rvlab.raster.labels import thinned
from rvlab.raster.recode import Ids, counted

_LINE = 2.4  # pixels of the screen that an outline is wide
_SHADE = 3  # by so much darker is the line behind it
_AREA = 0.75  # of the truth's areas over the grey of errors


def known(place: Place, view: View) -> Ids:
    """Class ids of the truth, as fine as they are scored."""
    return truth(place.labels, place.part, max_px=view.max_px)


def truth_look(canvas: Canvas, found: Ids) -> Look:
    """The cell of the truth."""
    view, own = canvas.view, canvas.place.own
    ids = _thin(found, view)
    if view.show == "errors":
        return Look(Cell(paint.over(canvas.dimmed, _areas(ids, own, view))))
    if view.show == "scores":
        (class_id, *_) = view.of(own)
        share = np.where(ids == class_id, 1.0, 0.0)
        nobody = ids >= len(own) if own.unlabelled_id is None else ids == own.unlabelled_id
        return Look(Cell(paint.heat(np.where(nobody, np.nan, share)), blend=False))
    return _plain(canvas, ids)


@dataclass(frozen=True)
class Read:
    """What was read of a run in a window.

    Args:
        ids: The class ids that it predicted, or why there are none.
        share: The probability of the class of interest, where that is shown.
    """

    ids: Ids | RvlabError
    share: NDArray[np.float32] | None = None


def read(place: Place, view: View, scene: raster.Scene, own: raster.Classes) -> Read:
    """Read a run's prediction.

    Raises:
        RasterError: If scores are to be shown, and there are none.
    """
    fine: dict[str, Any] = {"max_px": view.max_px}
    ids = attempt(guessed, scene, own, place.part, place.labels, **fine)
    if view.show != "scores":
        return Read(ids)
    (class_id, *_) = view.of(own)
    return Read(ids, probability(scene, class_id, place.part, place.labels.grid, **fine))


def run_look(canvas: Canvas, found: Ids | RvlabError, was_read: Read, own: raster.Classes) -> Look:
    """The cell of a run.

    Raises:
        RasterError: If it has nothing to show.
    """
    view, place = canvas.view, canvas.place
    of: dict[str, Any] = {"max_px": view.max_px, "of_class": view.only(own)}
    told: Predicted | RvlabError
    if isinstance(was_read.ids, RvlabError):
        told = was_read.ids
    else:
        told = scored(was_read.ids, own, place.part, place.labels, found, **of)
    if was_read.share is not None:
        f1 = told.f1 if isinstance(told, Predicted) else None
        return Look(Cell(paint.heat(was_read.share), caption=_caption(told)), f1=f1)
    if isinstance(told, RvlabError):
        raise told
    if view.show != "errors":
        return _plain(canvas, told.ids, told)
    if isinstance(found, RvlabError):
        raise RasterError(f"There are no errors to show without truth. {found}")
    inside = place.labels.labelled(place.part, max_px=view.max_px)
    ids = _thin(found, view)
    layer = paint.errors(ids, told.ids, own, view.of(own), inside)
    pixels = paint.over(canvas.dimmed, layer)
    return Look(Cell(pixels, caption=_caption(told)), f1=told.f1)


def _plain(canvas: Canvas, ids: Ids, told: Predicted | None = None) -> Look:
    """Labels or their outlines, of the truth and of runs alike."""
    own, view = canvas.place.own, canvas.view
    caption, f1 = (_caption(told), told.f1) if told else ("", None)
    if view.show == "overlay":
        return Look(Cell(_outlines(canvas, ids), caption=caption), f1=f1)
    seen = frozenset(np.flatnonzero(counted(ids)).tolist())
    return Look(Cell(paint.colored(ids, own), caption=caption, blend=False), seen, f1)


def _outlines(canvas: Canvas, ids: Ids) -> Pixels:
    """A small window has pixels larger than the screen's; a line is thinner than those.

    It is drawn at twice the screen's, so that slanting lines are smooth and none drops out.
    """
    own, ground = canvas.place.own, canvas.ground
    times = max(1, round(2 / canvas.per_point))
    ids, ground = _grown(ids, times), _grown(ground, times)
    width = max(1, round(_LINE * canvas.per_point * times))
    of = canvas.view.of(own)
    # Behind each line a dark one, or it is lost on a roof of its own color.
    shade = paint.outlined(ids, own, of=of, width=width + max(1, width // 2))
    ground = np.where(shade[..., 3:] > 0, ground // _SHADE, ground)
    return paint.over(ground, paint.outlined(ids, own, of=of, width=width))


def _thin(ids: Ids, view: View) -> Ids:
    return ids if max(ids.shape) <= view.max_px else thinned(ids, view.max_px)


def _areas(ids: Ids, own: raster.Classes, view: View) -> Pixels:
    wanted = np.isin(ids, view.of(own))
    layer = np.dstack([paint.colored(ids, own), np.where(wanted, 255, 0)])
    return paint.tinted(layer, _AREA)


def _grown(array: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    return array if times == 1 else array.repeat(times, axis=0).repeat(times, axis=1)


def _caption(told: Predicted | RvlabError) -> str:
    if isinstance(told, RvlabError):
        return ""
    if told.f1 is None or math.isnan(told.f1):
        return "F1 –"
    return f"F1 {'' if told.exact else '≈ '}{told.f1:.2f}"
