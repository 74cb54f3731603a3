"""Trying again while a store does not answer, and what is logged meanwhile.

A notebook wants to learn within seconds that nothing answers; a step that has trained for hours had
better wait. Both go through `RetryingObjects`, with another patience.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from rvlab.errors import KeyChanged, KeyExists, KeyMissing, SpecError, StoreUnreachable

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from rvlab.store.objects import Objects

PATIENCE_VARIABLE = "RVLAB_PATIENCE_S"
"""The variable that sets for how many seconds a step waits for its store."""

DEFAULT_PATIENCE_S = 600.0
"""For so many seconds a step waits for its store, unless the variable sets another number."""

BRIEF_PATIENCE_S = 2.0
"""The patience of everything else: after so many seconds a failed request is not sent again."""

LOG_AFTER_S = 3.0
"""Outages that are shorter, in seconds, are not logged."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 15.0
"""Bounds of the pauses between attempts, which are random and grow twofold."""

MOST_REPLACED = 4
"""So often a write is made again over one that arrived late."""

_T = TypeVar("_T")

_log = logging.getLogger("rvlab")


def patience_s(environ: Mapping[str, str] | None = None) -> float:
    """For how many seconds a step waits for its store.

    Raises:
        SpecError: If the variable holds something else than a number of 0 or more.
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


class Outage:
    """Logs the start and the end of an outage once, however many threads meet it.

    Args:
        patience_s: For how long each request is tried again, in seconds.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: float | None = None
        self._lock = threading.Lock()

    def failed(self, began: float, exc: BaseException) -> None:
        """A request has failed for a time that began at a moment of the monotonic clock."""
        if time.monotonic() - began < LOG_AFTER_S:
            return
        with self._lock:
            first, self._since = self._since is None, self._since or began
        if first:
            wait = duration_text(self._patience_s)
            _log.warning("No answer from the store: %s Trying again for up to %s.", exc, wait)

    def over(self) -> None:
        """A request has succeeded."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            away_s = time.monotonic() - since
            _log.warning("The store answers again, after %s.", duration_text(away_s))


def duration_text(seconds: float) -> str:
    """Seconds as text, such as ``45 s`` or ``10 min``."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def retry_until(
    call: Callable[[], _T],
    patience_s: float,
    outage: Outage,
    transient: Callable[[BaseException], bool],
) -> _T:
    """Call something, again and again while it fails in a way that waiting can cure.

    Args:
        call: Can be repeated without harm.
        patience_s: After so many seconds the last failure is raised.
        outage: Logs what happens.
        transient: Whether an exception is such a failure.
    """
    began = time.monotonic()
    try:
        found = call()
    except Exception as exc:
        left_s = patience_s - (time.monotonic() - began) - FIRST_PAUSE_S
        if left_s <= 0 or not transient(exc):
            raise
        outage.failed(began, exc)
        time.sleep(FIRST_PAUSE_S)
        found = _retry(call, left_s, transient, lambda exc: outage.failed(began, exc))
    outage.over()
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
    """Whether a store did not answer, or not in full."""
    return isinstance(exc, StoreUnreachable)


class RetryingObjects:
    """`Objects` whose calls are tried again while the storage does not answer.

    Args:
        objects: The storage.
        patience_s: For how many seconds each call is tried again.
    """

    def __init__(self, objects: Objects, patience_s: float) -> None:
        self._objects, self._patience_s = objects, patience_s
        self._outage = Outage(patience_s)

    def _persist(self, call: Callable[[], _T]) -> _T:
        return retry_until(call, self._patience_s, self._outage, is_unreachable)

    def get(self, key: str, limit: int | None = None) -> bytes:
        """See Objects."""
        return self._persist(lambda: self._objects.get(key, limit))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Objects."""
        return self._persist(lambda: self._objects.get_range(key, start, length))

    def size(self, key: str) -> int:
        """See Objects."""
        return self._persist(lambda: self._objects.size(key))

    def get_with_etag(self, key: str, limit: int | None = None) -> tuple[bytes, str | None]:
        """See Objects."""
        return self._persist(lambda: self._objects.get_with_etag(key, limit))

    def etag(self, key: str) -> str | None:
        """See Objects."""
        return self._persist(lambda: self._objects.etag(key))

    def last_modified(self, key: str) -> datetime:
        """See Objects."""
        return self._persist(lambda: self._objects.last_modified(key))

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """See Objects; with `if_absent`, `data` must differ from what any other writer puts.

        A put that failed on the way may have arrived: if the key is there when it is tried again,
        the same bytes are its own.
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
        except KeyMissing:  # another has removed it since
            return False

    def replace(self, key: str, data: bytes, tag: str | None) -> str | None:
        """Write a key that the caller alone writes, after what it last wrote or read there.

        A write of the caller's that failed on the way may still arrive. If it has, this one goes
        over it; if it arrives later, the server refuses it, since the key is another by then.

        Args:
            key: The key.
            data: Its bytes, each time others.
            tag: The ETag as far as the caller knows, None for no such key.

        Returns:
            The new ETag; None where the kind of storage has no such write: then it is a `put`.
        """
        known = tag

        def write() -> str | None:
            nonlocal known
            for _ in range(MOST_REPLACED):
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
        """See Objects."""
        return self._persist(lambda: self._objects.delete(key))

    def files(self, prefix: str) -> list[tuple[str, int]]:
        """See Objects."""
        return self._persist(lambda: self._objects.files(prefix))

    def last_modified_by_key(self, prefix: str) -> dict[str, datetime | None]:
        """See Objects."""
        return self._persist(lambda: self._objects.last_modified_by_key(prefix))

    def folders(self, prefix: str) -> list[str]:
        """See Objects."""
        return self._persist(lambda: self._objects.folders(prefix))

    def now(self) -> datetime | None:
        """See Objects."""
        return self._objects.now()

    def pages(self, prefix: str, after: str | None) -> Iterator[dict[str, str | None]]:
        """See Objects; goes on after the last page that arrived."""
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
