"""What summarize makes of each predicted scene: counts of its windows, copies to look at."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from rvlab.errors import RasterError, RecordBroken
from rvlab.model import Run
from rvlab.raster.scene import Classes, Scene, classes, scenes
from rvlab.raster.source import NO_CLASSES
from rvlab.raster.survey import survey
from rvlab.raster.tally import joined
from rvlab.store import Store
from rvlab.store.outputs import COPIES
from rvlab.worker.artifacts import ARTIFACTS
from rvlab.worker.records import SPEC

PREDICTED = ("validation", "test")
"""The groups of scenes that the step predict predicts."""


def survey_scenes(store: Store, run: Run, config: Mapping[str, Any]) -> tuple[pa.Table, pa.Table]:
    """Count the windows of every predicted scene, and put a copy of its prediction in the run.

    What goes wrong with a scene is told in the log, and the others go on: the run has succeeded.

    Args:
        store: Of the run.
        run: The run.
        config: Its ``pipeline-config.json``.

    Returns:
        The table of windows, and the rows of the copies in the table of artifacts.
    """
    counted: list[pa.Table] = []
    copies: list[tuple[str, str, str, str, int]] = []
    try:
        own, found = classes(config), scenes(config)
    except RecordBroken as exc:
        print(f"No windows are counted: {exc}")
        own, found = NO_CLASSES, []
    for scene in found:
        if scene.group not in PREDICTED:
            continue
        try:
            windows, made = _surveyed_again(store, run, scene, own)
            counted += windows
            copies += made
        except Exception as exc:  # noqa: BLE001  it is only for looking, and told in the log
            print(f"Scene {scene.id} is not counted: {type(exc).__name__}: {exc}")
    columns = list(zip(*copies, strict=True)) or [()] * len(ARTIFACTS)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, ARTIFACTS, strict=True)]
    return joined(counted, found[0].task if found else ""), pa.table(arrays, schema=ARTIFACTS)


def _surveyed_again(
    store: Store, run: Run, scene: Scene, own: Classes
) -> tuple[list[pa.Table], list[tuple[str, str, str, str, int]]]:
    """As `_surveyed`, once more if a raster cannot be read: GDAL does not wait for the store."""
    try:
        return _surveyed(store, run, scene, own)
    except RasterError:
        store.exists(run.key(SPEC))  # waits until the store answers
        return _surveyed(store, run, scene, own)


def _surveyed(
    store: Store, run: Run, scene: Scene, own: Classes
) -> tuple[list[pa.Table], list[tuple[str, str, str, str, int]]]:
    """The windows of a scene, and the rows of the copies that were put in the store."""
    copies = []
    with tempfile.TemporaryDirectory(prefix="rvlab-copies-") as folder:
        done = survey(scene, own, Path(folder) if is_folder(scene.id) else None)
        for trouble in done.troubles:
            print(trouble)
        for name, path in done.copies.items():
            data = path.read_bytes()
            store.put(run.key(COPIES, scene.id, name), data)
            kind = f"{name.removesuffix('.tif')}_copy"
            key = f"{COPIES}/{scene.id}/{name}"
            copies.append(("summarize", kind, scene.id, key, len(data)))
    return ([] if done.windows is None else [done.windows]), copies


def is_folder(scene: str) -> bool:
    """Whether a scene's name can be that of a folder in the run."""
    return scene not in ("", ".", "..") and not set(scene) & set("/\\\0")
