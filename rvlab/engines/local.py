"""The local engine: runs on this machine, in processes that outlive the notebook."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rvlab.engines.job_queue import Job, JobEntry, JobQueue, open_private
from rvlab.engines.processes import TOKEN_VARIABLE, stop_job
from rvlab.engines.record_end import finish_job
from rvlab.errors import EngineError, HasEnded, RvlabError, SpecError
from rvlab.model import Run
from rvlab.recipes import Recipe
from rvlab.store import Store
from rvlab.store.patience import PATIENCE_VARIABLE
from rvlab.store.run_listing import MAX_LOOKUPS, lookup_runs, reopen_run
from rvlab.worker.records import SPEC, write_end
from rvlab.worker.threads import available_processors

GRACE_S, SETTLE_S = 10.0, 15.0
"""Seconds that processes have to end, and that a supervisor has to record the end of a run."""

ON_THIS_MACHINE = ("local", "rehearse")
"""The engines whose runs share the queue of this machine."""


def default_max_parallel() -> int:
    """Half the processors, four at the most; one where a GPU would have to be shared."""
    if shutil.which("nvidia-smi"):
        return 1
    return max(1, min(4, available_processors() // 2))


@dataclass(frozen=True)
class LocalEngine:
    """Runs in processes of this machine, `max_parallel` at a time.

    Args:
        max_parallel: How many runs at a time; the rest wait, the oldest first.
    """

    max_parallel: int = field(default_factory=default_max_parallel)
    name: str = field(default="local", init=False)
    sees_all_runs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.max_parallel, int) or self.max_parallel < 1:
            raise SpecError(
                f"max_parallel is {self.max_parallel}, but it takes one run at a time or more."
            )

    @property
    def image(self) -> str | None:
        """None: runs are processes of this machine."""
        return None

    @property
    def command(self) -> tuple[str, ...]:
        """The module that a run's process is, and what stands before the run's URI."""
        return ("rvlab.worker", "run")

    def validate(self, store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
        """Refuse runs that cannot be queued on this machine, before any record is written.

        Raises:
            EngineError: If the disk of the queue is full, or its folder cannot be written.
        """
        JobQueue.for_store(store).require_space(len(points))

    def start(self, store: Store, runs: Sequence[Run], *, folder: str | None = None) -> list[Run]:
        """Queue runs and see that somebody works on the queue; return at once.

        Raises:
            EngineError: If a run cannot be queued; those it names are recorded, and are queued by
                `retry`.
        """
        for number, run in enumerate(runs):
            try:
                self._enqueue(store, run, folder)
            except OSError as exc:
                if number:
                    self.resume(store)
                raise EngineError(
                    f"{len(runs) - number} of {len(runs)} runs were not queued in "
                    f"{JobQueue.for_store(store).folder}: {exc.strerror}. They are recorded; start "
                    "them with "
                    f"lab.retry: {', '.join(one.id for one in runs[number:])}."
                ) from exc
        self.resume(store)
        return list(runs)

    def _enqueue(self, store: Store, run: Run, folder: str | None) -> None:
        job = Job(
            run.uri,
            self.max_parallel,
            folder,
            os.getcwd(),
            command=self.command,
            patience_s=os.environ.get(PATIENCE_VARIABLE),
        )
        JobQueue.for_store(store).add(job)

    def resume(self, store: Store) -> None:
        """Start a supervisor if runs wait, or have lost theirs, and there is none.

        Raises:
            EngineError: If it cannot be started.
        """
        spool = JobQueue.for_store(store)
        if not spool.waiting() and not spool.running():
            return
        with spool.try_supervise() as nobody:
            pass
        if not nobody:
            return
        environ = {**os.environ, **store.environ()}
        environ.pop(
            TOKEN_VARIABLE, None
        )  # started from within a run, it is not one of its processes
        try:
            with open_private(spool.folder / "supervisor.log", "ab") as log:
                subprocess.run(
                    # -P and cwd: a file of the user's must not stand in for the standard library's.
                    [sys.executable, "-P", "-m", "rvlab.engines.supervisor", str(spool.folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=spool.folder,
                    env=environ,
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
        self.resume(store)
        spool = JobQueue.for_store(store)
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
        spool = JobQueue.for_store(store)
        with spool.lock():  # of two notebooks, one
            if spool.find(run) is not None:
                raise EngineError(f"The run {run.id!r} waits or runs already.")
            spool.require_space()
            self._reopen(store, run)
            self._enqueue(store, run, folder)
        self.resume(store)

    def _reopen(self, store: Store, run: Run) -> None:
        """Take back the end of a run before it is started again."""
        reopen_run(store, run)

    def cancel(self, store: Store, run: Run) -> None:
        """End a run with all its processes; see `cancel_many`.

        Raises:
            HasEnded: If it has ended already.
            EngineError: If it is another engine's, a process of it does not end, or its end is not
                recorded yet.
        """
        trouble = self.cancel_many(store, [run]).get(run)
        if trouble is not None:
            raise trouble

    def cancel_many(self, store: Store, runs: Sequence[Run]) -> dict[Run, RvlabError]:
        """End runs with all their processes; one whose process died by itself has failed.

        The queue is listed once, and held until those that wait have ended, so that none of them is
        started meanwhile. A run of another machine ends itself at its next heartbeat.

        Returns:
            Of those that were not cancelled, why: `HasEnded`, or another error.
        """
        spool = JobQueue.for_store(store)
        troubles = _ended_already(store, runs)
        wanted = {run.uri: run for run in runs if run not in troubles}
        with spool.lock():
            waiting = {job.uri: file for file, job in spool.waiting() if job.uri in wanted}
            troubles |= self._each(
                store, waiting, lambda uri: self._drop(store, spool, wanted[uri], waiting[uri])
            )
        taken = {entry[1].uri: entry for entry in spool.running()}
        others = [uri for uri in wanted if uri not in waiting]
        troubles |= self._each(
            store, others, lambda uri: self._stop(store, spool, wanted[uri], taken.get(uri))
        )
        for run in troubles:  # a call that cancelled it earlier may have been interrupted
            if run.uri in taken and run.uri not in wanted and _is_cancelled(store, run):
                self._end_processes(taken[run.uri][1])
        if taken:
            self.resume(store)
        return troubles

    def _each(
        self, store: Store, uris: Iterable[str], act: Callable[[str], None]
    ) -> dict[Run, RvlabError]:
        """Act on many runs at a time; one run's error does not keep the others from it."""

        def attempt(uri: str) -> RvlabError | None:
            try:
                act(uri)
            except RvlabError as exc:
                return exc
            return None

        found = store.map_concurrently(attempt, uris).items()
        return {Run.from_uri(uri): trouble for uri, trouble in found if trouble is not None}

    def _drop(self, store: Store, spool: JobQueue, run: Run, file: Path) -> None:
        """Cancel a run that waits."""
        self._end(store, run)
        spool.remove(file)

    def _stop(self, store: Store, spool: JobQueue, run: Run, entry: JobEntry | None) -> None:
        """Cancel a run that has, or had, a process, or that is unknown here."""
        job = spool.read(entry[0]) if entry else None
        if entry is not None and job is not None and _is_over(job):
            _await_end(store, spool, entry[0])
        self._end(store, run)
        job = spool.read(entry[0]) if entry else None
        if job is not None:
            self._end_processes(job)

    def _end_processes(self, job: Job) -> None:
        left = ", ".join(str(process.pid) for process in stop_job(job, GRACE_S))
        if left:
            raise EngineError(
                f"The run {job.run.id!r} is cancelled, but its processes {left} do not end."
            )

    def _end(self, store: Store, run: Run) -> None:
        """Record that a run was cancelled, unless it has another end or another engine's."""
        spec = store.get_json(run.key(SPEC))
        engine = spec.get("engine")
        if engine not in (self.name, *ON_THIS_MACHINE):
            raise EngineError(
                f"The run {run.id!r} is the engine {engine!r}'s, which knows whether it has ended. "
                f"Open the lab with engine={engine!r} to cancel it. Nothing has been recorded."
            )
        if not write_end(store, run, spec, "cancelled"):
            raise _has_ended(store, run)


def _ended_already(store: Store, runs: Sequence[Run]) -> dict[Run, RvlabError]:
    """Which runs have an end in the store: of many, by one listing for each experiment."""
    ids: dict[str, list[str]] = {}
    for run in runs:
        ids.setdefault(run.experiment, []).append(run.id)
    rolls = [lookup_runs(store, experiment, mine) for experiment, mine in ids.items()]
    ended = {Run(store.uri, one.experiment, id_).uri for one in rolls for id_ in one.end_etags}
    found = [run for run in runs if run.uri in ended]
    if len(found) > MAX_LOOKUPS:  # no message shows the states of so many
        return {run: HasEnded(f"The run {run.id!r} has ended already.") for run in found}
    return {run: _has_ended(store, run) for run in found}


def _has_ended(store: Store, run: Run) -> HasEnded:
    state = store.get_json(run.end_key).get("state")
    return HasEnded(f"The run {run.id!r} has ended already ({state}).")


def _is_cancelled(store: Store, run: Run) -> bool:
    return store.get_json(run.end_key).get("state") == "cancelled"


def _is_over(job: Job) -> bool:
    """Whether nothing of a run is alive: it has ended by itself, and its end is to be written."""
    if job.over:
        return True
    return job.pid is not None and not job.leader_alive and not job.processes()


def _await_end(store: Store, spool: JobQueue, file: Path) -> None:
    """Wait until the supervisor has written how a run ended; without one, write it.

    Raises:
        EngineError: If it has not written it in time.
    """
    until = time.monotonic() + SETTLE_S
    while (job := spool.read(file)) is not None:
        with spool.try_supervise() as mine:
            if mine:
                finish_job(spool, file, job, store)
                return
        if time.monotonic() > until:
            raise EngineError(
                f"The process of the run {job.run.id!r} has ended by itself, but its end is not "
                f"recorded after {SETTLE_S:g} s. {spool.folder / 'supervisor.log'} says why. "
                "Nothing has been cancelled."
            )
        time.sleep(0.1)
