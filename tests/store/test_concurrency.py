"""Concurrent calls: one per key, bounded in number, stopped by the first exception."""

from __future__ import annotations

import subprocess
import sys
import time
from threading import Event, Lock, Thread, current_thread
from typing import Any

import pytest

from rvlab.store.concurrency import IN_FLIGHT, map_concurrently


def test_each_key_is_called_once_and_results_are_in_order() -> None:
    calls: list[str] = []
    keys = [f"k{n}" for n in range(1000)]
    found = map_concurrently(lambda key: calls.append(key) or key.upper(), keys)
    assert list(found.items()) == [(key, key.upper()) for key in keys]
    assert sorted(calls) == sorted(keys)
    assert map_concurrently(str, []) == {}


def test_calls_are_concurrent_up_to_the_limit() -> None:
    now, most, lock, many = 0, 0, Lock(), Event()

    def call(_: str) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            if most > IN_FLIGHT / 2:
                many.set()
        many.wait()
        with lock:
            now -= 1

    map_concurrently(call, [str(n) for n in range(4 * IN_FLIGHT)])
    assert most <= IN_FLIGHT


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_first_exception_stops_the_remaining_calls(kind: type[BaseException]) -> None:
    calls: list[str] = []

    def call(key: str) -> None:
        calls.append(key)
        time.sleep(0.001)
        if key == "5":
            raise kind("no")

    with pytest.raises(kind, match="no"):
        map_concurrently(call, [str(n) for n in range(20_000)])
    assert len(calls) < 10_000


def test_nested_calls_do_not_deadlock() -> None:
    def outer(key: str) -> int:
        return sum(
            map_concurrently(lambda one: int(one) + int(key), [str(n) for n in range(300)]).values()
        )

    found: list[Any] = []
    keys = [str(n) for n in range(2 * IN_FLIGHT)]
    thread = Thread(target=lambda: found.append(map_concurrently(outer, keys)), daemon=True)
    thread.start()
    thread.join()
    assert found[0] == {key: sum(range(300)) + 300 * int(key) for key in keys}


def test_nested_calls_start_no_threads() -> None:
    def inner(_: str) -> str:
        return current_thread().name

    def outer(key: str) -> set[str]:
        return {current_thread().name, *map_concurrently(inner, ["a", "b", "c"]).values()}

    assert all(len(names) == 1 for names in map_concurrently(outer, ["a", "b", "c"]).values())


def test_calls_work_while_the_interpreter_exits() -> None:
    script = """
import threading, time
from rvlab.store.concurrency import map_concurrently
def late():
    time.sleep(0.5)
    print(map_concurrently(len, ["a", "bb", "ccc"]))
threading.Thread(target=late).start()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{'a': 1, 'bb': 2, 'ccc': 3}\n", "")
