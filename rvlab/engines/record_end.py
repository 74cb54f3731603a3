"""Write the end record of a local run whose process has ended, and delete its local files."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from rvlab.engines.job_queue import Job, JobQueue
from rvlab.errors import KeyMissing
from rvlab.store import Store
from rvlab.store.run_listing import delete_active_mark
from rvlab.worker.masking import mask_bytes
from rvlab.worker.records import SPEC, read_step_records, write_end

SCRATCH_PREFIX = "rvlab-run-"
"""Prefix of the folders for temporary files of runs."""

LOG_TAIL_BYTES = 2000


def finish_job(queue: JobQueue, file: Path, job: Job, store: Store | None = None) -> None:
    """Record the end of a run, then delete its temporary files, its local log and its job.

    Args:
        queue: The job queue.
        file: The job's file.
        job: The job.
        store: The run's store; by default one with access from the environment.

    Raises:
        StoreError: If the store does not answer; nothing has been deleted then.
    """
    log = queue.log_path(job.run)
    record_end(store or Store(job.run.store), job, log)
    if job.scratch and Path(job.scratch).name.startswith(SCRATCH_PREFIX):
        shutil.rmtree(job.scratch, ignore_errors=True)
    log.unlink(missing_ok=True)  # the steps' own logs are in the store
    queue.remove(file)


def record_end(store: Store, job: Job, log: Path) -> None:
    """Write the end record of a run whose process has ended, unless it has one.

    Args:
        store: The run's store.
        job: The run's job.
        log: The output of the process.
    """
    run = job.run
    if store.exists(run.end_key):
        delete_active_mark(store, run)  # the process may have been killed before removing the mark
        return
    unfinished = [record for record in read_step_records(store, run) if record.state != "succeeded"]
    step = unfinished[-1].step if unfinished else None
    subject = step or "the run, between two steps,"
    status = job.status
    if status is not None and status > 128:
        status = 128 - status  # a shell and rvlab's steps exit with 128 + signal
    if status is None:
        error = f"The process of {subject} has ended with an unknown exit status. Was the machine "
        error += "restarted?"
    elif status < 0:
        error = f"{subject} was ended by signal {-status} ({_signal_name(-status)})."
        if -status == signal.SIGKILL:
            error += " A machine that runs out of memory sends it."
    else:
        data = log.read_bytes()[-LOG_TAIL_BYTES:] if log.exists() else b""
        lines = mask_bytes(data, store).decode(errors="replace").strip().splitlines()
        error = f"{subject} exited with status {status}: {lines[-1] if lines else '(no output)'}"
    try:
        spec = store.get_json(run.key(SPEC))
    except KeyMissing:
        return  # the run was deleted
    write_end(store, run, spec, "failed", step=step, error=error)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "a signal without a name"
