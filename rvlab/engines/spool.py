"""The queue of local runs: one folder per store, one file per run, moved from state to state.

    queue/{time}-{run}.json     waits
    running/{time}-{run}.json   has, or had, a process
    logs/{run}.log              what that process printed
    lock                        held by the supervisor while it lives

It holds no secret: those travel in the environment of the supervisor that the submitter starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from rvlab.errors import EngineError
from rvlab.model import Run
from rvlab.store import Store
from rvlab.store.home import home_folder


@dataclass(frozen=True)
class Job:
    """A run in the spool.

    Args:
        uri: The run's URI.
        at_most: How many runs its submitter wants at a time.
        folder: The recipe's own folder; None for a shipped recipe or a cell.
        cwd: The submitter's working folder.
        python: The submitter's interpreter.
        command: The module that its process runs, and what stands before the run's URI.
        pid: Its process, which leads a process group of its own; None while it waits.
        scratch: The folder for its temporary files.
        over: Whether that process has ended.
        status: Its exit status then, negative for a signal; None if nobody saw it.
        patience_s: The submitter's ``$RVLAB_PATIENCE_S``; None if it is not set.
    """

    uri: str
    at_most: int
    folder: str | None = None
    cwd: str = ""
    python: str = sys.executable
    command: Sequence[str] = ("rvlab.worker", "run")
    pid: int | None = None
    scratch: str | None = None
    over: bool = False
    status: int | None = None
    patience_s: str | None = None

    @property
    def run(self) -> Run:
        """The run's address."""
        return Run.from_uri(self.uri)

    @property
    def leads(self) -> bool:
        """Whether its own process, which goes from step to step, lives."""
        try:
            return self.pid is not None and _is(psutil.Process(self.pid), self.uri)
        except psutil.NoSuchProcess:
            return False

    def processes(self) -> list[psutil.Process]:
        """The run's processes that live: the leader, and the forks that are its steps.

        They are known by their command, which holds the run's URI: a number alone may be another's.
        """
        found = [p for p in psutil.process_iter() if _is(p, self.uri)]
        return sorted(found, key=lambda p: p.pid != self.pid)


def _is(process: psutil.Process, uri: str) -> bool:
    """Whether a process works on a run."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and uri in process.cmdline()
    except psutil.Error:
        return False


Entry = tuple[Path, Job]


class Spool:
    """The folder of one store's local runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, store: Store) -> Spool:
        """The spool of a store, made if it is missing, for this user's eyes only.

        Raises:
            EngineError: If it cannot be made.
        """
        where = f"{store.uri} {store.access.endpoint if store.is_s3 else ''}"
        digest = hashlib.sha256(where.encode()).hexdigest()[:16]
        spool = cls(home_folder() / "local" / digest)
        try:
            for name in ("queue", "running", "logs"):
                (spool.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise EngineError(
                f"The queue of local runs cannot be kept in {spool.folder}: {exc.strerror}. "
                "Name a folder of yours in RVLAB_HOME."
            ) from exc
        return spool

    def add(self, job: Job) -> None:
        """Let a run wait for its turn."""
        _write(self.folder / "queue" / f"{time.time_ns():020d}-{job.run.id}.json", job)

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """While nobody else looks whether a run is here, and adds it."""
        with (self.folder / "guard").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def waiting(self) -> list[Entry]:
        """The runs that wait, the oldest first."""
        return self._entries("queue")

    def running(self) -> list[Entry]:
        """The runs that have, or had, a process."""
        return self._entries("running")

    def find(self, run: Run) -> Entry | None:
        """A run's job, waiting or running."""
        entries = [*self.waiting(), *self.running()]
        return next((entry for entry in entries if entry[1].uri == run.uri), None)

    def take(self, file: Path) -> Path | None:
        """Move a job from the queue to the running; None if it was cancelled meanwhile."""
        target = self.folder / "running" / file.name
        try:
            os.rename(file, target)
        except FileNotFoundError:
            return None
        return target

    def note(self, file: Path, job: Job, **changes: Any) -> Job:
        """Write down what has changed about a job."""
        changed = replace(job, **changes)
        _write(file, changed)
        return changed

    def drop(self, file: Path) -> bool:
        """Forget a job.

        Returns:
            False if it was not there any more.
        """
        try:
            file.unlink()
        except FileNotFoundError:
            return False
        return True

    def log(self, run: Run) -> Path:
        """Where the process of a run prints."""
        return self.folder / "logs" / f"{run.id}.log"

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Try to be the supervisor; yields whether nobody else is. A killed holder frees it."""
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _entries(self, name: str) -> list[Entry]:
        found = []
        for file in sorted((self.folder / name).glob("*.json")):
            try:
                job = Job(**json.loads(file.read_text()))
                job.run  # noqa: B018  a file that names no run is as broken as one that is cut off
            except FileNotFoundError:
                continue  # it was moved on between the listing and here
            except (ValueError, TypeError):
                with contextlib.suppress(FileNotFoundError):
                    file.rename(file.with_suffix(".broken"))
                continue
            found.append((file, job))
        return found


def _write(file: Path, job: Job) -> None:
    """Whole or not at all, also when the power fails."""
    draft = file.with_suffix(".new")
    with draft.open("w") as out:
        json.dump(asdict(job), out)
        out.flush()
        os.fsync(out.fileno())
    os.replace(draft, file)
