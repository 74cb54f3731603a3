"""A table of runs as a widget: sort, filter, choose columns, select rows, see their predictions."""

from __future__ import annotations

import html
import io
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import pandas as pd
from itables.widget import ITable

from rvlab import plot
from rvlab.errors import RvlabError
from rvlab.frame.params import PARAMS_PREFIX, differing_columns
from rvlab.frame.windows import windows_table
from rvlab.model import Run
from rvlab.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_DRAWN_RUNS, DRAWN_WINDOWS, PICTURE_DPI = 4, 2, 100
LEFT_OUT = ("uri", "source_sha256")
"""Columns that the grid does not show; `Explorer.selected` returns them."""
FIRST_COLUMNS = ("name", "state", "duration", "created", "tags", "note")
SHOWN_METRICS = ("metrics.f1", "metrics.mean_iou")


class Explorer(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A grid of runs, made by `rvlab.Lab.explore`.

    A click selects a row or removes it from the selection; shift and a click select several. The
    button below the grid draws the predictions of the selected runs; nothing is drawn before. Text
    of runs is shown as text.

    Args:
        runs: The table of runs.
        store: The store of the runs, whose windows are drawn.
        columns: The columns to show at first. Default: name, state, duration, the headline metrics
            and the parameters in which the runs differ.
    """

    def __init__(
        self, runs: pd.DataFrame, store: Store, columns: Sequence[str] | None = None
    ) -> None:
        self._runs, self._store = runs, store
        table = grid_table(runs)
        shown = {"run", *(default_columns(runs) if columns is None else columns)}
        hidden = [i for i, name in enumerate(table) if name not in shown]
        self._grid = ITable(
            table,
            allow_html=False,
            maxBytes=0,
            maxColumns=0,
            showIndex=False,
            select={"style": "multi+shift"},
            buttons=[{"extend": "colvis", "text": "Columns", "background": False}],
            columnControl=["order", "searchDropdown"],
            ordering={"indicators": False, "handler": False},
            columnDefs=[{"targets": hidden, "visible": False}],
            style="width:100%",
        )
        self._button = ipywidgets.Button(description="Show predictions", disabled=True)
        self._words = ipywidgets.HTML()
        self._picture = ipywidgets.Box()
        self._drawing = threading.Lock()
        self._grid.observe(lambda _: self._show_selection(), "selected_rows")
        self._button.on_click(lambda _: threading.Thread(target=self.draw, daemon=True).start())
        self._show_selection()
        bar = ipywidgets.HBox([self._button, self._words])
        # High enough for the menus of a short table, which an output area would clip.
        layout = ipywidgets.Layout(min_height="340px")
        super().__init__([self._grid, bar, self._picture], layout=layout)
        self.add_class("rvlab-explorer")

    def __repr__(self) -> str:
        return f"Explorer of {len(self._runs)} runs, {len(self._grid.selected_rows)} selected"

    def selected(self) -> pd.DataFrame:
        """Return the selected rows of the table of runs, with all columns, in its order."""
        return self._runs.iloc[sorted(self._grid.selected_rows)]

    def select(self, runs: Sequence[str]) -> None:
        """Select the rows with these ids, and no others; unknown ids are ignored."""
        wanted = set(runs)
        rows = [i for i, run in enumerate(self._runs.index) if run in wanted]
        self._grid.selected_rows = rows

    def draw(self) -> None:
        """Draw the predictions of the selected runs below the grid, or say why this failed."""
        with self._drawing:
            chosen = self.selected()
            self._say("Drawing …")
            try:
                figure = draw_predictions(self._store, chosen.head(MAX_DRAWN_RUNS))
            except RvlabError as exc:
                self._picture.children = ()
                self._say(str(exc))
                return
            data = io.BytesIO()
            figure.savefig(data, format="png", dpi=PICTURE_DPI, facecolor="white")
            layout = ipywidgets.Layout(max_width="100%", height="auto")
            image = ipywidgets.Image(value=data.getvalue(), format="png", layout=layout)
            self._picture.children = (image,)
            more = len(chosen) - MAX_DRAWN_RUNS
            self._say(f"The first {MAX_DRAWN_RUNS} of {len(chosen)}." if more > 0 else "")

    def _show_selection(self) -> None:
        number = len(self._grid.selected_rows)
        self._button.disabled = number == 0
        runs = "1 run" if number == 1 else f"{number} runs"
        self._say(f"{runs} selected." if number else "Click rows to select runs.")

    def _say(self, text: str) -> None:
        self._words.value = html.escape(text)


def draw_predictions(store: Store, runs: pd.DataFrame) -> Figure:
    """Draw the windows in which runs are wrong most.

    Raises:
        RvlabError: If no run has predictions, or the store does not answer.
    """
    wanted = [Run.from_uri(str(uri)) for uri in runs["uri"]]
    windows = windows_table(store, wanted, n=DRAWN_WINDOWS)
    return plot.predictions(runs, windows, max_px=256)


def default_columns(runs: pd.DataFrame) -> list[str]:
    """Return the columns that the grid shows at first."""
    metrics = [c for c in SHOWN_METRICS if c in runs]
    metrics = metrics or [str(c) for c in runs if str(c).startswith("metrics.")][:2]
    names = [*FIRST_COLUMNS, *metrics, *differing_columns(runs)]
    return [name for name in names if name in runs and runs[name].notna().any()]


def grid_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a grid: the run first, then the columns that have values.

    Numbers remain numbers, durations are seconds, and all else is text, with an empty text where a
    value is missing.
    """
    known = [c for c in runs if c not in LEFT_OUT and runs[c].notna().any()]
    shown = default_columns(runs)
    rest = [c for c in known if c not in shown]
    metrics = [c for c in shown if str(c).startswith("metrics.")]
    params = [c for c in shown if str(c).startswith(PARAMS_PREFIX)]
    first = [c for c in ("name", "state") if c in shown]
    others = [c for c in shown if c not in (*first, *metrics, *params)]
    columns = {"run": pd.Series(runs.index.astype(str), index=runs.index, dtype=object)}
    for name in (*first, *metrics, *params, *others, *rest):
        columns[str(name)] = _cells(runs[name])
    return pd.DataFrame(columns).reset_index(drop=True)


def _cells(values: pd.Series[Any]) -> pd.Series[Any]:
    from pandas.api import types

    if types.is_timedelta64_dtype(values):
        seconds: pd.Series[Any] = values.dt.total_seconds().round(1)
        return seconds
    if types.is_float_dtype(values) and not types.is_extension_array_dtype(values):
        return values
    if types.is_datetime64_any_dtype(values):
        times: pd.Series[Any] = values.dt.strftime("%Y-%m-%d %H:%M:%S").fillna("").astype(object)
        return times
    # Text without line breaks; a missing number sorts as an empty text.
    return pd.Series(
        ["" if _is_missing(v) else " ".join(str(v).split()) for v in values],
        index=values.index,
        dtype=object,
    )


def _is_missing(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))
