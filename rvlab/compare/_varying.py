"""The parameters in which runs differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rvlab.frame.input_tables import RunsLike, load_rows
from rvlab.frame.params import differing_columns

if TYPE_CHECKING:
    import pandas as pd


def varying(runs: RunsLike) -> pd.DataFrame:
    """Return the columns ``params.*`` in which the runs differ.

    The result is wide, one row per run with the index and dtypes of the table, so that it joins
    with every other table; ``varying(runs).melt(ignore_index=False)`` is long. A parameter that
    only some of the runs have differs.

    Args:
        runs: The table of runs, or runs.

    Returns:
        The index of `runs`; no columns where nothing differs.
    """
    runs = load_rows(runs)
    return runs[differing_columns(runs)].copy()
