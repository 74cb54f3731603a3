"""Window counts and COG copies of each predicted scene, written by the summarize step."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from rvlab.errors import RasterError, RecordBroken
from rvlab.model import Run
from rvlab.model.tables import ARTIFACTS_TABLE
from rvlab.raster.run_source import NO_CLASSES
from rvlab.raster.scene import Classes, Scene, classes_from_config, scenes_from_config
from rvlab.raster.score_windows import score_scene
from rvlab.raster.window_counts import concat_windows
from rvlab.store import Store
from rvlab.store.outputs import COPIES_FOLDER
from rvlab.store.table_file import rows_to_arrow
from rvlab.worker.records import SPEC

PREDICTED_GROUPS = ("validation", "test")
"""Scene groups that the predict step processes."""


def score_scenes(store: Store, run: Run, config: Mapping[str, Any]) -> tuple[pa.Table, pa.Table]:
    """Count the windows of every predicted scene, and store a COG copy of its prediction.

    A failure for one scene is logged and does not affect the others or the state of the run.

    Args:
        store: The run's store.
        run: The run.
        config: Its ``pipeline-config.json``.

    Returns:
        The table of windows, and the rows of the copies in the table of artifacts.
    """
    counted: list[pa.Table] = []
    copies: list[tuple[str, str, str, str, int]] = []
    try:
        own, found = classes_from_config(config), scenes_from_config(config)
    except RecordBroken as exc:
        print(f"No windows are counted: {exc}")
        own, found = NO_CLASSES, []
    for scene in found:
        if scene.group not in PREDICTED_GROUPS:
            continue
        try:
            windows, made = _score_with_retry(store, run, scene, own)
            counted += windows
            copies += made
        except Exception as exc:  # noqa: BLE001  counts and copies are optional
            print(f"Scene {scene.id} is not counted: {type(exc).__name__}: {exc}")
    task = found[0].task if found else ""
    return concat_windows(counted, task), rows_to_arrow(ARTIFACTS_TABLE, copies)


def _score_with_retry(
    store: Store, run: Run, scene: Scene, own: Classes
) -> tuple[list[pa.Table], list[tuple[str, str, str, str, int]]]:
    """Call `_score_one`, with one retry on a raster error: GDAL does not wait for the store."""
    try:
        return _score_one(store, run, scene, own)
    except RasterError:
        store.exists(run.key(SPEC))  # waits until the store answers
        return _score_one(store, run, scene, own)


def _score_one(
    store: Store, run: Run, scene: Scene, own: Classes
) -> tuple[list[pa.Table], list[tuple[str, str, str, str, int]]]:
    """Return the windows of a scene, and the artifact rows of the copies that were stored."""
    copies = []
    with tempfile.TemporaryDirectory(prefix="rvlab-copies-") as folder:
        done = score_scene(scene, own, Path(folder) if is_folder_name(scene.id) else None)
        for problem in done.problems:
            print(problem)
        for name, path in done.copies.items():
            data = path.read_bytes()
            store.put(run.key(COPIES_FOLDER, scene.id, name), data)
            kind = f"{name.removesuffix('.tif')}_copy"
            key = f"{COPIES_FOLDER}/{scene.id}/{name}"
            copies.append(("summarize", kind, scene.id, key, len(data)))
    return ([] if done.windows is None else [done.windows]), copies


def is_folder_name(scene: str) -> bool:
    """Return whether a scene's id is valid as a folder below the run's copies, or a path of one."""
    parts = scene.split("/")
    return not ({"", ".", ".."} & set(parts) or set(scene) & set("\\\0"))
