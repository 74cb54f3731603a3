"""The local engine: runs on this machine, in processes that outlive the notebook."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from rvlab.engines.spool import Job, Spool
from rvlab.errors import EngineError, HasEnded, SpecError
from rvlab.model import Run
from rvlab.store import Store
from rvlab.worker.records import SPEC, end

GRACE_S = 10.0


def default_at_most() -> int:
    """Half the processors, four at the most; one where a GPU would have to be shared."""
    if shutil.which("nvidia-smi"):
        return 1
    return max(1, min(4, (os.cpu_count() or 1) // 2))


@dataclass(frozen=True)
class LocalEngine:
    """Runs in processes of this machine, `at_most` at a time.

    Args:
        at_most: How many runs at a time; the rest wait, the oldest first.
    """

    at_most: int = field(default_factory=default_at_most)
    name: str = field(default="local", init=False)

    def __post_init__(self) -> None:
        if self.at_most < 1:
            raise SpecError(f"at_most is {self.at_most}, but it takes one run at a time or more.")

    def start(self, store: Store, runs: Sequence[Run], *, path: tuple[str, ...] = ()) -> None:
        """Queue runs and see that somebody works on the queue; return at once."""
        spool = Spool.of(store.uri)
        for run in runs:
            spool.add(run, at_most=self.at_most, path=path)
        self.nudge(store)

    def nudge(self, store: Store) -> None:
        """Start a supervisor if runs wait, or have lost theirs, and there is none."""
        spool = Spool.of(store.uri)
        if not spool.waiting() and not spool.running():
            return
        with spool.held() as nobody:
            pass
        if not nobody:
            return
        with (spool.folder / "supervisor.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "rvlab.engines.supervisor", str(spool.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **store.environ()},
                check=True,
            )

    def states(self, store: Store, runs: Sequence[Run]) -> dict[Run, str]:
        """What is known here of runs that have no end: ``queued``, ``running`` or ``lost``."""
        spool = Spool.of(store.uri)
        waiting = {job.run for job in spool.waiting()}
        alive = {job.run for job in spool.running() if job.process or job.pid is None}
        return {
            run: "queued" if run in waiting else "running" if run in alive else "lost"
            for run in runs
        }

    def cancel(self, store: Store, run: Run) -> None:
        """End a run, its process group and all, and leave no orphan.

        Raises:
            HasEnded: If it has ended already.
        """
        if not end(store, run, store.get_json(run.key(SPEC)), "cancelled"):
            state = store.get_json(run.key("end.json")).get("state")
            raise HasEnded(f"The run {run.id!r} has ended already ({state}).")
        spool = Spool.of(store.uri)
        job = spool.find(run)
        if job is None or (job.pid is None and spool.drop(job)):
            return
        self._stop(spool.find(run) or job)

    def _stop(self, job: Job) -> None:
        process = job.process
        if process is None:
            return
        family = [process, *process.children(recursive=True)]
        for number, grace_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            _, family = psutil.wait_procs(family, timeout=grace_s)
            if not family:
                return
        left = ", ".join(str(p.pid) for p in family)
        raise EngineError(
            f"The run {job.run.id!r} is cancelled, but processes {left} will not end."
        )
