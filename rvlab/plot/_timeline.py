"""Timeline of runs: their steps as bars along time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from rvlab.display.printable import format_duration
from rvlab.frame.input_tables import RunsLike, load_long_table
from rvlab.frame.params import run_labels
from rvlab.frame.steps import steps_table
from rvlab.model import STEPS
from rvlab.plot._style import theme
from rvlab.plot._style.figure import draw_empty, new_figure, plot_function, text_width_chars
from rvlab.plot._style.theme import ON_LIGHT, choose_theme_colors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIMELINE_COLUMNS = ("run", "step", "split", "started", "ended", "state", "peak_mb", "cpu_s")
# Consecutive steps of the pipeline differ in both lightness and hue.
_PALETTE = ("#7F7F7F", "#CC79A7", "#56B4E9", "#0072B2", "#E69F00", "#009E73", "#000000", "#D55E00")
STEP_COLORS = dict(zip(STEPS, _PALETTE, strict=True))
_UNITS = (("h", 3600.0), ("min", 60.0), ("s", 1.0))
_SKEW_S = 0.2
_FAILED_COLORS = ("#f28b82", "#a50e0e")  # on dark, on light
_FAILED_STATES = ("failed", "cancelled")
_LANE, _LETTER, _BARS = 0.17, 0.073, 6.6  # inches


@overload
def timeline(runs: RunsLike, *, together: bool = False, label: str | None = None) -> Figure: ...
@overload
def timeline(
    runs: RunsLike, *, together: bool = False, label: str | None = None, ax: Axes
) -> Axes: ...
@plot_function
def timeline(
    runs: RunsLike,
    *,
    together: bool = False,
    label: str | None = None,
    ax: Axes | None = None,
) -> Figure | Axes:
    """Draw a row of bars per run, one bar per step; concurrent splits are in separate lanes.

    The columns at the right are each run's time from the start of its first step to the end of its
    last, its peak memory in one process, and its CPU time. Failed and cancelled steps are hatched.
    A running step is pale and ends at its last heartbeat.

    >>> plot.timeline(lab.runs("towns"), together=True)

    Args:
        runs: Runs, whose steps are read; or the long table ``run step split started ended state
            peak_mb cpu_s``, as ``lab.steps()`` returns it. With a column ``beat``, running steps
            end at their last heartbeat.
        together: Whether all runs share one time axis, which shows which ran at the same time;
            otherwise each run starts at 0, so that durations can be compared.
        label: The column that names the runs; None uses the parameters in which they differ.
        ax: The axes; None creates a figure that is tall enough for all runs.

    Returns:
        A figure, which a notebook shows once as the last value of a cell; or `ax`.

    Raises:
        TableError: If a column is missing.
        SpecError: If `runs` is empty.
    """
    others = [label] if label else []
    table = load_long_table(runs, steps_table, TIMELINE_COLUMNS, "table of steps", others)
    table = table[table["started"].notna()]
    if table.empty:
        return draw_empty("No steps yet: the table is empty.", ax)
    names = [", ".join(lines) for lines in run_labels(table, label).values()]
    first_start = table.groupby("run", sort=False)["started"].transform("min")
    origin = table["started"].min() if together else first_start
    beat = table["beat"] if "beat" in table.columns else table["started"]
    until = table["ended"].fillna(beat).fillna(table["started"])
    until = until.where(until >= table["started"], table["started"])  # if a clock was set back
    since = {"_from": table["started"] - origin, "_to": until - origin}
    table = table.assign(**{name: span.dt.total_seconds() for name, span in since.items()})
    parts = [rows for _, rows in table.groupby("run", sort=False)]
    lanes = [_assign_lanes(rows) for rows in parts]
    if ax is not None:
        _draw(ax, parts, names, lanes, together=together)
        return ax
    left, right = 0.25 + _LETTER * max(map(text_width_chars, names)), 2.6
    tall = float(_lane_tops(lanes)[-1]) * _LANE
    width, height = left + _BARS + right, tall + 1.15
    figure = new_figure(width, height)
    rect = (left / width, 0.85 / height, _BARS / width, tall / height)
    _draw(figure.add_axes(rect, label="steps"), parts, names, lanes, together=together)
    return figure


def _lane_tops(lanes: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Return the upper edge of each run in lanes, and the lower edge of the last one."""
    return np.cumsum([0.0, *(max(max(lane) + 1, 1.6) + 0.5 for lane in lanes)])


def _draw(
    ax: Axes,
    runs: Sequence[pd.DataFrame],
    names: Sequence[str],
    lanes: Sequence[list[int]],
    *,
    together: bool,
) -> None:
    longest = max(float(rows["_to"].max()) for rows in runs) or 1.0
    unit, size = next((u for u in _UNITS if longest >= 2 * u[1]), _UNITS[-1])
    many = [max(lane) + 1 for lane in lanes]
    tops = _lane_tops(lanes)
    theme.style_axes(ax)
    theme_colors = choose_theme_colors(ax)
    wide = ax.get_window_extent().width / ax.figure.get_dpi()
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x", color=theme_colors.faint, linewidth=0.8)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, max(longest * 1.005, *(_min_axis_length_s(rows, wide) for rows in runs)) / size)
    ax.set_ylim(float(tops[-1]), 0)
    for top, rows, lane, n in zip(tops[:-1], runs, lanes, many, strict=True):
        first = float(top) + 0.25 + (max(n, 1.6) - max(n, 1.3)) / 2
        thick = max(1.0, 1.3 / n)
        for i, row in zip(lane, rows.to_dict("records"), strict=True):
            _draw_bar(ax, row, (first + i * thick, thick * 0.86), size=size, longest=longest)
        _draw_columns(ax, first + n * thick / 2, _cost_texts(rows), gid="cost")
    _draw_columns(ax, -0.55, ("time", "peak", "CPU"), fontweight="bold")
    ax.set_yticks((tops[:-1] + tops[1:]) / 2, names, fontsize=theme.SMALL_PT)
    which = "the first" if together else "each"
    ax.set_xlabel(
        f"{unit} since {which} run began", fontsize=theme.SMALL_PT, color=theme_colors.text
    )
    seen = {str(step) for rows in runs for step in rows["step"]}
    _draw_legend(ax, seen, running=any((rows["state"] == "running").any() for rows in runs))


def _assign_lanes(rows: pd.DataFrame) -> list[int]:
    """Return for each step the first lane that is free when it starts."""
    free: list[float] = []
    out: dict[int, int] = {}
    splits = rows["split"].astype("Float64").to_numpy(dtype=float, na_value=-1)
    for i in np.lexsort((splits, rows["_from"])):
        begin, end = float(rows["_from"].iloc[i]), float(rows["_to"].iloc[i])
        # Clocks of hosts differ: steps that overlap by less than this ran one after the other.
        lane = next((n for n, until in enumerate(free) if until <= begin + _SKEW_S), len(free))
        free[lane : lane + 1] = [end]
        out[int(i)] = lane
    return [out[i] for i in sorted(out)]


def _draw_bar(
    ax: Axes, row: Mapping[Any, Any], y_range: tuple[float, float], *, size: float, longest: float
) -> None:
    top, tall = y_range
    begin, end = row["_from"] / size, row["_to"] / size
    wide = max(end - begin, longest / size * 0.002)
    color = STEP_COLORS.get(str(row["step"]), "#bdbdbd")
    failed, running = row["state"] in _FAILED_STATES, row["state"] == "running"
    theme_colors = choose_theme_colors(ax)
    ax.broken_barh(
        [(begin, wide)],
        (top, tall),
        facecolor=theme_colors.paper if failed else color,
        edgecolor=color if failed else theme_colors.paper,
        linewidth=1.0 if failed else 0.5,
        hatch="//////" if failed else None,
        alpha=0.45 if running else 1.0,
        label=str(row["step"]),
        gid=f"{row['run']}/{row['state']}",
    )
    if not failed:
        return
    ax.annotate(
        _failure_text(row),
        (begin + wide, top + tall / 2),
        (4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=_FAILED_COLORS[theme_colors is ON_LIGHT]
        if row["state"] == "failed"
        else theme_colors.note,
    )


def _failure_text(row: Mapping[Any, Any]) -> str:
    return f"{row['step']} {row['state']}"


def _min_axis_length_s(rows: pd.DataFrame, width: float) -> float:
    """Return the axis length in seconds that leaves room for the text of failed steps."""
    failed = rows[rows["state"].isin(_FAILED_STATES)].to_dict("records")
    inches = ((row["_to"], 0.12 + len(_failure_text(row)) * _LETTER * 0.94) for row in failed)
    return max((end / max(0.3, 1 - wide / width) for end, wide in inches), default=0.0)


def _cost_texts(rows: pd.DataFrame) -> tuple[str, str, str]:
    """Format time, peak memory and CPU time of a run."""
    peak, cpu = float(rows["peak_mb"].max()), float(rows["cpu_s"].sum(min_count=1))
    memory = f"{peak / 1024:.1f} GiB" if peak >= 1024 else f"{peak:.0f} MiB"
    span = format_duration(float(rows["_to"].max() - rows["_from"].min()))
    return (
        span,
        "–" if math.isnan(peak) else memory,
        "–" if math.isnan(cpu) else format_duration(cpu),
    )


def _draw_columns(ax: Axes, at: float, words: Sequence[str], **look: Any) -> None:
    """Draw three columns of text at the right of the bars."""
    for word, right in zip(words, (62, 118, 180), strict=True):
        ax.annotate(
            word,
            (1, at),
            (right, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8.5,
            color=choose_theme_colors(ax).note,
            **look,
        )


def _draw_legend(ax: Axes, seen: set[str], *, running: bool) -> None:
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    below = ax.transAxes + ScaledTranslation(-0.08, -0.45, ax.figure.dpi_scale_trans)
    entries = [(step, color) for step, color in STEP_COLORS.items() if step in seen]
    entries += [("still running", "#d9dbde")] if running else []
    ax.legend(
        handles=[Patch(facecolor=color, label=name) for name, color in entries],
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=below,
        labelcolor=choose_theme_colors(ax).text,
        ncols=len(entries),
        frameon=False,
        fontsize=theme.SMALL_PT,
        handlelength=1.1,
        handleheight=1.1,
        columnspacing=1.1,
        borderpad=0.0,
    )
