"""Overviews for finding things: the included recipes, the experiments, and the best run."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from rvlab import compare
from rvlab.compare.columns import metric_column
from rvlab.errors import NotFound, TableError
from rvlab.frame.experiments import experiments_table
from rvlab.model import Run
from rvlab.recipes import find_recipe, shipped_recipes
from rvlab.recipes.describe import RecipeSummary, describe_recipe

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_METRIC = "metrics.f1"


def list_recipes() -> pd.DataFrame:
    """Return one row per included recipe; see `rvlab.Lab.recipes`."""
    import pandas as pd

    names = shipped_recipes()
    rows = [asdict(describe_recipe(find_recipe(name))) for name in names]
    index = pd.Index(names, name="recipe", dtype="object")
    columns = [one.name for one in fields(RecipeSummary)]
    return pd.DataFrame(rows, index=index, columns=columns, dtype="string")


def summarize_experiments(runs: pd.DataFrame, metric: str, *, ascending: bool) -> pd.DataFrame:
    """Return one row per experiment; see `rvlab.Lab.experiments`."""
    # A store without any score has no metrics yet, which is not a mistake of the caller.
    has_scores = any(str(name).startswith("metrics.") for name in runs)
    if has_scores and metric != DEFAULT_METRIC:
        metric = metric_column(runs, metric)
    return experiments_table(runs, metric, ascending=ascending)


def find_best_run(
    runs: pd.DataFrame, metric: str, *, ascending: bool, across_sets: bool, store: str
) -> Run:
    """Return the best run of a table; see `rvlab.Lab.best`."""
    if runs.empty:
        raise NotFound(
            f"No run to choose from in {store}: the selection is empty. Submit runs first."
        )
    scores = runs.filter(like="metrics.")
    if scores.isna().all(axis=None):
        raise TableError(
            f"None of these {len(runs)} runs has a metric yet. The column 'state' of lab.runs() "
            "says what they do."
        )
    column = metric_column(runs, metric)
    if runs[column].isna().all():
        raise TableError(f"None of these {len(runs)} runs has a value of {column!r}.")
    ranked = compare.board(runs, column, ascending=ascending, across_sets=across_sets)
    return Run.from_uri(ranked["uri"].iloc[0])
