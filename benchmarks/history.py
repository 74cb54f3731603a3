"""Benchmark: the histories of 100 runs, with 5 series of 1,000 epochs each, in one call.

All variants run in fresh processes, alternating, after the libraries are imported.

* ``cold``: ``lab.history()`` from the embedded S3 server without added latency, with an empty local
  cache;
* ``warm``: the same, the second call of a process whose cache another process has filled; and
  ``new``, the first call of such a process;
* ``mlflow``: ``MlflowClient.get_metric_history`` for each run and series, from MLflow's default
  store, a SQLite file; its objects are not converted to a table, which would take more time;
* ``trackio``: one call for all runs, converted to a DataFrame; see ``trackio_history.py``.

Goals, cold and warm: at least 50 x faster than MLflow, and 2 x faster than Trackio.

    python benchmarks/history.py --data FOLDER [--runs 100] [--epochs 1000] [--repeats 5]
        [--trackio-python PYTHON]

PYTHON is an interpreter that can import trackio and pandas (``pip install trackio pandas``), by
default the current one. If it cannot, Trackio is skipped. The first call creates the runs in
FOLDER.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fresh
import sample_mlflow
from fresh import Numbers
from sample_runs import EXPERIMENT, SERIES, prepare_store

CALLS = ("first", "second")


def main() -> None:
    """Prepare the data, measure and print the results."""
    defaults = {"runs": 100, "epochs": 1000, "trackio_python": sys.executable}
    options = fresh.arguments(__doc__, WAYS, data=Path, **defaults)
    if options.child:
        fresh.answer(WAYS, options.child)
        return
    database = options.data.resolve() / f"mlflow-history-{options.runs}-{options.epochs}.db"
    sample_mlflow.of_history(database, options.runs, options.epochs)
    trackio = Trackio(options)
    found: dict[str, list[Numbers]] = {"cold": [], "warm": [], "mlflow": [], "trackio": []}
    with fresh.embedded_store(options.data / "s3") as root, fresh.folder(options.data) as cache:
        uri = prepare_store(root, f"history-{options.epochs}", options.runs, epochs=options.epochs)
        peer = {"MLFLOW_TRACKING_URI": sample_mlflow.address(database)}
        fresh.child("ours", fresh.environ(root, uri, cache))
        for _ in range(options.repeats):
            found["warm"].append(fresh.child("ours", fresh.environ(root, uri, cache)))
            with fresh.folder(options.data) as empty:
                found["cold"].append(fresh.child("ours", fresh.environ(root, uri, empty)))
            found["mlflow"].append(fresh.child("mlflow", peer))
            if trackio.missing is None:
                found["trackio"].append(trackio.call("read", options.runs))
    print(f"{options.runs} runs x {len(SERIES)} series x {options.epochs} epochs")
    _print(found, trackio.missing)


class Trackio:
    """Runner of ``trackio_history.py``, which creates its runs unless they exist."""

    def __init__(self, options: Any) -> None:
        self._python = options.trackio_python
        self._folder = options.data.resolve() / f"trackio-{options.runs}-{options.epochs}"
        self.missing: str | None = self.call("read", 0).get("missing")
        done = self._folder / "done"
        if self.missing is None and not done.exists():
            took = self.call("make", options.runs, options.epochs)["seconds"]
            print(f"Created {options.runs} runs of Trackio in {took:.0f} s.", file=sys.stderr)
            done.touch()

    def call(self, verb: str, *numbers: int) -> Any:
        """Return what the script prints when it creates or reads runs."""
        self._folder.mkdir(parents=True, exist_ok=True)
        script = Path(__file__).with_name("trackio_history.py")
        done = subprocess.run(
            [self._python, str(script), verb, *map(str, numbers)],
            env={**os.environ, "TRACKIO_DIR": str(self._folder)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])


def _print(found: dict[str, list[Numbers]], missing: str | None) -> None:
    cold, new = ([one["first"] for one in found[way]] for way in ("cold", "warm"))
    warm = [one["second"] for one in found["warm"]]
    fresh.seconds("ours, cold", cold)
    fresh.seconds("ours, new process with a warm cache", new)
    fresh.seconds("ours, warm: second call", warm)
    our_times = {"cold": fresh.median(found["cold"], "first")}
    our_times["warm"] = fresh.median(found["warm"], "second")
    for peer, goal in (("mlflow", ">= 50"), ("trackio", ">= 2")):
        if peer == "trackio" and missing is not None:
            print(f"trackio is skipped: {missing}. See --trackio-python.")
            continue
        for call in CALLS:
            fresh.seconds(f"{peer}, {call} call", [one[call] for one in found[peer]])
        peer_time = min(fresh.median(found[peer], call) for call in CALLS)
        for name, seconds in our_times.items():
            fresh.ratio(f"{peer}'s faster call / ours, {name}", peer_time / seconds, goal)


def _ours() -> Numbers:
    import rvlab

    fresh.libraries()
    lab, found = rvlab.Lab(), Numbers()
    for call in CALLS:
        start = time.perf_counter()
        table = lab.history()
        found[call] = time.perf_counter() - start
    return {**found, "rows": len(table), "columns": len(table.columns)}


def _mlflow() -> Numbers:
    from mlflow import MlflowClient

    client, found = MlflowClient(), Numbers()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = [run.info.run_id for run in client.search_runs([experiment.experiment_id])]
    for call in CALLS:
        start = time.perf_counter()
        points = [client.get_metric_history(run, name) for run in runs for name in SERIES]
        found[call] = time.perf_counter() - start
    return {**found, "points": sum(map(len, points))}


WAYS = {"ours": _ours, "mlflow": _mlflow}

if __name__ == "__main__":
    main()
