"""Every plot of the package, drawn from tables with given values and names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rvlab import plot
from tests.raster.samples import CLASSES, Experiment

START = pd.Timestamp("2026-11-23T15:42:00Z")
NUMBER = 12

PLOT_NAMES = (
    *("confusion", "confusion of a scene", "curves", "heatmap", "importance", "parallel"),
    *(
        "parallel of categories",
        "precision_recall",
        "predictions",
        "predictions of errors",
        "predictions of scores",
    ),
    *("scatter", "scatter of colors", "scatter of numbers", "timeline"),
)

Draw = Callable[[], Figure]


def sweep(values: Sequence[Any]) -> pd.DataFrame:
    """Return runs with the values, in turn, as the parameter ``p``."""
    column = np.empty(NUMBER, object)
    column[:] = [values[i % len(values)] for i in range(NUMBER)]
    return pd.DataFrame(
        {
            "params.p": column,
            "params.lr": np.repeat([1e-4, 1e-3, 1e-2], NUMBER // 3),
            "metrics.f1": np.linspace(0.2, 0.9, NUMBER),
        },
        index=pd.Index([f"r{i}" for i in range(NUMBER)], name="run"),
    )


def draw_every_plot(
    values: Sequence[Any], words: Sequence[str], experiment: Experiment
) -> Mapping[str, Draw]:
    """Return a call for each plot, by the name of the plot or ``name of …``.

    Args:
        values: Values of a parameter that colors, groups or labels the runs.
        words: Two names of classes and scenes.
        experiment: Runs on imagery, with scenes and classes of its own.
    """
    runs = sweep(values)
    named = runs.reset_index()[["run", "params.p"]]
    history = named.merge(pd.DataFrame({"epoch": range(12)}), how="cross")
    history["val_loss"] = 1 / (history["epoch"] + 1)
    confusion = pd.DataFrame(
        [
            ("r0", "validation", scene, truth, prediction, 5)
            for scene in (pd.NA, words[0])
            for truth in words
            for prediction in words
        ],
        columns=["run", "group", "scene", "truth", "prediction", "count"],
    ).merge(named, on="run")
    evals = pd.DataFrame(
        [
            (run, "validation", scene, None, "f1", 0.5 + 0.03 * i)
            for i, run in enumerate(named["run"].head(2))
            for scene in (pd.NA, *words)
        ],
        columns=["run", "group", "scene", "class", "metric", "value"],
    ).merge(named, on="run")
    steps = named.head(2).assign(
        step="train", split=pd.NA, started=START, state=["failed", "running"], peak_mb=1.0,
        ended=pd.Series([START + pd.Timedelta("1min"), None]),
        beat=START + pd.Timedelta("2min"), cpu_s=1.0,
    )  # fmt: skip
    objects = named.merge(
        pd.DataFrame(
            [
                (words[0], side, words[1], outcome, score, bits)
                for side, score in (("truth", None), ("prediction", 0.5))
                for outcome, bits in (("true positive", 3), ("false positive", 0))
            ],
            columns=["scene", "side", "class", "outcome", "score", "matched_at"],
        ).assign(group="validation"),
        how="cross",
    )
    painted = experiment.runs.assign(**{"params.p": runs["params.p"].to_numpy()[:2]})
    mean = {"y": "metrics.f1", "trend": True}
    return {
        "confusion": lambda: plot.confusion(confusion),
        "confusion of a scene": lambda: plot.confusion(
            confusion, scene=words[0], normalize=None, label="params.p"
        ),
        "curves": lambda: plot.curves(history, hue="params.p", smooth=2, best="min"),
        "heatmap": lambda: plot.heatmap(evals, label="params.p"),
        "importance": lambda: plot.importance(runs, columns=["params.p", "params.lr"]),
        "parallel": lambda: plot.parallel(runs),
        "parallel of categories": lambda: plot.parallel(
            runs, ["params.lr", "metrics.f1"], hue="params.p"
        ),
        "precision_recall": lambda: plot.precision_recall(
            objects, classes=words[1], hue="params.p"
        ),
        "predictions": lambda: plot.predictions(painted, scenes=["val-0"]),
        "predictions of errors": lambda: plot.predictions(
            painted, scenes=["val-0"], show="errors", label="params.p"
        ),
        "predictions of scores": lambda: plot.predictions(painted, scenes=["val-0"], show="scores"),
        "scatter": lambda: plot.scatter(runs, "params.p", **mean),
        "scatter of colors": lambda: plot.scatter(runs, "params.lr", hue="params.p", **mean),
        "scatter of numbers": lambda: plot.scatter(
            runs.assign(x=np.geomspace(1, 1e4, NUMBER)), "x", hue="x", **mean
        ),
        "timeline": lambda: plot.timeline(steps, label="params.p"),
    }


def two_runs(root: Any, words: Sequence[str]) -> Experiment:
    """Return two runs on imagery whose classes have the given names."""
    made = Experiment(root)
    classes = CLASSES | {"names": ["background", *words, "null"]}
    for wrong in (0.02, 0.2):
        made.add(wrong, classes=classes)
    return made
