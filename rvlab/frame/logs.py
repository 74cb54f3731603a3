"""The output of a run's steps."""

from __future__ import annotations

from collections.abc import Iterable

from rvlab.errors import NotFound
from rvlab.model import STEPS, Run
from rvlab.model.limits import LOG_BYTES
from rvlab.store import Store


def logs(store: Store, run: Run, step: str | None = None) -> str:
    """Return the output of a run's steps in their order; see `rvlab.Lab.logs`."""
    sizes = dict(store.files(run.key("logs")))
    shown = sort_steps(run, sizes, step)
    if step is not None and not shown:
        names = ", ".join(sort_steps(run, sizes)) or "none yet"
        raise NotFound(f"The run {run.id} has no log of {step!r}. It has: {names}.")
    parts = [_read_log(store, key, sizes[key]) for key in shown.values()]
    if len(shown) == 1:
        return parts[0]
    return "\n".join(f"── {n} ──\n{text}" for n, text in zip(shown, parts, strict=True))


def sort_steps(run: Run, keys: Iterable[str], step: str | None = None) -> dict[str, str]:
    """Return the keys of logs by step, in the order of the steps.

    Args:
        run: The run.
        keys: The keys of its logs.
        step: One step, or split of it; None for all.
    """
    start = len(run.key("logs")) + 1
    names = sorted((key[start:].removesuffix(".log") for key in keys), key=_step_order)
    shown = [n for n in names if step is None or n == step or n.rpartition("-")[0] == step]
    return {name: run.log_key(name) for name in shown}


def _read_log(store: Store, key: str, size: int) -> str:
    """Return the text of a log, or the end of one that is longer than the limit."""
    if size <= LOG_BYTES:
        return store.get(key, limit=2 * LOG_BYTES).decode(errors="replace")
    text = store.get_range(key, size - LOG_BYTES, LOG_BYTES).decode(errors="replace")
    return f"[the last {LOG_BYTES:,} of {size:,} bytes]\n{text}"


def _step_order(name: str) -> tuple[int, int]:
    step, _, split = name.partition("-")
    index = STEPS.index(step) if step in STEPS else len(STEPS)
    return index, int(split) if split.isdecimal() else 0
