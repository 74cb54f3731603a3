"""The log of a run as it grows."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rvlab.actions.control import states_from
from rvlab.engines import Engine
from rvlab.frame.logs import sort_steps
from rvlab.frame.runs import runs_table
from rvlab.model import Run
from rvlab.store import Store

FOLLOW_S = 2.0
ACTIVE = ("queued", "running")


def follow_logs(
    store: Store,
    engine: Engine,
    run: Run,
    step: str | None = None,
    *,
    every_s: float = FOLLOW_S,
) -> Iterator[str]:
    """Yield the text that a run's steps have printed, then each addition, until it has ended.

    Args:
        store: The store of the run.
        engine: Its engine, which is queried while the store is silent.
        run: The run.
        step: One step, such as ``train``; None for all.
        every_s: Seconds between two requests.
    """
    seen: dict[str, int] = {}
    current = ""
    while True:
        state = runs_table(store, run, states_from(store, engine))["state"].iloc[0]
        sizes = dict(store.files(run.key("logs")))
        for name, key in sort_steps(run, sizes, step).items():
            start, size = seen.get(name, 0), sizes[key]
            if size < start:  # the step was started again
                start = 0
            if size == start:
                continue
            if name != current:
                yield f"── {name} ──\n"
                current = name
            text = store.get_range(key, start, size - start)
            seen[name] = start + len(text)
            yield text.decode(errors="replace")
        if state not in ACTIVE:
            return
        time.sleep(every_s)
