"""Thread pool that runs the newest call first.

The standard library's executor runs the oldest first; tiles that have left the screen would delay
those that are on it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from threading import Condition, Thread, current_thread
from typing import Generic, TypeVar

from rvlab.errors import RvlabError

EXECUTOR_THREADS = 4
THREAD_IDLE_S = 5.0  # a thread exits after this time, so that an unused viewer has none

_T = TypeVar("_T")


@dataclass(frozen=True)
class PendingCall(Generic[_T]):
    """A call that waits for a thread, with the callback for its result."""

    work: Callable[[], _T]
    done: Callable[[_T | RvlabError], None]


class LifoExecutor(Generic[_T]):
    """Thread pool that runs named calls, newest first; threads start on demand and exit idle."""

    def __init__(self, threads: int = EXECUTOR_THREADS, idle_s: float = THREAD_IDLE_S) -> None:
        self._most, self._idle_s = threads, idle_s
        self._jobs: OrderedDict[Hashable, PendingCall[_T]] = OrderedDict()
        self._changed = Condition()
        self._idle = 0
        self._closed = False
        self.threads: set[Thread] = set()

    def submit(
        self, name: Hashable, work: Callable[[], _T], done: Callable[[_T | RvlabError], None]
    ) -> None:
        """Schedule a call; a waiting call with the same name is replaced."""
        with self._changed:
            if self._closed:
                return
            self._jobs[name] = PendingCall(work, done)
            self._jobs.move_to_end(name)
            if len(self._jobs) > self._idle and len(self.threads) < self._most:
                thread = Thread(target=self._run_calls, name="rvlab-viewer", daemon=True)
                self.threads.add(thread)
                thread.start()
            self._changed.notify()

    def cancel(self, names: Iterable[Hashable]) -> None:
        """Remove waiting calls; running ones continue."""
        with self._changed:
            for name in names:
                self._jobs.pop(name, None)

    def close(self) -> None:
        """Remove all waiting calls; the threads exit after their current call."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()

    def _run_calls(self) -> None:
        while (job := self._next_call()) is not None:
            try:
                found: _T | RvlabError = job.work()
            except RvlabError as exc:
                found = exc
            except Exception as exc:  # noqa: BLE001  # the page must show every error
                found = RvlabError(f"Drawing failed: {type(exc).__name__}: {exc}")
            if not self._closed:
                job.done(found)

    def _next_call(self) -> PendingCall[_T] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._jobs or self._closed, self._idle_s)
            self._idle -= 1
            # Decide to exit under the lock; otherwise a new call could rely on an exiting thread.
            if not self._jobs:
                self.threads.discard(current_thread())
                return None
            return self._jobs.popitem()[1]
