"""A grid of pictures with captions, laid out by hand on one axes: many axes are slow to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rvlab.plot._grid import legend, rectangles
from rvlab.plot._grid.legend import GridLegend
from rvlab.plot._grid.rectangles import Rectangles
from rvlab.plot._grid.scale_bar import draw_scale_bar
from rvlab.plot._style import theme
from rvlab.plot._style.pixel_image import AxesRect, draw_pixels
from rvlab.plot._style.text_wrap import wrap_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEFT, _GAP, _LINE = 1.35, 0.1, 0.18  # inches
_WIDE, _CELL_MIN, _CELL_MAX = 11.5, 1.5, 2.6
_FLAT, _TALL = 0.45, 1.6  # height over width of a cell, at least and at most
_SMALL = 8.5  # points
_TITLE = theme.SMALL_PT + 0.5
_CAPTION = theme.SMALL_PT * 1.15  # as wide as bold
_DPI = 100  # of a figure that shows itself


@dataclass(frozen=True)
class GridCell:
    """One picture, or the words in its place.

    Args:
        pixels: Shape (rows, columns, 3 or 4), uint8; None shows `words`.
        words: Why there is no picture.
        caption: Below the picture.
        best: Whether the caption is set off as the row's best.
        px_m: Metres that a pixel of `pixels` is wide: draws a scale bar.
        blend: Whether pixels may be put together by their mean where there are too many.
        boxes: Drawn over the picture, in this order.
    """

    pixels: NDArray[np.uint8] | None = None
    words: str = ""
    caption: str = ""
    best: bool = False
    px_m: float | None = None
    blend: bool = True
    boxes: Sequence[Rectangles] = field(default_factory=tuple)


@dataclass(frozen=True)
class CellRow:
    """A line of pictures of the same pixels.

    Args:
        title: Set in bold at the left.
        lines: Below the title.
        cells: One a column.
        aspect: Height of the pictures over their width.
    """

    title: str
    lines: Sequence[str]
    cells: Sequence[GridCell]
    aspect: float = 1.0


def cell_inches(columns: int) -> float:
    """How wide a cell is in a grid of so many columns."""
    return min(_CELL_MAX, max(_CELL_MIN, (_WIDE - _LEFT) / columns - _GAP))


def screen_px(columns: int, aspect: float) -> float:
    """About how many pixels of the screen the longer side of a picture takes.

    Args:
        columns: Of the grid.
        aspect: Height of the picture over its width.
    """
    wide = cell_inches(columns)
    tall = wide * min(max(aspect, _FLAT), _TALL)
    return _DPI * (min(wide, tall / aspect) if aspect <= 1 else min(tall, wide * aspect))


def draw_grid(heads: Sequence[Sequence[str]], rows: Sequence[CellRow], key: GridLegend) -> Figure:
    """Draw the grid.

    Args:
        heads: The lines above each column.
        rows: Their cells in the order of `heads`.
        key: One legend for all.

    Returns:
        A figure about 11 inches wide; wider where more than six columns would not be legible. Its
        one axes covers it and counts inches, down from the upper left corner.
    """
    columns = len(heads)
    cell = cell_inches(columns)
    heads = [wrap_lines(lines, cell, _TITLE) for lines in heads]
    head = 0.12 + _LINE * max(len(lines) for lines in heads)
    titles = [
        wrap_lines([row.title], _LEFT - 0.12, theme.TEXT_PT * 1.15) for row in rows
    ]  # bold is wider
    # Bold is wider, and which is set so must not change what stands beside it.
    captions = [[wrap_lines([c.caption], cell, _CAPTION) for c in row.cells] for row in rows]
    under = max((len(lines) for row in captions for lines in row if any(lines)), default=0)
    caption = 0.06 + _LINE * under
    # A very long window is drawn in a box of at most 1 : 1.6, with white beside it.
    heights = [cell * min(max(row.aspect, _FLAT), _TALL) for row in rows]
    steps = [
        max(tall + caption, 0.18 * (len(title) + len(row.lines)) + 0.06) + _GAP
        for tall, title, row in zip(heights, titles, rows, strict=True)
    ]
    width = _LEFT + columns * (cell + _GAP)
    foot = legend.layout_legend(key, width - _LEFT - _GAP)
    height = head + sum(steps) + foot.height
    made = theme.new_figure(width, height)
    ax = made.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, width), ylim=(height, 0))
    ax.set_axis_off()
    top = head
    frames: list[AxesRect] = []
    for row, title, lines, tall, step in zip(rows, titles, captions, heights, steps, strict=True):
        _draw_row_title(made, row, title, top)
        for i, one in enumerate(row.cells):
            box = AxesRect(_LEFT + i * (cell + _GAP), top, cell, tall)
            frames.append(_draw_cell(ax, one, lines[i], box))
        top += step
    _draw_frames(ax, frames)
    for i, parts in enumerate(heads):
        for up, line in enumerate(reversed(parts)):
            x, y = _LEFT + i * (cell + _GAP), head - 0.08 - up * _LINE
            made.text(x / width, 1 - y / height, line, fontsize=_TITLE, va="baseline")
    legend.draw_grid_legend(made, ax, key, foot, (_LEFT, top))
    return made


def _draw_row_title(made: Figure, row: CellRow, title: Sequence[str], top: float) -> None:
    width, height = made.get_size_inches()
    bold: dict[str, Any] = {"fontsize": _TITLE, "fontweight": "bold", "va": "top"}
    made.text(0.06 / width, 1 - top / height, "\n".join(title), gid="row", **bold)
    made.text(
        0.06 / width,
        1 - (top + len(title) * 0.175 + 0.04) / height,
        "\n".join(row.lines),
        fontsize=_SMALL,
        color=theme.GREY,
        va="top",
        linespacing=1.35,
    )


def _draw_cell(ax: Axes, cell: GridCell, caption: Sequence[str], box: AxesRect) -> AxesRect:
    """Draw a cell; what it fills of its box."""
    if cell.pixels is None:
        _draw_words(ax, cell.words, box)
        return box
    rows, columns = cell.pixels.shape[:2]
    scale = min(box.width / columns, box.height / rows)
    own = AxesRect(box.left, box.top, columns * scale, rows * scale)
    draw_pixels(ax, cell.pixels, own, blend=cell.blend)
    for one in cell.boxes:
        rectangles.draw_rectangles(ax, one, own, scale)
    if cell.px_m:
        draw_scale_bar(ax, own, columns * cell.px_m)
    if any(caption):
        ax.text(
            own.left + 0.01,
            own.bottom + 0.05,
            "\n".join(caption),
            va="top",
            fontsize=theme.SMALL_PT,
            fontweight="bold" if cell.best else "normal",
            color="black" if cell.best else "#3c4043",
            gid="caption",
        )
    return own


def _draw_words(ax: Axes, words: str, box: AxesRect) -> None:
    from matplotlib.patches import Rectangle

    ax.add_patch(
        Rectangle((box.left, box.top), box.width, box.height, facecolor="#f4f4f4", linewidth=0)
    )
    lines = wrap_lines([words], box.width - 0.2, _SMALL)
    room = max(2, int((box.height - 0.2) * 72 / (1.3 * _SMALL)))
    if len(lines) > room:
        lines = [*lines[: room - 1], f"{lines[room - 1][:-1]}…"]
    ax.text(
        box.left + box.width / 2,
        box.top + box.height / 2,
        "\n".join(lines),
        ha="center",
        va="center",
        fontsize=_SMALL,
        color=theme.GREY,
        linespacing=1.3,
        gid="words",
    )


def _draw_frames(ax: Axes, boxes: Sequence[AxesRect]) -> None:
    from matplotlib.collections import PolyCollection

    look: dict[str, Any] = {"facecolors": "none", "edgecolors": "#c4c7c5", "linewidths": 0.6}
    frames = PolyCollection([box.corners for box in boxes], gid="frames", **look)
    ax.add_collection(frames, autolim=False)
