"""Benchmark: the table of 10,000 ended runs with a filled cache and no new runs.

All variants read the same runs, with 20 parameters and 20 metrics each. They alternate, each in a
fresh process that calls twice. The libraries are imported before.

* ``ours``: ``lab.runs("made")`` from a local folder, as MLflow and Parquet use local files. Another
  process filled its local cache before;
* ``s3``: the same from the embedded S3 server, which uses the same CPUs;
* ``mlflow``: ``mlflow.search_runs()`` of that experiment, from MLflow's default store, a local
  SQLite file;
* ``parquet``: ``pd.read_parquet`` of the table that ours returned, from a local file.

For information, one plain listing of the end records on S3, page after page. Every up-to-date
table needs such a listing; rvlab requests its pages in parallel.

Goals: the second call from a folder at least 100 x faster than MLflow's second call, and every call
at most 5 x ``read_parquet``.

    python benchmarks/runs_warm.py --data FOLDER [--runs 10000] [--repeats 5] [--peer-repeats 5]

The first call creates the runs in FOLDER; later calls reuse them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import bare
import fresh
import sample_mlflow
from fresh import Numbers
from sample_runs import EXPERIMENT, prepare_store

from rvlab.store import Store


def main() -> None:
    """Prepare the data, measure and print the results."""
    options = fresh.arguments(__doc__, WAYS, data=Path, runs=10_000, peer_repeats=5)
    if options.child:
        fresh.answer(WAYS, options.child)
        return
    database = options.data.resolve() / f"mlflow-{options.runs}.db"
    sample_mlflow.of_runs(database, options.runs)
    with fresh.embedded_store(options.data / "s3") as root, fresh.folder(options.data) as cache:
        uri = prepare_store(root, "runs", options.runs)
        folder = prepare_store(Store(options.data.resolve() / "folder"), "runs", options.runs)
        places = {
            **fresh.environ(root, uri, cache),
            "FOLDER": folder,
            "MLFLOW_TRACKING_URI": sample_mlflow.address(database),
            "TABLE": str(cache / "table.parquet"),
        }
        fresh.child("fill", places)
        ways = ("ours", "s3", "mlflow", "parquet", "listing")
        found: dict[str, list[Numbers]] = {way: [] for way in ways}
        for turn in range(max(options.repeats, options.peer_repeats)):
            for way, results in found.items():
                if turn < (options.peer_repeats if way == "mlflow" else options.repeats):
                    results.append(fresh.child(way, places))
    _print(found)


def _print(found: dict[str, list[Numbers]]) -> None:
    def all_of(way: str, call: str) -> list[float]:
        return [one[call] for one in found[way]]

    for way in ("ours", "s3", "mlflow", "parquet"):
        one = found[way][0]
        print(f"{way}: {one['rows']:.0f} runs x {one['columns']:.0f} columns")
    for way in ("ours", "s3", "mlflow", "parquet"):
        for call in ("first", "second"):
            fresh.seconds(f"{way}, {call} call in a process", all_of(way, call))
    fresh.seconds("bare listing, page after page", all_of("listing", "listing"))
    mlflow, parquet = median(all_of("mlflow", "second")), median(all_of("parquet", "second"))
    for call in ("second", "first"):
        our_s = median(all_of("ours", call))
        fresh.ratio(f"mlflow's second call / ours, {call}", mlflow / our_s, ">= 100")
        fresh.ratio(f"ours, {call} call / read_parquet", our_s / parquet, "<= 5")
    our_s = median(all_of("s3", "second"))
    print(f"mlflow's second call / s3, second: {mlflow / our_s:.0f}, for information")
    fresh.ratio("s3, second call / read_parquet", our_s / parquet, "<= 5")


def _twice(call: Callable[[], Any]) -> Numbers:
    found: Numbers = {}
    for name in ("first", "second"):
        start = time.perf_counter()
        table = call()
        found[name] = time.perf_counter() - start
    found["rows"], found["columns"] = table.shape
    return found


def _fill() -> Numbers:
    """Fill the cache by reading twice, and write the table to a Parquet file."""
    import rvlab

    for lab in (rvlab.Lab(), rvlab.Lab(os.environ["FOLDER"])):
        lab.runs()
        table = lab.runs()
    table.to_parquet(os.environ["TABLE"])
    return {"rows": len(table), "columns": len(table.columns)}


def _ours() -> Numbers:
    import rvlab

    fresh.libraries()
    lab = rvlab.Lab(os.environ["FOLDER"])
    return _twice(lambda: lab.runs(EXPERIMENT))


def _s3() -> Numbers:
    import rvlab

    fresh.libraries()
    lab = rvlab.Lab()
    return _twice(lambda: lab.runs(EXPERIMENT))


def _mlflow() -> Numbers:
    import mlflow

    def call() -> Any:
        return mlflow.search_runs(experiment_names=[EXPERIMENT])

    return _twice(call)


def _parquet() -> Numbers:
    import pandas as pd

    fresh.libraries()
    return _twice(lambda: pd.read_parquet(os.environ["TABLE"]))


def _listing() -> Numbers:
    store, one = bare.bucket(), bare.of_ends()
    bare.trip_s(store)
    return {"listing": bare.listing_s(store, one)}


WAYS = {
    "fill": _fill,
    "ours": _ours,
    "s3": _s3,
    "mlflow": _mlflow,
    "parquet": _parquet,
    "listing": _listing,
}

if __name__ == "__main__":
    main()
