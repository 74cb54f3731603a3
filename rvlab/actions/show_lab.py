"""HTML of a `rvlab.Lab`: its store and engine, and the newest experiments."""

from __future__ import annotations

from datetime import UTC, datetime

from rvlab.actions.quick_reads import quick_listings
from rvlab.display.render import render_display
from rvlab.engines import Engine
from rvlab.store import Store

MAX_EXPERIMENTS = 8


def lab_html(store: Store, engine: Engine) -> str:
    """Return the display of a lab; a store that does not answer in time is reported in it."""
    listings = quick_listings(store, fresh_s=0)
    rows = sorted(listings or [], key=lambda one: max(one.ids), reverse=True)
    return render_display(
        "lab.html.j2",
        store=store.uri,
        engine=engine.name,
        has_answered=listings is not None,
        rows=[
            (one.experiment, len(one.ids), len(one.active), submission_time(max(one.ids)))
            for one in rows[:MAX_EXPERIMENTS]
        ],
        more=max(0, len(rows) - MAX_EXPERIMENTS),
    )


def submission_time(run_id: str) -> str:
    """Return the time in a run id as ``2026-11-23 15:42 UTC``, or the id if it has none."""
    try:
        moment = datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return run_id
    return f"{moment:%Y-%m-%d %H:%M} UTC"
