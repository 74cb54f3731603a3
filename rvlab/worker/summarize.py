"""The last step: read what Raster Vision wrote and leave tidy tables."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rvlab.errors import RecordBroken
from rvlab.model import Run
from rvlab.store import Store
from rvlab.worker.results import evaluations, headline, history

ARTIFACTS = pa.schema(
    [
        ("step", pa.string()),
        ("kind", pa.string()),
        ("scene", pa.string()),
        ("key", pa.string()),
        ("bytes", pa.int64()),
    ]
)

_KINDS = {
    "pipeline-config.json": "config",
    "log.csv": "history",
    "eval.json": "evaluation",
    "labels.tif": "labels",
    "scores.tif": "scores",
    "pixel_hits.npy": "pixel_hits",
    "model-bundle.zip": "bundle",
    "last-model.pth": "weights",
    "learner-config.json": "config",
    "valid_metrics.json": "metrics",
}
_ENDINGS = {".png": "plot", ".json": "vectors", ".geojson": "vectors", ".zip": "archive"}


def summarize(store: Store, run: Run) -> dict[str, float]:
    """Write ``tables/*.parquet`` and return the headline metrics.

    The tables are evals and confusion (from ``eval.json``), history (from ``train/log.csv``) and
    artifacts (every file below ``rv/``); see ``docs/records.md`` for their columns.

    Raises:
        RecordBroken: If a file of Raster Vision's is not what it writes.
    """
    files = store.files(run.key("rv"))
    config = store.get_json(run.key("rv", "pipeline-config.json"))
    keys = {k for k, _ in files}
    groups = {g: _json(store, key) for g, key in _evaluated(store, config) if key in keys}
    if not groups:
        print("There is no eval.json, so the run has no metrics.")
    evals, confusion = evaluations(groups, config["dataset"]["class_config"])
    tables = {"evals": evals, "confusion": confusion, "artifacts": artifacts(run, files)}
    log = run.key("rv", "train", "log.csv")
    if log in keys:
        tables["history"] = history(store.get(log).decode())
    for name, table in tables.items():
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        store.put(run.key("tables", f"{name}.parquet"), buffer.getvalue())
        print(f"tables/{name}.parquet: {len(table)} rows")
    return headline(evals)


def artifacts(run: Run, files: list[tuple[str, int]]) -> pa.Table:
    """One row for each file that Raster Vision left.

    Args:
        run: The run.
        files: Keys and sizes in bytes of everything below ``rv/``.

    Returns:
        Columns step, kind, scene (null where the file belongs to no scene), key (below the run's
        folder) and bytes.
    """
    start = len(run.prefix) + 1
    rows: list[dict[str, Any]] = []
    for key, size in files:
        name = key[start:]
        parts = name.split("/")
        step = "configure" if len(parts) == 2 else parts[1]
        ending = parts[-1][parts[-1].rfind(".") :] if "." in parts[-1] else ""
        kind = _KINDS.get(parts[-1], "tensorboard" if "tfevents" in name else "")
        scene = None
        if step == "predict" and len(parts) > 2:
            scene = parts[2].removesuffix(".json") if len(parts) == 3 else parts[2]
        rows.append(
            {
                "step": step,
                "kind": kind or _ENDINGS.get(ending, "other"),
                "scene": scene,
                "key": name,
                "bytes": size,
            }
        )
    return pa.Table.from_pylist(rows, schema=ARTIFACTS)


def _evaluated(store: Store, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Scene groups, and the keys where an evaluator was to write; of several, the last counts."""
    groups = sorted(config["dataset"].get("scene_groups") or {})
    for evaluator in config.get("evaluators") or []:
        for group in groups:
            yield group, store.key(f"{evaluator['output_uri']}/{group}/eval.json")


def _json(store: Store, key: str) -> Any:
    import json

    try:
        return json.loads(store.get(key))
    except ValueError as exc:
        raise RecordBroken(f"{key} is not whole JSON: {exc}.") from exc
