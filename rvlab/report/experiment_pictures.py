"""Pictures of the report of an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rvlab import plot
from rvlab.compare.columns import metric_column
from rvlab.errors import TableError
from rvlab.frame.params import differing_columns
from rvlab.frame.tables import confusion_table, history_table
from rvlab.frame.windows import ranked_windows_table
from rvlab.report.experiment import ExperimentSummary
from rvlab.report.pictures import Drawing, Picture, require_images, try_picture

if TYPE_CHECKING:
    import pandas as pd

CURVE_RUNS, SHOWN_WINDOWS = 12, 4
WINDOWS_BYTES, CHART_BYTES = 1_700_000, 350_000  # with four plots and base64: a page is < 4.5 MB


def curves_of_best(summary: ExperimentSummary) -> Picture:
    """Draw losses and scores of the best runs over the epochs."""

    def draw() -> Drawing:
        chosen = (summary.best if len(summary.best) else summary.runs).head(CURVE_RUNS)
        history = history_table(summary.store, summary.listings_of_rows(chosen))
        if history.empty:
            return "These runs have no training history."
        return plot.curves(history), f"Training of {_describe(chosen, summary)} by epoch."

    return try_picture("The training curves", draw, CHART_BYTES, tight=True)


def confusion_of_best(summary: ExperimentSummary) -> Picture:
    """Draw the confusion matrices of the best runs of the best two settings."""

    def draw() -> Drawing:
        chosen = summary.leaders
        if chosen.empty or summary.group is None:
            return "No succeeded run was evaluated, so no confusion matrix can be drawn."
        matrices = confusion_table(summary.store, summary.listings_of_rows(chosen))
        if matrices.empty:
            return f"The evaluation of {summary.group} counted no confusion matrix."
        figure = plot.confusion(matrices, group=summary.group)
        words = f"Confusion of {_describe(chosen, summary)}: truth down, prediction across."
        return figure, words

    return try_picture("The confusion matrices", draw, CHART_BYTES, tight=True)


def parameter_pictures(summary: ExperimentSummary) -> list[Picture]:
    """Draw the metric over the parameters, and their importance where there are enough runs."""
    params = differing_columns(summary.best)
    if not params or len(summary.best) < 3:
        return []
    metric = metric_column(summary.runs, summary.metric)
    rows = summary.runs.loc[summary.runs.index.isin(summary.best.index)]

    def draw_metric() -> Drawing:
        if len(params) > 1:
            return plot.parallel(rows, hue=metric), f"Parameters and {metric} of each run."
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 3.6))
        plot.scatter(rows, params[0], metric, ax=figure.add_subplot())
        return figure, f"{metric} by {params[0]}."

    def draw_importance() -> Drawing:
        try:
            return plot.importance(rows, metric), f"Importance of each parameter for {metric}."
        except TableError as exc:  # too few runs
            return str(exc)

    shown = [try_picture("The metric by parameter", draw_metric, CHART_BYTES, tight=True)]
    if len(params) > 1:
        importance = try_picture("The importance", draw_importance, CHART_BYTES, tight=True)
        shown.append(importance)
    return shown


def worst_windows(summary: ExperimentSummary) -> Picture:
    """Draw the errors of the same two runs in the windows where they are wrong most."""

    def draw() -> Drawing:
        chosen = summary.leaders
        if chosen.empty:
            return "No run has predictions to show."
        windows = ranked_windows_table(
            summary.store, summary.listings_of_rows(chosen), n=SHOWN_WINDOWS
        )
        figure = plot.predictions(chosen, windows, show="errors", max_px=384)
        require_images(figure)
        which = f"{_describe(chosen, summary)} in {len(windows)} windows"
        return figure, f"Image, truth and errors of {which}."

    return try_picture("The predictions", draw, WINDOWS_BYTES)


def _describe(chosen: pd.DataFrame, summary: ExperimentSummary) -> str:
    """Return which runs are drawn, such as ``the best 2 runs``."""
    which = "the best" if len(summary.best) else "the first"
    return f"{which} run" if len(chosen) == 1 else f"{which} {len(chosen)} runs"
