"""Legend of a grid of pictures, wrapped to the width of the grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rvlab.plot._grid import colorize
from rvlab.plot._style import theme
from rvlab.plot._style.pixel_image import AxesRect, draw_pixels
from rvlab.plot._style.text_wrap import text_inches, wrap_lines
from rvlab.raster.scene import RGB

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _PATCH, _BAR, _NOTE = 0.21, 0.42, 1.1, 8.0  # inches, and points of the note
_MAX_PER_LINE = 8  # entries
_MAX_LIGHTNESS = 240  # lines of lighter colors get a dark background


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
        across: Entries per line.
        rows: Number of lines of entries or of the scale.
        note: The wrapped lines of the note.
        beside: Whether the note is on the first line of entries.
    """

    across: int
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
        (_BAR + 0.6 + text_inches(grid_legend.scale, theme.SMALL_PT)) if grid_legend.scale else 0.0
    )
    wide = [text_inches(label, theme.SMALL_PT) + _PATCH for label in labels]
    if len(labels) <= _MAX_PER_LINE and scale + sum(wide) <= width:
        across, used = len(labels), scale + sum(wide)
    else:
        across = max(1, min(_MAX_PER_LINE, int((width - scale) / max(wide))))
        used = scale + across * max(wide)
    rows = math.ceil(len(labels) / across) if across else int(bool(grid_legend.scale))
    note = wrap_lines([grid_legend.note], width, _NOTE) if grid_legend.note else []
    beside = (
        bool(rows) and len(note) == 1 and used + text_inches(grid_legend.note, _NOTE) + 0.2 <= width
    )
    return LegendLayout(across, rows, note, beside or not note)


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
            ncols=layout.across,
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
    middle, start = top + 0.1, left + text_inches(label, theme.SMALL_PT) + 0.25
    ax.text(left, middle, label, gid="scale", **look)
    ax.text(start - 0.05, middle, "0", ha="right", gid="scale", **look)
    bar = colorize.color_heat(np.linspace(0, 1, 256))[np.newaxis]
    shown = draw_pixels(ax, bar, AxesRect(start, middle - 0.065, _BAR, 0.13), blend=True)
    shown.set_gid("scale")
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
