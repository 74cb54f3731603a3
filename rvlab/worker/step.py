"""One step of a run: a run's URI in, records out."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from types import FrameType

from rvlab.errors import KeyMissing, StepError
from rvlab.model import SPLIT_STEPS, STEPS, Run, Spec
from rvlab.store import Store
from rvlab.worker.commands import Plan, command, configure
from rvlab.worker.journal import Cancelled, Journal
from rvlab.worker.records import END, SPEC, end
from rvlab.worker.summarize import summarize

FAILED, CANCELLED = 1, 143


def run_step(
    uri: str, step: str, *, split: int | None = None, of: int | None = None, every_s: float = 5.0
) -> tuple[int, Plan | None]:
    """Run one step and write its records.

    Args:
        uri: The run's URI, ``{store}/{experiment}/{run}``.
        step: One of `rvlab.model.STEPS`.
        split: Which piece of chip or predict; None for all of it.
        of: How many pieces there are.
        every_s: Seconds between heartbeats.

    Returns:
        The exit status, 0 for success; and what configure planned.

    Raises:
        StepError: If it cannot start: an unknown step, a run that has ended.
        StoreError: If the run's records cannot be read or written.
    """
    if step not in STEPS:
        raise StepError(f"There is no step {step!r}. The steps are {', '.join(STEPS)}.")
    if split is not None and step not in SPLIT_STEPS:
        raise StepError(f"{step} is not split. Leave --split out.")
    run = Run.from_uri(uri)
    store = Store(run.store)
    spec = Spec.from_record(store.get_json(run.key(SPEC)), run.key(SPEC))
    _reopen(store, run)
    plan: Plan | None = None
    metrics: dict[str, float] = {}
    default_threads()
    signal.signal(signal.SIGTERM, _cancel)
    home = Path.cwd()
    with tempfile.TemporaryDirectory(prefix=f"rvlab-{step}-", ignore_cleanup_errors=True) as folder:
        journal = Journal(
            store, run, step, split=split, of=of, scratch=Path(folder), every_s=every_s
        )
        try:
            with journal:
                scratch = Path(folder) / "scratch"
                scratch.mkdir()
                if step == "summarize":
                    metrics = summarize(store, run)
                else:
                    from rvlab.worker import mends

                    mends.apply(scratch, spec.seed, split=split or 0, splits=of or 1)
                    if step == "configure":
                        plan = configure(store, run, spec, scratch)
                    else:
                        command(store, run, step, scratch, split=split, of=of)
        except Cancelled:
            return CANCELLED, None
        except Exception:  # noqa: BLE001  the journal has written it down
            end(store, run, spec.record(), "failed", step=step, error=journal.record.error)
            return FAILED, None
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.chdir(home)
    if step == "summarize":
        end(store, run, spec.record(), "succeeded", metrics=metrics)
    return 0, plan


def default_threads() -> None:
    """Let OpenMP use what the container may use, not what the machine has.

    Two threads on one busy core made a training three to five times slower.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limit = Path("/sys/fs/cgroup/cpu.max")
    if limit.is_file():
        quota, _, period = limit.read_text().partition(" ")
        if quota != "max":
            allowed = min(allowed or 1, max(1, int(quota) // int(period)))
    os.environ["OMP_NUM_THREADS"] = str(allowed or 1)


def _reopen(store: Store, run: Run) -> None:
    """A run that failed may be gone on with by starting a step again; one that ended may not."""
    try:
        state = store.get_json(run.key(END)).get("state")
    except KeyMissing:
        return
    if state != "failed":
        raise StepError(f"The run {run.id!r} is over ({state}). Submit it again for another run.")
    store.delete([run.key(END)])


def _cancel(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the last records are written
    raise Cancelled
