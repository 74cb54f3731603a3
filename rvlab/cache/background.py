"""Writes to the caches that start once the table has been returned."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from typing import ClassVar

from rvlab.user_warning import warn_user


class DeferredWrites:
    """Jobs that run one after another in a background thread.

    The interpreter waits for the thread before it exits. A killed process leaves no partial file,
    since each job writes files atomically.

    Args:
        store: The URI of the store whose rows the jobs cache.
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
        """Run the jobs in the background; without jobs, start no thread."""
        if self._jobs:
            with suppress(RuntimeError), _lock:  # if no thread can be started, nothing is cached
                self._thread.start()
                DeferredWrites.running.add(self)

    def _run(self) -> None:
        while self._jobs:
            try:
                self._jobs.pop(0)()
            except Exception as exc:  # noqa: BLE001  # the table has been returned already
                warn_user(f"Rows could not be cached: {exc!r:.300}")

    @staticmethod
    def flush(store: str | None = None) -> None:
        """Wait for the jobs that this process has started.

        Args:
            store: The URI of a store, to wait for its jobs only; None waits for all jobs.
        """
        with _lock:
            pending = [writes for writes in DeferredWrites.running if store in (None, writes.store)]
        for writes in pending:
            writes._thread.join()
            DeferredWrites.running.discard(writes)


_lock = Lock()
