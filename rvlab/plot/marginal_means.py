"""Marginal means of y along x, averaged over all other parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rvlab.frame.params import value_key
from rvlab.plot._style.theme import ON_LIGHT, ThemeColors, choose_theme_colors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from rvlab.plot._style.theme import HueMapping

MAX_UNBINNED_VALUES = 12
"""Maximum number of different x values that have their own mean; more values are binned."""

RUNS_PER_BIN, MIN_BINS, MAX_BINS = 5, 3, 8
"""Minimum number of runs per bin; minimum and maximum number of bins."""


MAX_TRENDS = 6
"""Maximum number of colors that have their own trend."""

_WIDE, _WIDEST = 0.6, 0.84  # share of a category's width, for up to two trends and for more


@dataclass(frozen=True)
class Trend:
    """Means along an axis.

    Args:
        at: Positions on the x axis: a value, or the median x of the runs in a bin.
        mean: Means.
        sd: Sample standard deviations, with n − 1; NaN for a single run.
        n: Numbers of runs.
        is_binned: Whether neighbouring values share a mean.
    """

    at: pd.Series[Any]
    mean: pd.Series[Any]
    sd: pd.Series[Any]
    n: pd.Series[Any]
    is_binned: bool


def marginal_means(
    x_values: pd.Series[Any], y_values: pd.Series[Any], *, is_categorical: bool = False
) -> Trend | None:
    """Compute the marginal means of runs.

    Each category, and each of up to `MAX_UNBINNED_VALUES` values, has its own mean if there are at
    least twice as many runs as values. Other numbers are grouped in bins with equal numbers of
    runs. Both are invariant to a log axis. There is no kernel or fit, so no bandwidth or model is
    assumed.

    Args:
        x_values: The runs' positions on the x axis.
        y_values: The runs' values on the y axis.
        is_categorical: Whether `x_values` contains category numbers.

    Returns:
        The means, or None if there are fewer than two means or too few runs.
    """
    import pandas as pd

    values, n = x_values.nunique(), len(x_values)
    if (is_categorical or values <= MAX_UNBINNED_VALUES) and n >= 2 * values:
        groups, is_binned = x_values.to_numpy(), False
    elif not is_categorical and n >= MIN_BINS * RUNS_PER_BIN:
        bins = min(MAX_BINS, n // RUNS_PER_BIN)
        groups = pd.qcut(x_values, bins, labels=False, duplicates="drop").to_numpy()
        is_binned = True
    else:
        return None
    grouped = pd.DataFrame({"x": x_values.to_numpy(), "y": y_values.to_numpy()}).groupby(groups)
    count = grouped["y"].count()
    if len(count) < 2:
        return None
    return Trend(
        grouped["x"].median(), grouped["y"].mean(), grouped["y"].std(ddof=1), count, is_binned
    )


@dataclass(frozen=True)
class TrendSet:
    """All trends of a plot.

    Args:
        each: Per trend, the `value_key` of its runs' hue, the trend and its color; the key is None
            if there is one trend for all runs.
        kinds: Whether the x axis has categories.
    """

    each: Sequence[tuple[Any, Trend, Any]]
    kinds: bool

    def dot_positions(
        self, x_values: pd.Series[Any], hue_values: pd.Series[Any] | None
    ) -> pd.Series[Any]:
        """Return the x positions of dots, offset within a category if each color has a trend."""
        slots = self._slots()
        if hue_values is None or not slots:
            return x_values
        shifted: pd.Series[Any] = x_values + np.array(
            [slots.get(value_key(v), 0.0) for v in hue_values]
        )
        return shifted

    def draw(self, ax: Axes) -> None:
        """Draw all trends on the axes of the runs."""
        slots = self._slots()
        for value, one, color in self.each:
            if self.kinds:
                _draw_bars(ax, one, color, slots.get(value, 0.0), self.slot_width())
            else:
                _draw_line(ax, one, color, faint=len(self.each) > 1)

    def caption(self) -> str:
        """Describe the trends and their numbers of runs."""
        n = np.concatenate([one.n.to_numpy() for _, one, _ in self.each])
        low, high = int(n.min()), int(n.max())
        runs = f"{low} to {high} runs" if low < high else f"{low} run{'s' * (low > 1)}"
        if self.kinds:
            return f"Bar: mean of {runs} each; box: ± 1 sd."
        line, band = ("Lines", "bands") if len(self.each) > 1 else ("Line", "band")
        bins = {len(one.n) if one.is_binned else 0 for _, one, _ in self.each}
        what = f"mean of {runs} at each value"
        if 0 not in bins:
            what = f"mean in {bins.pop()} bins" if len(bins) == 1 else "mean in bins"
            what += f" of {runs}"
        elif len(bins) > 1:
            what += " or bin of values"
        return f"{line}: {what}; {band}: ± 1 sd."

    def _slots(self) -> dict[Any, float]:
        if not self.kinds or len(self.each) < 2:
            return {}
        middle = (len(self.each) - 1) / 2
        return {each[0]: (i - middle) * self.slot_width() for i, each in enumerate(self.each)}

    def slot_width(self) -> float:
        """Return the width of a trend in a category; the next category is at a distance of 1."""
        return (_WIDE if len(self.each) <= 2 else _WIDEST) / len(self.each)


def trends_by_hue(
    x_values: pd.Series[Any],
    y_values: pd.Series[Any],
    hue_values: pd.Series[Any] | None,
    hues: HueMapping | None,
    *,
    is_categorical: bool,
    theme_colors: ThemeColors = ON_LIGHT,
) -> TrendSet | None:
    """Compute a trend per color if at least two colors have enough runs, else one trend.

    Args:
        x_values: The runs' positions on the x axis.
        y_values: The runs' values on the y axis.
        hue_values: The runs' values in the hue column.
        hues: The colors. With a color bar or more than `MAX_TRENDS` colors, there is one trend.
        is_categorical: Whether `x_values` contains category numbers.
        theme_colors: Colors that are visible on the background.

    Returns:
        The trends, or None if there are too few runs.
    """
    found: list[tuple[Any, Trend, Any]] = []
    if (
        hue_values is not None
        and hues is not None
        and hues.bar is None
        and len(hues.styles) <= MAX_TRENDS
    ):
        keys = [value_key(value) for value in hue_values]
        for key, style in hues.styles.items():
            matches = np.array([one == key for one in keys])
            one = marginal_means(
                x_values[matches], y_values[matches], is_categorical=is_categorical
            )
            found += [(key, one, style["color"])] if one else []
    if len(found) < 2:
        overall = marginal_means(x_values, y_values, is_categorical=is_categorical)
        found = (
            [(None, overall, theme_colors.note if hues else theme_colors.categorical[0])]
            if overall
            else []
        )
    return TrendSet(found, is_categorical) if found else None


def _draw_line(ax: Axes, trend: Trend, color: Any, *, faint: bool) -> None:
    from matplotlib.patheffects import withStroke

    at, mean = trend.at.to_numpy(), trend.mean.to_numpy()
    # A mean of one run has no spread; a zero closes the band there instead of interrupting it.
    sd = trend.sd.fillna(0.0).to_numpy()
    ax.fill_between(at, mean - sd, mean + sd, **_band_style(color, 0.10 if faint else 0.16))
    # With binned values a cloud of dots would cover the line, so it is drawn above them.
    halo = [withStroke(linewidth=3.6, foreground=choose_theme_colors(ax).paper)]
    look: dict[str, Any] = {"zorder": 4, "path_effects": halo} if trend.is_binned else {"zorder": 2}
    ax.plot(at, mean, color=color, linewidth=1.8, gid="trend", solid_capstyle="round", **look)


def _draw_bars(ax: Axes, trend: Trend, color: Any, dodge: float, bar_width: float) -> None:
    # Categories have no values between them, so no line connects their means.
    at, mean, known = (
        trend.at.to_numpy() + dodge,
        trend.mean.to_numpy(),
        trend.sd.notna().to_numpy(),
    )
    sd = trend.sd.to_numpy()[known]
    ax.bar(at[known], 2 * sd, bar_width, mean[known] - sd, **_band_style(color, 0.16))
    ax.hlines(
        mean,
        at - bar_width / 2,
        at + bar_width / 2,
        color=color,
        linewidth=1.8,
        zorder=2,
        gid="trend",
    )


def _band_style(color: Any, alpha: float) -> dict[str, Any]:
    return {"color": color, "alpha": alpha, "linewidth": 0, "zorder": 1, "gid": "spread"}
