"""Runs of MLflow come into a store, as runs that have records only."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from rvlab.errors import KeyExists, KeyMissing, NotFound, RvlabError, SpecError, did_you_mean
from rvlab.exchange import mlflow_client as ml
from rvlab.exchange.mlflow_words import allowed, infinite, tag_of, value_of
from rvlab.model import Run, Spec, checked_name, end_record
from rvlab.model.edit import Edit
from rvlab.store import Store, edits
from rvlab.store.roll import close
from rvlab.version import __version__
from rvlab.worker.records import SPEC

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient

ENGINE = "mlflow"
"""The engine of runs that come from MLflow."""

ORIGIN = "mlflow"
"""The key of ``spec.json`` that says which of MLflow's runs it was."""


def from_mlflow(
    store: Store,
    tracking_uri: str | None = None,
    *,
    experiments: str | Iterable[str] | None = None,
    experiment: str | None = None,
) -> list[Run]:
    """Take the ended runs of MLflow into a store; see `rvlab.Lab.from_mlflow`."""
    if experiment is not None:
        checked_name("experiment", experiment)
    with ml.tracking(tracking_uri, new=False) as client:
        sources = []
        going = 0
        for one in _experiments(client, experiments):
            target = experiment or allowed(one.name)
            for found in ml.paged(client.search_runs, experiment_ids=[one.experiment_id]):
                if found.info.status in ml.STATES:
                    sources.append(_Source(found, Run(store.uri, target, _id(found))))
                else:
                    going += 1
        sources.sort(key=lambda source: source.run.id)
        ours = _ours(store, sources)
        ids = {s.info.run_id: ours.get(s.info.run_id, s.run).id for s in sources}
        taken = [source for source in sources if source.info.run_id not in ours]
        ends = store.get_many(source.run.end_key for source in taken)
        for source in taken:
            end = ends[source.run.end_key]
            if isinstance(end, KeyMissing):
                _take(client, store, source, _parent(client, source, ids))
            elif isinstance(end, RvlabError):
                raise end
    if going:
        warnings.warn(
            f"{going} of MLflow's runs {'has' if going == 1 else 'have'} not ended and "
            f"{'is' if going == 1 else 'are'} left out. Import again when they have.",
            stacklevel=3,
        )
    return [source.run for source in taken]


@dataclass(frozen=True)
class _Source:
    """A run of MLflow's, and the run that it becomes."""

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
    active = {one.name: one for one in ml.paged(client.search_experiments)}
    if names is None:
        return list(active.values())
    wanted = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in wanted:
        if name not in active:
            raise NotFound(
                f"MLflow has no experiment {name!r} at {ml.shown(client.tracking_uri)}. "
                f"{did_you_mean(name, active)}"
            )
    return [active[name] for name in wanted]


def _id(found: Any) -> str:
    """The same id for the same run of MLflow's, whenever and from wherever it is imported."""
    digest = hashlib.sha256(found.info.run_id.encode()).hexdigest()
    return f"{_moment(_start(found)):%Y%m%d-%H%M%S}-{digest[:6]}"


def _start(found: Any) -> int:
    return int(found.info.start_time or found.info.end_time or 0)


def _moment(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def _iso(ms: int) -> str:
    return _moment(ms).isoformat(timespec="milliseconds")


def _ours(store: Store, sources: Iterable[_Source]) -> dict[str, Run]:
    """The runs that were sent from this store and are still in it, by MLflow's id."""
    found: dict[str, Run] = {}
    for source in sources:
        try:
            run = Run.from_uri(source.tags.get(ml.URI, ""))
        except SpecError:
            continue
        if run.store == ml.shown(store.uri):
            found[source.info.run_id] = Run(store.uri, run.experiment, run.id)
    there = store.get_many(run.key(SPEC) for run in found.values())
    return {k: run for k, run in found.items() if not isinstance(there[run.key(SPEC)], KeyMissing)}


def _parent(client: MlflowClient, source: _Source, ids: dict[str, str]) -> str | None:
    """The id that the parent has here, or will have once it has ended and is imported."""
    parent = source.tags.get(ml.PARENT_RUN)
    if not parent:
        return source.tags.get(ml.PARENT)
    if parent not in ids:
        found = ml.run_or_none(client, parent)
        if found is None:
            return None
        ids[parent] = _id(found)
    return ids[parent]


def _take(client: MlflowClient, store: Store, source: _Source, parent: str | None) -> None:
    """Write the records of one run, its end last: an import that breaks off is made whole."""
    import pyarrow.parquet as pq

    run, data = source.run, source.found.data
    spec = {
        **_spec(source, parent).record(),
        ORIGIN: {"run_id": source.info.run_id, "artifacts": ml.shown(source.info.artifact_uri)},
    }
    store.put_json(run.key(SPEC), spec)
    listed = value_of(source.tags.get(ml.HISTORY, ""))
    only_history = set(map(str, listed)) if isinstance(listed, list) else set()
    history = _history(client, source.info.run_id, data.metrics, only_history)
    if history is not None:
        buffer = io.BytesIO()
        pq.write_table(history, buffer, compression="zstd", write_page_checksum=True)
        store.put(run.key("tables", "history.parquet"), buffer.getvalue())
    _annotate(store, source)
    record = end_record(
        spec,
        ml.STATES[source.info.status],
        _iso(int(source.info.end_time or _start(source.found))),
        started=_iso(_start(source.found)),
        metrics={
            name: value
            for name, value in sorted(data.metrics.items())
            if name not in only_history and math.isfinite(infinite(value))
        },
    )
    with contextlib.suppress(KeyExists):  # somebody else imports it too, with the same outcome
        close(store, run, record)


def _annotate(store: Store, source: _Source) -> None:
    """The tags that people gave and the note, as one edit; its key is the same at every import."""
    words = [f"{k}={v}" for k, v in source.tags.items() if not k.startswith(("mlflow.", "rvlab."))]
    ours = value_of(source.tags.get(ml.TAGS, ""))
    words += ours if isinstance(ours, list) else []
    tags = tuple(sorted({tag for word in words if (tag := tag_of(str(word)))}))
    note = source.tags.get(ml.NOTE) or None
    if not tags and note is None:
        return
    start = _moment(_start(source.found))
    edit = Edit(start.isoformat(), source.tags.get(ml.USER, ""), tags_added=tags, note=note)
    key = f"{edits.prefix(source.run)}/{start:%Y%m%d-%H%M%S-%f}-{source.run.id[-6:]}.json"
    with contextlib.suppress(KeyExists):
        store.put_json(key, edit.record(), if_absent=True)


def _spec(source: _Source, parent: str | None) -> Spec:
    info, tags = source.info, source.tags
    quoted = ml.URI in tags
    params = {k: value_of(v, quoted=quoted) for k, v in sorted(source.found.data.params.items())}
    seed = value_of(tags.get(ml.SEED, ""), quoted=False) if ml.SEED in tags else params.get("seed")
    whole = isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0
    script = PurePosixPath(tags.get(ml.SOURCE, "").replace("\\", "/")).stem
    return Spec(
        experiment=source.run.experiment,
        run=source.run.id,
        name=tags.get(ml.NAME) or info.run_name or info.run_id[:8],
        recipe=tags.get(ml.RECIPE) or script or ENGINE,
        source_sha256="",
        params=params,
        places={},
        splits=1,
        seed=int(seed) if whole and seed is not None else 0,
        engine=ENGINE,
        created=_iso(_start(source.found)),
        user=tags.get(ml.USER, ""),
        commit=tags.get(ml.COMMIT),
        sweep=tags.get(ml.SWEEP),
        parent=parent,
        rvlab=__version__,
    )


def _history(
    client: MlflowClient, run_id: str, names: Iterable[str], at_one_step: Collection[str]
) -> pa.Table | None:
    """One row per step, one column per metric with several steps; see `docs/records.md`."""
    import pyarrow as pa

    columns: dict[str, dict[int, float]] = {}
    for name in sorted(names):
        points = client.get_metric_history(run_id, name)
        points.sort(key=lambda point: (point.step, point.timestamp))
        steps = {point.step: infinite(point.value) for point in points}
        if len(steps) > 1 or name in at_one_step:
            columns[f"metric.{name}" if name in {"epoch", "run"} else name] = steps
    if not columns:
        return None
    epochs = sorted({step for steps in columns.values() for step in steps})
    table = {"epoch": pa.array(epochs, pa.int64())}
    for name, steps in columns.items():
        table[name] = pa.array([steps.get(epoch) for epoch in epochs], pa.float64())
    return pa.table(table)
