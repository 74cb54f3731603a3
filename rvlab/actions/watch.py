"""Open a live view of runs, from their table and their engine."""

from __future__ import annotations

import sys
from html import escape
from typing import TYPE_CHECKING

from rvlab import frame
from rvlab.actions.control import cancel_runs, engine_states_query
from rvlab.actions.overview import find_metric
from rvlab.cache.arrow import columns_from_arrow
from rvlab.cache.block import concat_rows
from rvlab.cache.query import Query
from rvlab.compare.columns import is_ascending
from rvlab.engines import Engine
from rvlab.errors import MissingExtra, NotFound, RvlabError, TableError
from rvlab.frame.run_selector import RunSelector
from rvlab.frame.runs import read_ended_rows
from rvlab.model import FINAL_STATES, STEPS, Run, Sweep
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.viewer.run_monitor import RunMonitor
    from rvlab.viewer.watch import Watch


SNAPSHOT_REQUESTS = 8
"""Largest number of requests per active run for a static view of its state."""

_engines: dict[str, tuple[Store, Engine]] = {}


def watch_runs(
    store: Store, engine: Engine, runs: RunSelector, *, metric: str, ascending: bool | None
) -> Watch:
    """Return a live view of runs; see `rvlab.Lab.watch`."""
    try:
        from rvlab.viewer.watch import Watch
    except ImportError as exc:
        raise MissingExtra("The live view needs anywidget: pip install 'rvlab[local]'.") from exc
    return Watch(monitor_runs(store, engine, runs, metric=metric, ascending=ascending))


def monitor_runs(
    store: Store,
    engine: Engine,
    runs: RunSelector,
    *,
    metric: str = "metrics.f1",
    ascending: bool | None = None,
) -> RunMonitor:
    """Return a monitor of runs, which is not started yet.

    Raises:
        NotFound: If a run does not exist, or the selection is empty.
        TableError: If no run has the metric, unless no run has a metric yet.
    """
    from rvlab.viewer.run_monitor import RunMonitor

    ask = engine_states_query(store, engine)
    table = frame.runs_table(store, runs, ask)
    if table.empty:
        raise NotFound(
            "No runs to watch: the selection is empty. Submit some, or name an experiment."
        )
    column = find_metric(table, metric)
    if not column.startswith("metrics."):
        raise TableError(f"The leaderboard ranks runs by a metric, and {metric!r} is not one.")
    has_ended = bool(table["state"].isin(FINAL_STATES).all())
    links = {one: one.link for one in _run_objects(runs) if one.link}
    return RunMonitor(
        store,
        table,
        ask=ask,
        resume=lambda: engine.resume(store),
        cancel=lambda chosen: cancel_runs(store, engine, chosen),
        metric=column.removeprefix("metrics."),
        ascending=is_ascending(column, ascending),
        typical_s={} if has_ended else typical_step_seconds(store, table),
        links=links,
    )


def _run_objects(runs: RunSelector) -> list[Run]:
    if isinstance(runs, Run):
        return [runs]
    return [one for one in runs if isinstance(one, Run)] if isinstance(runs, list | tuple) else []


def typical_step_seconds(store: Store, table: pd.DataFrame) -> dict[str, float]:
    """Return the median seconds of each step in succeeded runs of the same experiments."""
    import pandas as pd

    with Query(store) as query:
        listings = query.list_runs(table["experiment"].unique(), prefetch=False)
        rows = concat_rows([read_ended_rows(query, one)[0].table for one in listings])
    if not len(rows):
        return {}
    columns = {step: f"costs.{step}_s" for step in STEPS}
    found = columns_from_arrow(rows, ["state", *columns.values()])
    ended = found["state"] == "succeeded"
    medians = {s: pd.Series(found[c])[ended].median() for s, c in columns.items() if c in found}
    return {step: float(value) for step, value in medians.items() if not pd.isna(value)}


def show_runs_live(store: Store, engine: Engine) -> None:
    """Make IPython show a `Run` or a `Sweep` of this store, as the last line of a cell, live.

    Outside IPython nothing happens. The last lab that was opened on a store is the one whose
    engine is queried.
    """
    _engines[store.uri] = (store, engine)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        formatter = shell.display_formatter.ipython_display_formatter
        for kind in (Run, Sweep):
            formatter.for_type(kind, _display_live)


def _display_live(shown: Run | Sweep) -> None:
    """Show a live view: without a widget or outside of a kernel a picture, without a lab links."""
    from IPython.display import publish_display_data

    runs = [shown] if isinstance(shown, Run) else list(shown)
    found = _engines.get(runs[0].store) if runs else None
    html, text, reason = shown._repr_html_(), repr(shown), ""
    try:
        if found is not None and _is_in_kernel():
            try:
                watch_runs(*found, runs, metric="metrics.f1", ascending=False)._ipython_display_()
                return
            except MissingExtra as exc:
                reason = str(exc)
        if found is not None:
            monitor = monitor_runs(*found, runs)
            monitor.read_now()
            for _ in range(SNAPSHOT_REQUESTS):
                monitor.advance()
            html, text = monitor.static_html(), monitor.text()
    except RvlabError as exc:
        reason = f"The live view cannot be shown: {exc}"
    bundle = {
        "text/plain": f"{text}\n{reason}".strip(),
        "text/html": f"{html}<br>{escape(reason)}" if reason else html,
    }
    publish_display_data(bundle)  # type: ignore[no-untyped-call]


def _is_in_kernel() -> bool:
    """Return whether a frontend can show widgets; IPython in a terminal cannot."""
    return getattr(sys.modules["IPython"].get_ipython(), "kernel", None) is not None
