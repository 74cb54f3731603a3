"""Shared style of all plots: colors, axes, legends, and figures that a notebook shows once."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rvlab.plot.run_labels import strip_common_prefix
from rvlab.plot.titles import is_numeric_column, value_labels

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

# Okabe and Ito, "Color universal design" (2008), without yellow, which is not visible on white.
QUALITATIVE_COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#7F7F7F",
)
DASH_STYLES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
COLORMAP = "viridis"
GREY, FAINT = "#5f6368", "#e6e6e6"
TEXT_PT, SMALL_PT = 10.0, 9.0
MAX_LEGEND_STEPS = 9  # more different numbers get a color bar instead of a legend


def new_figure(width: float, height: float) -> Figure:
    """Create a figure that a notebook shows once when it is the last value of a cell.

    The figure is not registered with pyplot. Therefore the inline backend does not draw it again at
    the end of the cell, and it is freed with its last reference.

    Args:
        width: Width in inches.
        height: Height in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            data = io.BytesIO()
            # The default level takes a third longer and saves a tenth of the bytes.
            self.savefig(data, format="png", dpi=100, pil_kwargs={"compress_level": 2})
            return data.getvalue()

    made = Picture(figsize=(width, height), dpi=100, facecolor="white")
    FigureCanvasAgg(made)
    return made


def empty_figure(text: str) -> Figure:
    """Create a small figure that contains only a text."""
    made = new_figure(6.0, 1.2)
    annotate(made.add_axes((0.0, 0.0, 1.0, 1.0)), text)
    return made


def annotate(ax: Axes, text: str) -> None:
    """Write the reason into an empty axes."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)


def style_axes(ax: Axes) -> None:
    """Style axes with two spines, a faint grid and small ticks."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#9aa0a6")
    ax.tick_params(labelsize=SMALL_PT, color="#9aa0a6", labelcolor="#3c4043", length=3)
    ax.grid(True, axis="y", color=FAINT, linewidth=0.8)
    ax.set_axisbelow(True)


@dataclass(frozen=True)
class Hue:
    """Colors and line styles of the values of a column.

    Args:
        name: The column.
        styles: Keyword arguments of matplotlib's ``plot`` by value, in the order of the legend.
        bar: A ``ScalarMappable`` for a color bar instead of a legend; None for a legend.
    """

    name: str
    styles: dict[Any, dict[str, Any]]
    bar: Any = None

    def style(self, value: Any) -> dict[str, Any]:
        """Return color and line style of a value; grey for a missing value."""
        return self.styles.get(value, {"color": "#bdbdbd", "linestyle": "-"})


def hue(values: pd.Series[Any]) -> Hue:
    """Choose colors for a column: a scale for numbers, distinct colors for other values.

    Args:
        values: The column; its name becomes the legend's title.
    """
    name, found = str(values.name), values.dropna()
    if is_numeric_column(values):
        return _numeric_hue(name, sorted(found.unique().tolist()))
    kinds = list(dict.fromkeys(found.tolist()))
    return Hue(name, dict(zip(kinds, distinct_styles(len(kinds)), strict=True)))


def distinct_styles(number: int) -> list[dict[str, Any]]:
    """Return `number` distinct styles, which differ first in color and then in dashes."""
    if number > len(QUALITATIVE_COLORS) * len(DASH_STYLES):
        return [{"color": color, "linestyle": "-"} for color in _legend_values(number)]
    colors = [QUALITATIVE_COLORS[i % len(QUALITATIVE_COLORS)] for i in range(number)]
    dashes = [DASH_STYLES[i // len(QUALITATIVE_COLORS)] for i in range(number)]
    return [{"color": c, "linestyle": d} for c, d in zip(colors, dashes, strict=True)]


def _numeric_hue(name: str, values: Sequence[float]) -> Hue:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    if len(values) <= MAX_LEGEND_STEPS:
        colors = _legend_values(len(values))
        return Hue(
            name,
            {v: {"color": c, "linestyle": "-"} for v, c in zip(values, colors, strict=True)},
        )
    ends = (values[0], values[-1])
    norm = LogNorm(*ends) if spans_decades(values) else Normalize(*ends)
    bar = ScalarMappable(norm, _colormap())
    rgba = bar.to_rgba(np.asarray(values, float))
    styles = {v: {"color": c, "linestyle": "-"} for v, c in zip(values, rgba, strict=True)}
    return Hue(name, styles, bar)


def spans_decades(values: Sequence[float]) -> bool:
    """Return whether all values are positive and span at least two decades, as for a log axis."""
    return bool(len(values)) and min(values) > 0 and max(values) / min(values) >= 100 * (1 - 1e-9)


def _colormap() -> Any:
    """Return the color scale without its yellow end, which is not visible on white."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap([matplotlib.colormaps[COLORMAP](0.86 * i / 255) for i in range(256)])


def _legend_values(number: int) -> list[Any]:
    import matplotlib

    colormap = matplotlib.colormaps[COLORMAP]
    return [colormap(0.86 * i / max(1, number - 1)) for i in range(number)]


def legend_entries(shown: Hue) -> list[tuple[str, dict[str, Any]]]:
    """Return label and style of each legend entry; run ids without their common prefix."""
    labels = value_labels(shown.styles)
    labels = strip_common_prefix(labels) if shown.name == "run" else labels
    return list(zip(labels, shown.styles.values(), strict=True))


def draw_legend(
    on: Axes | Figure, shown: Hue, at: tuple[float, float], *, dots: bool = False, columns: int = 1
) -> Legend:
    """Draw a legend of values and colors, titled with the name of the column.

    Args:
        on: The axes, or the figure for all of its axes.
        shown: The values.
        at: The upper left corner, as fractions of `on`.
        dots: Whether entries are dots; otherwise lines.
        columns: Number of columns of entries.
    """
    from matplotlib.lines import Line2D

    def handle(label: str, style: dict[str, Any]) -> Line2D:
        if dots:
            plain = {"linestyle": "", "color": style["color"]}
            return Line2D([], [], marker="o", markersize=7, label=label, **plain)
        return Line2D([], [], linewidth=2, label=label, **style)

    made = on.legend(
        handles=[handle(label, style) for label, style in legend_entries(shown)],
        title=shown.name,
        loc="upper left",
        bbox_to_anchor=at,
        frameon=False,
        fontsize=SMALL_PT,
        title_fontsize=SMALL_PT,
        alignment="left",
        borderpad=0.2,
        handlelength=1.6,
        handletextpad=0.3 if dots else 0.8,
        ncols=columns,
        columnspacing=1.2,
    )
    made.get_title().set_fontweight("bold")
    return made
