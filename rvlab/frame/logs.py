"""The output of a run's steps."""

from __future__ import annotations

from rvlab.errors import NotFound
from rvlab.model import STEPS, Run
from rvlab.model.limits import LOG_BYTES
from rvlab.store import Store


def logs(store: Store, run: Run, step: str | None = None) -> str:
    """Return the output of a run's steps in their order; see `rvlab.Lab.logs`."""
    start = len(run.key("logs")) + 1
    sizes = dict(store.files(run.key("logs")))
    names = [key[start:].removesuffix(".log") for key in sizes]
    names.sort(key=_step_order)
    shown = [n for n in names if step is None or n == step or n.rpartition("-")[0] == step]
    if step is not None and not shown:
        raise NotFound(
            f"The run {run.id} has no log of {step!r}. It has: {', '.join(names) or 'none yet'}."
        )
    parts = [_read_log(store, key, sizes[key]) for key in (run.log_key(name) for name in shown)]
    if len(shown) == 1:
        return parts[0]
    return "\n".join(f"── {n} ──\n{text}" for n, text in zip(shown, parts, strict=True))


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
