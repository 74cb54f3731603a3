"""Export of runs to MLflow: parameters, metrics, history and times, without artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from rvlab.cache.annotations import load_annotations_by_run
from rvlab.errors import KeyMissing, RecordBroken, StoreError
from rvlab.exchange import mlflow_client as ml
from rvlab.exchange.from_mlflow import MLFLOW_ENGINE, ORIGIN_FIELD
from rvlab.exchange.mlflow_encoding import (
    MAX_NAME_CHARS,
    MAX_PARAM_CHARS,
    MAX_TAG_TEXT_CHARS,
    format_param,
    mlflow_names,
)
from rvlab.frame.run_rows import read_rows
from rvlab.frame.tables import history_table as training_log
from rvlab.frame.untrusted_parquet import decode_parquet
from rvlab.model import END_STATES, Run
from rvlab.model.annotation import RunAnnotations
from rvlab.model.limits import TABLE_BYTES
from rvlab.store import Store
from rvlab.user_warning import warn_user
from rvlab.worker.records import SPEC

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

METRICS_PER_BATCH, PARAMS_PER_BATCH = 1000, 100
"""MLflow's limits of one ``log_batch``."""

SENT_COLUMNS: dict[str, Any] = {"mlflow_run": "string", "sent": "bool"}

HistoryColumns: TypeAlias = Mapping[str, Mapping[int, float]]
"""A training history: the value at each epoch, by column."""

_STATUS = {state: status for status, state in ml.STATE_BY_MLFLOW_STATUS.items()}


def to_mlflow(
    store: Store,
    runs: Sequence[Run],
    tracking_uri: str | None = None,
    *,
    experiment: str | None = None,
) -> pd.DataFrame:
    """Copy ended runs to MLflow; see `rvlab.Lab.to_mlflow`."""
    import pandas as pd

    rows = [row for row in read_rows(store, runs) if row["state"] in END_STATES]
    rows.sort(key=lambda row: (row["created"], row["run"]))  # parents before their children
    added = {
        name: load_annotations_by_run(store, name) for name in {row["experiment"] for row in rows}
    }
    truncated: list[str] = []
    sent: dict[str, tuple[str, bool]] = {}
    with ml.tracking_client(tracking_uri, new=True) as client:
        targets: dict[str, _TargetExperiment] = {}
        for row in rows:
            name = experiment or row["experiment"]
            origin = (
                _origin_run_id(client, store, row["_run"])
                if row["engine"] == MLFLOW_ENGINE
                else None
            )
            if origin is not None:
                sent[row["uri"]] = (origin, False)
                continue
            if name not in targets:
                targets[name] = _TargetExperiment(client, name)
            target, address = targets[name], ml.redact_uri(row["uri"])
            new = not target.is_complete(address)
            if new:
                annotations = added[row["experiment"]].get(row["run"], RunAnnotations())
                history = _history_columns(store, row["_run"])
                truncated += target.copy_run(row, history, annotations)
            sent[row["uri"]] = (target.copies[address], new)
    left = len(runs) - len(rows)
    if left:
        warn_user(
            f"{left} of {len(runs)} runs {'has' if left == 1 else 'have'} not ended, or cannot be "
            f"read, and {'is' if left == 1 else 'are'} left out.",
        )
    if truncated:
        warn_user(
            f"{len(truncated)} parameters are longer than the {MAX_PARAM_CHARS} characters that "
            f"MLflow accepts, and were truncated: {', '.join(dict.fromkeys(truncated))}.",
        )
    ids = pd.Index([row["run"] for row in rows], name="run", dtype="object")
    values = [sent[row["uri"]] for row in rows]
    return pd.DataFrame(values, columns=list(SENT_COLUMNS), index=ids).astype(SENT_COLUMNS)


class _TargetExperiment:
    """An MLflow experiment and the copies of runs in it."""

    def __init__(self, client: MlflowClient, name: str) -> None:
        self._client = client
        found = client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage != "active":
            raise StoreError(
                f"MLflow's experiment {name!r} was deleted. Restore it (mlflow experiments restore "
                f"--experiment-id {found.experiment_id}), or name another with experiment=."
            )
        self._id = found.experiment_id if found else client.create_experiment(name)
        self.copies: dict[str, str] = {}
        """MLflow's ids of the copies by the URI of the run."""
        self._complete: set[str] = set()
        self._by_run: dict[str, str] = {}
        wanted = f"tags.`{ml.URI_TAG}` LIKE '%'"
        found_runs = ml.search_all(
            client.search_runs, experiment_ids=[self._id], filter_string=wanted
        )
        for copy in found_runs:
            self._remember(
                copy.data.tags[ml.URI_TAG],
                copy.info.run_id,
                copy.info.status in ml.STATE_BY_MLFLOW_STATUS,
            )

    def _remember(self, uri: str, copy: str, complete: bool) -> None:
        if uri in self._complete:
            return
        self.copies[uri] = copy
        self._by_run[uri.rpartition("/")[2]] = copy
        if complete:
            self._complete.add(uri)

    def is_complete(self, uri: str) -> bool:
        """Return whether the copy of a run is complete."""
        return uri in self._complete

    def copy_run(
        self, row: Mapping[str, Any], history: HistoryColumns, annotations: RunAnnotations
    ) -> list[str]:
        """Copy a run or complete an earlier copy; the status, which ends it, is written last.

        Returns:
            The names of truncated parameters.
        """
        from mlflow.entities import Param, RunTag

        uri = ml.redact_uri(row["uri"])
        started, ended = _to_ms(row["started"] or row["created"], uri), _to_ms(row["ended"], uri)
        names = mlflow_names({*row["metrics"], *history})
        only_history = [names[one] for one in history if one not in row["metrics"]]
        tags = self._tags(row, only_history, annotations)
        points = list(_metric_points(row["metrics"], history, names, started, ended))
        if uri in self.copies:  # not every version of MLflow accepts a point twice
            existing = self._existing_points(self.copies[uri], names.values())
            points = [p for p in points if (p.key, p.step, p.timestamp) not in existing]
        else:
            name = row["name"][:MAX_NAME_CHARS]
            new = self._client.create_run(self._id, start_time=started, tags=tags, run_name=name)
            self._remember(uri, new.info.run_id, complete=False)
        copy = self.copies[uri]
        run_tags = [RunTag(key, value) for key, value in tags.items()]
        self._client.log_batch(copy, tags=run_tags, synchronous=True)
        texts = {name: format_param(value) for name, value in row["params"].items()}
        keys = mlflow_names(texts)
        params = [Param(keys[name], text[:MAX_PARAM_CHARS]) for name, text in texts.items()]
        for batch in _batches(params, PARAMS_PER_BATCH):
            self._client.log_batch(copy, params=batch, synchronous=True)
        for batch in _batches(points, METRICS_PER_BATCH):
            self._client.log_batch(copy, metrics=batch, synchronous=True)
        self._client.set_terminated(copy, _STATUS[row["state"]], ended)
        self._remember(uri, copy, complete=True)
        return [name for name, text in texts.items() if len(text) > MAX_PARAM_CHARS]

    def _existing_points(self, copy: str, names: Iterable[str]) -> set[tuple[str, int, int]]:
        found = (p for name in names for p in self._client.get_metric_history(copy, name))
        return {(point.key, point.step, point.timestamp) for point in found}

    def _tags(
        self, row: Mapping[str, Any], only_history: Sequence[str], annotations: RunAnnotations
    ) -> dict[str, str]:
        tags = {
            ml.URI_TAG: ml.redact_uri(row["uri"]),
            ml.ID_TAG: row["run"],
            ml.RECIPE_TAG: row["recipe"],
            ml.SEED_TAG: row["seed"],
            ml.SWEEP_TAG: row["sweep"],
            ml.PARENT_TAG: row["parent"],
            ml.HISTORY_TAG: json.dumps(only_history) if only_history else None,
            ml.COMMIT_TAG: row["commit"],
            ml.USER_TAG: row["user"],
            ml.TAGS_TAG: json.dumps(annotations.tags) if annotations.tags else None,
            ml.NOTE_TAG: annotations.note,
            ml.PARENT_RUN_TAG: self._by_run.get(row["parent"] or ""),
        }
        return {key: str(v)[:MAX_TAG_TEXT_CHARS] for key, v in tags.items() if v not in {None, ""}}


def _metric_points(
    metrics: Mapping[str, float | None],
    history: HistoryColumns,
    names: Mapping[str, str],
    started: int,
    ended: int,
) -> Iterator[Any]:
    """Yield the history, and the headline metrics at its last epoch, which MLflow displays."""
    from mlflow.entities import Metric

    for name, epochs in history.items():
        for epoch, value in epochs.items():
            yield Metric(names[name], value, started, epoch)
    last = max((epoch for epochs in history.values() for epoch in epochs), default=0)
    for name, headline in metrics.items():
        own = history.get(name, {})
        step = max(own, default=last)
        if headline is not None and own.get(step) != headline:
            yield Metric(names[name], float(headline), ended, step)


def _history_columns(store: Store, run: Run) -> HistoryColumns:
    """Read the columns of a run's history by epoch, from its table, else its training log."""
    key = run.key("tables", "history.parquet")
    try:
        data = store.get(key, limit=TABLE_BYTES)
    except KeyMissing:
        log = training_log(store, [run]).drop(columns=["run", "name"])
        columns = {str(name): log[name].replace(float("nan"), None).tolist() for name in log}
    else:
        columns = decode_parquet(key, data).to_pydict()
    epochs = columns.pop("epoch")
    return {
        name: {int(e): float(v) for e, v in zip(epochs, values, strict=True) if v is not None}
        for name, values in columns.items()
    }


def _origin_run_id(client: MlflowClient, store: Store, run: Run) -> str | None:
    """Return the MLflow run that a run was imported from, None if it no longer exists."""
    origin = store.get_json(run.key(SPEC)).get(ORIGIN_FIELD)
    run_id = origin.get("run_id") if isinstance(origin, dict) else None
    if run_id is None or ml.get_run_or_none(client, run_id) is None:
        return None
    return str(run_id)


def _batches(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _to_ms(moment: Any, uri: str) -> int:
    try:
        return round(datetime.fromisoformat(moment).timestamp() * 1000)
    except (TypeError, ValueError) as exc:
        raise RecordBroken(f"{uri} must have times in UTC, got {moment!r}.") from exc
