"""The histories of 100 runs, 5 series of 1,000 epochs each, in one call.

Each way in fresh processes, alternating; libraries are imported before.

* ``cold``: ``lab.history()`` from the embedded S3, no wait added, with an empty local cache;
* ``warm``: the same, second call of a process whose cache another process has filled; and ``new``,
  the first call of such a process;
* ``mlflow``: ``MlflowClient.get_metric_history`` for each run and series, from MLflow's default
  store, a SQLite file; its objects are not made a table, which would take longer still;
* ``trackio``: one call for all runs, made a DataFrame; see ``trackio_history.py``.

Goals: at least 50 x faster than MLflow, and 2 x than Trackio; cold and warm.

    python benchmarks/history.py --data FOLDER [--runs 100] [--epochs 1000] [--repeats 5]
        [--trackio-python PYTHON]

PYTHON is one that can import trackio and pandas (``pip install trackio pandas``), by default this
one. Where it cannot, that part is left out. The first call fills FOLDER.
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
from sample_runs import EXPERIMENT, SERIES, prepared

CALLS = ("first", "second")


def main() -> None:
    """Prepare, measure, print."""
    options = {"runs": 100, "epochs": 1000, "trackio_python": sys.executable}
    asked = fresh.arguments(__doc__, WAYS, data=Path, **options)
    if asked.child:
        fresh.answer(WAYS, asked.child)
        return
    database = asked.data.resolve() / f"mlflow-history-{asked.runs}-{asked.epochs}.db"
    sample_mlflow.of_history(database, asked.runs, asked.epochs)
    trackio = Trackio(asked)
    found: dict[str, list[Numbers]] = {"cold": [], "warm": [], "mlflow": [], "trackio": []}
    with fresh.embedded(asked.data / "s3") as root, fresh.folder(asked.data) as kept:
        uri = prepared(root, f"history-{asked.epochs}", asked.runs, epochs=asked.epochs)
        peer = {"MLFLOW_TRACKING_URI": sample_mlflow.address(database)}
        fresh.child("ours", fresh.environ(root, uri, kept))
        for _ in range(asked.repeats):
            found["warm"].append(fresh.child("ours", fresh.environ(root, uri, kept)))
            with fresh.folder(asked.data) as empty:
                found["cold"].append(fresh.child("ours", fresh.environ(root, uri, empty)))
            found["mlflow"].append(fresh.child("mlflow", peer))
            if trackio.missing is None:
                found["trackio"].append(trackio.call("read", asked.runs))
    print(f"{asked.runs} runs x {len(SERIES)} series x {asked.epochs} epochs")
    _print(found, trackio.missing)


class Trackio:
    """Runs ``trackio_history.py``, and makes its runs unless they are there."""

    def __init__(self, asked: Any) -> None:
        self._python = asked.trackio_python
        self._folder = asked.data.resolve() / f"trackio-{asked.runs}-{asked.epochs}"
        self.missing: str | None = self.call("read", 0).get("missing")
        done = self._folder / "done"
        if self.missing is None and not done.exists():
            took = self.call("make", asked.runs, asked.epochs)["seconds"]
            print(f"Made {asked.runs} runs of Trackio in {took:.0f} s.", file=sys.stderr)
            done.touch()

    def call(self, verb: str, *numbers: int) -> Any:
        """What it prints when it makes, or reads, runs."""
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
    mine = {"cold": fresh.median(found["cold"], "first")}
    mine["warm"] = fresh.median(found["warm"], "second")
    for peer, goal in (("mlflow", ">= 50"), ("trackio", ">= 2")):
        if peer == "trackio" and missing is not None:
            print(f"trackio is left out: {missing}. See --trackio-python.")
            continue
        for call in CALLS:
            fresh.seconds(f"{peer}, {call} call", [one[call] for one in found[peer]])
        theirs = min(fresh.median(found[peer], call) for call in CALLS)
        for name, seconds in mine.items():
            fresh.ratio(f"{peer}'s faster call / ours, {name}", theirs / seconds, goal)


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
