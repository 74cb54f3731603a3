"""Wait for runs with a progress bar, also during an outage of their store."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from rvlab import frame
from rvlab.actions.control import engine_patience_s, states_from
from rvlab.engines import Engine
from rvlab.errors import StoreUnreachable, WaitInterrupted
from rvlab.frame.select import RunSelector, resolve_runs
from rvlab.model import END_STATES, HEARTBEAT_TIMEOUT_S, Run
from rvlab.store import Store
from rvlab.store.patience import duration_text

if TYPE_CHECKING:
    import pandas as pd

WAIT_POLL_S, REMOTE_WAIT_POLL_S = 1.0, 5.0


def wait_for_runs(
    store: Store, engine: Engine, runs: RunSelector, *, timeout_s: float | None, progress: bool
) -> pd.DataFrame:
    """Wait until all runs have ended and return their table; see `rvlab.Lab.wait`."""
    from tqdm.auto import tqdm

    wanted = resolve_runs(store, runs)
    ask = states_from(store, engine)
    until = None if timeout_s is None else time.monotonic() + timeout_s
    outage = OutageTimer(engine_patience_s(engine))
    with tqdm(total=len(wanted), unit="run", disable=not progress) as bar:
        active, remaining = len(wanted), wanted
        try:
            while True:
                try:
                    engine.resume(store)
                    table = outage.unfinished(frame.runs_table(store, remaining, ask))
                    active, remaining = len(table), [Run.from_uri(uri) for uri in table["uri"]]
                    bar.n = len(wanted) - active
                    bar.set_postfix_str(progress_text(table))
                    if not active:
                        return frame.runs_table(store, wanted, ask)
                    outage.end()
                except StoreUnreachable as exc:
                    bar.set_postfix_str(outage.extend(exc))
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(
                        f"{active} of {len(wanted)} runs have not ended in {timeout_s} s. "
                        "They continue; wait again, or cancel them."
                    )
                time.sleep(REMOTE_WAIT_POLL_S if engine.sees_all_runs else WAIT_POLL_S)
        except KeyboardInterrupt as exc:
            raise WaitInterrupted(
                f"Interrupted: {active} of {len(wanted)} runs have not ended. They continue; "
                "lab.wait waits again, lab.watch shows them, lab.cancel stops them."
            ) from exc


class OutageTimer:
    """A timer for how long a store has not answered during a wait for its runs.

    Args:
        patience_s: The longest outage in seconds.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: float | None = None
        self._ended = -math.inf
        self._broken: set[str] = set()

    def extend(self, exc: StoreUnreachable) -> str:
        """Return the text of the progress bar during an outage.

        Raises:
            StoreUnreachable: If the outage has lasted longer than the patience.
        """
        self._since = self._since or time.monotonic()
        away_s = time.monotonic() - self._since
        if away_s >= self._patience_s:
            raise StoreUnreachable(
                f"{exc} It has not answered for {duration_text(away_s)}. The runs continue; wait "
                "again."
            ) from exc
        return f"store cannot be reached for {away_s:.0f} s"

    def end(self) -> None:
        """Record that the store has answered."""
        if self._since is not None:
            self._since, self._ended = None, time.monotonic()

    def unfinished(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of runs that have not ended.

        No run can write a heartbeat during an outage, so ``lost`` counts only a minute after it. A
        run counts as broken only if it is broken twice in a row, because its record may become
        readable again.
        """
        is_early = self._since is not None or time.monotonic() - self._ended < HEARTBEAT_TIMEOUT_S
        finished = table["state"].isin(END_STATES if is_early else (*END_STATES, "lost"))
        broken = table["state"] == "broken"
        finished |= broken & table["uri"].isin(self._broken)
        self._broken = set(table.loc[broken, "uri"])
        return table[~finished]


def progress_text(table: pd.DataFrame) -> str:
    """Return the number of runs per state and the running steps: ``2 running (train)``."""
    counts = table["state"].value_counts()
    steps = table.loc[table["state"] == "running", "step"].value_counts()
    parts = [f"{n} {state}" for state, n in counts.items()]
    return ", ".join(parts) + (f" ({', '.join(str(s) for s in steps.index)})" if len(steps) else "")
