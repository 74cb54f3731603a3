"""``python -m rvlab.engines.supervisor FOLDER``: run the jobs of a queue, N at a time.

The submitter starts the supervisor, which detaches itself, outlives the notebook, and exits when
the queue is empty. A second supervisor of the same queue exits immediately. When a process dies
without recording an end, the supervisor writes the run's end record (`rvlab.engines.record_end`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from rvlab.engines.job_queue import SUBMITTER_VARIABLES, Job, JobQueue, open_private
from rvlab.engines.processes import TOKEN_VARIABLE, creation_time, find_unrecorded_leader, kill_job
from rvlab.engines.record_end import SCRATCH_PREFIX, finish_job
from rvlab.worker.threads import available_processors

POLL_S = 0.25
EXIT_AFTER_IDLE_S = 3.0
STORE_RETRY_S = 10.0
GIVE_UP_AFTER_S = 1800.0
START_S = 2.0


class Supervisor:
    """Executes the runs of one job queue while this process lives."""

    def __init__(self, queue: JobQueue) -> None:
        queue.delete_stale_files()
        self._queue = queue
        self._children: dict[Path, tuple[Job, subprocess.Popen[bytes]]] = {}
        # Jobs that another supervisor has started.
        self._inherited = dict(queue.running())
        for file, job in list(self._inherited.items()):
            if not job.over and job.pid is None and job.scratch is None:
                queue.put_back(file)  # its supervisor was killed before starting the process
                del self._inherited[file]
        self._started_at = time.monotonic()
        self._ended: dict[Path, Job] = {}
        self._next_record_at = 0.0

    def run_until_idle(self) -> None:
        """Start and watch runs and record their ends, until the queue is idle for a few seconds."""
        busy_at = time.monotonic()
        while True:
            self._reap()
            self._record_ends()
            self._start_waiting()
            if self._children or self._inherited:
                busy_at = time.monotonic()
            limit_s = GIVE_UP_AFTER_S if self._ended else EXIT_AFTER_IDLE_S
            if time.monotonic() - busy_at > limit_s:
                return
            time.sleep(POLL_S)

    def _start_waiting(self) -> None:
        with self._queue.lock(wait=False) as has_lock:
            if not has_lock:  # runs are being cancelled or retried; try again in the next round
                return
            waiting = self._queue.waiting()
            busy = len(self._children) + len(self._inherited)
            # The latest submission sets the limit; its run may have any place in the order.
            limit = max(waiting, key=lambda entry: entry[0].name)[1].max_parallel if waiting else 0
            next_jobs = waiting[: max(0, limit - busy)]
            claimed = [(self._queue.claim(queued), job) for queued, job in next_jobs]
        for file, job in claimed:
            if file is not None:
                self._launch(file, job)

    def _launch(self, file: Path, job: Job) -> None:
        try:
            # Record folder and token first: the next supervisor then finds folder and process.
            scratch = Path(tempfile.gettempdir()) / f"{SCRATCH_PREFIX}{secrets.token_hex(8)}"
            token = secrets.token_hex(16)
            job = self._queue.update(file, job, scratch=str(scratch), token=token)
            scratch.mkdir(mode=0o700)
            child = self._spawn(job)
        except OSError as exc:  # no memory, no disk space, or the interpreter was deleted
            with (
                contextlib.suppress(OSError),
                open_private(self._queue.log_path(job.run), "wb") as log,
            ):
                log.write(f"The run's process cannot be started: {exc}.".encode())
            self._ended[file] = self._update_job(file, job, over=True, status=1)
            return
        job = self._update_job(file, job, pid=child.pid, born=creation_time(child.pid))
        self._children[file] = (job, child)

    def _spawn(self, job: Job) -> subprocess.Popen[bytes]:
        with open_private(self._queue.log_path(job.run), "wb") as log:
            return subprocess.Popen(
                job.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=job.scratch,
                env=child_environment(job),
            )

    def _update_job(self, file: Path, job: Job, **changes: Any) -> Job:
        """Write changed fields of a job; on a full disk, change only the returned job."""
        try:
            return self._queue.update(file, job, **changes)
        except OSError as exc:
            with contextlib.suppress(OSError):  # this log may be on the same disk
                print(f"rvlab: {file} cannot be written: {exc}", file=sys.stderr, flush=True)
            return replace(job, **changes)

    def _reap(self) -> None:
        for file, (job, child) in list(self._children.items()):
            status = _exit_status(job, child)
            if status is not None:
                self._ended[file] = self._update_job(file, job, over=True, status=status)
                del self._children[file]
        for file, job in list(self._inherited.items()):
            if self._is_running(file, job):
                continue
            kill_job(job)  # without a leader, no process would start the next step
            self._ended[file] = self._update_job(file, job, over=True)
            del self._inherited[file]

    def _is_running(self, file: Path, job: Job) -> bool:
        """Return whether a job that another supervisor has started still runs.

        A leader whose pid was not recorded is recorded now.
        """
        if job.over or job.pid is not None:
            return not job.over and job.leader_alive
        found = find_unrecorded_leader(job) if job.token else None
        if found is not None:
            born = creation_time(found.pid)
            self._inherited[file] = self._update_job(file, job, pid=found.pid, born=born)
            return True
        # Between fork and exec a process does not have its environment yet.
        return job.token is not None and time.monotonic() < self._started_at + START_S

    def _record_ends(self) -> None:
        """Record the ends of finished runs; retry later if the store does not answer."""
        if time.monotonic() < self._next_record_at:
            return
        for file, job in list(self._ended.items()):
            try:
                finish_job(self._queue, file, job)
            except Exception:  # noqa: BLE001  an error of one run must not affect the others
                with contextlib.suppress(OSError):  # the disk of this log may be full
                    traceback.print_exc()
                    print(f"rvlab: {job.uri} is recorded later.", file=sys.stderr, flush=True)
                self._next_record_at = time.monotonic() + STORE_RETRY_S
                continue
            del self._ended[file]


def child_environment(job: Job) -> dict[str, str]:
    """Return the environment of a run's process: its share of the processors, a fixed hash seed."""
    env = dict(os.environ)
    env.setdefault("OMP_NUM_THREADS", str(max(1, available_processors() // job.max_parallel)))
    env.setdefault("TQDM_MININTERVAL", "10")
    env["MPLBACKEND"] = "agg"  # a notebook's kernel sets one that draws into its cells
    env["PYTHONHASHSEED"] = "0"  # Raster Vision iterates over sets of scene ids
    env["PYTHONUNBUFFERED"] = "1"
    env["RVLAB_CWD"] = job.cwd
    if job.variables is not None:
        env = {name: value for name, value in env.items() if name not in SUBMITTER_VARIABLES}
        env |= job.variables
    if job.token:
        env[TOKEN_VARIABLE] = job.token
    env["RVLAB_PATH"] = os.pathsep.join(filter(None, (job.folder, job.cwd)))
    if job.scratch:
        env["TMPDIR"] = job.scratch
    return env


def _exit_status(job: Job, child: subprocess.Popen[bytes]) -> int | None:
    """Return a child's exit status; kill the rest of its session, such as data loaders.

    The rest is killed before this process waits for the child. Until then, the child is a zombie,
    so its pid, which is also the id of its session, cannot be reused.
    """
    if psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        return None
    kill_job(job, session=child.pid)
    return child.wait()


def main(folder: str) -> None:
    """Detach, then supervise a job queue until it is empty."""
    if os.fork():
        os._exit(0)
    os.setsid()
    queue = JobQueue(Path(folder))
    while True:
        with queue.try_supervise() as is_supervisor:
            if not is_supervisor:
                return
            Supervisor(queue).run_until_idle()
        # A run may have been added before the lock was released; without this it would never start.
        if not queue.waiting():
            return


if __name__ == "__main__":
    main(sys.argv[1])
