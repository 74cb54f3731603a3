"""Names in a store for displays and completion, which must not wait for a slow store."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import Any, TypeVar

from rvlab.cache.query import Query
from rvlab.errors import RvlabError
from rvlab.store import Store
from rvlab.store.run_listing import RunListing

FRESH_S = 10.0
"""Age up to which names are used without reading them again."""

WAIT_S = 0.8
"""Longest wait of a caller, in seconds; a slower answer is used the next time.

JupyterLab waits for one second for completions.
"""

_T = TypeVar("_T")


class TimedCache:
    """Results of slow calls, each made in a thread of its own, for callers that cannot wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: dict[Hashable, tuple[float, Any]] = {}
        self._calls: dict[Hashable, Future[Any]] = {}

    def get(
        self,
        key: Hashable,
        call: Callable[[], _T],
        *,
        wait_s: float = WAIT_S,
        fresh_s: float = FRESH_S,
    ) -> _T | None:
        """Return the result of a call: a new one, else an older one, else None.

        Args:
            key: What identifies the call.
            call: The call. If it raises an error of rvlab, the last result remains.
            wait_s: Longest wait in seconds.
            fresh_s: Age in seconds up to which an older result is returned at once.
        """
        with self._lock:
            made, result = self._results.get(key, (-math.inf, None))
            if time.monotonic() - made < fresh_s:
                return result  # type: ignore[no-any-return]
            if key not in self._calls:
                self._calls[key] = Future()
                threading.Thread(target=self._run, args=(key, call), daemon=True).start()
            future = self._calls[key]
        try:
            return future.result(wait_s)  # type: ignore[no-any-return]
        except (NotInTime, RvlabError, OSError):
            return result  # type: ignore[no-any-return]

    def _run(self, key: Hashable, call: Callable[[], Any]) -> None:
        try:
            result = call()
        except BaseException as exc:  # noqa: BLE001  the caller in `get` decides
            with self._lock:
                future = self._calls.pop(key)
            future.set_exception(exc)
            return
        with self._lock:
            self._results[key] = (time.monotonic(), result)
            future = self._calls.pop(key)
        future.set_result(result)


_cache = TimedCache()


def quick_listings(
    store: Store, *, wait_s: float = WAIT_S, fresh_s: float = FRESH_S
) -> list[RunListing] | None:
    """Return the listings of all experiments; None if the store has not answered in time.

    See `TimedCache.get` for the arguments.
    """

    def read() -> list[RunListing]:
        with Query(store) as query:
            return query.list_runs(prefetch=False)

    return _cache.get((store.uri, "runs"), read, wait_s=wait_s, fresh_s=fresh_s)


def quick_result(store: Store, name: Hashable, call: Callable[[], _T]) -> _T | None:
    """Return the result of a call that reads a store; None if it has not answered in time."""
    return _cache.get((store.uri, name), call)
