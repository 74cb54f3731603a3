"""Threads that do what was asked for last, first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from threading import Condition, Lock, Thread, current_thread
from typing import Generic, TypeVar

from rvlab.errors import RvlabError

EXECUTOR_THREADS = 4
THREAD_IDLE_S = 5.0  # then a thread leaves: a viewer that nobody looks at has none

_T = TypeVar("_T")


@dataclass(frozen=True)
class PendingCall(Generic[_T]):
    """Something to do, and who is told of it."""

    work: Callable[[], _T]
    done: Callable[[_T | RvlabError], None]


class LifoExecutor(Generic[_T]):
    """Jobs by name, the newest first, in a few threads that come when needed and leave."""

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
        """Have something done; asked again under a name that waits, it is done once."""
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
        """Forget what nobody waits for any more, unless it has begun."""
        with self._changed:
            for name in names:
                self._jobs.pop(name, None)

    def close(self) -> None:
        """Forget all; the threads leave when they are done with what they do."""
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
            except Exception as exc:  # noqa: BLE001  # or the tile stays empty, and nobody knows why
                found = RvlabError(f"It cannot be drawn: {type(exc).__name__}: {exc}")
            if not self._closed:
                job.done(found)

    def _next_call(self) -> PendingCall[_T] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._jobs or self._closed, self._idle_s)
            self._idle -= 1
            # Leaving is decided under the lock, so that no job is left to a thread that goes.
            if not self._jobs:
                self.threads.discard(current_thread())
                return None
            return self._jobs.popitem()[1]


class SizedLRUCache(Generic[_T]):
    """What was made, up to a number of bytes; what was not asked for longest goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._kept: OrderedDict[Hashable, tuple[_T, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> _T | None:
        """What is kept under a key."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: _T, size: int) -> None:
        """Keep a value of that many bytes."""
        with self._lock:
            if key in self._kept:
                self._bytes -= self._kept.pop(key)[1]
            self._kept[key] = value, size
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._bytes -= self._kept.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0
