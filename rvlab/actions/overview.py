"""Overviews for finding things: the included recipes, the experiments, and the best run."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from rvlab import compare
from rvlab.compare.columns import is_ascending, metric_column
from rvlab.errors import NotFound, TableError
from rvlab.frame.experiments import experiments_table
from rvlab.frame.filter_runs import without_prediction_runs
from rvlab.frame.input_tables import METRICS_PREFIX, full_metric_name
from rvlab.frame.params import PARAMS_PREFIX
from rvlab.model import Run
from rvlab.recipes import find_recipe, shipped_recipes
from rvlab.recipes.describe import RecipeSummary, describe_recipe

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_METRIC = "metrics.f1"

_VALUE_PREFIXES = (METRICS_PREFIX, PARAMS_PREFIX, "costs.")


def list_recipes() -> pd.DataFrame:
    """Return one row per included recipe; see `rvlab.Lab.recipes`."""
    import pandas as pd

    names = shipped_recipes()
    rows = [asdict(describe_recipe(find_recipe(name))) for name in names]
    index = pd.Index(names, name="recipe", dtype="object")
    columns = [one.name for one in fields(RecipeSummary)]
    return pd.DataFrame(rows, index=index, columns=columns, dtype="string")


def summarize_experiments(
    runs: pd.DataFrame, metric: str, *, ascending: bool | None
) -> pd.DataFrame:
    """Return one row per experiment; see `rvlab.Lab.experiments`."""
    column = find_metric(runs, metric)
    return experiments_table(runs, column, ascending=is_ascending(column, ascending))


def find_metric(runs: pd.DataFrame, metric: str) -> str:
    """Return the column of a metric.

    The column may be missing if it is the default metric, or if no run has any metric yet.

    Raises:
        TableError: If no run has the metric; it lists those that exist.
    """
    name = full_metric_name(runs, metric)
    is_full = name in runs or name.startswith(_VALUE_PREFIXES)
    full = name if is_full else f"{METRICS_PREFIX}{name}"
    if full == DEFAULT_METRIC or not _metric_columns(runs):
        return full
    return metric_column(runs, metric)


def _metric_columns(runs: pd.DataFrame) -> list[str]:
    return [str(name) for name in runs if str(name).startswith(METRICS_PREFIX)]


def find_best_run(
    runs: pd.DataFrame, metric: str, *, ascending: bool | None, across_sets: bool, store: str
) -> Run:
    """Return the best run of a table; see `rvlab.Lab.best`."""
    runs = without_prediction_runs(runs)
    if runs.empty:
        raise NotFound(
            f"No run to choose from in {store}: the selection is empty. Submit runs first."
        )
    if runs[_metric_columns(runs)].isna().all(axis=None):
        raise TableError(
            "The run has no metrics. lab.runs(…)['state'] shows its state."
            if len(runs) == 1
            else f"None of these {len(runs)} runs has metrics. lab.runs(…)['state'] shows their "
            "states."
        )
    column = metric_column(runs, metric)
    if runs[column].isna().all():
        raise TableError(f"None of these {len(runs)} runs has a value of {column!r}.")
    ranked = compare.board(runs, column, ascending=ascending, across_sets=across_sets)
    return Run.from_uri(ranked["uri"].iloc[0])
