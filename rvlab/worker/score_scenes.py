"""Counts and COG copies of each predicted scene, written by the summarize step."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rvlab.errors import RasterError, RecordBroken
from rvlab.model import Run
from rvlab.model.tables import ARTIFACTS_TABLE, COUNTED_TABLES
from rvlab.raster.config import Classes, classes_from_config
from rvlab.raster.scene import NO_CLASSES, Scene, scenes_from_config
from rvlab.raster.score_scene import VECTOR_COPY, concat_scenes, score_scene
from rvlab.store import Store
from rvlab.store.rv_outputs import COPIES_FOLDER
from rvlab.store.table_file import rows_to_arrow
from rvlab.worker.records import SPEC

PREDICTED_GROUPS = ("validation", "test")
"""Scene groups that the predict step processes."""


@dataclass
class RunScores:
    """The counts and copies of the predicted scenes of a run.

    Args:
        tables: Name -> table, for those of `COUNTED_TABLES` that have counts of at least one scene.
        copies: The rows of the copies in the table of artifacts.
        omitted: Name of a table -> the labelled scenes that it lacks.
        problems: Messages about missing counts and copies.
    """

    tables: dict[str, pa.Table]
    copies: pa.Table
    omitted: dict[str, set[str]]
    problems: list[str]


Copy = tuple[str, str, str, str, int]
"""A row of the table of artifacts: step, kind, scene, key and bytes."""


def score_scenes(
    store: Store,
    run: Run,
    config: Mapping[str, Any],
    *,
    copy: bool = True,
    vectors: bool = False,
    home: Store | None = None,
) -> RunScores:
    """Count every predicted scene, and store COG copies of its prediction.

    If a scene cannot be scored, the failure is logged; the other scenes and the state of the run
    are not affected.

    Args:
        store: The run's store.
        run: The run.
        config: Its ``pipeline-config.json``.
        copy: Whether to store copies.
        vectors: Whether to store a GeoPackage of each prediction as well.
        home: The store of an untrusted config, which limits the addresses that are read as in
            `scenes_from_config`. None trusts the config, as a step does.
    """
    counted: dict[str, list[pa.Table]] = {schema.name: [] for schema in COUNTED_TABLES}
    omitted: dict[str, set[str]] = {schema.name: set() for schema in COUNTED_TABLES}
    copies: list[Copy] = []
    problems: list[str] = []

    def report(problem: str) -> None:
        problems.append(problem)
        print(problem)

    try:
        classes, scenes = classes_from_config(config), scenes_from_config(config, home)
    except RecordBroken as exc:
        report(f"No windows are counted: {exc}")
        classes, scenes = NO_CLASSES, []
    for scene in scenes:
        if scene.group not in PREDICTED_GROUPS:
            continue
        tables: dict[str, pa.Table] = {}
        try:
            tables, scene_copies, scene_problems = _score_with_retry(
                store, run, scene, classes, copy=copy, vectors=vectors
            )
            copies += scene_copies
            for problem in scene_problems:
                report(problem)
        except Exception as exc:  # noqa: BLE001  counts and copies are optional
            report(f"Scene {scene.id} is not counted: {type(exc).__name__}: {exc}")
        for name, parts in counted.items():
            if name in tables:
                parts.append(tables[name])
            elif scene.truth is not None:
                omitted[name].add(scene.id)
    task = scenes[0].task if scenes else ""
    combined = {
        schema.name: concat_scenes(schema, counted[schema.name], task, omitted[schema.name])
        for schema in COUNTED_TABLES
        if counted[schema.name]
    }
    return RunScores(combined, rows_to_arrow(ARTIFACTS_TABLE, copies), omitted, problems)


_SceneResult = tuple[dict[str, pa.Table], list[Copy], list[str]]


def _score_with_retry(
    store: Store, run: Run, scene: Scene, classes: Classes, **options: bool
) -> _SceneResult:
    """Call `_score_one`, with one retry on a raster error: GDAL does not wait for the store."""
    try:
        return _score_one(store, run, scene, classes, **options)
    except RasterError:
        store.exists(run.key(SPEC))  # waits until the store answers
        return _score_one(store, run, scene, classes, **options)


def _score_one(
    store: Store, run: Run, scene: Scene, classes: Classes, *, copy: bool, vectors: bool
) -> _SceneResult:
    """Return the counts of a scene, the artifact rows of the stored copies, and problems."""
    copies = []
    with tempfile.TemporaryDirectory(prefix="rvlab-copies-") as folder:
        copy_to = Path(folder) if copy and is_folder_name(scene.id) else None
        scored = score_scene(scene, classes, copy_to, vectors=vectors)
        for name, path in scored.copies.items():
            store.put_file(run.key(COPIES_FOLDER, scene.id, name), path)
            kind = "geopackage" if name == VECTOR_COPY else f"{name.removesuffix('.tif')}_copy"
            key = f"{COPIES_FOLDER}/{scene.id}/{name}"
            copies.append(("summarize", kind, scene.id, key, path.stat().st_size))
    return scored.tables, copies, scored.problems


def is_folder_name(scene: str) -> bool:
    """Return whether a scene's id is valid as a folder, or a path of folders, below the copies."""
    parts = scene.split("/")
    return not ({"", ".", ".."} & set(parts) or set(scene) & set("\\\0"))
