"""Predictions of any program with their truth, registered as a run with all tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from rvlab.errors import KeyMissing, NotFound, SpecError, StoreError, StoreUnreachable
from rvlab.exchange.adopted_run import (
    AdoptedResults,
    AdoptedRun,
    ParamsLike,
    adopted_run_id,
    merge_params,
    write_adopted_run,
)
from rvlab.exchange.class_values import (
    ClassesLike,
    ClassValues,
    class_values_of_config,
    parse_classes,
)
from rvlab.exchange.history_rows import HistoryLike, count_epochs, history_from_rows
from rvlab.exchange.lightning_output import LightningOutput
from rvlab.exchange.prediction_config import (
    CheckedScene,
    SceneUris,
    check_scene,
    pipeline_config,
)
from rvlab.exchange.scene_files import (
    FilesLike,
    list_scene_files,
    match_files_to_scenes,
    match_truth_to_predictions,
)
from rvlab.frame.untrusted_parquet import conform_to_schema, decode_parquet
from rvlab.model import Run
from rvlab.model.tables import ARTIFACTS_TABLE
from rvlab.raster.scene import task_of_config
from rvlab.store import Store, rv_outputs, store_for_uri
from rvlab.store.addresses import is_allowed
from rvlab.store.file_patterns import RASTER_SUFFIXES, VECTOR_SUFFIXES
from rvlab.store.rv_outputs import CONFIG_FILE, LIGHTNING
from rvlab.store.table_file import rows_to_arrow
from rvlab.user_warning import warn_user
from rvlab.worker.fingerprint import FILE_FIELDS, file_sha256, fingerprint_scenes
from rvlab.worker.rv_evaluation import OUTSIDE_AOI
from rvlab.worker.score_scenes import PREDICTED_GROUPS
from rvlab.worker.summarize import summarize_outputs

PREDICTIONS = "predictions"
"""Recipe of runs that were adopted from predictions alone."""

TruthLike: TypeAlias = FilesLike | Run


@dataclass(frozen=True)
class PredictionArguments:
    """Predictions and truth as a caller gives them; see `rvlab.Lab.adopt`."""

    predictions: FilesLike | None = None
    truth: TruthLike | None = None
    classes: ClassesLike | None = None
    scores: FilesLike | None = None
    images: FilesLike | None = None
    null: str | int | None = None
    group: str = "validation"
    history: HistoryLike | None = None
    name: str | None = None


def register_predictions(
    store: Store,
    experiment: str,
    params: ParamsLike,
    given: PredictionArguments,
    log: LightningOutput | None,
) -> Run:
    """Register predictions as a run, unless it exists already.

    All pixels are read once before anything is written, so that files that do not fit together
    leave nothing behind.

    Args:
        store: The store.
        experiment: The experiment of the run.
        params: Parameters that the caller adds.
        given: The predictions and their truth.
        log: The log of the training.
    """
    if given.group not in PREDICTED_GROUPS:
        known = " or ".join(PREDICTED_GROUPS)
        raise SpecError(f"group must be {known}, got {given.group!r:.100}.")
    if given.name is not None and not (isinstance(given.name, str) and given.name):
        raise SpecError(f"name must be text, got {given.name!r:.100}.")
    classes, scenes = find_scene_files(given)
    history = None if given.history is None else history_from_rows(given.history)
    own = {} if log is None else log.params
    hparams = {} if log is None else dict(log.log.hparams)
    merged = merge_params(own, params, hparams)
    predicted = [uri for one in scenes for uri in (one.labels, one.scores) if uri is not None]
    main = [str(one.labels or one.scores) for one in scenes]
    labelled = [one.truth for one in scenes if one.truth is not None]
    times = [_last_modified(uri) for uri in predicted]
    created, ended = (min(times), max(times)) if log is None else (log.log.times[0], max(times))
    described = {
        "experiment": experiment,
        "scenes": [[one.id, one.truth, one.image, one.known] for one in scenes],
        "files": {uri: file_sha256(uri, whole=False) for uri in sorted(predicted)},
        "modified": [time.isoformat() for time in times],
        "truth": {uri: file_sha256(uri) for uri in sorted(labelled)},
        "scenes of the run": _fingerprints(scenes),
        "classes": [classes.config, sorted(classes.values.items())],
        "params": merged,
        "history": None if history is None else history.to_pylist(),
        "log": None if log is None else log.digest,
        "group": given.group,
    }
    text = json.dumps(described, sort_keys=True, default=str)
    run = Run(store.uri, experiment, adopted_run_id(created, [text.encode()]))
    if store.exists(run.end_key):
        return run

    checked = {one.id: check_scene(one, classes) for one in scenes}
    _warn_of_refused_addresses(store, scenes)
    _write_outputs(store, run, classes, checked, given.group)
    summary = summarize_outputs(store, run)
    for problem in summary.uncounted:
        warn_user(f"The run {run.id} has no counts of some scenes. {problem}")
    metrics = dict(summary.metrics)
    if log is not None:
        history = history if history is not None else log.log.history
        metrics = {**log.last_metrics, **metrics}
    tables = {"artifacts": _artifacts(store, run, scenes, log)}
    if history is not None:
        tables["history"] = history
    adopted = AdoptedRun(
        run=run,
        name=given.name or (log.name if log else _default_name(main)),
        recipe=LIGHTNING if log else PREDICTIONS,
        params=merged,
        source_sha256=hashlib.sha256(store.get(run.key("rv", CONFIG_FILE))).hexdigest(),
        created=created,
        root_uri=None if log is None else log.uri,
    )
    results = AdoptedResults(
        ended=max(created, ended),
        tables=tables,
        metrics=metrics,
        eval_sets=summary.eval_sets,
        size_bytes=sum(size for _, size in store.files(run.prefix)),
        epochs=None if history is None else count_epochs(history),
    )
    write_adopted_run(store, adopted, results)
    return run


def find_scene_files(given: PredictionArguments) -> tuple[ClassValues, list[SceneUris]]:
    """Return the classes and the files of each scene, by the names of the files.

    Raises:
        NotFound: If an argument names no file.
        SpecError: If an argument is missing or invalid, or files have no partner.
    """
    main = given.predictions if given.predictions is not None else given.scores
    what = "predictions" if given.predictions is not None else "scores"
    if main is None:
        raise SpecError("adopt needs predictions, or scores, beside truth.")
    if given.truth is None:
        raise SpecError(f"adopt needs truth, a folder, a glob or a run, to count the {what}.")
    listed = list_scene_files(main, what)
    if isinstance(given.truth, Run):
        classes, known = _scenes_of_run(given.truth, given)
        predicted = match_files_to_scenes(list(known), listed, what, extra=False)
        parts = {name: SceneUris(name, known=known[name]) for name in known}
    else:
        if given.classes is None:
            raise SpecError("adopt needs classes: a list of names in the order of their ids.")
        classes = parse_classes(given.classes, given.null)
        truth = list_scene_files(given.truth, "truth", (*RASTER_SUFFIXES, *VECTOR_SUFFIXES))
        predicted, labelled = match_truth_to_predictions(listed, truth)
        parts = {name: SceneUris(name, truth=uri) for name, uri in labelled.items()}
    names = list(parts)
    other_files = {
        kind: match_files_to_scenes(names, list_scene_files(files, kind), kind)
        for kind, files in (("images", given.images), ("scores", given.scores))
        if files is not None and files is not main
    }
    return classes, [
        replace(
            part,
            labels=predicted[name] if what == "predictions" else None,
            scores=predicted[name] if what == "scores" else other_files.get("scores", {}).get(name),
            image=other_files.get("images", {}).get(name),
        )
        for name, part in parts.items()
    ]


def _scenes_of_run(
    run: Run, given: PredictionArguments
) -> tuple[ClassValues, dict[str, Mapping[str, Any]]]:
    """Return the classes and the labelled scenes of a group of a run's config."""
    if given.images is not None or given.classes is not None or given.null is not None:
        raise SpecError(
            f"images, classes and null come from the run {run.id}; leave them out, or give "
            "files as truth."
        )
    home = store_for_uri(run.uri)
    config = rv_outputs.read_rv_config(home, run)
    if task_of_config(config) != "semantic_segmentation":
        raise SpecError(f"The run {run.id} is not a semantic segmentation.")
    data = config["dataset"]
    known = {
        str(scene["id"]): scene
        for scene in data.get(f"{given.group}_scenes") or []
        if scene.get("label_source")
    }
    if not known:
        raise NotFound(f"The run {run.id} has no labelled {given.group} scenes.")
    _require_allowed(known.values(), home)
    return class_values_of_config(data["class_config"]), known


def _require_allowed(scenes: Iterable[Mapping[str, Any]], home: Store) -> None:
    """Require that scenes of a record name only files that `rvlab.store.addresses` allows.

    Raises:
        SpecError: If one is refused.
    """
    for scene in scenes:
        for uri in _addresses(scene):
            if not is_allowed(uri, home):
                raise SpecError(
                    f"{uri:.300} is not opened: the scene {scene['id']} of the run names it, and "
                    "it is neither in the store nor on S3. If you trust it, add its folder to "
                    "`allow` below [read] in rvlab.toml."
                )


def _addresses(value: Any) -> Iterator[str]:
    """Yield the addresses of files in a part of a config."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in FILE_FIELDS:
                yield from [inner] if isinstance(inner, str) else map(str, inner or [])
            elif name != "label_store":
                yield from _addresses(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _addresses(inner)


def _fingerprints(scenes: Iterable[SceneUris]) -> list[dict[str, Any]]:
    """Return the fingerprints of scenes of a run, which change with the content of their labels."""
    known = [one.known for one in scenes if one.known is not None]
    config = {"dataset": {"validation_scenes": known}}
    names = [str(scene["id"]) for scene in known]
    return fingerprint_scenes(config, {"validation": names}).to_pylist() if known else []


def _write_outputs(
    store: Store,
    run: Run,
    classes: ClassValues,
    checked: Mapping[str, CheckedScene],
    group: str,
) -> None:
    """Write the config and the evaluation, in the form of Raster Vision's."""
    parts = {name: one.config for name, one in checked.items()}
    config = pipeline_config(classes, parts, group, run.rv_uri)
    store.put_json(run.key("rv", CONFIG_FILE), config)
    whole = np.sum([one.matrix for one in checked.values()], axis=0)
    evaluation = {
        "overall": _eval_items(classes, whole),
        "per_scene": {name: _eval_items(classes, one.matrix) for name, one in checked.items()},
    }
    store.put_json(run.key("rv", "eval", f"{group}_scenes", "eval.json"), evaluation)


def _eval_items(classes: ClassValues, matrix: Any) -> list[dict[str, Any]]:
    """Return the items of an ``eval.json`` that `rvlab.worker.results` reads."""
    average = {
        "class_name": "average",
        "metrics": dict.fromkeys(("f1", "precision", "recall")),
        "conf_mat": matrix.tolist(),
        OUTSIDE_AOI: 0,  # pixels outside areas of interest are not in the matrix
    }
    named = [
        {"class_id": number, "class_name": name, "metrics": {}}
        for number, name in enumerate(classes.names)
    ]
    return [*named, average]


def _artifacts(
    store: Store, run: Run, scenes: Sequence[SceneUris], log: LightningOutput | None
) -> pa.Table:
    """List the files below the run, the predictions, and the files of the training."""
    key = run.key("tables", "artifacts.parquet")
    written = conform_to_schema(key, decode_parquet(key, store.get(key)), ARTIFACTS_TABLE)
    rows = [
        ("predict", kind, one.id, uri, _size(uri))
        for one in scenes
        for kind, uri in (("labels", one.labels), ("scores", one.scores))
        if uri is not None
    ]
    parts = [written, rows_to_arrow(ARTIFACTS_TABLE, rows)]
    return pa.concat_tables([*parts, *([log.artifacts()] if log else [])])


def _warn_of_refused_addresses(store: Store, scenes: Iterable[SceneUris]) -> None:
    refused = [
        uri
        for one in scenes
        for uri in (one.truth, one.image)
        if uri is not None and not is_allowed(uri, store)
    ]
    if refused:
        warn_user(
            f"{refused[0]} is counted now, but pictures from {store.uri} do not open it later: add "
            "its folder to `allow` below [read] in rvlab.toml."
        )


def _default_name(predicted: Sequence[str]) -> str:
    """Return the name of the folder that has all predictions."""
    name = ""
    for column in zip(*(uri.split("/")[:-1] for uri in predicted), strict=False):
        if len(set(column)) > 1:
            break
        name = column[0]
    return name or PREDICTIONS


def _last_modified(uri: str) -> datetime:
    home = store_for_uri(uri)
    try:
        return home.last_modified(home.key(uri))
    except StoreError as exc:
        if isinstance(exc, KeyMissing | StoreUnreachable):
            raise
        return datetime(1970, 1, 1, tzinfo=UTC)  # a storage without times


def _size(uri: str) -> int:
    home = store_for_uri(uri)
    return home.size(home.key(uri))
