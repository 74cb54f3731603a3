"""Work that nobody waits for: what was read is kept once the table is there."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from time import sleep
from types import TracebackType

HEAD_START_S = 0.02
"""So long whoever asked goes on alone: the first jobs would take the interpreter from him."""

_running: set[Thread] = set()


class Later:
    """Jobs that are begun, one after the other, when the block ends.

    An interpreter that ends waits for them; one that is killed leaves nothing half done, since
    each job writes whole files or none.
    """

    def __init__(self) -> None:
        self._jobs: list[Callable[[], None]] = []

    def __enter__(self) -> Later:
        return self

    def do(self, job: Callable[[], None]) -> None:
        """Leave a job."""
        self._jobs.append(job)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._jobs:
            thread = Thread(target=self._work, name="rvlab-keep")
            thread.start()
            _running.add(thread)

    def _work(self) -> None:
        sleep(HEAD_START_S)
        while self._jobs:
            self._jobs.pop(0)()


def settle() -> None:
    """Wait for the jobs that were begun in this process."""
    for thread in list(_running):
        thread.join()
        _running.discard(thread)
