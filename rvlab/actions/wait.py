"""Wait for runs with a progress bar, also during an outage of their store."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from rvlab import frame
from rvlab.actions.control import engine_patience_s, engine_states_query
from rvlab.display.printable import format_duration
from rvlab.engines import Engine
from rvlab.errors import EngineError, StoreUnreachable, WaitInterrupted
from rvlab.frame.run_selector import RunSelector, resolve_runs
from rvlab.model import END_STATES, HEARTBEAT_TIMEOUT_S, Run
from rvlab.store import Store
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import pandas as pd

WAIT_POLL_S, REMOTE_WAIT_POLL_S = 1.0, 5.0
MAX_REASON_CHARS = 60


def wait_for_runs(
    store: Store, engine: Engine, runs: RunSelector, *, timeout_s: float | None, progress: bool
) -> pd.DataFrame:
    """Wait until all runs have ended and return their table; see `rvlab.Lab.wait`."""
    from tqdm.auto import tqdm

    wanted = resolve_runs(store, runs)
    silence = EngineSilence(engine)
    ask = engine_states_query(store, engine, silence.extend)
    until = None if timeout_s is None else time.monotonic() + timeout_s
    outage = OutageTimer(engine_patience_s(engine))
    with tqdm(total=len(wanted), unit="run", disable=not progress) as bar:
        active, remaining = len(wanted), wanted
        try:
            while True:
                try:
                    engine.resume(store)
                    silence.begin_query()
                    table = outage.unfinished(frame.runs_table(store, remaining, ask))
                    active, remaining = len(table), [Run.from_uri(uri) for uri in table["uri"]]
                    bar.n = len(wanted) - active
                    texts = filter(None, [progress_text(table), silence.text])
                    bar.set_postfix_str(", ".join(texts))
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
                f"{exc} It has not answered for {format_duration(round(away_s))}. The runs "
                "continue; wait again."
            ) from exc
        return f"store cannot be reached for {format_duration(round(away_s))}"

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
        ended = (*END_STATES, "not submitted")
        finished = table["state"].isin(ended if is_early else (*ended, "lost"))
        broken = table["state"] == "broken"
        finished |= broken & table["uri"].isin(self._broken)
        self._broken = set(table.loc[broken, "uri"])
        return table[~finished]


class EngineSilence:
    """A timer for how long an engine has not answered during a wait for its runs.

    The wait continues with the states in the store; one warning reports it after the
    patience.

    Args:
        engine: The engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._name = engine.name
        profile = getattr(engine, "profile", None)
        self._patience_s = 0.0 if profile is None else float(profile.api_patience_s)
        self._since: float | None = None
        self._is_silent = self._has_warned = False

    def begin_query(self) -> None:
        """Record that the table is read again; the engine counts as silent only if it fails."""
        self._since = self._since if self._is_silent else None
        self._is_silent = False

    def extend(self, exc: EngineError) -> None:
        """Record that the engine did not answer."""
        self._is_silent = True
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since >= self._patience_s and not self._has_warned:
            self._has_warned = True
            warn_user(f"Waiting with the states that the store has: {exc}")

    @property
    def text(self) -> str:
        """The text of the progress bar while the engine does not answer; else empty."""
        if not self._is_silent or self._since is None:
            return ""
        away_s = time.monotonic() - self._since
        return f"no states from {self._name} for {format_duration(round(away_s))}"


def progress_text(table: pd.DataFrame) -> str:
    """Return the number of runs per state, the running steps, and why a run waits.

    Such as ``2 running (train), 1 queued: Unschedulable in configure``.
    """
    counts = table["state"].value_counts()
    steps = table.loc[table["state"] == "running", "step"].value_counts()
    parts = [f"{n} {state}" for state, n in counts.items()]
    text = ", ".join(parts)
    text += f" ({', '.join(str(s) for s in steps.index)})" if len(steps) else ""
    reasons = table.loc[table["state"].isin(["queued", "running"]), "error"].dropna()
    return f"{text}: {str(reasons.iloc[0])[:MAX_REASON_CHARS]}" if len(reasons) else text
