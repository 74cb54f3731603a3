"""The output of a run's steps."""

from __future__ import annotations

from rvlab.errors import NotFound
from rvlab.model import STEPS, Run
from rvlab.store import Store


def logs(store: Store, run: Run, step: str | None = None) -> str:
    """Return the output of a run's steps in their order; see `rvlab.Lab.logs`."""
    start = len(run.key("logs")) + 1
    names = [key[start:].removesuffix(".log") for key, _ in store.files(run.key("logs"))]
    names.sort(key=_step_order)
    shown = [n for n in names if step is None or n == step or n.rpartition("-")[0] == step]
    if step is not None and not shown:
        raise NotFound(
            f"The run {run.id} has no log of {step!r}. It has: {', '.join(names) or 'none yet'}."
        )
    parts = [store.get(run.key("logs", f"{name}.log")).decode(errors="replace") for name in shown]
    if len(shown) == 1:
        return parts[0]
    return "\n".join(f"── {n} ──\n{text}" for n, text in zip(shown, parts, strict=True))


def _step_order(name: str) -> tuple[int, int]:
    step, _, split = name.partition("-")
    index = STEPS.index(step) if step in STEPS else len(STEPS)
    return index, int(split) if split.isdigit() else 0
