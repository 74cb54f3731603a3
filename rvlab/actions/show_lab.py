"""HTML of a `rvlab.Lab`: its store and engine, and the newest experiments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rvlab.actions.known_names import known_listings
from rvlab.display.render import render_display
from rvlab.engines import Engine
from rvlab.store import Store
from rvlab.store.run_listing import RunListing

MAX_EXPERIMENTS = 8


@dataclass(frozen=True)
class ListedExperiment:
    """An experiment as its listing shows it, without reading a record.

    Args:
        name: Its name.
        runs: The number of its runs.
        active: How many of them have not ended.
        newest: The id of the newest run.
    """

    name: str
    runs: int
    active: int
    newest: str


def lab_html(store: Store, engine: Engine) -> str:
    """Return the display of a lab; a store that does not answer in time is left out."""
    listings = known_listings(store, fresh_s=0)
    rows = sorted(map(_list_experiment, listings or []), key=lambda one: one.newest, reverse=True)
    return render_display(
        "lab.html.j2",
        store=store.uri,
        engine=engine.name,
        has_answered=listings is not None,
        rows=[
            (one.name, one.runs, one.active, submission_time(one.newest))
            for one in rows[:MAX_EXPERIMENTS]
        ],
        more=max(0, len(rows) - MAX_EXPERIMENTS),
    )


def _list_experiment(one: RunListing) -> ListedExperiment:
    return ListedExperiment(one.experiment, len(one.ids), len(one.active), max(one.ids))


def submission_time(run_id: str) -> str:
    """Return the time in a run id as ``2026-11-23 15:42 UTC``, or the id if it has none."""
    try:
        moment = datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return run_id
    return f"{moment:%Y-%m-%d %H:%M} UTC"
