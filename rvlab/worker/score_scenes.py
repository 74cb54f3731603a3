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
        tables: By name, those of `COUNTED_TABLES` that at least one scene has.
        copies: The rows of the copies in the table of artifacts.
        omitted: By the name of a table, the labelled scenes that it lacks.
        problems: Sentences about what is missing.
    """

    tables: dict[str, pa.Table]
    copies: pa.Table
    omitted: dict[str, set[str]]
    problems: list[str]


Copy = tuple[str, str, str, str, int]


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

    A failure for one scene is logged and does not affect the others or the state of the run.

    Args:
        store: The run's store.
        run: The run.
        config: Its ``pipeline-config.json``.
        copy: Whether to store copies.
        vectors: Whether to store a GeoPackage of each prediction, too.
        home: The store that the config was read from, whose addresses are then restricted as for
            `scenes_from_config`; None trusts the config, as in a step.
    """
    counted: dict[str, list[pa.Table]] = {one.name: [] for one in COUNTED_TABLES}
    omitted: dict[str, set[str]] = {one.name: set() for one in COUNTED_TABLES}
    copies: list[Copy] = []
    problems: list[str] = []

    def report(problem: str) -> None:
        problems.append(problem)
        print(problem)

    try:
        own, found = classes_from_config(config), scenes_from_config(config, home)
    except RecordBroken as exc:
        report(f"No windows are counted: {exc}")
        own, found = NO_CLASSES, []
    for scene in found:
        if scene.group not in PREDICTED_GROUPS:
            continue
        tables: dict[str, pa.Table] = {}
        try:
            tables, made, troubles = _score_with_retry(
                store, run, scene, own, copy=copy, vectors=vectors
            )
            copies += made
            for trouble in troubles:
                report(trouble)
        except Exception as exc:  # noqa: BLE001  counts and copies are optional
            report(f"Scene {scene.id} is not counted: {type(exc).__name__}: {exc}")
        for name, parts in counted.items():
            if name in tables:
                parts.append(tables[name])
            elif scene.truth is not None:
                omitted[name].add(scene.id)
    task = found[0].task if found else ""
    whole = {
        one.name: concat_scenes(one, counted[one.name], task, omitted[one.name])
        for one in COUNTED_TABLES
        if counted[one.name]
    }
    return RunScores(whole, rows_to_arrow(ARTIFACTS_TABLE, copies), omitted, problems)


_SceneResult = tuple[dict[str, pa.Table], list[Copy], list[str]]


def _score_with_retry(
    store: Store, run: Run, scene: Scene, own: Classes, **what: bool
) -> _SceneResult:
    """Call `_score_one`, with one retry on a raster error: GDAL does not wait for the store."""
    try:
        return _score_one(store, run, scene, own, **what)
    except RasterError:
        store.exists(run.key(SPEC))  # waits until the store answers
        return _score_one(store, run, scene, own, **what)


def _score_one(
    store: Store, run: Run, scene: Scene, own: Classes, *, copy: bool, vectors: bool
) -> _SceneResult:
    """Return the counts of a scene, the artifact rows of the stored copies, and problems."""
    copies = []
    with tempfile.TemporaryDirectory(prefix="rvlab-copies-") as folder:
        copy_to = Path(folder) if copy and is_folder_name(scene.id) else None
        done = score_scene(scene, own, copy_to, vectors=vectors)
        for name, path in done.copies.items():
            store.put_file(run.key(COPIES_FOLDER, scene.id, name), path)
            kind = "geopackage" if name == VECTOR_COPY else f"{name.removesuffix('.tif')}_copy"
            key = f"{COPIES_FOLDER}/{scene.id}/{name}"
            copies.append(("summarize", kind, scene.id, key, path.stat().st_size))
    return done.tables, copies, done.problems


def is_folder_name(scene: str) -> bool:
    """Return whether a scene's id is valid as a folder below the run's copies, or a path of one."""
    parts = scene.split("/")
    return not ({"", ".", ".."} & set(parts) or set(scene) & set("\\\0"))
