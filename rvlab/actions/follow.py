"""Print the log of a run while it grows."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rvlab import frame
from rvlab.actions.control import engine_patience_s, engine_states_query
from rvlab.actions.wait import OutageTimer
from rvlab.display.log_text import PrintedLog
from rvlab.display.printable import collapse_returns, plain_lines
from rvlab.engines import Engine
from rvlab.errors import KeyMissing, NotFound, StoreUnreachable, WaitInterrupted
from rvlab.frame.logs import log_sizes, logs, select_logs, step_heading
from rvlab.model import FINAL_STATES, STEPS, Run
from rvlab.model.limits import LOG_BYTES
from rvlab.store import Store

FOLLOW_EVERY_S = 2.0
"""Seconds between two listings of the logs; a step writes its log every few seconds."""


class LogFollower:
    """A reader of the lines that were added to the logs of a run.

    Args:
        store: The store of the run.
        run: The run.
        step: One step; None for all.
        tail: Print only the last lines of what exists at the first reading.
    """

    def __init__(self, store: Store, run: Run, step: str | None, tail: int | None) -> None:
        self._store, self._run, self._step, self._tail = store, run, step, tail
        self._done: dict[str, int] = {}
        self._rest: dict[str, bytes] = {}
        self._last: str | None = None

    def read(self, *, is_last: bool = False) -> str:
        """Return the lines that are complete since the last reading.

        Args:
            is_last: Whether the run has ended, so that a line without an end is complete.
        """
        sizes = log_sizes(self._store, self._run)
        try:
            names = select_logs(self._run, sizes, self._step)
        except NotFound:
            if is_last or str(self._step).partition("-")[0] not in STEPS:
                raise
            names = []  # the step has not started yet
        # All bytes are read before anything counts as read: after an outage, nothing is missing.
        added = {name: self._fetch(name, sizes[name]) for name in names}
        text = "".join(self._new_lines(name, *added[name], is_last=is_last) for name in names)
        if self._tail is not None and text:
            text, self._tail = "\n".join(text[:-1].split("\n")[-self._tail :]) + "\n", None
        return text

    def _fetch(self, name: str, size: int) -> tuple[bytes, int]:
        """Return the bytes of a log that are not printed yet, and its size when read."""
        start = self._done.get(name, max(0, size - LOG_BYTES))
        data = self._rest.get(name, b"")
        if size < start:  # the step was started again
            start, data = 0, b""
        if size > start:
            try:
                data += self._store.get_range(self._run.log_key(name), start, size - start)
            except KeyMissing:  # deleted or restarted since it was listed
                return data, 0
        return data, size

    def _new_lines(self, name: str, data: bytes, size: int, *, is_last: bool) -> str:
        self._done[name] = size
        self._rest.pop(name, None)
        whole, end, rest = data.rpartition(b"\n")
        if is_last and rest:
            whole, end, rest = data, b"\n", b""
        if rest:
            self._rest[name] = rest
        if not end:
            return ""
        heading = "" if name == self._last else f"{step_heading(name)}\n"
        self._last = name
        lines = plain_lines(collapse_returns(whole.decode(errors="replace")))
        return f"{heading if self._step is None else ''}{lines}\n"


def follow_log(
    store: Store,
    engine: Engine,
    run: Run,
    step: str | None,
    *,
    tail: int | None = None,
    every_s: float = FOLLOW_EVERY_S,
    write: Callable[[str], object] | None = None,
) -> PrintedLog:
    """Print the log of a run until the run ends, and return it; see `rvlab.Lab.logs`.

    Raises:
        NotFound: If other steps have logs, but not this one, when the run ends.
        WaitInterrupted: If the user interrupts it; the run continues.
        StoreUnreachable: If the store cannot be reached for too long.
    """
    follower = LogFollower(store, run, step, tail)
    outage = OutageTimer(engine_patience_s(engine))
    show = write or _print
    try:
        while True:
            try:
                engine.resume(store)
                states = frame.runs_table(store, [run], engine_states_query(store, engine))["state"]
                has_ended = bool(states.isin(FINAL_STATES).all())
                show(follower.read(is_last=has_ended))
                if has_ended:
                    return PrintedLog(logs(store, run, step, tail=tail))
                outage.end()
            except StoreUnreachable as exc:
                outage.extend(exc)
            time.sleep(every_s)
    except KeyboardInterrupt as exc:
        raise WaitInterrupted(
            f"Interrupted: the run {run.id} continues. lab.logs(run, follow=True) prints further "
            "lines, lab.cancel stops it."
        ) from exc


def _print(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()
