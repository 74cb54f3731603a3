"""The queue of local runs: one folder per store, one file per run, moved from state to state.

    queue/{time}-{run}.json     waits
    running/{time}-{run}.json   has a process
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
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rvlab.model import Run
from rvlab.store.home import home_folder


@dataclass(frozen=True)
class Job:
    """A run in the spool.

    Args:
        file: The file that says so.
        run: The run.
        at_most: How many runs its submitter wants at a time.
        path: Folders from which its recipe may import.
        pid: Its process, which leads a process group of its own; None while it waits.
        born: When that process started, in seconds since 1970, so that another process that got
            the same number is not taken for it.
    """

    file: Path
    run: Run
    at_most: int
    path: tuple[str, ...] = ()
    pid: int | None = None
    born: float | None = None

    @property
    def process(self) -> psutil.Process | None:
        """Its process if it lives."""
        if self.pid is None or self.born is None:
            return None
        try:
            process = psutil.Process(self.pid)
            gone = process.status() == psutil.STATUS_ZOMBIE
            return None if gone or abs(process.create_time() - self.born) > 1 else process
        except psutil.NoSuchProcess:
            return None


class Spool:
    """The folder of one store's local runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, store_uri: str) -> Spool:
        """The spool of a store, made if it is missing, for this user's eyes only."""
        digest = hashlib.sha256(store_uri.encode()).hexdigest()[:16]
        spool = cls(home_folder() / "local" / digest)
        for name in ("queue", "running", "logs"):
            (spool.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        return spool

    def add(self, run: Run, *, at_most: int, path: tuple[str, ...]) -> None:
        """Let a run wait for its turn."""
        record = {"uri": run.uri, "at_most": at_most, "path": path}
        _write(self.folder / "queue" / f"{time.time_ns():020d}-{run.id}.json", record)

    def waiting(self) -> list[Job]:
        """The runs that wait, the oldest first."""
        return self._jobs("queue")

    def running(self) -> list[Job]:
        """The runs that have, or had, a process."""
        return self._jobs("running")

    def find(self, run: Run) -> Job | None:
        """A run's job, waiting or running."""
        return next((j for j in [*self.waiting(), *self.running()] if j.run == run), None)

    def take(self, job: Job) -> Job | None:
        """Move a job from the queue to the running; None if it was cancelled meanwhile."""
        target = self.folder / "running" / job.file.name
        try:
            os.rename(job.file, target)
        except FileNotFoundError:
            return None
        return Job(target, job.run, job.at_most, job.path)

    def started(self, job: Job, pid: int) -> Job:
        """Note the process of a job."""
        born = psutil.Process(pid).create_time()
        record = {"uri": job.run.uri, "at_most": job.at_most, "path": job.path}
        _write(job.file, {**record, "pid": pid, "born": born})
        return Job(job.file, job.run, job.at_most, job.path, pid, born)

    def drop(self, job: Job) -> bool:
        """Forget a job.

        Returns:
            False if it was not there any more.
        """
        try:
            job.file.unlink()
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

    def _jobs(self, name: str) -> list[Job]:
        found = []
        for file in sorted((self.folder / name).glob("*.json")):
            try:
                record = json.loads(file.read_text())
            except FileNotFoundError:
                continue  # it was moved on between the listing and here
            pid, born = record.get("pid"), record.get("born")
            run = Run.from_uri(record["uri"])
            found.append(Job(file, run, record["at_most"], tuple(record["path"]), pid, born))
        return found


def _write(file: Path, record: dict[str, Any]) -> None:
    """Whole or not at all."""
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(record))
    os.replace(draft, file)
