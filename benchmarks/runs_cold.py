"""Benchmark: the table of ended runs with an empty local cache, on S3 with 20 ms latency.

Ours is ``lab.runs("made")``, with the experiment's name, because the limit also knows the keys. For
information, ``lab.runs()``, which first lists the experiments with one more request.

(a) Compacted: 10,000 runs that a process with write access has read before. The proxy records the
keys and listings that ours requests. The limit is the same keys and pages, requested concurrently
by plain obstore, the best of 32, 64, 96 and 128 in flight. Goal: at most 2 x.

(b) Not compacted: 1,000 new runs for each repeat, which no process has read. The limit is the same
keys by plain GETs, without the listings that find them; the best of the same numbers in flight.
Goal: at most 1.3 x. For information, also the limit with the listings.

    python benchmarks/runs_cold.py --data FOLDER [--runs 10000] [--loose-runs 1000] [--repeats 5]

Before the clock starts, pandas and pyarrow are imported, both variants have opened their
connections, and the server has read all keys once, so that neither benefits from the other's reads.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import bare
import fresh
import sample_runs
from fresh import Numbers
from slow_s3 import Wire, delay_requests

from rvlab.store import Store

WAIT_S = 0.02
IN_FLIGHT = (32, 64, 96, 128)


def main() -> None:
    """Prepare the data, measure and print the results."""
    options = fresh.arguments(__doc__, WAYS, data=Path, runs=10_000, loose_runs=1000)
    if options.child:
        fresh.answer(WAYS, options.child)
        return
    with (
        fresh.embedded_store(options.data / "s3") as root,
        delay_requests(str(root.access.endpoint), wait_s=WAIT_S) as wire,
    ):
        found = _measure_compacted(options, root, wire)
        print(f"(a) compacted, {found[0]['rows']:.0f} runs, {1000 * WAIT_S:.0f} ms a request")
        _print(found)
        best = _best(found, "all")
        fresh.ratio("ours / bare GETs and listings", fresh.median(found, "ours") / best, "<= 2")
        found = _measure_loose(options, root, wire)
        print(f"(b) not compacted, {found[0]['rows']:.0f} runs, {1000 * WAIT_S:.0f} ms a request")
        _print(found)
        best = _best(found, "gets")
        fresh.ratio("ours / bare GETs", fresh.median(found, "ours") / best, "<= 1.3")


def _measure_compacted(options: Any, root: Store, wire: Wire) -> list[Numbers]:
    uri = sample_runs.prepare_store(root, "runs", options.runs)
    for _ in range(2):  # the second process completes what the first may have left undone
        with fresh.folder(options.data) as cache:
            fresh.child("reader", fresh.environ(root, uri, cache))
    return [_pair(options.data, Store(uri, root.access), wire) for _ in range(options.repeats)]


def _measure_loose(options: Any, root: Store, wire: Wire) -> list[Numbers]:
    found = []
    for _ in range(options.repeats):
        store = Store(f"{root.uri}/loose-{time.time_ns()}", root.access)
        for _ in sample_runs.make(store, options.loose_runs):
            pass
        store.get_many(key for key, _ in store.files(f"{sample_runs.EXPERIMENT}/runs/ended/"))
        found.append(_pair(options.data, store, wire, loose=True))
        store.delete([key for key, _ in store.files()])
    return found


def _pair(data: Path, store: Store, wire: Wire, *, loose: bool = False) -> Numbers:
    """Measure ours with an empty cache, then the limit, then ours for all experiments."""
    with fresh.folder(data) as cache:
        places = fresh.environ(store, store.uri, cache, wire.endpoint)
        places["SEEN"] = str(cache / "seen.json")
        wire.take_requests()
        ours = fresh.child("ours", places)
        lines = [tuple(line) for line in json.loads(Path(places["SEEN"]).read_text())]
        if not ours["rows"]:
            raise SystemExit("The table is empty; the store must contain runs.")
        limit = fresh.child("limit", places)
    print(f"  requested: {bare.Requests.of(lines)}", flush=True)
    if loose:  # delete the cache block that ours has written
        store.delete([key for key, _ in store.files(f"{sample_runs.EXPERIMENT}/cache/")])
    with fresh.folder(data) as cache:
        every = fresh.child("every", fresh.environ(store, store.uri, cache, wire.endpoint))
    return {**ours, **limit, **every}


def _print(found: list[Numbers]) -> None:
    fresh.seconds("ours", [one["ours"] for one in found])
    fresh.seconds("ours, all experiments", [one["every"] for one in found])
    for what in ("gets", "all"):
        for number in IN_FLIGHT:
            name = {"gets": "bare GETs", "all": "bare GETs and listings"}[what]
            fresh.seconds(f"{name}, {number} in flight", [one[f"{what}-{number}"] for one in found])
    our_mb, bare_mb = fresh.median(found, "mb"), fresh.median(found, "bare_mb")
    print(f"bytes: ours {our_mb:.2f} MB, bare {bare_mb:.2f} MB")


def _best(found: list[Numbers], what: str) -> float:
    return min(fresh.median(found, f"{what}-{number}") for number in IN_FLIGHT)


def _reader() -> Numbers:
    import rvlab

    return {"rows": len(rvlab.Lab().runs())}


def _ours() -> Numbers:
    wire = Wire(os.environ["AWS_ENDPOINT_URL"])
    lab = _open_lab()
    wire.take_requests()
    wire.take_counts()
    start = time.perf_counter()
    table = lab.runs(sample_runs.EXPERIMENT)
    seconds = time.perf_counter() - start
    Path(os.environ["SEEN"]).write_text(json.dumps(wire.take_requests()))
    return {"ours": seconds, "rows": len(table), "mb": wire.take_counts()[1] / 1e6}


def _every() -> Numbers:
    lab = _open_lab()
    start = time.perf_counter()
    lab.runs()
    return {"every": time.perf_counter() - start}


def _open_lab() -> Any:
    import rvlab

    fresh.libraries()
    lab = rvlab.Lab()
    lab.store.get_many(f"nothing/here-{n}" for n in range(IN_FLIGHT[-1]))
    return lab


def _limit() -> Numbers:
    wire, store = Wire(os.environ["AWS_ENDPOINT_URL"]), bare.bucket()
    wanted = bare.Requests.of(json.loads(Path(os.environ["SEEN"]).read_text()))
    found: Numbers = {}
    for number in IN_FLIGHT:
        found[f"gets-{number}"] = bare.again(store, wanted, number, listings=False)
        wire.take_counts()
        found[f"all-{number}"] = bare.again(store, wanted, number)
    found["bare_mb"] = wire.take_counts()[1] / 1e6
    return found


WAYS = {"reader": _reader, "ours": _ours, "every": _every, "limit": _limit}

if __name__ == "__main__":
    main()
