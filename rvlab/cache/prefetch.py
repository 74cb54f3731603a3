"""Prefetching of what a table will most likely need, while the store still lists runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

THREADS = 64

_T = TypeVar("_T")


class Prefetcher:
    """Calls that run in threads, each with a name by which its result is requested later.

    An unneeded call costs time but never changes a table, since its result is not requested.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="rvlab-prefetch")
        self._started: dict[Hashable, Future[Any]] = {}

    def submit(self, call: Callable[..., _T], *args: Any) -> Future[_T]:
        """Start a call, and return its future."""
        return self._pool.submit(call, *args)

    def start(self, name: Hashable, call: Callable[..., Any], *args: Any) -> None:
        """Start a call unless one of that name has been started."""
        if name not in self._started:
            self._started[name] = self.submit(call, *args)

    def result(self, name: Hashable, call: Callable[..., _T], *args: Any) -> _T:
        """Return the result of the call of that name, or call now."""
        started: Future[_T] | None = self._started.get(name)
        return started.result() if started else call(*args)

    def close(self) -> None:
        """Wait for the calls that are running, and cancel those that have not started."""
        self._pool.shutdown(cancel_futures=True)
