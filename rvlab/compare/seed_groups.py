"""Runs that are the same but for their seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rvlab.frame.params import param_columns, value_key

if TYPE_CHECKING:
    import pandas as pd

SETTING_COLUMNS = ("experiment", "recipe", "source_sha256", "commit", "image", "eval_set")
"""Columns that must agree, beside the parameters, for two runs to differ only in their seed."""


def group_by_setting(runs: pd.DataFrame, ignore: Sequence[str] = ()) -> list[pd.DataFrame]:
    """The runs, those that differ only in their seed together; in the order of the table.

    Args:
        runs: The table of runs.
        ignore: Columns that may differ, such as ``commit``.

    Returns:
        For each group its rows, one for each seed, by seed: of runs that repeat a seed the newest
        (with the same seed a run repeats itself, and would count twice for nothing).
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
    """The runs that succeeded, and the ids of the others; all of them where no state is known."""
    if "state" not in runs:
        return runs, []
    there = (runs["state"] == "succeeded").fillna(True).to_numpy(dtype=bool)
    return runs[there], [str(run) for run in runs.index[~there]]


def newest_per_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """The newest run of each seed, by seed; all of them where no seed is known."""
    if "seed" not in runs or runs["seed"].isna().any():
        return runs
    # A run's id begins with its time.
    newest = runs.sort_index(kind="stable").drop_duplicates("seed", keep="last")
    return newest.sort_values("seed", kind="stable")
