"""Work that nobody waits for: what was read is kept once the table is there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread

from rvlab.store import Store

HEAD_START_S = 0.02
"""So long whoever asked goes on alone: the first jobs would take the interpreter from him."""


class Later:
    """Jobs that are begun, one after the other, when the block ends.

    An interpreter that ends waits for them; one that is killed leaves nothing half done, since
    each job writes whole files or none.

    Args:
        store: What they are about.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: list[Callable[[], None]] = []

    def __enter__(self) -> Later:
        return self

    def do(self, job: Callable[[], None]) -> None:
        """Leave a job."""
        self._jobs.append(job)

    def __exit__(self, *_: object) -> None:
        if self._jobs:
            with suppress(RuntimeError), _lock:  # no more threads: then it is not kept
                _Worker(self._store.uri, self._jobs).start()


class _Worker(Thread):
    def __init__(self, store: str, jobs: list[Callable[[], None]]) -> None:
        super().__init__(name="rvlab-keep")
        self.store, self.jobs, self.hurry = store, jobs, Event()

    def start(self) -> None:
        super().start()
        _running.add(self)

    def run(self) -> None:
        self.hurry.wait(HEAD_START_S)
        while self.jobs:
            try:
                self.jobs.pop(0)()
            except Exception as exc:  # noqa: BLE001  # the table is there, whatever it was
                warnings.warn(f"What was read is not kept: {exc!r:.300}", stacklevel=2)


_running: set[_Worker] = set()
_lock = Lock()


def settle(store: str | None = None) -> None:
    """Wait for the jobs that were begun in this process, about one store or all."""
    with _lock:
        mine = [one for one in _running if store in (None, one.store)]
    for one in mine:
        one.hurry.set()
        one.join()
        _running.discard(one)
