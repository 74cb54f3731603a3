"""The look that all pictures share: colors, quiet axes, notes in words, a figure shown once."""

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

# Okabe and Ito, "Color universal design" (2008), without the yellow that white paper swallows.
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
MAX_LEGEND_STEPS = 9  # so many different numbers get a legend of steps, more a color bar


def new_figure(width: float, height: float) -> Figure:
    """A figure that shows itself once when it is the last value of a notebook's cell.

    pyplot does not know it, so the inline backend does not draw it a second time at the end of the
    cell, and it is freed with its last reference.

    Args:
        width: In inches.
        height: In inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            data = io.BytesIO()
            # The usual level takes a third longer for a tenth fewer bytes.
            self.savefig(data, format="png", dpi=100, pil_kwargs={"compress_level": 2})
            return data.getvalue()

    made = Picture(figsize=(width, height), dpi=100, facecolor="white")
    FigureCanvasAgg(made)
    return made


def empty_figure(text: str) -> Figure:
    """A small figure that only says something."""
    made = new_figure(6.0, 1.2)
    annotate(made.add_axes((0.0, 0.0, 1.0, 1.0)), text)
    return made


def annotate(ax: Axes, text: str) -> None:
    """Say in an empty axes why it is empty."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)


def style_axes(ax: Axes) -> None:
    """Two spines, a faint grid, small ticks."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#9aa0a6")
    ax.tick_params(labelsize=SMALL_PT, color="#9aa0a6", labelcolor="#3c4043", length=3)
    ax.grid(True, axis="y", color=FAINT, linewidth=0.8)
    ax.set_axisbelow(True)


@dataclass(frozen=True)
class Hue:
    """How the values of a column are told apart.

    Args:
        name: The column.
        styles: For each value what matplotlib's ``plot`` takes; in the order of the legend.
        bar: A ``ScalarMappable`` for a color bar instead of a legend; None for a legend.
    """

    name: str
    styles: dict[Any, dict[str, Any]]
    bar: Any = None

    def style(self, value: Any) -> dict[str, Any]:
        """Color and line style of a value; grey for a missing one."""
        return self.styles.get(value, {"color": "#bdbdbd", "linestyle": "-"})


def hue(values: pd.Series[Any]) -> Hue:
    """Colors for a column: a scale for numbers, distinct colors for anything else.

    Args:
        values: The column; its name becomes the legend's title.
    """
    name, found = str(values.name), values.dropna()
    if is_numeric_column(values):
        return _numeric_hue(name, sorted(found.unique().tolist()))
    kinds = list(dict.fromkeys(found.tolist()))
    return Hue(name, dict(zip(kinds, distinct_styles(len(kinds)), strict=True)))


def distinct_styles(number: int) -> list[dict[str, Any]]:
    """So many styles that differ, in color first and then in dashes too."""
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
    """Whether positive values span two decades or more, so that a log axis shows them better."""
    return bool(len(values)) and min(values) > 0 and max(values) / min(values) >= 100 * (1 - 1e-9)


def _colormap() -> Any:
    """The scale without its last yellow, which is lost on white."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap([matplotlib.colormaps[COLORMAP](0.86 * i / 255) for i in range(256)])


def _legend_values(number: int) -> list[Any]:
    import matplotlib

    whole = matplotlib.colormaps[COLORMAP]
    return [whole(0.86 * i / max(1, number - 1)) for i in range(number)]


def legend_entries(shown: Hue) -> list[tuple[str, dict[str, Any]]]:
    """Label and style of each entry of a legend; of run ids, what all begin with is left out."""
    labels = value_labels(shown.styles)
    labels = strip_common_prefix(labels) if shown.name == "run" else labels
    return list(zip(labels, shown.styles.values(), strict=True))


def draw_legend(
    on: Axes | Figure, shown: Hue, at: tuple[float, float], *, dots: bool = False, columns: int = 1
) -> Legend:
    """Say which color is which value, under the name of the column.

    Args:
        on: The axes, or the figure for all of its axes.
        shown: The values.
        at: The upper left corner, in parts of `on`.
        dots: Whether runs are dots; else they are lines.
        columns: Of entries.
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
