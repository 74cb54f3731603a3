"""Legend entries of a grid of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rvlab.plot._grid import colorize
from rvlab.plot._grid.boxes import TRUTH_COLOR
from rvlab.plot._grid.layout import CellRow
from rvlab.plot._grid.legend import GridLegend
from rvlab.plot._grid.options import GridOptions, GridRow
from rvlab.raster.boxes import CELLS, DETECTION
from rvlab.raster.scene import RGB
from rvlab.raster.score_prediction import try_read

_AREA_PX = 256  # resolution at which a row is searched for pixels outside


def grid_legend(
    view: GridOptions, places: Sequence[GridRow], rows: Sequence[CellRow], seen: set[int]
) -> GridLegend:
    """Build the legend of a grid.

    Args:
        view: The options of the grid.
        places: The windows. The first that has a class of interest provides the classes.
        rows: The drawn rows.
        seen: The class ids in the pictures. ``null`` and ids that no class has get an entry only
            if they are among them.
    """
    key = _legend(view, places, rows, seen)
    if any(has_areas(place) for place in places):
        outside = ("outside the areas of interest", colorize.OUTSIDE_COLOR)
        return replace(key, entries=[*key.entries, outside])
    return key


def has_areas(place: GridRow) -> bool:
    """Return whether a row has areas of interest, and some pixels of it are outside."""
    inside = try_read(lambda: place.labels.labelled(place.clipped_window, max_px=_AREA_PX))
    return isinstance(inside, np.ndarray) and not bool(inside.all())


def _legend(
    view: GridOptions, places: Sequence[GridRow], rows: Sequence[CellRow], seen: set[int]
) -> GridLegend:
    if set(view.columns) == {"image"}:
        return GridLegend()
    place = next((p for p in places if view.class_ids(p.run_classes)), places[0])
    own, task = place.run_classes, place.task
    of, only = view.class_ids(own), view.single_class_id(own)
    scored = any(cell.caption for row in rows for cell in row.cells)
    note = ""
    if scored:
        what = "mean over the classes that occur in" if only is None else f"{own.names[only]} in"
        note = f"F1: {what} the window"
    interest: list[tuple[str, RGB]] = [(own.names[i], own.colors[i]) for i in of]
    if view.show == "scores":
        truth = interest if task == DETECTION and "truth" in view.columns else []
        scale = "score" if task == DETECTION else f"probability of {own.names[of[0]]}"
        return GridLegend(note=note, scale=scale, lines=_line_entries(truth))
    if view.show == "errors":
        return _error_entries(view, interest, task, note)
    if view.show == "overlay":
        both = task in (CELLS, DETECTION) and "runs" in view.columns
        truth_line = [("truth", TRUTH_COLOR, True)] if both else []
        return GridLegend(note=note, lines=[*_line_entries(interest), *truth_line])
    entries = _class_entries(place, seen)
    return (
        GridLegend(note=note, lines=_line_entries(entries))
        if task == DETECTION
        else GridLegend(entries, note)
    )


def _class_entries(place: GridRow, seen: set[int]) -> list[tuple[str, RGB]]:
    own, is_raster = place.run_classes, place.task not in (CELLS, DETECTION)
    hidden_id = own.unlabelled_id if is_raster else own.null_id
    entries: list[tuple[str, RGB]] = [
        (name, color)
        for i, (name, color) in enumerate(zip(own.names, own.colors, strict=True))
        if i != hidden_id or i in seen
    ]
    if any(i >= len(own) for i in seen):
        entries.append(("unknown class id", colorize.OTHER_COLOR))
    return entries


def _error_entries(
    view: GridOptions, interest: list[tuple[str, RGB]], task: str, note: str
) -> GridLegend:
    """Build the entries of outcomes, and of the classes of the truth."""
    runs = "runs" in view.columns
    named = [(f"truth: {name}" if runs else name, color) for name, color in interest]
    truth = named if "truth" in view.columns else []
    if task == DETECTION:
        tp, fp, fn, _ = colorize.ERROR_COLORS
        outcomes = [(*tp, False), (*fp, False), (*fn, True)] if runs else []
        return GridLegend(note=note, lines=[*outcomes, *_line_entries(truth)])
    shown = colorize.ERROR_COLORS if len(interest) > 1 else colorize.ERROR_COLORS[:-1]
    return GridLegend([*(shown if runs else ()), *truth], note)


def _line_entries(entries: Sequence[tuple[str, RGB]]) -> list[tuple[str, RGB, bool]]:
    return [(name, color, False) for name, color in entries]
