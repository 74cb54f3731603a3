"""Retries while a store does not answer, and the log messages about them.

A notebook should report within seconds that a store does not answer. A step that has trained for
hours should wait. Both use `RetryingStorage`, with a different patience.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rvlab.display.printable import format_duration
from rvlab.errors import KeyChanged, KeyExists, KeyMissing, SpecError, StoreUnreachable

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from rvlab.store.object_storage import ObjectStorage

PATIENCE_VARIABLE = "RVLAB_PATIENCE_S"
"""Environment variable for the seconds that a step waits for its store."""

DEFAULT_PATIENCE_S = 600.0
"""Default of `PATIENCE_VARIABLE`, in seconds."""

BRIEF_PATIENCE_S = 2.0
"""Patience outside of steps: after so many seconds a failed request is not repeated."""

LOG_AFTER_S = 3.0
"""Shorter outages, in seconds, are not logged."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 15.0
"""Bounds of the pauses between attempts; pauses are random and grow exponentially."""

MAX_OVERWRITES = 4
"""How often a write is repeated because an earlier one arrived late."""

_T = TypeVar("_T")

_log = logging.getLogger("rvlab")


def patience_s(environ: Mapping[str, str] | None = None) -> float:
    """Return for how many seconds a step waits for its store.

    Raises:
        SpecError: If the variable does not hold a number of 0 or more.
    """
    text = (os.environ if environ is None else environ).get(PATIENCE_VARIABLE)
    if not text:
        return DEFAULT_PATIENCE_S
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise SpecError(
            f"${PATIENCE_VARIABLE} is {text!r}, but it must be a number of seconds, 0 or more."
        )
    return found


class OutageLog:
    """Logs the start and the end of an outage once for all threads.

    Args:
        patience_s: Seconds for which each request is retried.
        server: The name of the server in log messages.
    """

    def __init__(self, patience_s: float, server: str = "the store") -> None:
        self._patience_s, self._server = patience_s, server
        self._since: float | None = None
        self._lock = threading.Lock()

    def record_failure(self, began: float, exc: BaseException) -> None:
        """Record a failed request that began at a time of the monotonic clock."""
        if time.monotonic() - began < LOG_AFTER_S:
            return
        with self._lock:
            first, self._since = self._since is None, self._since or began
        if first:
            wait = format_duration(self._patience_s)
            text = "No answer from %s: %s Trying again for up to %s."
            _log.warning(text, self._server, exc, wait)

    def record_success(self) -> None:
        """Record a successful request."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            away_s = time.monotonic() - since
            name = self._server[:1].upper() + self._server[1:]
            _log.warning("%s answers again, after %s.", name, format_duration(round(away_s)))


def retry_until(
    call: Callable[[], _T],
    patience_s: float,
    outage: OutageLog,
    transient: Callable[[BaseException], bool],
) -> _T:
    """Call a function repeatedly while it fails with a transient error.

    Args:
        call: A function that is safe to repeat.
        patience_s: Seconds after which the last error is raised.
        outage: Logs failures and recovery.
        transient: Returns whether an exception is transient.
    """
    began = time.monotonic()
    try:
        found = call()
    except Exception as exc:
        left_s = patience_s - (time.monotonic() - began) - FIRST_PAUSE_S
        if left_s <= 0 or not transient(exc):
            raise
        outage.record_failure(began, exc)
        time.sleep(FIRST_PAUSE_S)
        found = _retry(call, left_s, transient, lambda exc: outage.record_failure(began, exc))
    outage.record_success()
    return found


def _retry(
    call: Callable[[], _T],
    patience_s: float,
    transient: Callable[[BaseException], bool],
    failed: Callable[[BaseException], None],
) -> _T:
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

    def before_sleep(state: RetryCallState) -> None:
        exc = state.outcome.exception() if state.outcome else None
        if exc is not None:
            failed(exc)

    retrying = Retrying(
        retry=retry_if_exception(transient),
        stop=stop_after_delay(patience_s),
        wait=wait_random_exponential(FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
        before_sleep=before_sleep,
        reraise=True,
    )
    return retrying(call)


def is_unreachable(exc: BaseException) -> bool:
    """Return whether a store did not answer, or not completely."""
    return isinstance(exc, StoreUnreachable)


class RetryingStorage:
    """`ObjectStorage` whose calls are retried while the storage does not answer.

    Args:
        objects: The storage.
        patience_s: Seconds for which each call is retried.
    """

    def __init__(self, objects: ObjectStorage, patience_s: float) -> None:
        self._objects, self._patience_s = objects, patience_s
        self._outage = OutageLog(patience_s)

    def _persist(self, call: Callable[[], _T]) -> _T:
        return retry_until(call, self._patience_s, self._outage, is_unreachable)

    def get(self, key: str, limit: int | None = None) -> bytes:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.get(key, limit))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.get_range(key, start, length))

    def get_start(self, key: str, length: int) -> tuple[bytes, int]:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.get_start(key, length))

    def get_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.get_ranges(key, starts, lengths))

    def size(self, key: str) -> int:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.size(key))

    def get_with_etag(self, key: str, limit: int | None = None) -> tuple[bytes, str | None]:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.get_with_etag(key, limit))

    def etag(self, key: str) -> str | None:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.etag(key))

    def last_modified(self, key: str) -> datetime:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.last_modified(key))

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """See ObjectStorage; with `if_absent`, `data` must differ from what any other writer puts.

        A put whose response was lost may have been stored. If the key exists on a retry and holds
        the same bytes, the put has succeeded.
        """
        if not if_absent:
            return self._persist(lambda: self._objects.put(key, data))
        may_have_arrived = False

        def create() -> None:
            nonlocal may_have_arrived
            try:
                self._objects.put(key, data, if_absent=True)
            except StoreUnreachable:
                may_have_arrived = True
                raise
            except KeyExists:
                if not (may_have_arrived and self._holds(key, data)):
                    raise

        return self._persist(create)

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self._objects.get(key) == data
        except KeyMissing:  # deleted by another process since
            return False

    def put_file(self, key: str, path: Path) -> None:
        """See ObjectStorage."""
        self._persist(lambda: self._objects.put_file(key, path))

    def replace(self, key: str, data: bytes, etag: str | None) -> str | None:
        """Replace the content of a key that only the caller writes.

        An earlier write that failed on the way may still arrive. If it has arrived, it is
        overwritten; if it arrives later, the server refuses it, since the ETag has changed by then.

        Args:
            key: The key.
            data: Its bytes, which must differ from those of the earlier writes.
            etag: The last ETag that the caller has seen; None if the key must not exist.

        Returns:
            The new ETag; None where the kind of storage has no such write: then it is a `put`.
        """
        known = etag

        def write() -> str | None:
            nonlocal known
            for _ in range(MAX_OVERWRITES):
                try:
                    return self._objects.replace(key, data, known)
                except (KeyChanged, KeyExists):
                    try:
                        there, known = self._objects.get_with_etag(key)
                    except KeyMissing:
                        known = None
                        continue
                    if there == data:
                        return known
            self._objects.put(key, data)  # the ETags of this server are not those that it compares
            return None

        return self._persist(write)

    def delete(self, key: str) -> None:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.delete(key))

    def files(self, prefix: str) -> list[tuple[str, int]]:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.files(prefix))

    def last_modified_by_key(self, prefix: str) -> dict[str, datetime | None]:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.last_modified_by_key(prefix))

    def folders(self, prefix: str) -> list[str]:
        """See ObjectStorage."""
        return self._persist(lambda: self._objects.folders(prefix))

    def now(self) -> datetime | None:
        """See ObjectStorage."""
        return self._objects.now()

    def pages(self, prefix: str, after: str | None) -> Iterator[dict[str, str | None]]:
        """See ObjectStorage; resumes after the last page that arrived."""
        pages: Iterator[dict[str, str | None]] | None = None

        def following() -> dict[str, str | None] | None:
            nonlocal pages
            if pages is None:
                pages = self._objects.pages(prefix, after)
            try:
                return next(pages, None)
            except StoreUnreachable:
                pages = None
                raise

        while (page := self._persist(following)) is not None:
            yield page
            after = next(reversed(page), after)
