"""Groups of runs that differ only in their seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rvlab.frame.params import param_columns, value_key

if TYPE_CHECKING:
    import pandas as pd

SETTING_COLUMNS = ("experiment", "recipe", "source_sha256", "commit", "image", "eval_set")
"""Columns, besides the parameters, that must be equal for runs that differ only in their seed."""


def group_by_setting(runs: pd.DataFrame, ignore: Sequence[str] = ()) -> list[pd.DataFrame]:
    """Group runs that differ only in their seed, in the order of the table.

    Args:
        runs: The table of runs.
        ignore: Columns that may differ, such as ``commit``.

    Returns:
        The rows of each group, one per seed, sorted by seed. Of runs that repeat a seed only the
        newest counts, since the repetition adds no information.
    """
    seed_of_recipe = "params.seed"
    keys = [c for c in (*SETTING_COLUMNS, *param_columns(runs)) if c in runs and c not in ignore]
    keys = [c for c in keys if c != seed_of_recipe]
    found: dict[tuple[Any, ...], list[int]] = {}
    columns = [[value_key(v) for v in runs[c]] for c in keys]
    for i in range(len(runs)):
        found.setdefault(tuple(column[i] for column in columns), []).append(i)
    return [newest_per_seed(runs.iloc[places]) for places in found.values()]


def split_succeeded(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the succeeded runs and the ids of the others; without states, all runs succeeded."""
    if "state" not in runs:
        return runs, []
    succeeded = (runs["state"] == "succeeded").fillna(True).to_numpy(dtype=bool)
    return runs[succeeded], [str(run) for run in runs.index[~succeeded]]


def newest_per_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the newest run of each seed, sorted by seed; all runs if a seed is missing."""
    if "seed" not in runs or runs["seed"].isna().any():
        return runs
    # A run's id begins with its time.
    newest = runs.sort_index(kind="stable").drop_duplicates("seed", keep="last")
    return newest.sort_values("seed", kind="stable")
