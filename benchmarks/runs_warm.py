"""10,000 ended runs as a DataFrame, once more, when nothing is new.

The same runs, 20 parameters and 20 metrics each, three ways, alternating, each in a fresh process
that calls twice. The libraries are imported before.

* ``ours``: ``lab.runs("made")`` from a folder of this machine, as the others are. Its local cache
  was filled by another process before;
* ``s3``: the same from the embedded S3, whose server takes its part of the same processors;
* ``mlflow``: ``mlflow.search_runs()`` of that experiment, from MLflow's default store, a SQLite
  file on this machine;
* ``parquet``: ``pd.read_parquet`` of the table that ours returned, a file on this machine.

For information, one bare listing on S3 of the keys that tell which runs have ended, page after
page: nothing that is always true can be faster there by much.

Goals: a second call from a folder, as MLflow's store is a file, at least 100 x faster than MLflow's
second; and any at most 5 x ``read_parquet``.

    python benchmarks/runs_warm.py --data FOLDER [--runs 10000] [--repeats 5] [--peer-repeats 5]

The first call fills FOLDER with the runs; a later one finds them there.
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
from sample_runs import EXPERIMENT, prepared

from rvlab.store import Store


def main() -> None:
    """Prepare, measure, print."""
    asked = fresh.arguments(__doc__, WAYS, data=Path, runs=10_000, peer_repeats=5)
    if asked.child:
        fresh.answer(WAYS, asked.child)
        return
    database = asked.data.resolve() / f"mlflow-{asked.runs}.db"
    sample_mlflow.of_runs(database, asked.runs)
    with fresh.embedded(asked.data / "s3") as root, fresh.folder(asked.data) as cache:
        uri = prepared(root, "runs", asked.runs)
        folder = prepared(Store(asked.data.resolve() / "folder"), "runs", asked.runs)
        places = {
            **fresh.environ(root, uri, cache),
            "FOLDER": folder,
            "MLFLOW_TRACKING_URI": sample_mlflow.address(database),
            "TABLE": str(cache / "table.parquet"),
        }
        fresh.child("fill", places)
        ways = ("ours", "s3", "mlflow", "parquet", "listing")
        found: dict[str, list[Numbers]] = {way: [] for way in ways}
        for turn in range(max(asked.repeats, asked.peer_repeats)):
            for way, results in found.items():
                if turn < (asked.peer_repeats if way == "mlflow" else asked.repeats):
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
        mine = median(all_of("ours", call))
        fresh.ratio(f"mlflow's second call / ours, {call}", mlflow / mine, ">= 100")
        fresh.ratio(f"ours, {call} call / read_parquet", mine / parquet, "<= 5")
    mine = median(all_of("s3", "second"))
    print(f"mlflow's second call / s3, second: {mlflow / mine:.0f}, for information")
    fresh.ratio("s3, second call / read_parquet", mine / parquet, "<= 5")


def _twice(call: Callable[[], Any]) -> Numbers:
    found: Numbers = {}
    for name in ("first", "second"):
        start = time.perf_counter()
        table = call()
        found[name] = time.perf_counter() - start
    found["rows"], found["columns"] = table.shape
    return found


def _fill() -> Numbers:
    """Fill the cache as it is filled in use, and leave the table."""
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
