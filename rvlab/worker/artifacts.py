"""The table of a run's output files."""

from __future__ import annotations

from collections.abc import Sequence
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
    "valid_metrics.json": "metrics",
}
_ENDINGS = {".png": "plot", ".json": "vectors", ".geojson": "vectors", ".zip": "archive"}


def list_artifacts(files: Sequence[tuple[str, int]], root: str, named: str = "rv") -> pa.Table:
    """List the files that Raster Vision wrote, one row per file.

    Args:
        files: Keys and sizes in bytes of everything below `root`.
        root: The key of Raster Vision's own ``root_uri``; empty for a whole store.
        named: The prefix that replaces `root` in the table.

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
        scene = None
        if step == "predict":
            scene = parts[1].removesuffix(".json") if len(parts) == 2 else parts[1]
        rows.append(
            {
                "step": step,
                "kind": kind or _ENDINGS.get(ending, "other"),
                "scene": scene,
                "key": f"{named}/{name}",
                "bytes": size,
            }
        )
    return rows_to_arrow(ARTIFACTS_TABLE, rows)
