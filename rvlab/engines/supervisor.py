"""``python -m rvlab.engines.supervisor SPOOL``: runs what waits in a spool, N at a time.

It is started by whoever submits, detaches itself, outlives the notebook, and leaves when nothing is
left to do. A second one for the same spool leaves at once. It is the witness of the runs: when a
process dies without a word, it says so in the run's end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import psutil

from rvlab.engines.spool import Job, Spool
from rvlab.errors import KeyMissing
from rvlab.store import Store
from rvlab.worker.journal import cleaned
from rvlab.worker.records import SPEC, end, step_records
from rvlab.worker.threads import processors

LOOK_S = 0.25
IDLE_S = 3.0
RETRY_S = 10.0
PATIENCE_S = 1800.0
LAST_BYTES = 2000


class Supervisor:
    """The runs of one spool, while this process lives."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._children: dict[Path, tuple[Job, subprocess.Popen[bytes]]] = {}
        self._strangers = dict(spool.running())
        self._over: dict[Path, Job] = {}
        self._settle_at = 0.0

    def work(self) -> None:
        """Start, watch and settle runs until none is left."""
        busy_at = time.monotonic()
        while True:
            self._reap()
            self._settle()
            self._start()
            if self._children or self._strangers:
                busy_at = time.monotonic()
            patience = PATIENCE_S if self._over else IDLE_S
            if time.monotonic() - busy_at > patience:
                return
            time.sleep(LOOK_S)

    def _start(self) -> None:
        waiting = self._spool.waiting()
        busy = len(self._children) + len(self._strangers)
        for queued, job in waiting[: max(0, waiting[-1][1].at_most - busy)] if waiting else ():
            file = self._spool.take(queued)
            if file is not None:
                self._launch(file, job)

    def _launch(self, file: Path, job: Job) -> None:
        try:
            job = self._spool.note(file, job, scratch=tempfile.mkdtemp(prefix="rvlab-run-"))
            child = self._child(job)
        except OSError as exc:  # no memory, no disk, no interpreter any more
            self._spool.log(job.run).write_text(f"The run's process cannot be started: {exc}.")
            self._over[file] = self._spool.note(file, job, over=True, status=1)
            return
        self._children[file] = (self._spool.note(file, job, pid=child.pid), child)

    def _child(self, job: Job) -> subprocess.Popen[bytes]:
        with self._spool.log(job.run).open("wb") as log:
            return subprocess.Popen(
                # -P: the working folder's files do not stand in for the standard library's.
                [job.python, "-P", "-m", *job.command, job.uri],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=job.scratch,
                env=environment(job),
            )

    def _reap(self) -> None:
        for file, (job, child) in list(self._children.items()):
            status = _ended(child)
            if status is not None:
                self._over[file] = self._spool.note(file, job, over=True, status=status)
                del self._children[file]
        for file, job in list(self._strangers.items()):
            if job.leads:
                continue
            for process in job.processes():  # steps without a leader: nobody would go on
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self._over[file] = self._spool.note(file, job, over=True)
            del self._strangers[file]

    def _settle(self) -> None:
        """See that ended runs have an end; a store that is down is tried again."""
        if time.monotonic() < self._settle_at:
            return
        for file, job in list(self._over.items()):
            log = self._spool.log(job.run)
            try:
                settle(Store(job.run.store), job, log)
            except Exception:  # noqa: BLE001  one run's trouble is not the others'
                traceback.print_exc()
                print(f"rvlab: {job.uri} is settled later.", file=sys.stderr, flush=True)
                self._settle_at = time.monotonic() + RETRY_S
                continue
            if job.scratch and Path(job.scratch).name.startswith("rvlab-run-"):
                shutil.rmtree(job.scratch, ignore_errors=True)
            log.unlink(missing_ok=True)  # the steps' own logs are in the store
            self._spool.drop(file)
            del self._over[file]


def settle(store: Store, job: Job, log: Path) -> None:
    """Write the end of a run whose process is over, unless the run has one.

    Args:
        store: The run's store.
        job: The run's job.
        log: What the process printed.
    """
    run = job.run
    if store.exists(run.end_key):
        return
    unfinished = [r for r in step_records(store, run) if r.state != "succeeded"]
    step = unfinished[-1].step if unfinished else None
    where = step or "the run, between two steps,"
    status = job.status
    if status is not None and status > 128:
        status = 128 - status  # as a shell tells it, and our own steps
    if status is None:
        why = f"The process of {where} is gone, and nobody saw it end: was the machine restarted?"
    elif status < 0:
        why = f"{where} was ended by signal {-status} ({_name(-status)})."
        if -status == signal.SIGKILL:
            why += " That is what a machine does that runs out of memory."
    else:
        data = log.read_bytes()[-LAST_BYTES:] if log.exists() else b""
        last = cleaned(data, store).decode(errors="replace").strip().splitlines()
        why = f"{where} ended with status {status}: {last[-1] if last else 'it said nothing'}"
    try:
        spec = store.get_json(run.key(SPEC))
    except KeyMissing:
        return  # it was deleted: there is nobody to tell
    end(store, run, spec, "failed", step=step, error=why)


def environment(job: Job) -> dict[str, str]:
    """The environment of a run's process: fair shares of the processors, and repeatable hashes."""
    env = dict(os.environ)
    env.setdefault("OMP_NUM_THREADS", str(max(1, processors() // job.at_most)))
    env.setdefault("TQDM_MININTERVAL", "10")
    env["MPLBACKEND"] = "agg"  # a notebook's kernel hands down one that draws into its cells
    env["PYTHONHASHSEED"] = "0"  # Raster Vision iterates over sets of scene ids
    env["PYTHONUNBUFFERED"] = "1"
    env["RVLAB_CWD"] = job.cwd
    env["RVLAB_PATH"] = os.pathsep.join(filter(None, (job.folder, job.cwd)))
    if job.scratch:
        env["TMPDIR"] = job.scratch
    return env


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "a signal without a name"


def _ended(child: subprocess.Popen[bytes]) -> int | None:
    """A child's exit status; what it left behind in its group, such as data loaders, is ended.

    The group is ended before the child is reaped: after that, its number may be another's.
    """
    if psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        return None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def main(folder: str) -> None:
    """Be the supervisor of a spool, until there is nothing to do; detach first."""
    if os.fork():
        os._exit(0)
    os.setsid()
    spool = Spool(Path(folder))
    while True:
        with spool.held() as mine:
            if not mine:
                return
            Supervisor(spool).work()
        # A run that was added while the lock was being given up would wait for nobody.
        if not spool.waiting():
            return


if __name__ == "__main__":
    main(sys.argv[1])
