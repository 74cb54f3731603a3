"""Shared style of all plots: colors, axes, legends, and figures that a notebook shows once."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rvlab.frame.display_labels import is_numeric_column, run_labels, value_labels
from rvlab.frame.params import value_key
from rvlab.plot._style.theme_colors import ON_LIGHT, ThemeColors, choose_theme_colors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

DASH_STYLES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
COLORMAP = "viridis"
GREY, FAINT = ON_LIGHT.note, ON_LIGHT.faint
NO_VALUE_COLOR = "#bdbdbd"
TEXT_PT, SMALL_PT = 10.0, 9.0
MAX_LEGEND_STEPS = 9  # more different numbers get a color bar instead of a legend


def new_figure(width: float, height: float) -> Figure:
    """Create a figure that a notebook shows once when it is the last value of a cell.

    The figure is not registered with pyplot. Therefore the inline backend does not draw it again at
    the end of the cell, and it is freed with its last reference. Its background is white with every
    style sheet.

    Args:
        width: Width in inches.
        height: Height in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class Picture(Figure):
        def add_axes(self, *args: Any, **kwargs: Any) -> Any:
            made = super().add_axes(*args, **kwargs)
            # Ticks are created when the figure is drawn, with the style sheet of that moment.
            made.tick_params(which="both", color=ON_LIGHT.text, labelcolor=ON_LIGHT.text)
            return made

        def savefig(self, *args: Any, **kwargs: Any) -> None:
            # A style sheet's "savefig.facecolor" would replace the background.
            super().savefig(*args, **{"facecolor": "auto", "edgecolor": "auto"} | kwargs)

        def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
            file, density = io.BytesIO(), _pixel_density()
            # The default level takes a third longer and saves a tenth of the bytes.
            self.savefig(file, format="png", dpi=100 * density, pil_kwargs={"compress_level": 2})
            data = file.getvalue()
            width, height = struct.unpack(">II", data[16:24])  # the header of a PNG file
            return data, {"width": width // density, "height": height // density}

    made = Picture(figsize=(width, height), dpi=100, facecolor="white")
    FigureCanvasAgg(made)
    return made


def _pixel_density() -> int:
    """Return 2 if the notebook's ``InlineBackend.figure_format`` is ``retina``, else 1."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return 1
    from matplotlib_inline.config import InlineBackend  # IPython requires this package

    formats = InlineBackend.instance(parent=shell).figure_formats
    return 2 if formats & {"retina", "png2x"} else 1


def empty_figure(text: str) -> Figure:
    """Create a small figure that contains only a text."""
    made = new_figure(6.0, 1.2)
    show_empty_reason(made.add_axes((0.0, 0.0, 1.0, 1.0)), text)
    return made


def draw_empty(text: str, ax: Axes | None) -> Figure | Axes:
    """Write why there is nothing to draw into `ax`, or into a small figure of its own."""
    if ax is None:
        return empty_figure(text)
    show_empty_reason(ax, text)
    return ax


def show_empty_reason(ax: Axes, text: str) -> None:
    """Write the reason into an empty axes."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": choose_theme_colors(ax).note}
    ax.text(0.5, 0.5, text, transform=ax.transAxes, **look)


def style_axes(ax: Axes) -> None:
    """Style axes with two spines, a faint grid and small ticks."""
    theme_colors = choose_theme_colors(ax)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(theme_colors.line)
    ax.tick_params(
        labelsize=SMALL_PT, color=theme_colors.line, labelcolor=theme_colors.tick, length=3
    )
    ax.grid(True, axis="y", color=theme_colors.faint, linewidth=0.8)
    ax.set_axisbelow(True)


@dataclass(frozen=True)
class HueMapping:
    """Colors and line styles of the values of a column.

    Args:
        name: The column.
        values: The different values, in the order of the legend; also lists and dicts.
        styles: Keyword arguments of matplotlib's ``plot`` by `value_key`, in the same order.
        bar: A ``ScalarMappable`` for a color bar instead of a legend; None for a legend.
        labels: The texts of the legend; empty for those of the values.
    """

    name: str
    values: Sequence[Any]
    styles: dict[tuple[str, Any], dict[str, Any]]
    bar: Any = None
    labels: Sequence[str] = ()

    def style(self, value: Any) -> dict[str, Any]:
        """Return color and line style of a value; grey for a missing value."""
        return self.styles.get(value_key(value), {"color": NO_VALUE_COLOR, "linestyle": "-"})


def choose_hues(
    table: pd.DataFrame,
    column: str,
    theme_colors: ThemeColors = ON_LIGHT,
    *,
    label: str | None = None,
) -> HueMapping:
    """Choose colors for a column: a scale for numbers, distinct colors for other values.

    Args:
        table: The table with the column.
        column: Its name becomes the legend's title. For ``run``, the legend has `run_labels`.
        theme_colors: Colors that are visible on the background.
        label: The column that names the runs in a legend of runs.
    """
    values = table[column]
    name, found = column, values.dropna()
    if column == "run":
        runs = values.drop_duplicates().tolist()
        looks = dict(
            zip(map(value_key, runs), distinct_styles(len(runs), theme_colors), strict=True)
        )
        labels = [", ".join(lines) for lines in run_labels(table, label).values()]
        return HueMapping(name, runs, looks, labels=labels)
    if is_numeric_column(values):
        return _numeric_hue(name, sorted(found.unique().tolist()), theme_colors)
    first: dict[tuple[str, Any], Any] = {}
    for value in found.tolist():
        first.setdefault(value_key(value), value)
    styles = distinct_styles(len(first), theme_colors)
    return HueMapping(name, list(first.values()), dict(zip(first, styles, strict=True)))


def distinct_styles(number: int, theme_colors: ThemeColors = ON_LIGHT) -> list[dict[str, Any]]:
    """Return `number` distinct styles, which differ first in color and then in dashes."""
    if number > len(theme_colors.categorical) * len(DASH_STYLES):
        return [{"color": color, "linestyle": "-"} for color in _scale_colors(number, theme_colors)]
    colors = [theme_colors.categorical[i % len(theme_colors.categorical)] for i in range(number)]
    dashes = [DASH_STYLES[i // len(theme_colors.categorical)] for i in range(number)]
    return [{"color": c, "linestyle": d} for c, d in zip(colors, dashes, strict=True)]


def _numeric_hue(name: str, values: Sequence[float], theme_colors: ThemeColors) -> HueMapping:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    if len(values) <= MAX_LEGEND_STEPS:
        return _plain_hue(name, values, _scale_colors(len(values), theme_colors))
    ends = (values[0], values[-1])
    norm = LogNorm(*ends) if spans_decades(values) else Normalize(*ends)
    bar = ScalarMappable(norm, _colormap(theme_colors))
    return _plain_hue(name, values, bar.to_rgba(np.asarray(values, float)), bar)


def _plain_hue(name: str, values: Sequence[float], colors: Any, bar: Any = None) -> HueMapping:
    styles = [{"color": color, "linestyle": "-"} for color in colors]
    return HueMapping(name, values, dict(zip(map(value_key, values), styles, strict=True)), bar)


def spans_decades(values: Sequence[float]) -> bool:
    """Return whether all values are positive and span at least two decades, as for a log axis."""
    return bool(len(values)) and min(values) > 0 and max(values) / min(values) >= 100 * (1 - 1e-9)


def _colormap(theme_colors: ThemeColors) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap(_scale_colors(256, theme_colors))


def _scale_colors(number: int, theme_colors: ThemeColors) -> list[Any]:
    """Return colors along the part of the scale that is visible."""
    import matplotlib

    low, high = theme_colors.scale
    colormap = matplotlib.colormaps[COLORMAP]
    return [colormap(low + (high - low) * i / max(1, number - 1)) for i in range(number)]


def legend_entries(hues: HueMapping) -> list[tuple[str, dict[str, Any]]]:
    """Return label and style of each legend entry."""
    labels = hues.labels or value_labels(hues.values)
    return list(zip(labels, hues.styles.values(), strict=True))


def draw_legend(
    on: Axes | Figure,
    hues: HueMapping,
    at: tuple[float, float],
    *,
    dots: bool = False,
    columns: int = 1,
) -> Legend:
    """Draw a legend of values and colors, titled with the name of the column.

    Args:
        on: The axes, or the figure for all of its axes.
        hues: The values.
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

    from matplotlib.axes import Axes

    theme_colors = choose_theme_colors(on) if isinstance(on, Axes) else ON_LIGHT
    made = on.legend(
        labelcolor=theme_colors.text,
        handles=[handle(label, style) for label, style in legend_entries(hues)],
        title=hues.name,
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
    made.get_title().set(fontweight="bold", color=theme_colors.text)
    return made


def draw_axes_legend(ax: Axes, hues: HueMapping, *, dots: bool = False) -> None:
    """Draw the legend, or the color bar, of a single axes at its right."""
    figure = ax.get_figure()
    if hues.bar is None or figure is None:
        draw_legend(ax, hues, (1.0, 1.02), dots=dots)
        return
    bar = figure.colorbar(hues.bar, ax=ax, pad=0.02, aspect=28)
    bar.set_label(hues.name, fontsize=SMALL_PT, fontweight="bold")
    theme_colors = choose_theme_colors(ax)
    bar.ax.yaxis.label.set_color(theme_colors.text)
    look: dict[str, Any] = {"color": theme_colors.line, "labelcolor": theme_colors.tick}
    bar.ax.tick_params(which="both", labelsize=SMALL_PT, **look)
    bar.ax.tick_params(length=3)
    bar.outline.set_visible(False)


def write_note(ax: Axes, *lines: str, inches: float = 0.0) -> None:
    """Write a note below the label of the x axis, some inches right of the axes' left side."""
    below: Any = ("axes fraction", ax.xaxis.label if ax.axison else "axes fraction")
    look: dict[str, Any] = {"fontsize": 8.5, "color": choose_theme_colors(ax).note, "va": "top"}
    look |= {"xycoords": below, "textcoords": "offset points", "annotation_clip": False}
    ax.annotate("\n".join(lines), (0, 0), (72 * inches, -5), **look)
