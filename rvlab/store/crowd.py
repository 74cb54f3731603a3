"""Calling something for many keys at once, in threads that stay for the next time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

IN_FLIGHT = 128  # where the gain flattens for small keys, 20 ms away

T = TypeVar("T")

_helpers = ThreadPoolExecutor(IN_FLIGHT - 1, thread_name_prefix="rvlab-store")


def each(call: Callable[[str], T], keys: Sequence[str]) -> dict[str, T]:
    """Call something for each key.

    Whoever asks does a part of the work, so that it goes on where all helpers are at work
    elsewhere, or wait for a call of their own like this one; or where an interpreter that ends
    gives out no more of them.

    Args:
        call: Takes a key.
        keys: The keys, each once.

    Raises:
        BaseException: The first that a call raised; the calls that were not begun are left out.
    """
    found: dict[str, T] = {}
    failed: list[BaseException] = []
    rest = iter(keys)

    def work() -> None:
        try:
            for key in rest:
                found[key] = call(key)
        except BaseException as exc:  # noqa: BLE001  # raised below, by who asked
            failed.append(exc)
            for _ in rest:
                pass

    helpers = _called(work, min(IN_FLIGHT, len(keys)) - 1)
    work()
    for helper in helpers:
        if not helper.cancel():
            helper.result()
    if failed:
        raise failed[0]
    return {key: found[key] for key in keys}


def _called(work: Callable[[], None], number: int) -> list[Future[None]]:
    helpers: list[Future[None]] = []
    for _ in range(number):
        try:
            helpers.append(_helpers.submit(work))
        except RuntimeError:  # the interpreter ends, or there can be no more threads
            break
    return helpers
