"""``python -m rvlab.engines.supervisor SPOOL``: runs what waits in a spool, N at a time.

It is started by whoever submits, detaches itself, outlives the notebook, and leaves when nothing is
left to do. A second one for the same spool leaves at once. It is the witness of the runs: when a
process dies without a word, it says so in the run's ``end.json``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rvlab.engines.spool import Job, Spool
from rvlab.errors import RvlabError
from rvlab.store import Store
from rvlab.worker.records import END, SPEC, end, step_records

LOOK_S = 0.25
IDLE_S = 3.0
LAST_BYTES = 2000


class Supervisor:
    """The runs of one spool, while this process lives."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._children: dict[Path, tuple[Job, subprocess.Popen[bytes]]] = {}
        self._strangers = {job.file: job for job in spool.running()}

    def work(self) -> None:
        """Start, watch and settle runs until none is left."""
        idle_since = time.monotonic()
        while True:
            self._reap()
            self._start()
            if self._children or self._strangers:
                idle_since = time.monotonic()
            if time.monotonic() - idle_since > IDLE_S:
                return
            time.sleep(LOOK_S)

    def _start(self) -> None:
        waiting = self._spool.waiting()
        busy = len(self._children) + len(self._strangers)
        for job in waiting[: max(0, waiting[-1].at_most - busy)] if waiting else ():
            taken = self._spool.take(job)
            if taken is None:
                continue
            with self._spool.log(job.run).open("wb") as log:
                child = subprocess.Popen(
                    [sys.executable, "-m", "rvlab.worker", "run", job.run.uri],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd=self._spool.folder,
                    env=environment(job),
                )
            self._children[taken.file] = (self._spool.started(taken, child.pid), child)

    def _reap(self) -> None:
        for file, (job, child) in list(self._children.items()):
            status = _ended(child)
            if status is None:
                continue
            self._settle(job, status)
            del self._children[file]
        for file, job in list(self._strangers.items()):
            if job.process is None:
                self._settle(job, None)
                del self._strangers[file]

    def _settle(self, job: Job, status: int | None) -> None:
        """See that the run has an end, whatever its process did."""
        try:
            settle(Store(job.run.store), job, status, self._spool.log(job.run))
        except RvlabError as exc:
            print(f"rvlab: {job.run.uri} could not be settled: {exc}", file=sys.stderr, flush=True)
        self._spool.drop(job)
        self._spool.log(job.run).unlink(missing_ok=True)  # the steps' own logs are in the store


def settle(store: Store, job: Job, status: int | None, log: Path) -> None:
    """Write the end of a run whose process is gone, unless the run has one.

    Args:
        store: The run's store.
        job: The run's job.
        status: The exit status of its process, negative for a signal; None if nobody saw it.
        log: What the process printed.
    """
    run = job.run
    if any(key == run.key(END) for key, _ in store.files(run.prefix)):
        return
    running = [r for r in step_records(store, run) if r.state == "running"]
    step = running[-1].step if running else None
    where = step or "the run, between two steps,"
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        why = f"{where} was ended by signal {-status} ({name})."
        if -status == signal.SIGKILL:
            why += " That is what a machine does that runs out of memory."
    elif status is None:
        why = f"The process of {where} is gone, and nobody saw it end: was the machine restarted?"
    else:
        last = log.read_bytes()[-LAST_BYTES:].decode(errors="replace").strip().splitlines()
        why = f"{where} ended with status {status}: {last[-1] if last else 'it said nothing'}"
    end(store, run, store.get_json(run.key(SPEC)), "failed", step=step, error=why)


def environment(job: Job) -> dict[str, str]:
    """The environment of a run's process: fair shares of the processors, and repeatable hashes."""
    env = dict(os.environ)
    env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // job.at_most)))
    env.setdefault("TQDM_MININTERVAL", "10")
    env["MPLBACKEND"] = "agg"  # a notebook's kernel hands down one that draws into its cells
    env["PYTHONHASHSEED"] = "0"  # Raster Vision iterates over sets of scene ids
    env["PYTHONUNBUFFERED"] = "1"
    if job.path:
        env["PYTHONPATH"] = os.pathsep.join([*job.path, *filter(None, [env.get("PYTHONPATH")])])
    return env


def _ended(child: subprocess.Popen[bytes]) -> int | None:
    """A child's exit status; what it left behind in its group, such as data loaders, is ended.

    The group is ended before the child is reaped: after that, its number may be another's.
    """
    if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
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
