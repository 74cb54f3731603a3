"""The table of a run's output files."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from rvlab.model.tables import ARTIFACTS_TABLE
from rvlab.store.table_file import rows_to_arrow

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
    "hparams.yaml": "config",
    "metrics.csv": "history",
    "valid_metrics.json": "metrics",
}
_ENDINGS = {
    ".ckpt": "weights",
    ".png": "plot",
    ".json": "vectors",
    ".geojson": "vectors",
    ".zip": "archive",
}


def list_artifacts(
    files: Sequence[tuple[str, int]],
    root: str,
    named: str = "rv",
    predictions: Mapping[str, str] | None = None,
) -> pa.Table:
    """List the files that Raster Vision wrote, one row per file.

    Args:
        files: Keys and sizes in bytes of everything below `root`.
        root: The key of Raster Vision's own ``root_uri``; empty for a whole store.
        named: The prefix that replaces `root` in the table.
        predictions: The file or folder of a scene's predictions, below `root` -> the scene, as
            `prediction_paths` returns it.

    Returns:
        Columns step, kind, scene (null where the file belongs to no scene), key (`named` and the
        path below `root`) and bytes.
    """
    start = len(f"{root}/".lstrip("/"))
    rows: list[dict[str, Any]] = []
    for key, size in files:
        name = key[start:]
        parts = name.split("/")
        step = "configure" if len(parts) == 1 else parts[0]
        ending = parts[-1][parts[-1].rfind(".") :] if "." in parts[-1] else ""
        kind = _KINDS.get(parts[-1], "tensorboard" if "tfevents" in name else "")
        rows.append(
            {
                "step": step,
                "kind": kind or _ENDINGS.get(ending, "other"),
                "scene": _scene_of_file(parts, predictions or {}),
                "key": f"{named}/{name}",
                "bytes": size,
            }
        )
    return rows_to_arrow(ARTIFACTS_TABLE, rows)


def prediction_paths(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the scene of each file or folder of predictions, by its path below ``root_uri``.

    A scene's id may contain slashes, so it cannot be read from the path of a file.

    Args:
        config: ``pipeline-config.json``.
    """
    root = str(config.get("root_uri") or "").rstrip("/")
    folder = config.get("predict_uri") or f"{root}/predict"
    scenes_by_path: dict[str, str] = {}
    for group in ("train", "validation", "test"):
        for scene in config["dataset"].get(f"{group}_scenes") or []:
            name = str(scene["id"])
            uri = (scene.get("label_store") or {}).get("uri") or f"{folder}/{name}"
            path = posixpath.normpath(str(uri).removeprefix(root).strip("/"))
            scenes_by_path |= dict.fromkeys((path, f"{path}.json", f"{path}.tif"), name)
    return scenes_by_path


def _scene_of_file(parts: Sequence[str], predictions: Mapping[str, str]) -> str | None:
    """Return the scene whose predictions contain a file; the longest matching path wins."""
    paths = ("/".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((predictions[path] for path in paths if path in predictions), None)
