"""Concurrent calls of a function for many keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import local
from typing import TypeVar

IN_FLIGHT = 128
"""Default number of concurrent calls: more bring no gain for small keys at 20 ms latency."""

T = TypeVar("T")

_thread = local()


def map_concurrently(
    call: Callable[[str], T], keys: Sequence[str], limit: int | None = None
) -> dict[str, T]:
    """Call a function for each key, in threads.

    A nested call runs in its caller's thread: no pool is started within a pool. The workers share
    an iterator over the keys, because submitting a thousand keys one by one takes as long as a
    request.

    Args:
        call: Function of a key.
        keys: The keys, without duplicates.
        limit: Concurrent calls; `IN_FLIGHT` by default.

    Returns:
        The result for each key, in the order of `keys`.

    Raises:
        BaseException: The first that a call raised; calls that have not started are skipped.
    """
    workers = min(limit or IN_FLIGHT, len(keys))
    if workers < 2 or getattr(_thread, "is_worker", False):
        return {key: call(key) for key in keys}
    found: dict[str, T] = {}
    failed: list[BaseException] = []
    rest = iter(keys)

    def stop(exc: BaseException) -> None:
        failed.append(exc)
        for _ in rest:
            pass

    def work() -> None:
        _thread.is_worker = True
        try:
            for key in rest:
                found[key] = call(key)
        except BaseException as exc:  # noqa: BLE001  # raised below, in the caller's thread
            stop(exc)

    with ThreadPoolExecutor(workers, thread_name_prefix="rvlab-store") as pool:
        try:
            wait([pool.submit(work) for _ in range(workers)])
        except RuntimeError:  # at interpreter exit, or no thread can be started
            found.update((key, call(key)) for key in rest)
        except BaseException as exc:
            stop(exc)
            raise
    if failed:
        raise failed[0]
    return {key: found[key] for key in keys}
