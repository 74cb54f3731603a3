"""Groups of runs that differ only in their seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvlab.frame.params import param_columns, value_codes

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

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
    return [runs.iloc[places] for places in setting_row_numbers(runs, ignore)]


def setting_row_numbers(runs: pd.DataFrame, ignore: Sequence[str] = ()) -> list[NDArray[np.intp]]:
    """Return the row numbers of each group of `group_by_setting`."""
    import numpy as np
    import pandas as pd

    if not len(runs):
        return []
    names = [c for c in (*SETTING_COLUMNS, *param_columns(runs)) if c in runs and c not in ignore]
    group = np.zeros(len(runs), dtype="int64")
    for name in names:
        if name != "params.seed":  # the seed of a recipe
            codes = value_codes(runs[name])
            group = pd.factorize(group * (int(codes.max()) + 1) + codes)[0]
    row_numbers = np.arange(len(runs))
    if "seed" in runs:
        # Of each seed the newest run, whose id begins with its time; all where a seed is missing.
        table = pd.DataFrame({"group": group, "seed": value_codes(runs["seed"])}, index=runs.index)
        table["row"], table["missing"] = row_numbers, runs["seed"].isna().to_numpy(dtype=bool)
        table["missing"] = table.groupby("group")["missing"].transform("any")
        newest = table.sort_index(kind="stable").drop_duplicates(["group", "seed"], keep="last")
        complete = newest[~newest["missing"]]
        rows = complete["row"].to_numpy()
        by_seed = runs["seed"].iloc[rows].reset_index(drop=True).sort_values(kind="stable")
        row_numbers = np.concatenate([rows[by_seed.index], table["row"][table["missing"]]])
    order = np.argsort(group[row_numbers], kind="stable")
    row_numbers = row_numbers[order]
    return np.split(row_numbers, np.flatnonzero(np.diff(group[row_numbers])) + 1)


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
