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

from rvlab.engines.extras import require_extra
from rvlab.engines.job_queue import SUBMITTER_VARIABLES, Job, JobEntry, JobQueue, open_private
from rvlab.engines.processes import TOKEN_VARIABLE, stop_job
from rvlab.engines.record_end import finish_job
from rvlab.errors import EngineError, HasEnded, RvlabError, SpecError
from rvlab.model import ReportedState, Run
from rvlab.model.check_result import CheckResult
from rvlab.recipes import Recipe
from rvlab.store import Store
from rvlab.store.run_listing import MAX_LOOKUPS, ended_runs, reopen_run
from rvlab.worker.records import SPEC, write_end
from rvlab.worker.threads import available_processors

GRACE_S, SETTLE_S = 10.0, 15.0
"""Seconds that processes have to end after a signal, and a supervisor to record a run's end."""


def default_max_parallel() -> int:
    """Return half the number of processors, at most four; one on a machine with a GPU."""
    if shutil.which("nvidia-smi"):
        return 1
    return max(1, min(4, available_processors() // 2))


@dataclass(frozen=True)
class LocalEngine:
    """Runs in processes of this machine, `max_parallel` at a time.

    Args:
        max_parallel: Maximum number of concurrent runs; the rest wait. Runs with the highest
            priority start first; of equal priority, the oldest.
    """

    max_parallel: int = field(default_factory=default_max_parallel)
    name: str = field(default="local", init=False)
    sees_all_runs: ClassVar[bool] = False
    steady_heartbeat: ClassVar[bool] = True
    has_priorities: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.max_parallel, int) or self.max_parallel < 1:
            raise SpecError(f"max_parallel must be a positive integer, got {self.max_parallel!r}.")

    @classmethod
    def from_profile(cls, profile: str | None) -> LocalEngine:
        """Return an engine; the local engine has no profiles.

        Raises:
            SpecError: If a profile is named.
        """
        if profile is not None:
            raise SpecError(f"The local engine has no profiles. Omit profile={profile!r}.")
        return cls()

    @property
    def image(self) -> str | None:
        """None, because runs are processes of this machine."""
        return None

    @property
    def command(self) -> tuple[str, ...]:
        """The module that a run's process executes, and the arguments before the run's URI."""
        return ("rvlab.worker", "run")

    def validate(self, store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
        """Raise if this machine cannot queue the runs; called before any record is written.

        Raises:
            MissingExtra: If a package that runs need is not installed.
            EngineError: If the disk of the queue is full, or its folder cannot be written.
        """
        self.require_packages()
        JobQueue.for_store(store).require_space(len(points))

    def check(self, store: Store) -> list[CheckResult]:
        """Check that the queue of this machine can be written."""
        queue = JobQueue.for_store(store)
        try:
            queue.require_space()
        except EngineError as exc:
            remedy = "Free space there, or set $RVLAB_HOME to a folder that you can write."
            return [CheckResult("local engine", "queue", "failed", str(exc), remedy)]
        return [CheckResult("local engine", "queue", "ok", str(queue.folder))]

    def require_packages(self) -> None:
        """Raise if a package that runs on this machine need is not installed.

        Raises:
            MissingExtra: With the command that installs it.
        """
        require_extra("train", "A run on this machine")

    def start(
        self, store: Store, runs: Sequence[Run], *, folder: str | None = None, priority: int = 0
    ) -> list[Run]:
        """Queue runs, start a supervisor if none is running, and return at once.

        Raises:
            EngineError: If runs cannot be queued. The message names them; they are recorded, and
                `retry` queues them.
        """
        for queued, run in enumerate(runs):
            try:
                self._enqueue(store, run, folder, priority)
            except OSError as exc:
                if queued:
                    self.resume(store)
                raise EngineError(
                    f"{len(runs) - queued} of {len(runs)} runs were not queued in "
                    f"{JobQueue.for_store(store).folder}: {exc.strerror}. They are recorded; start "
                    "them with "
                    f"lab.retry: {', '.join(run.id for run in runs[queued:])}."
                ) from exc
        self.resume(store)
        return list(runs)

    def _enqueue(self, store: Store, run: Run, folder: str | None, priority: int) -> None:
        job = Job(
            run.uri,
            self.max_parallel,
            folder,
            os.getcwd(),
            command=self.command,
            variables={n: os.environ[n] for n in SUBMITTER_VARIABLES if n in os.environ},
            priority=priority or None,  # unknown to a running supervisor of an older rvlab
        )
        JobQueue.for_store(store).add(job)

    def resume(self, store: Store) -> None:
        """Start a supervisor if the queue has jobs and no supervisor is running.

        Raises:
            EngineError: If it cannot be started.
        """
        queue = JobQueue.for_store(store)
        if not queue.waiting() and not queue.running():
            return
        with queue.try_supervise() as is_free:
            pass
        if not is_free:
            return
        environ = {**os.environ, **store.environ()}
        # A supervisor that a run starts must not carry the run's token, or it would end with the
        # run.
        environ.pop(TOKEN_VARIABLE, None)
        try:
            with open_private(queue.folder / "supervisor.log", "ab") as log:
                subprocess.run(
                    # -P and cwd: the user's files must not shadow the standard library.
                    [sys.executable, "-P", "-m", "rvlab.engines.supervisor", str(queue.folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=queue.folder,
                    env=environ,
                    check=True,
                )
        except (OSError, subprocess.CalledProcessError) as exc:
            raise EngineError(
                f"The supervisor of local runs did not start: {exc}. The runs are queued and start "
                f"with the next call; {queue.folder / 'supervisor.log'} has details."
            ) from exc

    def states(self, store: Store, runs: Sequence[Run]) -> dict[Run, ReportedState]:
        """Return the state of runs without an end record: ``queued``, ``running`` or ``lost``.

        A run whose process has died is ``running`` until a supervisor has recorded its end; a
        supervisor is started if none is running.
        """
        self.resume(store)
        queue = JobQueue.for_store(store)
        waiting = {job.uri for _, job in queue.waiting()}
        running = {job.uri for _, job in queue.running()}
        return {
            run: ReportedState(
                "queued" if run.uri in waiting else "running" if run.uri in running else "lost"
            )
            for run in runs
        }

    def retry(self, store: Store, run: Run, *, folder: str | None = None) -> None:
        """Start a failed or lost run again, with all its steps.

        Raises:
            MissingExtra: If a package that runs need is not installed.
            EngineError: If it is waiting or running here.
        """
        self.require_packages()
        queue = JobQueue.for_store(store)
        with queue.lock():  # if two notebooks retry a run, only one succeeds
            if queue.find(run) is not None:
                raise EngineError(f"The run {run.id!r} is already waiting or running.")
            queue.require_space()
            self._reopen(store, run)
            priority = store.get_json(run.key(SPEC)).get("priority", 0)
            self._enqueue(store, run, folder, priority if isinstance(priority, int) else 0)
        self.resume(store)

    def _reopen(self, store: Store, run: Run) -> None:
        """Delete the end record of a run before it is started again."""
        reopen_run(store, run)

    def cancel(self, store: Store, run: Run) -> None:
        """Cancel a run and stop all its processes; see `cancel_many`.

        Raises:
            HasEnded: If it has ended already.
            EngineError: If it belongs to another engine, a process survives SIGKILL, or its end is
                not recorded yet.
        """
        error = self.cancel_many(store, [run]).get(run)
        if error is not None:
            raise error

    def cancel_many(self, store: Store, runs: Sequence[Run]) -> dict[Run, RvlabError]:
        """Cancel runs and stop all their processes.

        A run whose process has died before is not cancelled but recorded as failed. The queue stays
        locked until the waiting runs are cancelled, so that no supervisor starts them. A run on
        another machine ends itself at its next heartbeat.

        Returns:
            An error for each run that was not cancelled, such as `HasEnded`.
        """
        queue = JobQueue.for_store(store)
        errors = _ended_already(store, runs)
        runs_by_uri = {run.uri: run for run in runs if run not in errors}
        with queue.lock():
            waiting = {job.uri: file for file, job in queue.waiting() if job.uri in runs_by_uri}
            errors |= self._each(
                store,
                waiting,
                lambda uri: self._cancel_waiting(store, queue, runs_by_uri[uri], waiting[uri]),
            )
        running = {entry[1].uri: entry for entry in queue.running()}
        started = [uri for uri in runs_by_uri if uri not in waiting]
        errors |= self._each(
            store,
            started,
            lambda uri: self._cancel_started(store, queue, runs_by_uri[uri], running.get(uri)),
        )
        for run in errors:  # an earlier cancellation may have been interrupted
            if run.uri in running and run.uri not in runs_by_uri and _is_cancelled(store, run):
                self._end_processes(running[run.uri][1])
        if running:
            self.resume(store)
        return errors

    def _each(
        self, store: Store, uris: Iterable[str], action: Callable[[str], None]
    ) -> dict[Run, RvlabError]:
        """Call a function for many runs concurrently; one error does not affect the others."""

        def attempt(uri: str) -> RvlabError | None:
            try:
                action(uri)
            except RvlabError as exc:
                return exc
            return None

        results = store.map_concurrently(attempt, uris).items()
        return {Run.from_uri(uri): error for uri, error in results if error is not None}

    def _cancel_waiting(self, store: Store, queue: JobQueue, run: Run, file: Path) -> None:
        """Cancel a waiting run."""
        self._record_cancelled(store, run)
        queue.remove(file)

    def _cancel_started(
        self, store: Store, queue: JobQueue, run: Run, entry: JobEntry | None
    ) -> None:
        """Cancel a run that was started here, or that this machine's queue does not have."""
        job = queue.read(entry[0]) if entry else None
        if entry is not None and job is not None and _is_over(job):
            _await_end(store, queue, entry[0])
        self._record_cancelled(store, run)
        job = queue.read(entry[0]) if entry else None
        if job is not None:
            self._end_processes(job)

    def _end_processes(self, job: Job) -> None:
        alive = ", ".join(str(process.pid) for process in stop_job(job, GRACE_S))
        if alive:
            raise EngineError(
                f"The run {job.run.id!r} is cancelled, but its processes {alive} survived SIGKILL."
            )

    def _record_cancelled(self, store: Store, run: Run) -> None:
        """Record a run as cancelled, unless it has ended or only another engine can stop it."""
        spec = store.get_json(run.key(SPEC))
        engine = spec.get("engine")
        if engine != self.name and not spec.get("steady_heartbeat"):
            raise EngineError(
                f"The run {run.id!r} belongs to the engine {engine!r}, which knows its state. "
                f"Open the lab with engine={engine!r} to cancel it. Nothing has been recorded."
            )
        if not write_end(store, run, spec, "cancelled"):
            raise _has_ended(store, run)


def _ended_already(store: Store, runs: Sequence[Run]) -> dict[Run, RvlabError]:
    """Return an error for each run that has an end record; list each experiment once."""
    ended_uris = ended_runs(store, runs)
    ended = [run for run in runs if run.uri in ended_uris]
    if len(ended) > MAX_LOOKUPS:  # too many states to read only for a message
        return {run: HasEnded(f"The run {run.id!r} has ended already.") for run in ended}
    return {run: _has_ended(store, run) for run in ended}


def _has_ended(store: Store, run: Run) -> HasEnded:
    state = store.get_json(run.end_key).get("state")
    return HasEnded(f"The run {run.id!r} has ended already ({state}).")


def _is_cancelled(store: Store, run: Run) -> bool:
    return store.get_json(run.end_key).get("state") == "cancelled"


def _is_over(job: Job) -> bool:
    """Return whether the processes of a run in the queue have ended."""
    if job.over:
        return True
    return job.pid is not None and not job.leader_alive and not job.processes()


def _await_end(store: Store, queue: JobQueue, file: Path) -> None:
    """Wait until the supervisor has written a run's end record; without a supervisor, write it.

    Raises:
        EngineError: If it is not written in time.
    """
    deadline = time.monotonic() + SETTLE_S
    while (job := queue.read(file)) is not None:
        with queue.try_supervise() as is_supervisor:
            if is_supervisor:
                finish_job(queue, file, job, store)
                return
        if time.monotonic() > deadline:
            raise EngineError(
                f"The process of the run {job.run.id!r} has ended by itself, but its end is not "
                f"recorded after {SETTLE_S:g} s. See {queue.folder / 'supervisor.log'}. "
                "Nothing has been cancelled."
            )
        time.sleep(0.1)
