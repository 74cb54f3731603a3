"""The job queue: one folder per store, one file per run, which moves between folders.

    queue/{time}-{run}.json     waiting
    running/{time}-{run}.json   has a process, or its process has ended
    logs/{run}.log              output of the run's process
    lock                        locked by the supervisor while it runs
    guard                       locked while jobs are started, retried or cancelled

The queue contains no secrets; they are passed in the environment of the supervisor. Only the owner
can enter the folder (0700) or read its files (0600).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, Any, cast

import psutil

from rvlab.engines.processes import find_leader, find_processes
from rvlab.errors import EngineError
from rvlab.model import Run
from rvlab.store import Store
from rvlab.store.local_folders import user_data_dir
from rvlab.store.patience import PATIENCE_VARIABLE

STALE_S = 3600.0

SUBMITTER_VARIABLES = (
    PATIENCE_VARIABLE,
    *("CUDA_VISIBLE_DEVICES", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"),
)
"""Environment variables that a run gets from its submitter, not from the supervisor."""

JOB_BYTES, RESERVE_BYTES = 8192, 65536
"""Disk space of a job, rounded up to blocks, and of locks and logs."""


@dataclass(frozen=True)
class Job:
    """A run in the job queue.

    Args:
        uri: The run's URI.
        max_parallel: Maximum number of concurrent runs, as set by the submitter.
        folder: The recipe's own folder; None for a shipped recipe or a notebook cell.
        cwd: The submitter's working folder.
        python: The submitter's interpreter.
        command: The module that its process runs, and the arguments before the run's URI.
        pid: Its process, which leads its own session; None while it waits.
        born: Creation time of the process, in seconds since the epoch.
        token: The random text that marks its processes; see `rvlab.engines.processes`. None while
            it waits, and in a file of an older rvlab.
        scratch: The folder for its temporary files.
        over: Whether the process has ended.
        status: Its exit status, negative for a signal; None if unknown.
        priority: Waiting runs with the highest priority start first; None is 0.
        variables: The submitter's values of `SUBMITTER_VARIABLES`; None in a file of an older
            rvlab: the run gets the supervisor's values.
    """

    uri: str
    max_parallel: int
    folder: str | None = None
    cwd: str = ""
    python: str = sys.executable
    command: Sequence[str] = ("rvlab.worker", "run")
    pid: int | None = None
    scratch: str | None = None
    over: bool = False
    status: int | None = None
    variables: Mapping[str, str] | None = None
    born: float | None = None
    token: str | None = None
    priority: int | None = None

    @property
    def argv(self) -> list[str]:
        """The command of its process."""
        # -P: files in the working folder must not shadow the standard library.
        return [self.python, "-P", "-m", *self.command, self.uri]

    @property
    def run(self) -> Run:
        """The run."""
        return Run.from_uri(self.uri)

    @property
    def leader_alive(self) -> bool:
        """Whether its own process, which executes step after step, is alive."""
        return find_leader(self) is not None

    def processes(self) -> list[psutil.Process]:
        """List the run's live processes: the leader, its steps and their children."""
        return find_processes(self)


_FIELDS = {one.name for one in fields(Job)}

JobEntry = tuple[Path, Job]


class JobQueue:
    """The job queue of one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def for_store(cls, store: Store) -> JobQueue:
        """Return the job queue of a store; create it if it is missing, readable by its owner only.

        Raises:
            EngineError: If it cannot be created.
        """
        address = f"{store.uri} {store.access.endpoint if store.is_s3 else ''}"
        digest = hashlib.sha256(address.encode()).hexdigest()[:16]
        home = user_data_dir()
        queue = cls(home / "local" / digest)
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (home / "local", queue.folder):
                make_private(folder)
            for name in ("queue", "running", "logs"):
                make_private(queue.folder / name)
        except OSError as exc:
            raise EngineError(
                f"The queue of local runs cannot be created in {queue.folder}: {exc.strerror}. "
                "Set RVLAB_HOME to a folder that you can write to."
            ) from exc
        return queue

    def add(self, job: Job) -> None:
        """Append a job to the queue."""
        _write_atomically(self.folder / "queue" / f"{time.time_ns():020d}-{job.run.id}.json", job)

    def require_space(self, jobs: int = 1) -> None:
        """Check that the disk has space for jobs: write the bytes that they need, and delete them.

        Args:
            jobs: Number of jobs.

        Raises:
            EngineError: If the disk is full, or the folder cannot be written.
        """
        size = RESERVE_BYTES + jobs * JOB_BYTES
        probe = self.folder / "queue" / f"{secrets.token_hex(8)}.space"
        try:
            try:
                with open_private(probe, "wb") as out:
                    out.write(os.urandom(size))
                    out.flush()
                    os.fsync(out.fileno())
            finally:
                probe.unlink(missing_ok=True)
        except OSError as exc:
            count = "1 run" if jobs == 1 else f"{jobs} runs"
            raise EngineError(
                f"The queue of local runs in {self.folder} has no space for {count}, which needs "
                f"{size / 2**10:.0f} KiB: {exc.strerror}. Free some space, or set RVLAB_HOME to "
                "another folder. Nothing has been recorded."
            ) from exc

    @contextlib.contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[bool]:
        """Lock the queue, so that no other process adds, starts or cancels a run.

        Args:
            wait: Whether to wait for another process that holds the lock.

        Yields:
            Whether this process holds the lock; False only without `wait`.
        """
        with open_private(self.folder / "guard", "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def waiting(self) -> list[JobEntry]:
        """List the waiting runs, by descending priority, then oldest first."""
        return sorted(self._entries("queue"), key=lambda entry: -(entry[1].priority or 0))

    def running(self) -> list[JobEntry]:
        """List the runs that are in ``running``, also those whose process has ended."""
        return self._entries("running")

    def find(self, run: Run) -> JobEntry | None:
        """Return a run's job, waiting or running; None if it has none."""
        entries = [*self.waiting(), *self.running()]
        return next((entry for entry in entries if entry[1].uri == run.uri), None)

    def read(self, file: Path) -> Job | None:
        """Read a job again; None if its file is deleted."""
        return _read(file)

    def put_back(self, file: Path) -> None:
        """Move a job whose process was never started back to the queue."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(file, self.folder / "queue" / file.name)

    def claim(self, file: Path) -> Path | None:
        """Move a job from ``queue`` to ``running``; None if it was cancelled meanwhile."""
        target = self.folder / "running" / file.name
        try:
            os.rename(file, target)
        except FileNotFoundError:
            return None
        return target

    def update(self, file: Path, job: Job, **changes: Any) -> Job:
        """Write changed fields of a job."""
        changed = replace(job, **changes)
        _write_atomically(file, changed)
        return changed

    def remove(self, file: Path) -> bool:
        """Delete a job.

        Returns:
            False if it was deleted before.
        """
        _draft_of(file).unlink(missing_ok=True)  # left by a process that was killed while writing
        try:
            file.unlink()
        except FileNotFoundError:
            return False
        return True

    def delete_stale_files(self) -> None:
        """Delete temporary files of killed processes that are older than an hour."""
        for file in (*self.folder.glob("*/*.new"), *self.folder.glob("*/*.space")):
            with contextlib.suppress(OSError):
                if file.stat().st_mtime < time.time() - STALE_S:
                    file.unlink()

    def log_path(self, run: Run) -> Path:
        """Return the file for the output of a run's process."""
        return self.folder / "logs" / f"{run.id}.log"

    @contextlib.contextmanager
    def try_supervise(self) -> Iterator[bool]:
        """Try to become the supervisor and yield whether that succeeded.

        The system releases the lock of a process that is killed.
        """
        with open_private(self.folder / "lock", "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _entries(self, name: str) -> list[JobEntry]:
        entries = []
        for file in sorted((self.folder / name).glob("*.json")):
            job = _read(file)
            if job is not None:
                entries.append((file, job))
        return entries


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can enter; restrict an existing folder and its files."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
        for file in folder.iterdir():
            if file.is_file() and not file.is_symlink():
                file.chmod(0o600)


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file that only its owner can read; create a missing one, restrict an existing one."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags, 0o600)
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
        return descriptor

    return cast("IO[bytes]", open(path, mode, opener=opener))


def _draft_of(file: Path) -> Path:
    return file.with_suffix(".new")


def _read(file: Path) -> Job | None:
    """Read a job; rename a file that is incomplete or has no valid run URI to ``.broken``.

    A file of an older rvlab lacks `Job.token`. A file from before 0.1.0 has ``at_most`` instead of
    `Job.max_parallel`. Unknown fields of a newer rvlab are ignored.
    """
    try:
        record = json.loads(file.read_text())
        if "at_most" in record:
            record.setdefault("max_parallel", record["at_most"])
        job = Job(**{name: value for name, value in record.items() if name in _FIELDS})
        job.run  # noqa: B018  raises ValueError if the URI is not a run's
    except FileNotFoundError:
        return None  # moved after the listing
    except (ValueError, TypeError, AttributeError):
        with contextlib.suppress(FileNotFoundError):
            file.rename(file.with_suffix(".broken"))
        return None
    return job


def _write_atomically(file: Path, job: Job) -> None:
    """Write a job atomically, even if the power fails."""
    # Omit unset fields: a running supervisor of an older rvlab may reject new fields.
    record = {name: value for name, value in asdict(job).items() if value is not None}
    draft = _draft_of(file)
    try:
        with open_private(draft, "wb") as out:
            out.write(json.dumps(record).encode())
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
