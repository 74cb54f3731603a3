"""The table of experiments: one row per experiment, computed from the table of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rvlab.frame.input_tables import eval_set_fingerprint_column
from rvlab.model import PREDICTION
from rvlab.model.schema import TEXT, TIME_S

if TYPE_CHECKING:
    import pandas as pd

STATE_GROUPS = {
    "succeeded": ("succeeded",),
    "active": ("queued", "running"),
    "failed": ("failed", "lost", "not submitted", "broken"),
    "cancelled": ("cancelled",),
}
"""The columns that count runs, and the states that each counts."""


def experiments_table(
    runs: pd.DataFrame, metric: str = "metrics.f1", *, ascending: bool = False
) -> pd.DataFrame:
    """Return one row per experiment, the newest first; see `rvlab.Lab.experiments`.

    Args:
        runs: The table of runs.
        metric: A column of it; without this column the values are missing.
        ascending: Whether its smallest value is the best.
    """
    import pandas as pd

    names = runs["experiment"].astype("object")
    states = runs["state"].astype("object")
    scores = runs[metric] if metric in runs else pd.Series(float("nan"), index=runs.index)
    column = eval_set_fingerprint_column(runs, metric)
    eval_sets = runs[column].astype("object").where(runs[column].notna(), "")
    rows = pd.DataFrame(
        {
            "run": runs.index,
            "experiment": names.to_numpy(),
            "created": runs["created"].to_numpy(),
            "recipe": runs["recipe"].astype("object").to_numpy(),
            "score": scores.where(_is_ranked(runs)).to_numpy("float64", na_value=float("nan")),
            "eval_set": eval_sets.to_numpy(),
        }
    )
    for name, counted in STATE_GROUPS.items():
        rows[name] = states.isin(counted).to_numpy()
    groups = rows.groupby("experiment", sort=False)
    best, number_of_sets = _best_rows(rows, ascending=ascending)
    table = pd.DataFrame({"runs": groups.size().astype("int64")})
    table[metric] = best["score"].reindex(table.index)
    table["best_run"] = best["run"].reindex(table.index).astype(TEXT)
    table["newest"] = pd.to_datetime(groups["created"].max(), utc=True).astype(TIME_S)
    for name in STATE_GROUPS:
        table[name] = groups[name].sum().astype("int64")
    table["eval_sets"] = number_of_sets.reindex(table.index).fillna(0).astype("int64")
    recipes = rows.dropna(subset="recipe").drop_duplicates(["experiment", "recipe"])
    joined = recipes.groupby("experiment", sort=False)["recipe"].agg(", ".join)
    table["recipes"] = joined.reindex(table.index).astype(TEXT)
    return table.sort_values("newest", ascending=False, kind="stable")


def _is_ranked(runs: pd.DataFrame) -> pd.Series[bool]:
    """Return whether each run may be the best: a prediction only among predictions."""
    if "kind" not in runs:
        return runs["experiment"].notna()
    trains = (runs["kind"] != PREDICTION).fillna(True).astype(bool)
    return trains | ~trains.groupby(runs["experiment"].to_numpy()).transform("any")


def _best_rows(rows: pd.DataFrame, *, ascending: bool) -> tuple[pd.DataFrame, pd.Series[Any]]:
    """Return the best run of each experiment, and the number of its evaluation sets.

    Scores over different pixels are not comparable, so only the evaluation set with the most runs
    counts. Among sets with equally many runs the first by name counts, as in `rvlab.compare.board`.
    """
    scored = rows.dropna(subset="score")
    sizes = scored.groupby(["experiment", "eval_set"], sort=False).size().rename("size")
    largest = sizes.reset_index().sort_values(["size", "eval_set"], ascending=[False, True])
    largest = largest.drop_duplicates("experiment")[["experiment", "eval_set"]]
    ordered = scored.merge(largest, on=["experiment", "eval_set"])
    ordered = ordered.sort_values("score", ascending=ascending, kind="stable")
    number = sizes.groupby("experiment", sort=False).size()
    return ordered.drop_duplicates("experiment").set_index("experiment"), number
