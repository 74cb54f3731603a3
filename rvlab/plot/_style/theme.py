"""Shared style of all plots: colors that are visible on their background, axes and legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rvlab.frame.params import is_numeric_column, run_labels, value_key, value_labels

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


@dataclass(frozen=True)
class ThemeColors:
    """Colors for a background.

    Args:
        paper: The background, also of halos and of the edges of dots.
        text: Text.
        tick: Labels of ticks.
        note: Notes.
        line: Axis lines.
        faint: Grid lines.
        categorical: Colors of categories.
        scale: The part of the color scale that is visible, from 0 to 1.
    """

    paper: str
    text: str
    tick: str
    note: str
    line: str
    faint: str
    categorical: Sequence[str]
    scale: tuple[float, float]


# The yellow end of viridis is not visible on white, and its dark end not on black.
ON_LIGHT = ThemeColors(
    "#ffffff", "#000000", "#3c4043", "#5f6368", "#9aa0a6", "#e6e6e6", QUALITATIVE_COLORS, (0, 0.86)
)
ON_DARK = ThemeColors(
    "#000000",
    "#ffffff",
    "#dadce0",
    "#bdc1c6",
    "#9aa0a6",
    "#3c4043",
    ("#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#F0E442", "#ffffff", "#9e9e9e"),
    (0.3, 1),
)

DASH_STYLES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
COLORMAP = "viridis"
GREY, FAINT = ON_LIGHT.note, ON_LIGHT.faint
NO_VALUE_COLOR = "#bdbdbd"
TEXT_PT, SMALL_PT = 10.0, 9.0
MAX_LEGEND_STEPS = 9  # more different numbers get a color bar instead of a legend


def choose_theme_colors(ax: Axes) -> ThemeColors:
    """Return the colors for the background of axes: their own, or that of the figure."""
    from matplotlib.colors import to_rgba

    figure = ax.get_figure()
    behind = to_rgba(figure.get_facecolor() if figure else "white")
    red, green, blue, alpha = to_rgba(ax.get_facecolor())
    if not ax.patch.get_visible():
        alpha = 0.0
    # A transparent figure is shown on white.
    far = [one * behind[3] + 1 - behind[3] for one in behind[:3]]
    near = [one * alpha for one in (red, green, blue)]
    light = [a + b * (1 - alpha) for a, b in zip(near, far, strict=True)]
    return ON_LIGHT if 0.299 * light[0] + 0.587 * light[1] + 0.114 * light[2] > 0.45 else ON_DARK


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
