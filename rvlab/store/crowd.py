"""Calling something for many keys at once, in threads that stay for the next time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from itertools import islice
from threading import Condition
from typing import TypeVar

IN_FLIGHT = 128  # where the gain flattens for small keys, 20 ms away

TURN = 16
"""After so many calls a helper is free for whoever has waited longer."""

T = TypeVar("T")


def each(call: Callable[[str], T], keys: Sequence[str], most: int | None = None) -> dict[str, T]:
    """Call something for each key.

    Whoever asks does a part of the work, so that it goes on where all helpers are at work
    elsewhere, or wait for a call of their own like this one; or where an interpreter that ends
    gives out no more of them.

    Args:
        call: Takes a key.
        keys: The keys, each once.
        most: So many calls are under way at once; `IN_FLIGHT` by default.

    Raises:
        BaseException: The first that a call raised; the calls that were not begun are left out.
    """
    found: dict[str, T] = {}
    failed: list[BaseException] = []
    rest = iter(keys)
    busy, quiet = 0, Condition()

    def work(turn: int | None) -> bool:
        nonlocal busy
        with quiet:
            busy += 1
        number = 0
        try:
            for key in islice(rest, turn):
                found[key] = call(key)
                number += 1
        except BaseException as exc:  # noqa: BLE001  # raised below, by who asked
            failed.append(exc)
            for _ in rest:
                pass
        finally:
            with quiet:
                busy -= 1
                quiet.notify_all()
        return number == turn

    def help_out() -> None:
        if work(TURN):
            _call(help_out)

    for _ in range(min(most or IN_FLIGHT, len(keys)) - 1):
        _call(help_out)
    work(None)
    with quiet:
        quiet.wait_for(lambda: not busy)
    if failed:
        raise failed[0]
    return {key: found[key] for key in keys}


@cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(IN_FLIGHT - 1, thread_name_prefix="rvlab-store")


os.register_at_fork(after_in_child=_helpers.cache_clear)  # a child has none of the threads


def _call(helper: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the interpreter ends, or there can be no more threads
        _helpers().submit(helper)
