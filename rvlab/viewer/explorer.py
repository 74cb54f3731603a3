"""A table of runs as a widget: sort, filter, choose columns, select rows, see their predictions."""

from __future__ import annotations

import html
import io
import logging
import threading
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import pandas as pd
from itables.widget import ITable

from rvlab import plot
from rvlab.errors import RvlabError
from rvlab.frame.params import is_missing, is_numeric_column
from rvlab.frame.windows import ranked_windows_table
from rvlab.model import Run
from rvlab.model.tables import COLUMNS_SHOWN
from rvlab.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_DRAWN_RUNS, DRAWN_WINDOWS, PICTURE_DPI = 4, 2, 100
LEFT_OUT = ("uri", "source_sha256")
"""Columns that the grid does not show; `Explorer.selected` returns them."""

_log = logging.getLogger(__name__)


class Explorer(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A grid of runs, made by `rvlab.Lab.explore`.

    A click selects a row or removes it from the selection; shift and a click select several. The
    button below the grid draws the predictions of the selected runs; nothing is drawn before. Text
    of runs is shown as text.

    Args:
        runs: The table of runs.
        store: The store of the runs, whose windows are drawn.
        columns: The columns to show at first, in this order. Default: the first of the table that
            have values, in its order.
    """

    def __init__(
        self, runs: pd.DataFrame, store: Store, columns: Sequence[str] | None = None
    ) -> None:
        self._runs, self._store = runs, store
        first = default_columns(runs) if columns is None else columns
        table = grid_table(runs, first)
        shown = {"run", *first}
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
                data = io.BytesIO()
                figure.savefig(data, format="png", dpi=PICTURE_DPI, facecolor="white")
            except Exception as exc:  # noqa: BLE001  this thread has no other place for an error
                self._picture.children = ()
                is_expected = isinstance(exc, RvlabError)
                self._say(str(exc) if is_expected else f"{type(exc).__name__}: {exc}")
                if not is_expected:
                    _log.exception("The predictions cannot be drawn.")
                return
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
    windows = ranked_windows_table(store, wanted, n=DRAWN_WINDOWS)
    return plot.predictions(runs, windows, max_px=256)


def default_columns(runs: pd.DataFrame) -> list[str]:
    """Return the columns that the grid shows at first: the first ones of the table with values."""
    return [str(name) for name in runs if _has_values(runs, name)][:COLUMNS_SHOWN]


def grid_table(runs: pd.DataFrame, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Return the rows of a grid: the run, `columns`, then the other columns that have values.

    Numbers remain numbers, durations are seconds, and all else is text, with an empty text where a
    value is missing.
    """
    rest = [name for name in runs if _has_values(runs, name)]
    names = dict.fromkeys(str(name) for name in (*columns, *rest) if name != "run")
    cells = {"run": pd.Series(runs.index.astype(str), index=runs.index, dtype=object)}
    cells |= {name: _cells(runs[name]) for name in names}
    return pd.DataFrame(cells).reset_index(drop=True)


def _has_values(runs: pd.DataFrame, name: Hashable) -> bool:
    return name not in LEFT_OUT and bool(runs[name].notna().any())


def _cells(values: pd.Series[Any]) -> pd.Series[Any]:
    from pandas.api import types

    if types.is_timedelta64_dtype(values):
        seconds: pd.Series[Any] = values.dt.total_seconds().round(1)
        return seconds
    if is_numeric_column(values):
        is_whole = types.is_integer_dtype(values) and values.notna().all()
        return values.astype("int64") if is_whole else values.astype("float64")
    if types.is_datetime64_any_dtype(values):
        times: pd.Series[Any] = values.dt.strftime("%Y-%m-%d %H:%M:%S").fillna("").astype(object)
        return times
    # Text without line breaks.
    return pd.Series(
        ["" if is_missing(v) else " ".join(str(v).split()) for v in values],
        index=values.index,
        dtype=object,
    )
