"""Write the end of a local run whose process is over, and remove what it left on this machine."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from rvlab.engines.job_queue import Job, JobQueue
from rvlab.errors import KeyMissing
from rvlab.store import Store
from rvlab.store.run_listing import unregister_run
from rvlab.worker.masking import mask_bytes
from rvlab.worker.records import SPEC, read_step_records, write_end

SCRATCH_PREFIX = "rvlab-run-"
"""How the names of folders for temporary files of runs start."""

LOG_TAIL_BYTES = 2000


def finish_job(spool: JobQueue, file: Path, job: Job, store: Store | None = None) -> None:
    """Settle a run, then delete its temporary files, its log and its job.

    Args:
        spool: Where the job is.
        file: The job's file.
        job: The job.
        store: The run's store; by default as the environment reaches it.

    Raises:
        StoreError: If the store does not answer; everything is still there then.
    """
    log = spool.log_path(job.run)
    record_end(store or Store(job.run.store), job, log)
    if job.scratch and Path(job.scratch).name.startswith(SCRATCH_PREFIX):
        shutil.rmtree(job.scratch, ignore_errors=True)
    log.unlink(missing_ok=True)  # the steps' own logs are in the store
    spool.remove(file)


def record_end(store: Store, job: Job, log: Path) -> None:
    """Write the end of a run whose process is over, unless the run has one.

    Args:
        store: The run's store.
        job: The run's job.
        log: What the process printed.
    """
    run = job.run
    if store.exists(run.end_key):
        unregister_run(store, run)  # the process may have been killed before it removed the mark
        return
    unfinished = [r for r in read_step_records(store, run) if r.state != "succeeded"]
    step = unfinished[-1].step if unfinished else None
    where = step or "the run, between two steps,"
    status = job.status
    if status is not None and status > 128:
        status = 128 - status  # as a shell tells it, and our own steps
    if status is None:
        why = f"The process of {where} is gone, and its exit status is unknown: was the machine "
        why += "restarted?"
    elif status < 0:
        why = f"{where} was ended by signal {-status} ({_signal_name(-status)})."
        if -status == signal.SIGKILL:
            why += " That is what a machine does that runs out of memory."
    else:
        data = log.read_bytes()[-LOG_TAIL_BYTES:] if log.exists() else b""
        last = mask_bytes(data, store).decode(errors="replace").strip().splitlines()
        why = f"{where} ended with status {status}: {last[-1] if last else 'it said nothing'}"
    try:
        spec = store.get_json(run.key(SPEC))
    except KeyMissing:
        return  # it was deleted: there is no table to show it in
    write_end(store, run, spec, "failed", step=step, error=why)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "a signal without a name"
