"""Legend entries of a grid of predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from rvlab.plot._grid import colorize
from rvlab.plot._grid.boxes import TRUTH_COLOR
from rvlab.plot._grid.layout import CellRow
from rvlab.plot._grid.legend import GridLegend
from rvlab.plot._grid.options import GridOptions, GridRow
from rvlab.raster.boxes import CELLS, DETECTION
from rvlab.raster.scene import RGB, Classes
from rvlab.raster.score_prediction import try_read

Entry = tuple[str, RGB]
LineEntry = tuple[str, RGB, bool]
_T = TypeVar("_T")

_AREA_PX = 256  # resolution at which a row is searched for pixels outside


@dataclass(frozen=True)
class LegendPart:
    """The classes of the rows with one task and one set of classes.

    Args:
        task: The task.
        classes: The classes.
        seen: The class ids in the pictures of these rows.
        interest: Name and color of each class of interest.
    """

    task: str
    classes: Classes
    seen: frozenset[int]
    interest: Sequence[Entry]


def grid_legend(
    options: GridOptions, grid_rows: Sequence[GridRow], rows: Sequence[tuple[CellRow, set[int]]]
) -> GridLegend:
    """Build the legend of a grid, with the classes of all tasks and runs in it.

    Args:
        options: The options of the grid.
        grid_rows: The windows.
        rows: The drawn row of each window, and the class ids in its pictures. ``null`` and ids that
            no class has get an entry only if they are among them.
    """
    key = _legend(options, grid_rows, rows)
    if any(has_pixels_outside_areas(grid_row) for grid_row in grid_rows):
        outside = ("outside the areas of interest", colorize.OUTSIDE_COLOR)
        return replace(key, entries=[*key.entries, outside])
    return key


def has_pixels_outside_areas(place: GridRow) -> bool:
    """Return whether a row has areas of interest, and some pixels of it are outside."""
    inside = try_read(lambda: place.labels.labelled(place.clipped_window, max_px=_AREA_PX))
    return isinstance(inside, np.ndarray) and not bool(inside.all())


def _legend(
    view: GridOptions, places: Sequence[GridRow], rows: Sequence[tuple[CellRow, set[int]]]
) -> GridLegend:
    if set(view.columns) == {"image"}:
        return GridLegend()
    parts = _legend_parts(view, places, [seen for _, seen in rows])
    scored = any(cell.caption for row, _ in rows for cell in row.cells)
    note = _score_note(view, parts) if scored else ""
    boxes = [part for part in parts if part.task == DETECTION]
    masks = [part for part in parts if part.task != DETECTION]
    if view.show == "scores":
        truth = _interest_entries(boxes) if "truth" in view.columns else []
        scales = ["score"] if boxes else []
        scales += [f"probability of {name}" for name, _ in (p.interest[0] for p in masks)]
        scale = ", ".join(dict.fromkeys(scales))
        return GridLegend(note=note, scale=scale, lines=_as_solid_lines(truth))
    if view.show == "errors":
        return _error_entries(view, masks, boxes, note)
    if view.show == "overlay":
        both = "runs" in view.columns and any(p.task in (CELLS, DETECTION) for p in parts)
        truth_line = [("truth", TRUTH_COLOR, True)] if both else []
        return GridLegend(
            note=note, lines=[*_as_solid_lines(_interest_entries(parts)), *truth_line]
        )
    return GridLegend(_class_entries(masks), note, lines=_as_solid_lines(_class_entries(boxes)))


def _legend_parts(
    view: GridOptions, places: Sequence[GridRow], seen: Sequence[set[int]]
) -> list[LegendPart]:
    """Return a part per task and set of classes; without those that lack a class of interest."""
    found: dict[tuple[str, Classes], set[int]] = {}
    for place, ids in zip(places, seen, strict=True):
        found.setdefault((place.task, place.run_classes), set()).update(ids)
    parts = [
        LegendPart(
            task,
            own,
            frozenset(ids),
            [(own.names[i], own.colors[i]) for i in view.class_ids(own)],
        )
        for (task, own), ids in found.items()
    ]
    return [part for part in parts if part.interest or view.show == "labels"]


def _score_note(view: GridOptions, parts: Sequence[LegendPart]) -> str:
    names = (view.single_class_id(part.classes) for part in parts)
    only = next(
        (p.classes.names[i] for p, i in zip(parts, names, strict=True) if i is not None), ""
    )
    what = f"{only} in" if only else "mean over the classes that occur in"
    return f"F1: {what} the window"


def _class_entries(parts: Sequence[LegendPart]) -> list[Entry]:
    entries: list[Entry] = []
    for part in parts:
        classes, is_raster = part.classes, part.task not in (CELLS, DETECTION)
        hidden_id = classes.unlabelled_id if is_raster else classes.null_id
        entries += [
            (name, color)
            for i, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True))
            if i != hidden_id or i in part.seen
        ]
        if any(i >= len(classes) for i in part.seen):
            entries.append(("unknown class id", colorize.choose_other_color(classes)))
    return _distinct(entries)


def _error_entries(
    options: GridOptions, masks: Sequence[LegendPart], boxes: Sequence[LegendPart], note: str
) -> GridLegend:
    """Build the entries of outcomes, and of the classes of the truth."""
    runs, truth = "runs" in options.columns, "truth" in options.columns
    names = [name for name, _ in colorize.ERROR_COLORS]
    outcomes = list(zip(names, options.error_colors, strict=True))
    areas, lines = [], []
    if runs and masks:
        several = any(len(part.interest) > 1 for part in masks)
        areas = outcomes if several else outcomes[:-1]
    if runs and boxes:
        tp, fp, fn, _ = ((f"{n} (box)" if masks else n, color) for n, color in outcomes)
        lines = [(*tp, False), (*fp, False), (*fn, True)]

    def classes(parts: Sequence[LegendPart]) -> list[Entry]:
        named = _interest_entries(parts) if truth else []
        return [(f"truth: {name}" if runs else name, color) for name, color in named]

    return GridLegend(
        [*areas, *classes(masks)], note, lines=[*lines, *_as_solid_lines(classes(boxes))]
    )


def _interest_entries(parts: Sequence[LegendPart]) -> list[Entry]:
    return _distinct(entry for part in parts for entry in part.interest)


def _distinct(entries: Iterable[_T]) -> list[_T]:
    return list(dict.fromkeys(entries))


def _as_solid_lines(entries: Sequence[Entry]) -> list[LineEntry]:
    return [(name, color, False) for name, color in entries]
