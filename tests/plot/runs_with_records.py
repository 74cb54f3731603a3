"""Runs in a folder store that have every record that a plot or a comparison reads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from rvlab.model import Run
from rvlab.model.tables import HISTORY_TABLE
from rvlab.store import Store
from rvlab.store.table_file import encode_table, rows_to_arrow
from tests.frame.samples import CREATED, Made
from tests.raster.samples import Experiment

WRONG = (0.02, 0.1, 0.3, 0.6)
PARAMS = ({"lr": 0.01}, {"lr": 0.003}, {"lr": 0.001}, {"lr": 0.0001})
SCENES, CLASSES = 6, ("background", "building")


def write_runs(root: Path, params: Sequence[dict[str, Any]] = PARAMS) -> list[Run]:
    """Write ended runs, the best first, with predictions of two scenes."""
    painted, made = Experiment(root), Made(Store(str(root)))
    runs = []
    for number, (point, wrong) in enumerate(zip(params, WRONG * 9, strict=False)):
        folder = painted.add(wrong)
        run = made.ended(
            point,
            {"f1": 1 - wrong, "mean_iou": 0.9 - wrong, "rv_average_f1": 0.95 - wrong},
            experiment="town",
            run=folder.name,
        )
        write_tables(made, run, wrong, seed=number)
        runs.append(run)
    return runs


def write_tables(made: Made, run: Run, wrong: float, *, seed: int) -> None:
    """Write the history, the evaluations, the confusion matrices and the steps of a run."""
    rng = np.random.default_rng(seed)
    epochs = [
        {
            "epoch": n,
            "train_loss": wrong + 1 / (n + 1),
            "val_loss": wrong + 1 / (n + 1) + 0.05 * rng.random(),
            "avg_f1": (1 - wrong) * (1 - 0.5 ** (n + 1)),
        }
        for n in range(8)
    ]
    history = rows_to_arrow(HISTORY_TABLE.with_others(epochs[0]), epochs)
    made.store.put(run.key("tables", "history.parquet"), encode_table(history))
    where: dict[str, Any] = {"group": "validation"}
    evals, counts = [], []
    for scene in (None, *(f"val-{i}" for i in range(SCENES))):
        for name in (None, *CLASSES):
            value = 1 - wrong - 0.1 * float(rng.random())
            evals.append({**where, "scene": scene, "class": name, "metric": "f1", "value": value})
        for truth in CLASSES:
            for prediction in CLASSES:
                share = 1 - wrong if truth == prediction else wrong
                count = round(1000 * share) * (1 if scene else SCENES)
                row = {"scene": scene, "truth": truth, "prediction": prediction, "count": count}
                counts.append({**where, **row})
    made.table(run, "evals", evals)
    made.table(run, "confusion", counts)
    for number, (step, seconds) in enumerate({"chip": 8, "train": 60, "predict": 12}.items()):
        begin = CREATED + timedelta(minutes=2 * number)
        moments = {"started": begin, "ended": begin + timedelta(seconds=seconds + 30 * wrong)}
        times = {
            name: moment.isoformat(timespec="milliseconds") for name, moment in moments.items()
        }
        made.step(run, step, state="succeeded", peak_mb=500.0, cpu_s=9.0, **times)
