"""Benchmark: refresh the table of 10,000 ended runs after 10 new ones, on S3 with 20 ms latency.

* ``ours``: the second ``lab.runs()`` of a process, after another process ended 10 more runs;
* ``listing``: one plain listing of the end records by obstore, page after page; and, separately,
  ``trip``: one plain GET of a small key.

Goal: ours at most 3 x (listing + trip). The current writers' code provides the keys of end records.
If each end record is in a separate folder, the folders are listed.

    python benchmarks/runs_new.py --data FOLDER [--runs 10000] [--new 10] [--repeats 5]

The store is used only by this script, because each repeat adds 10 runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import bare
import fresh
import sample_runs
from fresh import Numbers
from slow_s3 import Wire, delay_requests

WAIT_S, TRIPS = 0.02, 20


def main() -> None:
    """Prepare the data, measure and print the results."""
    options = fresh.arguments(__doc__, WAYS, data=Path, runs=10_000, new=10)
    if options.child:
        fresh.answer(WAYS, options.child)
        return
    found: dict[str, list[Numbers]] = {"ours": [], "listing": []}
    with (
        fresh.embedded_store(options.data / "s3") as root,
        delay_requests(str(root.access.endpoint), wait_s=WAIT_S) as wire,
        fresh.folder(options.data) as cache,
    ):
        uri = sample_runs.prepare_store(root, "new", options.runs)
        near = fresh.environ(root, uri, cache)
        more = {"DIRECT": near["AWS_ENDPOINT_URL"], "NEW": str(options.new)}
        places = {**fresh.environ(root, uri, cache, wire.endpoint), **more}
        fresh.child("fill", near)  # the first read is not measured
        for _ in range(options.repeats):
            for way, results in found.items():
                results.append(fresh.child(way, places))
    _print(found)


def _print(found: dict[str, list[Numbers]]) -> None:
    ours, limit = found["ours"], found["listing"]
    rows, new = fresh.median(ours, "rows"), fresh.median(ours, "new")
    print(f"{rows:.0f} runs, {new:.0f} of them new, {1000 * WAIT_S:.0f} ms a request")
    fresh.seconds("ours, with the new runs", [one["seconds"] for one in ours])
    print(f"  requests {fresh.median(ours, 'requests'):.0f}")
    fresh.seconds("ours, nothing new", [one["again"] for one in ours])
    print(f"  requests {fresh.median(ours, 'requests_again'):.0f}")
    fresh.seconds("bare listing, page after page", [one["listing"] for one in limit])
    print(f"  requests {fresh.median(limit, 'requests'):.0f}")
    fresh.seconds("one round trip", [one["trip"] for one in limit])
    limit_s = fresh.median(limit, "listing") + fresh.median(limit, "trip")
    fresh.ratio("ours / (listing + trip)", fresh.median(ours, "seconds") / limit_s, "<= 3")


def _fill() -> Numbers:
    import rvlab

    lab = rvlab.Lab()
    lab.runs()
    return {"rows": len(lab.runs())}


def _ours() -> Numbers:
    import rvlab

    wire, lab = Wire(os.environ["AWS_ENDPOINT_URL"]), rvlab.Lab()
    before = len(lab.runs())
    direct = dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"), os.environ["DIRECT"])
    command = [sys.executable, sample_runs.__file__, "--now", "--seed", str(time.time_ns())]
    command += ["--runs", os.environ["NEW"], "--store", os.environ["RVLAB_STORE"]]
    subprocess.run(command, env=os.environ | direct, check=True, capture_output=True)
    wire.take_counts()
    start = time.perf_counter()
    table = lab.runs()
    seconds = time.perf_counter() - start
    requests, _ = wire.take_counts()
    start = time.perf_counter()
    lab.runs()
    again = time.perf_counter() - start
    return {
        "seconds": seconds,
        "requests": requests,
        "again": again,
        "requests_again": wire.take_counts()[0],
        "rows": len(table),
        "new": len(table) - before,
    }


def _listing() -> Numbers:
    wire, store = Wire(os.environ["AWS_ENDPOINT_URL"]), bare.bucket()
    bare.trip_s(store)
    trips = [bare.trip_s(store) for _ in range(TRIPS)]
    wire.take_counts()
    listing = bare.listing_s(store, bare.of_ends())
    return {"listing": listing, "trip": median(trips), "requests": wire.take_counts()[0]}


WAYS = {"fill": _fill, "ours": _ours, "listing": _listing}

if __name__ == "__main__":
    main()
