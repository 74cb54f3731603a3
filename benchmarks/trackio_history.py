"""Trackio's part of ``history.py``, which needs an environment with Trackio but without rvlab.

    TRACKIO_DIR=FOLDER python benchmarks/trackio_history.py make RUNS EPOCHS
    TRACKIO_DIR=FOLDER python benchmarks/trackio_history.py read RUNS

Trackio's documented client, ``trackio.Api``, returns no metrics, and its SQL query is limited to
10,000 rows. The fastest remaining way is the method that its own server uses,
``SQLiteStorage.get_logs_batch``, in one call for all runs; its ``scalar_only`` skips a conversion
that numbers do not need. The method returns dicts, from which pandas builds one DataFrame.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import time
from typing import Any

PROJECT = "made"
SERIES = ("train_loss", "val_loss", "avg_f1", "avg_precision", "avg_recall")


def main() -> None:
    """Create or read runs and print the seconds."""
    try:
        storage = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
        import pandas  # noqa: F401
    except ImportError as exc:
        print(json.dumps({"missing": str(exc)}))
        return
    verb, *numbers = sys.argv[1:]
    print(json.dumps({"make": _make, "read": _read}[verb](storage, *map(int, numbers))))


def _make(storage: Any, runs: int, epochs: int = 0) -> dict[str, float]:
    rng = random.Random(0)
    start = time.perf_counter()
    for name in _names(runs):
        rows = [{series: rng.random() for series in SERIES} for _ in range(epochs)]
        storage.bulk_log(PROJECT, name, rows, config={"lr": 0.1})
    return {"seconds": time.perf_counter() - start}


def _read(storage: Any, runs: int) -> dict[str, float]:
    import pandas as pd

    found: dict[str, float] = {}
    for call in ("first", "second"):
        start = time.perf_counter()
        logs = storage.get_logs_batch(
            PROJECT, [{"run": name} for name in _names(runs)], scalar_only=True
        )
        found[f"{call}_dicts"] = time.perf_counter() - start
        table = pd.DataFrame([{"run": one["run"], **row} for one in logs for row in one["logs"]])
        found[call] = time.perf_counter() - start
        found["rows"] = len(table)
    return found


def _names(runs: int) -> list[str]:
    return [f"run-{number}" for number in range(runs)]


if __name__ == "__main__":
    main()
