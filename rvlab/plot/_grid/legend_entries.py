"""What stands in the legend of a grid of predictions."""

from __future__ import annotations

from collections.abc import Sequence

from rvlab.plot._grid import colorize
from rvlab.plot._grid.boxes import TRUTH_COLOR
from rvlab.plot._grid.layout import CellRow
from rvlab.plot._grid.legend import GridLegend
from rvlab.plot._grid.options import GridOptions, GridRow
from rvlab.raster.boxes import CELLS, DETECTION
from rvlab.raster.scene import RGB


def grid_legend(
    view: GridOptions, places: Sequence[GridRow], rows: Sequence[CellRow], seen: set[int]
) -> GridLegend:
    """The legend of a grid.

    Args:
        view: What is shown.
        places: The windows; the classes are those of the first that has some of interest.
        rows: What was made of them.
        seen: Class ids to be seen; ``null``, and ids that are none, have an entry only then.
    """
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
        below = [("truth", TRUTH_COLOR, True)] if both else []
        return GridLegend(note=note, lines=[*_line_entries(interest), *below])
    entries = _class_entries(place, seen)
    return (
        GridLegend(note=note, lines=_line_entries(entries))
        if task == DETECTION
        else GridLegend(entries, note)
    )


def _class_entries(place: GridRow, seen: set[int]) -> list[tuple[str, RGB]]:
    own, is_raster = place.run_classes, place.task not in (CELLS, DETECTION)
    silent = own.unlabelled_id if is_raster else own.null_id
    entries: list[tuple[str, RGB]] = [
        (name, color)
        for i, (name, color) in enumerate(zip(own.names, own.colors, strict=True))
        if i != silent or i in seen
    ]
    if any(i >= len(own) for i in seen):
        entries.append(("not a class", colorize.OTHER_COLOR))
    return entries


def _error_entries(
    view: GridOptions, interest: list[tuple[str, RGB]], task: str, note: str
) -> GridLegend:
    """Outcomes, and the classes that the truth is painted in."""
    runs = "runs" in view.columns
    named = [(f"truth: {name}" if runs else name, color) for name, color in interest]
    truth = named if "truth" in view.columns else []
    if task == DETECTION:
        right, false, missed, _ = colorize.ERROR_COLORS
        outcomes = [(*right, False), (*false, False), (*missed, True)] if runs else []
        return GridLegend(note=note, lines=[*outcomes, *_line_entries(truth)])
    shown = colorize.ERROR_COLORS if len(interest) > 1 else colorize.ERROR_COLORS[:-1]
    return GridLegend([*(shown if runs else ()), *truth], note)


def _line_entries(entries: Sequence[tuple[str, RGB]]) -> list[tuple[str, RGB, bool]]:
    return [(name, color, False) for name, color in entries]
