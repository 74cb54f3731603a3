"""The output of a run's steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rvlab.display.log_text import LogText
from rvlab.display.printable import collapse_returns
from rvlab.errors import NotFound, SpecError
from rvlab.model import STEPS, Run
from rvlab.model.limits import LOG_BYTES
from rvlab.store import Store


def logs(store: Store, run: Run, step: str | None = None, *, tail: int | None = None) -> LogText:
    """Return the output of a run's steps in their order; see `rvlab.Lab.logs`."""
    if tail is not None and (isinstance(tail, bool) or not isinstance(tail, int) or tail < 1):
        raise SpecError(f"tail must be a positive number of lines, got {tail!r}.")
    sizes = log_sizes(store, run)
    shown = select_logs(run, sizes, step)
    texts = {name: _read_log(store, run.log_key(name), sizes[name]) for name in shown}
    if len(shown) == 1:
        text = texts[shown[0]]
    else:
        text = "\n".join(f"{step_heading(name)}\n{text}" for name, text in texts.items())
    found = LogText(text, log_heading(run, shown))
    return found if tail is None else found.tail(tail)


def log_heading(run: Run, names: Sequence[str]) -> str:
    """Return the heading of the logs of some steps."""
    return f"{', '.join(names)} of {run.prefix}" if names else run.prefix


def step_heading(name: str) -> str:
    """Return the line above the log of a step when the logs of several steps are shown."""
    return f"── {name} ──"


def log_sizes(store: Store, run: Run) -> dict[str, int]:
    """Return the size in bytes of each log of a run, by the name of its step, in their order."""
    start = len(run.key("logs")) + 1
    found = {key[start:].removesuffix(".log"): size for key, size in store.files(run.key("logs"))}
    return {name: found[name] for name in sorted(found, key=_step_order)}


def select_logs(run: Run, names: Iterable[str], step: str | None) -> list[str]:
    """Return the names of the logs of a step and its splits; without `step`, all names.

    Raises:
        NotFound: If the step has no log.
    """
    known = list(names)
    shown = [n for n in known if step is None or n == step or n.rpartition("-")[0] == step]
    if step is not None and not shown:
        raise NotFound(
            f"The run {run.id} has no log of {step!r}. It has: {', '.join(known) or 'none yet'}."
        )
    return shown


def _read_log(store: Store, key: str, size: int) -> str:
    """Return the text of a log, or the end of one that is longer than the limit."""
    if size <= LOG_BYTES:
        return collapse_returns(store.get(key, limit=2 * LOG_BYTES).decode(errors="replace"))
    text = store.get_range(key, size - LOG_BYTES, LOG_BYTES).decode(errors="replace")
    return f"[the last {LOG_BYTES:,} of {size:,} bytes]\n{collapse_returns(text)}"


def _step_order(name: str) -> tuple[int, int]:
    step, _, split = name.partition("-")
    index = STEPS.index(step) if step in STEPS else len(STEPS)
    return index, int(split) if split.isdecimal() else 0
