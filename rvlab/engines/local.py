"""The local engine: runs on this machine, in processes that outlive the notebook."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import psutil

from rvlab.engines.spool import Job, Spool
from rvlab.errors import EngineError, HasEnded, SpecError
from rvlab.model import Run
from rvlab.recipes import Recipe
from rvlab.store import Store
from rvlab.store.patience import PATIENCE
from rvlab.store.roll import reopen
from rvlab.worker.records import SPEC, end
from rvlab.worker.threads import processors

GRACE_S = 10.0


def default_at_most() -> int:
    """Half the processors, four at the most; one where a GPU would have to be shared."""
    if shutil.which("nvidia-smi"):
        return 1
    return max(1, min(4, processors() // 2))


@dataclass(frozen=True)
class LocalEngine:
    """Runs in processes of this machine, `at_most` at a time.

    Args:
        at_most: How many runs at a time; the rest wait, the oldest first.
    """

    at_most: int = field(default_factory=default_at_most)
    name: str = field(default="local", init=False)
    anywhere: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.at_most, int) or self.at_most < 1:
            raise SpecError(f"at_most is {self.at_most}, but it takes one run at a time or more.")

    @property
    def image(self) -> str | None:
        """None: runs are processes of this machine."""
        return None

    @property
    def command(self) -> tuple[str, ...]:
        """The module that a run's process is, and what stands before the run's URI."""
        return ("rvlab.worker", "run")

    def ready(self, store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
        """Nothing to refuse: what this process reaches, its children reach."""

    def start(self, store: Store, runs: Sequence[Run], *, folder: str | None = None) -> list[Run]:
        """Queue runs and see that somebody works on the queue; return at once."""
        for run in runs:
            self._queue(store, run, folder)
        self.nudge(store)
        return list(runs)

    def _queue(self, store: Store, run: Run, folder: str | None) -> None:
        job = Job(
            run.uri,
            self.at_most,
            folder,
            os.getcwd(),
            command=self.command,
            patience_s=os.environ.get(PATIENCE),
        )
        Spool.of(store).add(job)

    def nudge(self, store: Store) -> None:
        """Start a supervisor if runs wait, or have lost theirs, and there is none.

        Raises:
            EngineError: If it cannot be started.
        """
        spool = Spool.of(store)
        if not spool.waiting() and not spool.running():
            return
        with spool.held() as nobody:
            pass
        if not nobody:
            return
        try:
            with (spool.folder / "supervisor.log").open("ab") as log:
                subprocess.run(
                    # -P and cwd: a file of the user's must not stand in for the standard library's.
                    [sys.executable, "-P", "-m", "rvlab.engines.supervisor", str(spool.folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=spool.folder,
                    env={**os.environ, **store.environ()},
                    check=True,
                )
        except (OSError, subprocess.CalledProcessError) as exc:
            raise EngineError(
                f"The supervisor of local runs did not start: {exc}. The runs are queued and start "
                f"with the next call; {spool.folder / 'supervisor.log'} says more."
            ) from exc

    def states(self, store: Store, runs: Sequence[Run]) -> dict[Run, str]:
        """What is known here of runs that have no end: ``queued``, ``running`` or ``lost``.

        A run whose process is gone is ``running`` until its supervisor has said how it ended, so
        one is started if there is none.
        """
        self.nudge(store)
        spool = Spool.of(store)
        waiting = {job.uri for _, job in spool.waiting()}
        taken = {job.uri for _, job in spool.running()}
        return {
            run: "queued" if run.uri in waiting else "running" if run.uri in taken else "lost"
            for run in runs
        }

    def retry(self, store: Store, run: Run, *, folder: str | None = None) -> None:
        """Start a run again that has failed or was lost; its steps are run anew, one by one.

        Raises:
            EngineError: If it waits or runs here.
        """
        spool = Spool.of(store)
        with spool.guarded():  # of two notebooks, one
            if spool.find(run) is not None:
                raise EngineError(f"The run {run.id!r} waits or runs already.")
            self._reopen(store, run)
            self._queue(store, run, folder)
        self.nudge(store)

    def _reopen(self, store: Store, run: Run) -> None:
        """Take back the end of a run before it is started again."""
        reopen(store, run)

    def cancel(self, store: Store, run: Run) -> None:
        """End a run, its process group and all, and leave no orphan.

        A run of another machine reads of it at its next heartbeat and ends itself.

        Raises:
            HasEnded: If it has ended already.
            EngineError: If a process of it does not end.
        """
        if not end(store, run, store.get_json(run.key(SPEC)), "cancelled"):
            state = store.get_json(run.end_key).get("state")
            raise HasEnded(f"The run {run.id!r} has ended already ({state}).")
        entry = Spool.of(store).find(run)
        if entry is None:
            return
        if entry[0].parent.name == "queue" and Spool.of(store).drop(entry[0]):
            return
        _stop((Spool.of(store).find(run) or entry)[1])


def _stop(job: Job) -> None:
    """End a run's processes: asked first, then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        family = _family(job)
        groups = set()
        for process in family:
            with contextlib.suppress(ProcessLookupError, psutil.Error):
                groups.add(os.getpgid(process.pid))
                if os.getpgid(process.pid) != job.pid:
                    process.send_signal(number)
        if job.pid in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(job.pid, number)
        until = time.monotonic() + GRACE_S
        while _alive(family) and time.monotonic() < until:
            time.sleep(0.05)
        if not _alive(family):
            return
    left = ", ".join(str(p.pid) for p in _alive(family))
    raise EngineError(f"The run {job.run.id!r} is cancelled, but its processes {left} do not end.")


def _family(job: Job) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for process in job.processes():
        found[process.pid] = process
        with contextlib.suppress(psutil.Error):
            found |= {child.pid: child for child in process.children(recursive=True)}
    return list(found.values())


def _alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that run; a zombie waits for its parent only."""
    alive = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive
