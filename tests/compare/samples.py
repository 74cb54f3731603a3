"""Sample tables of runs and confusion matrices without a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

CLASSES = ("background", "building", "road")


def scene_matrices(
    rng: np.random.Generator, scenes: int, skills: Sequence[float], *, spread: float = 0.35
) -> np.ndarray:
    """Return matrices ``(models, scenes, 3, 3)``, rows = truth, equal truth for every model.

    Scenes differ in size, classes and difficulty, equally for all models. In addition, each model
    has a random effect per scene and class.
    """
    share = rng.dirichlet(np.array([6.0, 1.4, 0.6]), size=scenes)
    size = rng.uniform(0.5, 1.5, size=scenes) * 1e4
    truth = np.round(share * size[:, None])
    hard = 0.5 * rng.normal(size=scenes)
    out = np.zeros((len(skills), scenes, 3, 3))
    for model, skill in enumerate(skills):
        luck = spread * rng.normal(size=(scenes, 3))
        recall = 1 / (1 + np.exp(-(skill + np.array([2, 0.3, -0.3]) + hard[:, None] + luck)))
        hits = np.round(truth * recall)
        for i in range(3):
            first, second = (j for j in range(3) if j != i)
            errors = truth[:, i] - hits[:, i]
            out[model, :, i, i] = hits[:, i]
            out[model, :, i, first] = np.round(0.7 * errors)
            out[model, :, i, second] = errors - np.round(0.7 * errors)
    return out


def confusion(
    runs: Mapping[str, np.ndarray],
    *,
    group: str = "validation",
    names: Mapping[str, Sequence[str]] | None = None,
    classes: Sequence[str] = CLASSES,
) -> pd.DataFrame:
    """Return a table like ``lab.confusion()`` from ``(scenes, K, K)`` for each run."""
    rows: list[tuple[Any, ...]] = []
    for run, matrices in runs.items():
        scenes = (names or {}).get(run) or [f"s{i:03d}" for i in range(len(matrices))]
        for scene, matrix in [(pd.NA, matrices.sum(axis=0)), *zip(scenes, matrices, strict=True)]:
            rows += [
                (run, group, scene, t, p, int(matrix[i, j]))
                for i, t in enumerate(classes)
                for j, p in enumerate(classes)
            ]
    columns = ["run", "group", "scene", "truth", "prediction", "count"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype(
        {
            "group": "string",
            "scene": "string",
            "truth": "string",
            "prediction": "string",
            "count": "int64",
        }
    )


def table(rows: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a table of runs from rows, with URIs and a default seed of 0."""
    made = pd.DataFrame.from_dict(
        {run: {"seed": 0, "recipe": "town", **row} for run, row in rows.items()}, orient="index"
    )
    made["uri"] = [f"/store/towns/{run}" for run in made.index]
    return made.astype({"uri": "string", "recipe": "string"}).rename_axis("run")
