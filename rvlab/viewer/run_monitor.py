"""A monitor that reads the progress of runs in a thread until all of them have ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab.display.printable import format_duration
from rvlab.errors import RvlabError, StoreUnreachable
from rvlab.frame.params import PARAMS_PREFIX, differing_columns, run_labels, value_labels_of_column
from rvlab.frame.progress import ProgressReader, RunProgress
from rvlab.frame.runs import StateQuery
from rvlab.model import PREDICTION, Run
from rvlab.model.run import web_link
from rvlab.report.progress import RunLabel, render_card, render_head, render_leaderboard
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd

REQUEST_EVERY_S = 2.0
"""Seconds between two requests for the same run."""

MAX_REQUESTS = 12
"""Runs that are read at a time; more runs take turns."""

ENGINE_EVERY_S = 10.0
"""Seconds between two queries of the engine for the states of runs without a heartbeat."""

MAX_CARDS = 12
"""Runs that are shown in full; the active ones come first."""

LINE_METRICS = ("f1", "mean_iou")
"""The metrics in the line of a run in a terminal."""

STYLE_FILE = Path(__file__).parent / "static" / "watch.css"

_log = logging.getLogger(__name__)


class RunMonitor:
    """A reader of the progress of runs, which renders it as sections of HTML.

    A thread makes at most one request per run every `REQUEST_EVERY_S` seconds and exits when all
    runs have ended. It never waits for the kernel, and the kernel never waits for it.

    Args:
        store: The store of the runs.
        table: The runs, as `rvlab.Lab.runs` returns them.
        ask: Returns the engine's states of runs without a heartbeat.
        resume: Continues the engine's queue after an interruption.
        cancel: Cancels runs.
        metric: The headline metric of the leaderboard.
        ascending: Whether its smallest value is the best.
        typical_s: The usual seconds of each step.
        links: The page of each run in its engine.
    """

    def __init__(
        self,
        store: Store,
        table: pd.DataFrame,
        *,
        ask: StateQuery | None = None,
        resume: Callable[[], None] = lambda: None,
        cancel: Callable[[Sequence[Run]], None],
        metric: str = "f1",
        ascending: bool = False,
        typical_s: Mapping[str, float] | None = None,
        links: Mapping[Run, str] | None = None,
    ) -> None:
        self._store, self._ask, self._resume, self._cancel = store, ask, resume, cancel
        self._metric, self._ascending = metric, ascending
        rows = table.reset_index()
        self._rows: list[dict[str, Any]] = [
            {str(name): value for name, value in row.items()} for row in rows.to_dict("records")
        ]
        self.labels = label_runs(rows, links or {})
        self._readers = {
            run.prefix: ProgressReader(store, run, row, typical_s=typical_s)
            for run, row in zip(self.labels, self._rows, strict=True)
        }
        self._title = ", ".join(dict.fromkeys(str(row["experiment"]) for row in self._rows))
        self._turn = 0
        self._asked = 0.0
        self._away_since: float | None = None
        self._message = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="rvlab-watch", daemon=True)
        self.on_change: Callable[[], None] = lambda: None
        self.on_end: Callable[[], None] = lambda: None

    @property
    def runs(self) -> list[RunProgress]:
        """The progress of each run, in the order of the table."""
        return [reader.progress for reader in self._readers.values()]

    @property
    def has_ended(self) -> bool:
        """Whether all runs have ended and have been read."""
        return all(reader.is_complete for reader in self._readers.values())

    def read_now(self) -> None:
        """Read everything at once if all runs have ended already; else do nothing."""
        if all(reader.progress.has_ended for reader in self._readers.values()):
            names = list(self._readers)[:MAX_CARDS]
            self._store.map_concurrently(lambda name: self._readers[name].read_to_end(), names)

    def start(self) -> None:
        """Start the thread; `on_change` is called after each round, `on_end` once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current request; the runs continue."""
        self._stop.set()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def toggle_log(self, run: str) -> None:
        """Show the end of a run's log and hide the other logs; a second call hides it, too.

        Args:
            run: The run as ``experiment/id``.
        """
        for name, reader in self._readers.items():
            reader.reads_log = name == run and not reader.reads_log

    def cancel(self, run: str | None = None) -> None:
        """Cancel a run, named as ``experiment/id``, or all; a failure is shown as the message."""
        chosen = [
            reader.progress.run
            for name, reader in self._readers.items()
            if run in (None, name) and not reader.progress.has_ended
        ]
        if not chosen:
            return
        try:
            self._cancel(chosen)
            self._message = ""
        except RvlabError as exc:
            self._message = str(exc)

    def advance(self) -> None:
        """Make one request for each of up to `MAX_REQUESTS` runs that have not ended."""
        names = [name for name, reader in self._readers.items() if not reader.is_complete]
        names.sort(key=lambda name: not self._readers[name].reads_log)
        if len(names) > MAX_REQUESTS:
            turn = self._turn % len(names)
            names = (names[turn:] + names[:turn])[:MAX_REQUESTS]
            self._turn += MAX_REQUESTS
        try:
            self._store.map_concurrently(lambda name: self._readers[name].advance(), names)
            self._ask_engine()
            self._away_since = None
        except StoreUnreachable:
            self._away_since = self._away_since or time.monotonic()

    def _ask_engine(self) -> None:
        """Query the engine for the states of runs without a heartbeat, and use them."""
        if time.monotonic() - self._asked < ENGINE_EVERY_S:
            return
        self._asked = time.monotonic()
        try:
            self._resume()
            silent = [
                {**row, "_run": reader.progress.run}
                for row, reader in zip(self._rows, self._readers.values(), strict=True)
                if reader.is_silent
            ]
            states = self._ask(silent) if self._ask and silent else {}
        except StoreUnreachable:
            raise
        except RvlabError as exc:
            self._message = str(exc)
            return
        for run, found in states.items():
            reader = self._readers[run.prefix]
            if found.state in ("lost", "not submitted", "failed") and reader.is_silent:
                reader.progress.state = found.state
                reader.progress.error = reader.progress.error or found.reason
                reader.is_complete = found.state != "failed"

    def _work(self) -> None:
        try:
            while not self._stop.is_set() and not self.has_ended:
                self.advance()
                self.on_change()
                self._stop.wait(REQUEST_EVERY_S)
        except Exception:  # noqa: BLE001  the display must not freeze without a message
            _log.exception("The live view has ended early; the runs continue.")
            self._message = "The live view has ended early; the runs continue."
        self.on_change()
        self.on_end()

    def _ranked_runs(self) -> list[RunProgress]:
        """Return the runs of the leaderboard: no predictions, unless all are predictions."""
        pairs = zip(self.runs, self._rows, strict=True)
        return [one for one, row in pairs if row.get("kind") != PREDICTION] or self.runs

    def sections(self, *, live: bool) -> list[tuple[str, str]]:
        """Render the head, the leaderboard and the runs as ``(key, html)``.

        Args:
            live: Whether there are buttons.
        """
        note = ""
        if self._away_since is not None:
            away_s = time.monotonic() - self._away_since
            note = f"the store has not answered for {away_s:.0f} s; the runs continue"
        head = render_head(self.runs, self._title, live=live, note=note, message=self._message)
        out = [("head", head)]
        if len(self._readers) > 1:
            board = render_leaderboard(
                self._ranked_runs(), self.labels, self._metric, ascending=self._ascending
            )
            out += [("board", board)] if board else []
        order = sorted(self._readers.values(), key=_urgency)
        for reader in order[:MAX_CARDS]:
            run = reader.progress.run
            card = render_card(
                reader.progress, self.labels[run], live=live, shows_log=live and reader.reads_log
            )
            out.append((run.prefix, card))
        return out

    def static_html(self) -> str:
        """Return the present state as static HTML, without scripts or buttons."""
        style = STYLE_FILE.read_text("utf-8")
        body = "\n".join(html for _, html in self.sections(live=False))
        return f'<div class="rvlab-watch">\n<style>{style}</style>\n{body}</div>'

    def text(self) -> str:
        """Return one line per run, for a terminal."""
        return "\n".join(text_line(one, self.labels[one.run].title) for one in self.runs)


def _urgency(reader: ProgressReader) -> int:
    """Return the sort key of a run: running, failed, lost or broken, queued, then the others."""
    order = ("running", "failed", "not submitted", "lost", "broken", "queued")
    state = reader.progress.state
    return order.index(state) if state in order else len(order)


def label_runs(rows: pd.DataFrame, links: Mapping[Run, str]) -> dict[Run, RunLabel]:
    """Name each run by the parameters in which it differs from the others.

    Args:
        rows: The table of runs with a column ``run``; two experiments can have a run of the same
            id.
        links: The page of each run in its engine.
    """
    addresses = [Run.from_uri(uri) for uri in rows["uri"]]
    if rows["run"].duplicated().any():
        rows = rows.assign(run=[run.prefix for run in addresses])
    columns = differing_columns(rows)
    names = [column.removeprefix(PARAMS_PREFIX) for column in columns]
    values = list(zip(*(value_labels_of_column(rows[column]) for column in columns), strict=True))
    found = {}
    for run, lines, words in zip(
        addresses, run_labels(rows).values(), values or [()] * len(rows), strict=True
    ):
        params = dict(zip(names, words, strict=True))
        found[run] = RunLabel(", ".join(lines), params, web_link(links.get(run)))
    return found


def text_line(progress: RunProgress, title: str) -> str:
    """Return the progress of a run in one line of text."""
    words = [f"{progress.state:<9}", title]
    running = next((step for step in progress.steps if step.state == "running"), None)
    if running:
        words.append(running.name)
        if running.name == "train" and progress.epochs:
            words.append(f"epoch {progress.epochs_done} of {progress.epochs}")
    if progress.left_s is not None:
        words.append(f"about {format_duration(round(progress.left_s))} left")
    words += [
        f"{name} {progress.metrics[name]:.3f}"
        for name in LINE_METRICS
        if progress.metrics.get(name) is not None
    ]
    words += [progress.error] if progress.error else []
    return "  ".join(words)
