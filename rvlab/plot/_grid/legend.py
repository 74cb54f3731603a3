"""Legend of a grid of predictions: its entries, and how it is wrapped to the width of the grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rvlab.plot._grid import colorize
from rvlab.plot._style import theme
from rvlab.plot._style.figure import text_width_inches, wrap_lines
from rvlab.raster.boxes import BOX_TASKS, DETECTION
from rvlab.raster.config import RGB, Classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rvlab.plot._grid.layout import CellRow
    from rvlab.plot._grid.options import GridOptions, GridRow

_LINE, _PATCH, _BAR, _NOTE = 0.21, 0.42, 1.1, 8.0  # inches, and points of the note
_MAX_PER_LINE = 8  # entries
_MAX_LIGHTNESS = 240  # lines of lighter colors get a dark background

Entry = tuple[str, RGB]
LineEntry = tuple[str, RGB, bool]
_T = TypeVar("_T")


@dataclass(frozen=True)
class GridLegend:
    """Contents of a legend.

    Args:
        entries: Label and RGB color (0 to 255) of each filled patch.
        note: Small text at the right.
        scale: Label of the color scale of `colorize.color_heat`; empty draws no scale.
        lines: Label, color and whether it is dashed, of each outline.
    """

    entries: Sequence[tuple[str, RGB]] = field(default_factory=tuple)
    note: str = ""
    scale: str = ""
    lines: Sequence[tuple[str, RGB, bool]] = field(default_factory=tuple)


@dataclass(frozen=True)
class LegendLayout:
    """Layout of a legend.

    Args:
        per_line: Entries per line.
        rows: Number of lines of entries or of the scale.
        note: The wrapped lines of the note.
        beside: Whether the note is on the first line of entries.
    """

    per_line: int
    rows: int
    note: Sequence[str]
    beside: bool

    @property
    def height(self) -> float:
        """Height in inches."""
        under = 0 if self.beside else len(self.note)
        return 0.16 + _LINE * (self.rows + under)


def layout_legend(grid_legend: GridLegend, width: float) -> LegendLayout:
    """Compute the layout of a legend within a width in inches."""
    labels = [name for name, _ in grid_legend.entries] + [name for name, _, _ in grid_legend.lines]
    scale = (
        (_BAR + 0.6 + text_width_inches(grid_legend.scale, theme.SMALL_PT))
        if grid_legend.scale
        else 0.0
    )
    wide = [text_width_inches(label, theme.SMALL_PT) + _PATCH for label in labels]
    if len(labels) <= _MAX_PER_LINE and scale + sum(wide) <= width:
        per_line, used = len(labels), scale + sum(wide)
    else:
        per_line = max(1, min(_MAX_PER_LINE, int((width - scale) / max(wide))))
        used = scale + per_line * max(wide)
    rows = math.ceil(len(labels) / per_line) if per_line else int(bool(grid_legend.scale))
    note = wrap_lines([grid_legend.note], width, _NOTE) if grid_legend.note else []
    beside = (
        bool(rows)
        and len(note) == 1
        and used + text_width_inches(grid_legend.note, _NOTE) + 0.2 <= width
    )
    return LegendLayout(per_line, rows, note, beside or not note)


def draw_grid_legend(
    figure: Figure, ax: Axes, grid_legend: GridLegend, layout: LegendLayout, at: tuple[float, float]
) -> None:
    """Draw a legend.

    Args:
        figure: The figure.
        ax: An axes that covers the figure, in inches, with the y axis pointing down.
        grid_legend: The contents of the legend.
        layout: The layout from `layout_legend`.
        at: Left and top of the legend, in inches.
    """
    left, top = at
    width, height = figure.get_size_inches()
    if grid_legend.scale:
        left = _draw_color_bar(ax, grid_legend.scale, left, top)
    handles = [*_patch_handles(grid_legend), *_line_handles(grid_legend)]
    if handles:
        figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=((left - 0.03) / width, 1 - top / height),
            ncols=layout.per_line,
            frameon=False,
            fontsize=theme.SMALL_PT,
            handlelength=1.3,
            handleheight=1.1,
            handletextpad=0.6,
            columnspacing=1.2,
            borderpad=0.0,
            borderaxespad=0.0,
        )
    down = top if layout.beside else top + layout.rows * _LINE
    for i, line in enumerate(layout.note):
        figure.text(
            1 - 0.1 / width,
            1 - (down + 0.1 + i * _LINE) / height,
            line,
            fontsize=_NOTE,
            color=theme.GREY,
            ha="right",
            va="center",
        )


def _draw_color_bar(ax: Axes, label: str, left: float, top: float) -> float:
    """Draw the color bar and return the left edge of what follows, in inches."""
    look: dict[str, Any] = {"fontsize": theme.SMALL_PT, "va": "center"}
    middle, start = top + 0.1, left + text_width_inches(label, theme.SMALL_PT) + 0.25
    ax.text(left, middle, label, gid="scale", **look)
    ax.text(start - 0.05, middle, "0", ha="right", gid="scale", **look)
    bar = colorize.color_heat(np.linspace(0, 1, 256))[np.newaxis]
    extent = (start, start + _BAR, middle + 0.065, middle - 0.065)
    ax.imshow(bar, extent=extent, aspect="auto", gid="scale")
    ax.text(start + _BAR + 0.05, middle, "1", gid="scale", **look)
    return start + _BAR + 0.35


def _patch_handles(grid_legend: GridLegend) -> list[Any]:
    from matplotlib.patches import Patch

    edge: dict[str, Any] = {"edgecolor": "#80868b", "linewidth": 0.6}
    return [
        Patch(facecolor=_rgb_floats(color), label=name, **edge)
        for name, color in grid_legend.entries
    ]


def _line_handles(grid_legend: GridLegend) -> list[Any]:
    from matplotlib.patches import Patch

    return [
        Patch(
            facecolor="#5f6368" if min(color) > _MAX_LIGHTNESS else "none",
            edgecolor=_rgb_floats(color),
            linewidth=1.6,
            linestyle=(0, (2.2, 1.2)) if dashed else "-",
            label=name,
        )
        for name, color, dashed in grid_legend.lines
    ]


def _rgb_floats(color: RGB) -> tuple[float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255


@dataclass(frozen=True)
class LegendClasses:
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
    if any(grid_row.has_pixels_outside_areas() for grid_row in grid_rows):
        outside = ("outside the areas of interest", colorize.OUTSIDE_COLOR)
        return replace(key, entries=[*key.entries, outside])
    return key


def _legend(
    options: GridOptions, grid_rows: Sequence[GridRow], rows: Sequence[tuple[CellRow, set[int]]]
) -> GridLegend:
    if set(options.columns) == {"image"}:
        return GridLegend()
    parts = _legend_classes(options, grid_rows, [seen for _, seen in rows])
    scored = any(cell.caption for row, _ in rows for cell in row.cells)
    note = _score_note(options, parts) if scored else ""
    boxes = [part for part in parts if part.task == DETECTION]
    masks = [part for part in parts if part.task != DETECTION]
    if options.show == "scores":
        truth = _interest_entries(boxes) if "truth" in options.columns else []
        scales = ["score"] if boxes else []
        scales += [f"probability of {name}" for name, _ in (p.interest[0] for p in masks)]
        scale = ", ".join(dict.fromkeys(scales))
        return GridLegend(note=note, scale=scale, lines=_as_solid_lines(truth))
    if options.show == "errors":
        return _error_entries(options, masks, boxes, note)
    if options.show == "overlay":
        both = "runs" in options.columns and any(p.task in BOX_TASKS for p in parts)
        truth_line = [("truth", colorize.TRUTH_COLOR, True)] if both else []
        return GridLegend(
            note=note, lines=[*_as_solid_lines(_interest_entries(parts)), *truth_line]
        )
    return GridLegend(_class_entries(masks), note, lines=_as_solid_lines(_class_entries(boxes)))


def _legend_classes(
    options: GridOptions, grid_rows: Sequence[GridRow], seen: Sequence[set[int]]
) -> list[LegendClasses]:
    """Return a part per task and set of classes; without those that lack a class of interest."""
    found: dict[tuple[str, Classes], set[int]] = {}
    for grid_row, ids in zip(grid_rows, seen, strict=True):
        found.setdefault((grid_row.task, grid_row.run_classes), set()).update(ids)
    parts = [
        LegendClasses(
            task,
            own,
            frozenset(ids),
            [(own.names[i], own.colors[i]) for i in options.class_ids(own)],
        )
        for (task, own), ids in found.items()
    ]
    return [part for part in parts if part.interest or options.show == "labels"]


def _score_note(options: GridOptions, parts: Sequence[LegendClasses]) -> str:
    names = (options.single_class_id(part.classes) for part in parts)
    only = next(
        (p.classes.names[i] for p, i in zip(parts, names, strict=True) if i is not None), ""
    )
    what = f"{only} in" if only else "mean over the classes that occur in"
    return f"F1: {what} the window"


def _class_entries(parts: Sequence[LegendClasses]) -> list[Entry]:
    entries: list[Entry] = []
    for part in parts:
        classes, is_raster = part.classes, part.task not in BOX_TASKS
        hidden_id = classes.unlabelled_id if is_raster else classes.null_id
        entries += [
            (name, color)
            for i, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True))
            if i != hidden_id or i in part.seen
        ]
        if any(i >= len(classes) for i in part.seen):
            entries.append(("unknown class id", colorize.choose_color_of_unknown_ids(classes)))
    return _distinct(entries)


def _error_entries(
    options: GridOptions, masks: Sequence[LegendClasses], boxes: Sequence[LegendClasses], note: str
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

    def classes(parts: Sequence[LegendClasses]) -> list[Entry]:
        named = _interest_entries(parts) if truth else []
        return [(f"truth: {name}" if runs else name, color) for name, color in named]

    return GridLegend(
        [*areas, *classes(masks)], note, lines=[*lines, *_as_solid_lines(classes(boxes))]
    )


def _interest_entries(parts: Sequence[LegendClasses]) -> list[Entry]:
    return _distinct(entry for part in parts for entry in part.interest)


def _distinct(entries: Iterable[_T]) -> list[_T]:
    return list(dict.fromkeys(entries))


def _as_solid_lines(entries: Sequence[Entry]) -> list[LineEntry]:
    return [(name, color, False) for name, color in entries]
