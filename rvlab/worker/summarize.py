"""The last step: convert Raster Vision's outputs to tidy tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from rvlab.errors import RecordBroken, SpecError
from rvlab.model import PREDICTION, TRAINING, Run
from rvlab.store import Store
from rvlab.store.table_file import encode_table
from rvlab.worker import fingerprint
from rvlab.worker.artifacts import list_artifacts, prediction_paths
from rvlab.worker.boundary_metrics import boundary_evaluations, headline_boundary_iou
from rvlab.worker.outside_aoi import count_outside_aoi
from rvlab.worker.results import (
    counting_rules,
    evaluation_tables,
    group_names,
    headline_metrics,
    history_from_log,
    object_metrics,
    scenes_without_outside_count,
)
from rvlab.worker.score_scenes import RunScores, score_scenes

VALIDATION_SCENES = "validation_scenes"
"""Raster Vision's name of the group of validation scenes."""


@dataclass(frozen=True)
class EndSummary:
    """The results of a run that are part of its end record.

    Args:
        metrics: The headline metrics, by name.
        eval_sets: Scene group -> fingerprint of its scored scenes.
        problems: Messages about scenes whose pixels outside areas of interest are counted.
        uncounted: Messages about scenes without counts of windows and objects.
    """

    metrics: Mapping[str, float]
    eval_sets: Mapping[str, str]
    problems: Sequence[str] = ()
    uncounted: Sequence[str] = ()


def summarize_outputs(store: Store, run: Run, kind: str = TRAINING) -> EndSummary:
    """Write ``tables/*.parquet`` and return the results for the end record.

    The tables are evals and confusion (from ``eval.json``), scenes (fingerprints of the scored
    scenes), history (from ``train/log.csv``), windows (counts per window of a scene), objects (true
    and predicted objects), boundaries (counts of pixels near contours; their metric is part of
    evals) and artifacts (every file below ``rv/``, and the COG copies of predictions); see
    ``docs/records.md`` for their columns. For a prediction, this also writes a GeoPackage of each
    scene and deletes the run's copy of the model.

    Raises:
        RecordBroken: If a file of Raster Vision has an unexpected form.
    """
    root = run.key("rv")
    if kind == PREDICTION:
        _delete_model(store, run)
    files = store.files(root)
    config = store.get_json(f"{root}/pipeline-config.json")
    evals = evaluated_groups(store, config, files)
    if not evals:
        print("There is no eval.json, so the run has no metrics.")
    tables, summary = build_tables(store, root, config, files, evals)
    write_tables(store, run, tables)
    scores = score_scenes(store, run, config, vectors=kind == PREDICTION)
    count_tables, counted = results_of_counts(scores, tables)
    count_tables["artifacts"] = pa.concat_tables([tables["artifacts"], scores.copies])
    write_tables(store, run, count_tables)
    tables |= count_tables
    for name, table in tables.items():
        print(f"tables/{name}.parquet: {len(table)} rows")
    metrics = {**summary.metrics, **counted}
    return replace(summary, metrics=metrics, uncounted=scores.problems)


def results_of_counts(
    scores: RunScores, tables: Mapping[str, pa.Table]
) -> tuple[dict[str, pa.Table], dict[str, float]]:
    """Return the tables and the headline metrics that are computed from counts of scenes.

    The table of evaluations has the boundary IoU appended.

    Args:
        scores: The counts.
        tables: The tables of the run, as `build_tables` returns them.
    """
    count_tables, scenes = dict(scores.tables), tables["scenes"]
    counted: dict[str, float] = {}
    if "objects" in count_tables:
        counted |= object_metrics(count_tables["objects"], scenes, scores.omitted["objects"])
    if "boundaries" in count_tables:
        omitted = scores.omitted["boundaries"]
        boundary_evals = boundary_evaluations(count_tables["boundaries"], scenes, omitted)
        count_tables["evals"] = pa.concat_tables([tables["evals"], boundary_evals])
        counted |= headline_boundary_iou(boundary_evals, scenes)
    return count_tables, counted


def _delete_model(store: Store, run: Run) -> None:
    """Delete the copy of the model and its statistics, which only the step predict needs."""
    for folder in ("train", "analyze"):
        store.delete(key for key, _ in store.files(run.key("rv", folder)))


def evaluated_groups(
    store: Store, config: Mapping[str, Any], files: Sequence[tuple[str, int]]
) -> dict[str, str]:
    """Return the key of ``eval.json`` by scene group, if the file was written."""
    keys = {key for key, _ in files}
    return {group: key for group, key in _evaluator_outputs(store, config) if key in keys}


def build_tables(
    store: Store,
    root: str,
    config: Mapping[str, Any],
    files: Sequence[tuple[str, int]],
    evals: Mapping[str, str],
    *,
    named: str = "rv",
) -> tuple[dict[str, pa.Table], EndSummary]:
    """Return the tables of Raster Vision's outputs, and the results for the end record.

    Args:
        store: The store of the outputs.
        root: The key of Raster Vision's own ``root_uri``.
        config: ``pipeline-config.json``.
        files: Keys and sizes in bytes of everything below `root`.
        evals: Scene group -> key of its ``eval.json``.
        named: The prefix that replaces `root` in the table of artifacts.

    Raises:
        RecordBroken: If a file of Raster Vision has an unexpected form.
    """
    groups = {group: _read_json(store, key) for group, key in evals.items()}
    class_config = config["dataset"]["class_config"]
    outside = count_outside_aoi(config, scenes_without_outside_count(groups))
    metric_rows, confusion = evaluation_tables(groups, class_config, outside.pixels)
    scored = _scored_scenes(config["dataset"], groups)
    fingerprints = fingerprint.fingerprint_scenes(config, scored)
    tables = {
        "evals": metric_rows,
        "confusion": confusion,
        "scenes": fingerprints,
        "artifacts": list_artifacts(files, root, named, prediction_paths(config)),
    }
    log = f"{root}/train/log.csv".lstrip("/")
    if any(key == log for key, _ in files):
        tables["history"] = history_from_log(store.get(log).decode(errors="replace"))
    problems = [
        f"The pixels of scene {name} outside its areas of interest cannot be counted: {why}"
        for name, why in outside.problems.items()
    ]
    rules = counting_rules(groups, outside.problems)
    sets = fingerprint.eval_sets(fingerprints, class_config, rules)
    return tables, EndSummary(headline_metrics(metric_rows), sets, problems)


def _scored_scenes(data: Mapping[str, Any], groups: Iterable[str]) -> dict[str, list[str]]:
    """Return the labelled scenes of each group, by the group's name in tables."""
    labelled = {
        str(scene["id"]): bool(scene.get("label_source"))
        for kind in ("train", "validation", "test")
        for scene in data.get(f"{kind}_scenes") or []
    }
    validation = [str(scene["id"]) for scene in data.get("validation_scenes") or []]
    listed = {VALIDATION_SCENES: validation, **(data.get("scene_groups") or {})}
    return {
        name: [scene for scene in listed.get(group, []) if labelled.get(str(scene))]
        for group, name in group_names(groups).items()
    }


def write_tables(store: Store, run: Run, tables: Mapping[str, pa.Table]) -> None:
    """Write the tables of a run to the keys that `rvlab.frame` reads."""
    for name, table in tables.items():
        store.put(run.key("tables", f"{name}.parquet"), encode_table(table))


def _evaluator_outputs(store: Store, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """List scene groups and the keys that evaluators write to; the last key of a group is used."""
    groups = sorted(config["dataset"].get("scene_groups") or {})
    for evaluator in config.get("evaluators") or []:
        uri = str(evaluator["output_uri"])
        # Raster Vision 0.12 and 0.13 evaluated the validation scenes only, without a folder.
        files = {group: f"{uri}/{group}/eval.json" for group in groups}
        if uri.endswith(".json"):
            files = {VALIDATION_SCENES: uri}
        for group, file in files.items():
            with suppress(SpecError):  # ignore outputs outside the store
                yield group, store.key(file)


def _read_json(store: Store, key: str) -> Any:
    try:
        return json.loads(store.get(key))
    except ValueError as exc:
        raise RecordBroken(f"{key} is not whole JSON: {exc}.") from exc
