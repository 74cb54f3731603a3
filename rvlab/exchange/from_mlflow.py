"""Import of MLflow's runs into a store, as records without artifacts."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from rvlab.errors import KeyExists, KeyMissing, NotFound, RvlabError, SpecError, did_you_mean
from rvlab.exchange import mlflow_client as ml
from rvlab.exchange.mlflow_encoding import clean_tag, key_safe_name, parse_param, restore_infinity
from rvlab.exchange.mlflow_history import metric_history_table
from rvlab.model import Run, Spec, end_record, validate_name
from rvlab.model.annotation import Annotation
from rvlab.store import Store, annotation
from rvlab.store.layout import write_layout_number
from rvlab.store.run_listing import finish_run
from rvlab.store.table_file import encode_table
from rvlab.user_warning import warn_user
from rvlab.version import __version__
from rvlab.worker.records import SPEC

if TYPE_CHECKING:
    from mlflow import MlflowClient

MLFLOW_ENGINE = "mlflow"
"""The engine of runs that come from MLflow."""

ORIGIN_FIELD = "mlflow"
"""The key of ``spec.json`` with the MLflow run that a run was imported from."""


def from_mlflow(
    store: Store,
    tracking_uri: str | None = None,
    *,
    experiments: str | Iterable[str] | None = None,
    experiment: str | None = None,
) -> list[Run]:
    """Import the ended runs of MLflow into a store; see `rvlab.Lab.from_mlflow`."""
    if experiment is not None:
        validate_name("experiment", experiment)
    with ml.tracking_client(tracking_uri, new=False) as client:
        sources = []
        active = 0
        for one in _experiments(client, experiments):
            target = experiment or key_safe_name(one.name)
            for found in ml.search_all(client.search_runs, experiment_ids=[one.experiment_id]):
                if found.info.status in ml.STATE_BY_MLFLOW_STATUS:
                    sources.append(_Source(found, Run(store.uri, target, _run_id(found))))
                else:
                    active += 1
        sources.sort(key=lambda source: source.run.id)
        write_layout_number(store)
        sent = _runs_sent_from(store, sources)
        ids = {s.info.run_id: sent.get(s.info.run_id, s.run).id for s in sources}
        imported = [source for source in sources if source.info.run_id not in sent]
        ends = store.get_many(source.run.end_key for source in imported)
        for source in imported:
            end = ends[source.run.end_key]
            if isinstance(end, KeyMissing):
                _import_run(client, store, source, _parent_id(client, source, ids))
            elif isinstance(end, RvlabError):
                raise end
    if active:
        warn_user(
            f"{active} of MLflow's runs {'has' if active == 1 else 'have'} not ended and "
            f"{'is' if active == 1 else 'are'} left out. Import again when they have ended.",
        )
    return [source.run for source in imported]


@dataclass(frozen=True)
class _Source:
    """An MLflow run and the run that it is imported as."""

    found: Any
    run: Run

    @property
    def info(self) -> Any:
        return self.found.info

    @property
    def tags(self) -> Mapping[str, str]:
        tags: Mapping[str, str] = self.found.data.tags
        return tags


def _experiments(client: MlflowClient, names: str | Iterable[str] | None) -> list[Any]:
    active = {one.name: one for one in ml.search_all(client.search_experiments)}
    if names is None:
        return list(active.values())
    wanted = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in wanted:
        if name not in active:
            raise NotFound(
                f"MLflow has no experiment {name!r} at {ml.redact_uri(client.tracking_uri)}. "
                f"{did_you_mean(name, active)}"
            )
    return [active[name] for name in wanted]


def _run_id(found: Any) -> str:
    """Return an id that depends on the MLflow run only, so that every import gives the same run."""
    digest = hashlib.sha256(found.info.run_id.encode()).hexdigest()
    return f"{_to_datetime(_start_ms(found)):%Y%m%d-%H%M%S}-{digest[:6]}"


def _start_ms(found: Any) -> int:
    return int(found.info.start_time or found.info.end_time or 0)


def _to_datetime(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def _iso_time(ms: int) -> str:
    return _to_datetime(ms).isoformat(timespec="milliseconds")


def _runs_sent_from(store: Store, sources: Iterable[_Source]) -> dict[str, Run]:
    """Return the runs that were sent from this store and are still in it, by MLflow's id."""
    found: dict[str, Run] = {}
    for source in sources:
        try:
            run = Run.from_uri(source.tags.get(ml.URI_TAG, ""))
        except SpecError:
            continue
        if run.store == ml.redact_uri(store.uri):
            found[source.info.run_id] = Run(store.uri, run.experiment, run.id)
    specs = store.get_many(run.key(SPEC) for run in found.values())
    return {k: run for k, run in found.items() if not isinstance(specs[run.key(SPEC)], KeyMissing)}


def _parent_id(client: MlflowClient, source: _Source, ids: dict[str, str]) -> str | None:
    """Return the id of the parent in this store, which it gets when it is imported."""
    parent = source.tags.get(ml.PARENT_RUN_TAG)
    if not parent:
        return source.tags.get(ml.PARENT_TAG)
    if parent not in ids:
        found = ml.get_run_or_none(client, parent)
        if found is None:
            return None
        ids[parent] = _run_id(found)
    return ids[parent]


def _import_run(client: MlflowClient, store: Store, source: _Source, parent: str | None) -> None:
    """Write the records of one run, the end record last, so that an import can be resumed."""
    run, data = source.run, source.found.data
    spec = {
        **_build_spec(source, parent).record(),
        ORIGIN_FIELD: {
            "run_id": source.info.run_id,
            "artifacts": ml.redact_uri(source.info.artifact_uri),
        },
    }
    store.put_json(run.key(SPEC), spec)
    listed = parse_param(source.tags.get(ml.HISTORY_TAG, ""))
    only_history = set(map(str, listed)) if isinstance(listed, list) else set()
    history = metric_history_table(client, source.info.run_id, data.metrics, only_history)
    if history is not None:
        store.put(run.key("tables", "history.parquet"), encode_table(history))
    _annotate(store, source)
    record = end_record(
        spec,
        ml.STATE_BY_MLFLOW_STATUS[source.info.status],
        _iso_time(int(source.info.end_time or _start_ms(source.found))),
        started=_iso_time(_start_ms(source.found)),
        metrics={
            name: value
            for name, value in sorted(data.metrics.items())
            if name not in only_history and math.isfinite(restore_infinity(value))
        },
    )
    with contextlib.suppress(KeyExists):  # another process imports it, with the same result
        finish_run(store, run, record)


def _annotate(store: Store, source: _Source) -> None:
    """Write the user's tags and note as one annotation, with the same key at every import."""
    words = [f"{k}={v}" for k, v in source.tags.items() if not k.startswith(("mlflow.", "rvlab."))]
    ours = parse_param(source.tags.get(ml.TAGS_TAG, ""))
    words += ours if isinstance(ours, list) else []
    tags = tuple(sorted({tag for word in words if (tag := clean_tag(str(word)))}))
    note = source.tags.get(ml.NOTE_TAG) or None
    if not tags and note is None:
        return
    start = _to_datetime(_start_ms(source.found))
    added = Annotation(
        start.isoformat(), source.tags.get(ml.USER_TAG, ""), tags_added=tags, note=note
    )
    folder = annotation.annotation_key_prefix(source.run)
    key = f"{folder}/{start:%Y%m%d-%H%M%S-%f}-{source.run.id[-6:]}.json"
    with contextlib.suppress(KeyExists):
        store.put_json(key, added.record(), if_absent=True)


def _build_spec(source: _Source, parent: str | None) -> Spec:
    info, tags = source.info, source.tags
    quoted = ml.URI_TAG in tags
    params = {k: parse_param(v, quoted=quoted) for k, v in sorted(source.found.data.params.items())}
    seed = (
        parse_param(tags.get(ml.SEED_TAG, ""), quoted=False)
        if ml.SEED_TAG in tags
        else params.get("seed")
    )
    is_seed = isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0
    script = PurePosixPath(tags.get(ml.SOURCE_TAG, "").replace("\\", "/")).stem
    return Spec(
        experiment=source.run.experiment,
        run=source.run.id,
        name=tags.get(ml.NAME_TAG) or info.run_name or info.run_id[:8],
        recipe=tags.get(ml.RECIPE_TAG) or script or MLFLOW_ENGINE,
        source_sha256="",
        params=params,
        places={},
        splits=1,
        seed=int(seed) if is_seed and seed is not None else 0,
        engine=MLFLOW_ENGINE,
        created=_iso_time(_start_ms(source.found)),
        user=tags.get(ml.USER_TAG, ""),
        commit=tags.get(ml.COMMIT_TAG),
        sweep=tags.get(ml.SWEEP_TAG),
        parent=parent,
        rvlab=__version__,
    )
