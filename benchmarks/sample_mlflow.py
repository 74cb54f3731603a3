"""Sample data in MLflow's default store, a SQLite database: many runs or long histories.

``MlflowClient`` writes one run. The other runs are copies of its rows with different ids and
values, because MLflow takes some 50 ms to write a run.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sample_runs import EXPERIMENT, SERIES, metrics, point

Values = Mapping[str, Mapping[str, Any]]
"""New values by MLflow's table and by the key of the row."""

TABLES = ("runs", "params", "metrics", "latest_metrics", "tags")
AT_ONCE = 1000  # maximum number of metrics per call of the client


def address(database: Path) -> str:
    """Return MLflow's tracking URI of a database."""
    return f"sqlite:///{database}"


def of_runs(database: Path, runs: int) -> None:
    """Create ended runs with 20 parameters and 20 metrics each, unless they exist."""
    rng = random.Random(0)

    def values() -> Values:
        found = metrics(rng)
        params = {name: str(value) for name, value in point(rng).items()}
        return {"params": params, "metrics": found, "latest_metrics": found}

    _create_database(
        database, runs, {name: [value] for name, value in metrics(rng).items()}, values
    )


def of_history(database: Path, runs: int, epochs: int) -> None:
    """Create ended runs with five metrics of `epochs` steps each, unless they exist."""
    rng = random.Random(0)
    _create_database(
        database, runs, {name: [rng.random() for _ in range(epochs)] for name in SERIES}, dict
    )


def _create_database(
    database: Path, runs: int, series: Mapping[str, Sequence[float]], values: Callable[[], Values]
) -> None:
    if database.exists():
        return
    start = time.perf_counter()
    partial = database.with_suffix(".part")
    partial.unlink(missing_ok=True)
    database.parent.mkdir(parents=True, exist_ok=True)
    _copy_run(partial, _template(partial, series), runs, values)
    partial.rename(database)
    took = time.perf_counter() - start
    print(f"Created {runs} runs of MLflow in {took:.0f} s.", file=sys.stderr)


def _template(database: Path, series: Mapping[str, Sequence[float]]) -> str:
    """Write one run with MLflow's client and return its id."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(address(database))
    artifacts = str(database.with_suffix(""))
    run = client.create_run(client.create_experiment(EXPERIMENT, artifacts)).info.run_id
    params = [Param(name, str(value)) for name, value in point(random.Random(0)).items()]
    client.log_batch(run, params=params)
    now = int(time.time() * 1000)
    for name, numbers in series.items():
        points = [Metric(name, value, now + step, step) for step, value in enumerate(numbers)]
        for first in range(0, len(points), AT_ONCE):
            client.log_batch(run, metrics=points[first : first + AT_ONCE])
    client.set_terminated(run)
    return str(run)


def _copy_run(database: Path, run: str, runs: int, values: Callable[[], Values]) -> None:
    """Copy the rows of a run until the database has `runs` runs."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.row_factory = sqlite3.Row
        rows = {
            table: [
                dict(row)
                for row in connection.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", [run])  # noqa: S608  TABLES
            ]
            for table in TABLES
        }
        ids = [uuid.UUID(int=random.Random(n).getrandbits(128)).hex for n in range(1, runs)]
        for number, new in enumerate(ids):
            fresh = values()
            for table, old in rows.items():
                copies = [_copy(row, new, number, fresh.get(table, {})) for row in old]
                names, marks = ", ".join(copies[0]), ", ".join(f":{name}" for name in copies[0])
                connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", copies)  # noqa: S608  TABLES


def _copy(row: Mapping[str, Any], run: str, number: int, values: Mapping[str, Any]) -> Any:
    fresh = {**row, "run_uuid": run}
    if row.get("key") in values:
        fresh["value"] = values[row["key"]]
    for name in ("start_time", "end_time"):
        if name in row:
            fresh[name] = row[name] + 1000 * number
    return fresh
