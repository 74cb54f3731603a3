"""An experiment with records, tables, rasters and recipes, as runs write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from rvlab import metrics
from rvlab.model import Run
from rvlab.store import Store, register_store
from tests.frame.samples import CREATED, Made
from tests.raster.samples import CLASSES, Experiment

NAMES = ("background", "building", "road")
SOURCE = "def get_config(runner, root_uri: str, lr: float = 0.01):\n    ...  # a < b & c\n"


@dataclass(frozen=True)
class Towns:
    """The experiment ``town``: its store, the runs that succeeded, and others."""

    store: Store
    scored: list[Run]
    failed: Run
    active: Run


def make_towns(
    root: Path,
    points: Sequence[tuple[float, Mapping[str, Any]]] = (
        (0.02, {"lr": 0.01, "seed": 0}),
        (0.03, {"lr": 0.01, "seed": 1}),
        (0.2, {"lr": 0.001, "seed": 0}),
        (0.25, {"lr": 0.001, "seed": 1}),
    ),
    *,
    error: str = "CUDA out of memory",
    **settings: Any,
) -> Towns:
    """Write runs that were scored on eight scenes, a failed and a running one.

    Args:
        root: Folder of the store.
        points: For each run the fraction of wrong pixels, and its parameters and seed.
        error: The error of the failed run.
        **settings: Further fields of the specs of all runs.
    """
    drawn, made = Experiment(root, scenes=8), Made(register_store(Store(root)))
    runs = []
    for number, (wrong, given) in enumerate(points):
        params = {name: value for name, value in given.items() if name != "seed"}
        folder = drawn.add(wrong, **params)
        counts = {
            name: _matrix(ids, folder / f"rv/predict/{name}/labels.tif")
            for name, ids in drawn.truth.items()
        }
        total = np.sum(list(counts.values()), axis=0)
        values = {"f1": float(metrics.macro_f1(total)), "mean_iou": float(metrics.mean_iou(total))}
        created = CREATED.replace(minute=number).isoformat(timespec="milliseconds")
        fields = {"experiment": "town", "run": folder.name, "created": created, "image": None}
        more = {"seed": given.get("seed", 0), "name": f"run {number}", **fields, **settings}
        run = made.ended(params, values, **more)
        made.store.put(run.key("recipe.py"), SOURCE.encode())
        _write_tables(made, run, counts, total)
        runs.append(run)
    failed = made.ended(
        {"lr": 9.0}, state="failed", step="train", error=error, experiment="town", **settings
    )
    return Towns(made.store, runs, failed, made.running(experiment="town", **settings))


def _matrix(truth: np.ndarray, path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        guess = dataset.read(1)
    return np.bincount(truth.ravel() * 3 + guess.ravel(), minlength=9).reshape(3, 3)


def _write_tables(
    made: Made, run: Run, counts: Mapping[str, np.ndarray], total: np.ndarray
) -> None:
    evals, cells = [], []
    for scene, matrix in [(None, total), *counts.items()]:
        at = {"group": "validation", "scene": scene}
        evals.append(
            {**at, "class": None, "metric": "f1", "value": float(metrics.macro_f1(matrix))}
        )
        for name, value in zip(NAMES, metrics.f1(matrix), strict=True):
            evals.append({**at, "class": name, "metric": "f1", "value": float(value)})
        for i, truth in enumerate(NAMES):
            for j, guess in enumerate(NAMES):
                count = int(matrix[i, j])
                cells.append({**at, "truth": truth, "prediction": guess, "count": count})
    made.table(run, "evals", evals)
    made.table(run, "confusion", cells)
    log = "epoch,train_loss,val_loss\n0,1,2\n1,.5,1\n2,.4,.9\n"
    made.store.put(run.key("rv", "train", "log.csv"), log.encode())


assert set(NAMES) < set(CLASSES["names"])
