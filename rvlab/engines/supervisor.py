"""``python -m rvlab.engines.supervisor SPOOL``: runs what waits in a spool, N at a time.

It is started by whoever submits, detaches itself, outlives the notebook, and leaves when nothing is
left to do. A second one for the same spool leaves at once. It is the witness of the runs: when a
process dies without a word, it says so in the run's end (`rvlab.engines.record_end`).
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

from rvlab.engines.job_queue import Job, JobQueue, open_private
from rvlab.engines.processes import TOKEN_VARIABLE, creation_time, find_unrecorded_leader, kill_job
from rvlab.engines.record_end import SCRATCH_PREFIX, finish_job
from rvlab.store.patience import PATIENCE_VARIABLE
from rvlab.worker.threads import available_processors

POLL_S = 0.25
EXIT_AFTER_IDLE_S = 3.0
STORE_RETRY_S = 10.0
GIVE_UP_AFTER_S = 1800.0
START_S = 2.0


class Supervisor:
    """The runs of one spool, while this process lives."""

    def __init__(self, spool: JobQueue) -> None:
        spool.sweep()
        self._spool = spool
        self._children: dict[Path, tuple[Job, subprocess.Popen[bytes]]] = {}
        self._strangers = dict(spool.running())
        for file, job in list(self._strangers.items()):
            if not job.over and job.pid is None and job.scratch is None:
                spool.put_back(file)  # its supervisor was killed before it started the process
                del self._strangers[file]
        self._since = time.monotonic()
        self._over: dict[Path, Job] = {}
        self._settle_at = 0.0

    def run_until_idle(self) -> None:
        """Start, watch and settle runs until none is left."""
        busy_at = time.monotonic()
        while True:
            self._reap()
            self._record_ends()
            self._start_waiting()
            if self._children or self._strangers:
                busy_at = time.monotonic()
            patience = GIVE_UP_AFTER_S if self._over else EXIT_AFTER_IDLE_S
            if time.monotonic() - busy_at > patience:
                return
            time.sleep(POLL_S)

    def _start_waiting(self) -> None:
        with self._spool.lock(wait=False) as mine:
            if not mine:  # runs are being cancelled or retried: in the next round
                return
            waiting = self._spool.waiting()
            busy = len(self._children) + len(self._strangers)
            next_up = waiting[: max(0, waiting[-1][1].max_parallel - busy)] if waiting else ()
            taken = [(self._spool.claim(queued), job) for queued, job in next_up]
        for file, job in taken:
            if file is not None:
                self._launch(file, job)

    def _launch(self, file: Path, job: Job) -> None:
        try:
            # Recorded first: if this one is killed right after, folder and process are found.
            scratch = Path(tempfile.gettempdir()) / f"{SCRATCH_PREFIX}{secrets.token_hex(8)}"
            token = secrets.token_hex(16)
            job = self._spool.update(file, job, scratch=str(scratch), token=token)
            scratch.mkdir(mode=0o700)
            child = self._spawn(job)
        except OSError as exc:  # no memory, no disk, no interpreter any more
            with (
                contextlib.suppress(OSError),
                open_private(self._spool.log_path(job.run), "wb") as log,
            ):
                log.write(f"The run's process cannot be started: {exc}.".encode())
            self._over[file] = self._note(file, job, over=True, status=1)
            return
        job = self._note(file, job, pid=child.pid, born=creation_time(child.pid))
        self._children[file] = (job, child)

    def _spawn(self, job: Job) -> subprocess.Popen[bytes]:
        with open_private(self._spool.log_path(job.run), "wb") as log:
            return subprocess.Popen(
                job.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=job.scratch,
                env=child_environment(job),
            )

    def _note(self, file: Path, job: Job, **changes: Any) -> Job:
        """Write down what has changed; on a full disk it is known while this process lives."""
        try:
            return self._spool.update(file, job, **changes)
        except OSError as exc:
            with contextlib.suppress(OSError):  # this log may lie on that disk
                print(f"rvlab: {file} cannot be written: {exc}", file=sys.stderr, flush=True)
            return replace(job, **changes)

    def _reap(self) -> None:
        for file, (job, child) in list(self._children.items()):
            status = _exit_status(job, child)
            if status is not None:
                self._over[file] = self._note(file, job, over=True, status=status)
                del self._children[file]
        for file, job in list(self._strangers.items()):
            if self._is_at_work(file, job):
                continue
            kill_job(job)  # steps without a leader: no process would start the next one
            self._over[file] = self._note(file, job, over=True)
            del self._strangers[file]

    def _is_at_work(self, file: Path, job: Job) -> bool:
        """Whether a process that another supervisor has started goes on."""
        if job.over or job.pid is not None:
            return not job.over and job.leader_alive
        found = find_unrecorded_leader(job) if job.token else None
        if found is not None:
            born = creation_time(found.pid)
            self._strangers[file] = self._note(file, job, pid=found.pid, born=born)
            return True
        # Between its fork and its exec a process does not have its environment yet.
        return job.token is not None and time.monotonic() < self._since + START_S

    def _record_ends(self) -> None:
        """See that ended runs have an end; a store that is down is tried again."""
        if time.monotonic() < self._settle_at:
            return
        for file, job in list(self._over.items()):
            try:
                finish_job(self._spool, file, job)
            except Exception:  # noqa: BLE001  one run's trouble is not the others'
                with contextlib.suppress(OSError):  # the disk of this log may be full
                    traceback.print_exc()
                    print(f"rvlab: {job.uri} is settled later.", file=sys.stderr, flush=True)
                self._settle_at = time.monotonic() + STORE_RETRY_S
                continue
            del self._over[file]


def child_environment(job: Job) -> dict[str, str]:
    """The environment of a run's process: fair shares of the processors, and repeatable hashes."""
    env = dict(os.environ)
    env.setdefault("OMP_NUM_THREADS", str(max(1, available_processors() // job.max_parallel)))
    env.setdefault("TQDM_MININTERVAL", "10")
    env["MPLBACKEND"] = "agg"  # a notebook's kernel hands down one that draws into its cells
    env["PYTHONHASHSEED"] = "0"  # Raster Vision iterates over sets of scene ids
    env["PYTHONUNBUFFERED"] = "1"
    env["RVLAB_CWD"] = job.cwd
    if job.patience_s:
        env[PATIENCE_VARIABLE] = job.patience_s
    if job.token:
        env[TOKEN_VARIABLE] = job.token
    env["RVLAB_PATH"] = os.pathsep.join(filter(None, (job.folder, job.cwd)))
    if job.scratch:
        env["TMPDIR"] = job.scratch
    return env


def _exit_status(job: Job, child: subprocess.Popen[bytes]) -> int | None:
    """A child's exit status; what it left behind in its session, such as data loaders, is killed.

    That comes before the child is waited for: until then its pid, and so its session's id, cannot
    be another's.
    """
    if psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        return None
    kill_job(job, session=child.pid)
    return child.wait()


def main(folder: str) -> None:
    """Be the supervisor of a spool, until there is nothing to do; detach first."""
    if os.fork():
        os._exit(0)
    os.setsid()
    spool = JobQueue(Path(folder))
    while True:
        with spool.try_supervise() as mine:
            if not mine:
                return
            Supervisor(spool).run_until_idle()
        # A run that was added while the lock was being given up would wait for nobody.
        if not spool.waiting():
            return


if __name__ == "__main__":
    main(sys.argv[1])
