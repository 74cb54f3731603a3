"""The queue of local runs: one folder per store, one file per run, moved from state to state.

    queue/{time}-{run}.json     waits
    running/{time}-{run}.json   has, or had, a process
    logs/{run}.log              what that process printed
    lock                        held by the supervisor while it lives
    guard                       held while jobs are moved: started, retried or cancelled

It holds no secret: those travel in the environment of the supervisor that the submitter starts.
Only its owner may enter the folder (0700) or read its files (0600).
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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, Any, cast

import psutil

from rvlab.engines.processes import find_leader, find_processes
from rvlab.errors import EngineError
from rvlab.model import Run
from rvlab.store import Store
from rvlab.store.dirs import user_data_dir

STALE_S = 3600.0

JOB_BYTES, RESERVE_BYTES = 8192, 65536
"""What a job takes on a disk, in whole blocks, and what locks and logs take beside the jobs."""


@dataclass(frozen=True)
class Job:
    """A run in the spool.

    Args:
        uri: The run's URI.
        max_parallel: How many runs its submitter wants at a time.
        folder: The recipe's own folder; None for a shipped recipe or a cell.
        cwd: The submitter's working folder.
        python: The submitter's interpreter.
        command: The module that its process runs, and what stands before the run's URI.
        pid: Its process, which leads a session of its own; None while it waits.
        born: When that process was created, in seconds since the epoch.
        token: The random text that marks its processes; see `rvlab.engines.processes`. None while
            it waits, and in a file that an older rvlab has written.
        scratch: The folder for its temporary files.
        over: Whether that process has ended.
        status: Its exit status then, negative for a signal; None if nobody saw it.
        patience_s: The submitter's ``$RVLAB_PATIENCE_S``; None if it is not set.
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
    patience_s: str | None = None
    born: float | None = None
    token: str | None = None

    @property
    def argv(self) -> list[str]:
        """The command of its process."""
        # -P: the working folder's files do not stand in for the standard library's.
        return [self.python, "-P", "-m", *self.command, self.uri]

    @property
    def run(self) -> Run:
        """The run's address."""
        return Run.from_uri(self.uri)

    @property
    def leader_alive(self) -> bool:
        """Whether its own process, which goes from step to step, lives."""
        return find_leader(self) is not None

    def processes(self) -> list[psutil.Process]:
        """The run's processes that live: the leader, its steps and what they have started."""
        return find_processes(self)


_FIELDS = {one.name for one in fields(Job)}

JobEntry = tuple[Path, Job]


class JobQueue:
    """The folder of one store's local runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def for_store(cls, store: Store) -> JobQueue:
        """The spool of a store, made if it is missing, for this user's eyes only.

        Raises:
            EngineError: If it cannot be made.
        """
        where = f"{store.uri} {store.access.endpoint if store.is_s3 else ''}"
        digest = hashlib.sha256(where.encode()).hexdigest()[:16]
        home = user_data_dir()
        spool = cls(home / "local" / digest)
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (home / "local", spool.folder):
                make_private(folder)
            for name in ("queue", "running", "logs"):
                make_private(spool.folder / name)
        except OSError as exc:
            raise EngineError(
                f"The queue of local runs cannot be kept in {spool.folder}: {exc.strerror}. "
                "Name a folder of yours in RVLAB_HOME."
            ) from exc
        return spool

    def add(self, job: Job) -> None:
        """Let a run wait for its turn."""
        _write_atomically(self.folder / "queue" / f"{time.time_ns():020d}-{job.run.id}.json", job)

    def require_space(self, jobs: int = 1) -> None:
        """Check that jobs can be added, by writing as much as they need, and deleting it.

        Args:
            jobs: How many.

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
            what = "1 run" if jobs == 1 else f"{jobs} runs"
            raise EngineError(
                f"The queue of local runs in {self.folder} cannot take {what}, which needs "
                f"{size / 2**10:.0f} KiB: {exc.strerror}. Free some space, or name another folder "
                "in RVLAB_HOME. Nothing has been recorded."
            ) from exc

    @contextlib.contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[bool]:
        """Keep other processes from moving jobs: adding a run again, starting or cancelling one.

        Args:
            wait: Wait for the process that has it.

        Yields:
            Whether this process has it; False only without `wait`.
        """
        with open_private(self.folder / "guard", "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def waiting(self) -> list[JobEntry]:
        """The runs that wait, the oldest first."""
        return self._entries("queue")

    def running(self) -> list[JobEntry]:
        """The runs that have, or had, a process."""
        return self._entries("running")

    def find(self, run: Run) -> JobEntry | None:
        """A run's job, waiting or running."""
        entries = [*self.waiting(), *self.running()]
        return next((entry for entry in entries if entry[1].uri == run.uri), None)

    def read(self, file: Path) -> Job | None:
        """Read one job again; None if it is not there any more."""
        return _read(file)

    def put_back(self, file: Path) -> None:
        """Move a job that was taken, and whose process was never started, back to the queue."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(file, self.folder / "queue" / file.name)

    def claim(self, file: Path) -> Path | None:
        """Move a job from the queue to the running; None if it was cancelled meanwhile."""
        target = self.folder / "running" / file.name
        try:
            os.rename(file, target)
        except FileNotFoundError:
            return None
        return target

    def update(self, file: Path, job: Job, **changes: Any) -> Job:
        """Write down what has changed about a job."""
        changed = replace(job, **changes)
        _write_atomically(file, changed)
        return changed

    def remove(self, file: Path) -> bool:
        """Forget a job.

        Returns:
            False if it was not there any more.
        """
        _draft_of(file).unlink(missing_ok=True)  # of a process that was killed as it wrote
        try:
            file.unlink()
        except FileNotFoundError:
            return False
        return True

    def sweep(self) -> None:
        """Delete what processes that were killed as they wrote have left, an hour later."""
        for file in (*self.folder.glob("*/*.new"), *self.folder.glob("*/*.space")):
            with contextlib.suppress(OSError):
                if file.stat().st_mtime < time.time() - STALE_S:
                    file.unlink()

    def log_path(self, run: Run) -> Path:
        """Where the process of a run prints."""
        return self.folder / "logs" / f"{run.id}.log"

    @contextlib.contextmanager
    def try_supervise(self) -> Iterator[bool]:
        """Try to be the supervisor; yields whether nobody else is. A killed holder frees it."""
        with open_private(self.folder / "lock", "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _entries(self, name: str) -> list[JobEntry]:
        found = []
        for file in sorted((self.folder / name).glob("*.json")):
            job = _read(file)
            if job is not None:
                found.append((file, job))
        return found


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter; tighten one that others could read."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
        for file in folder.iterdir():
            if file.is_file() and not file.is_symlink():
                file.chmod(0o600)


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file that only its owner may read, made if it is missing; tighten an older one."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags, 0o600)
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
        return descriptor

    return cast("IO[bytes]", open(path, mode, opener=opener))


def _draft_of(file: Path) -> Path:
    return file.with_suffix(".new")


def _read(file: Path) -> Job | None:
    """Read a job; one that is cut off or names no run is put aside.

    A file of an older rvlab lacks `Job.token`; what a newer one adds is passed over.
    """
    try:
        record = json.loads(file.read_text())
        job = Job(**{name: value for name, value in record.items() if name in _FIELDS})
        job.run  # noqa: B018  a file that names no run is as broken as one that is cut off
    except FileNotFoundError:
        return None  # it was moved on between the listing and here
    except (ValueError, TypeError, AttributeError):
        with contextlib.suppress(FileNotFoundError):
            file.rename(file.with_suffix(".broken"))
        return None
    return job


def _write_atomically(file: Path, job: Job) -> None:
    """Whole or not at all, also when the power fails."""
    # Without what is not set: an older rvlab, which may supervise still, knows fewer fields.
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
