"""Writes to the caches that start once the table has been returned."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from typing import ClassVar


class DeferredWrites:
    """Jobs that run one after the other in a thread of their own.

    The interpreter waits for the thread before it exits. A process that is killed leaves no file
    half written, since each job writes whole files.

    Args:
        store: The URI of the store that the jobs are about.
    """

    running: ClassVar[set[DeferredWrites]] = set()
    """The writes that were started in this process and have not been waited for."""

    def __init__(self, store: str) -> None:
        self.store = store
        self._jobs: list[Callable[[], None]] = []
        self._thread = Thread(target=self._run, name="rvlab-cache")

    def submit(self, job: Callable[[], None]) -> None:
        """Add a job."""
        self._jobs.append(job)

    def start(self) -> None:
        """Run the jobs in the background; without any, no thread is started."""
        if self._jobs:
            with suppress(RuntimeError), _lock:  # no more threads: then nothing is cached
                self._thread.start()
                DeferredWrites.running.add(self)

    def _run(self) -> None:
        while self._jobs:
            try:
                self._jobs.pop(0)()
            except Exception as exc:  # noqa: BLE001  # the table has been returned already
                warnings.warn(f"Rows could not be cached: {exc!r:.300}", stacklevel=2)

    @staticmethod
    def flush(store: str | None = None) -> None:
        """Wait for the jobs that were started in this process, about one store or all."""
        with _lock:
            mine = [one for one in DeferredWrites.running if store in (None, one.store)]
        for one in mine:
            one._thread.join()
            DeferredWrites.running.discard(one)


_lock = Lock()
