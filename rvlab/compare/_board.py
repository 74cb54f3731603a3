"""A leaderboard of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rvlab.compare._rank_changes import rank_change_counts
from rvlab.compare._varying import varying
from rvlab.compare.columns import is_ascending, metric_column
from rvlab.compare.truth import describe_sets
from rvlab.errors import MissingExtra, TableError
from rvlab.frame.filter_runs import without_prediction_runs
from rvlab.frame.input_tables import (
    RunsLike,
    eval_set_fingerprint_column,
    load_rows,
    suggest_column,
)
from rvlab.frame.params import differing_columns
from rvlab.model.tables import RANK_METRICS
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from pandas.io.formats.style import Styler

_CONTEXT_COLUMNS = ("experiment", "recipe", "seed", "state", "commit", "image")


def board(
    runs: RunsLike,
    metric: str = "metrics.f1",
    *,
    ascending: bool | None = None,
    columns: Sequence[str] | str = (),
    across_sets: bool = False,
) -> pd.DataFrame:
    """Rank runs by a metric, with the columns in which they differ.

    Predictions are left out if there are also runs that train.

    Args:
        runs: The table of runs, as ``lab.runs()`` returns it, or runs.
        metric: The column to sort by; ``f1`` is short for ``metrics.f1``.
        ascending: Whether less is better; None means yes for an error or a loss, else no.
        columns: One or more further columns to include.
        across_sets: Rank runs that were evaluated on different sets in one list.

    Returns:
        A plain table, best first, index as in `runs`:

        * ``rank``, from 1; ties share a rank; runs without the metric have no rank and are last;
        * the metric, and ``diff_to_best``, its difference to the best value (0 or negative;
          0 or positive where less is better);
        * ``rank_changes``: the number of runs that another metric (macro F1, mean IoU or Raster
          Vision's average F1) ranks in the opposite order; `rank_changes` lists these pairs;
        * these three metrics, if a run has them;
        * the columns ``experiment recipe seed state commit image`` and ``params.*`` in which the
          runs differ, `columns`, ``name``, and ``uri``, which plots and the lab need.

        Scores over different pixels cannot be ranked together. If the column ``eval_set``
        (``eval_set.test`` for ``metrics.test.f1``) shows that runs were scored on different scenes,
        labels or classes, each set is ranked separately, the largest first. Runs without a recorded
        set form a set of their own. A warning reports it, and the table includes the column.
        `rvlab.Lab.scenes` shows which scenes differ.

    Raises:
        TableError: If no run has the metric (it lists those that exist), or a column is missing.
    """
    import pandas as pd

    runs = without_prediction_runs(load_rows(runs))
    columns = [columns] if isinstance(columns, str) else columns
    column = metric_column(runs, metric)
    least = is_ascending(column, ascending)
    for name in columns:
        if name not in runs:
            hint = suggest_column(name, [str(c) for c in runs])
            raise TableError(f"The table of runs has no column {name!r}. {hint}")
    has = runs[column].notna().to_numpy(dtype=bool)
    sets = _eval_set_ids(runs, eval_set_fingerprint_column(runs, column), has, across_sets)
    ranked = sets.iloc[has.nonzero()[0]]
    groups = runs.groupby(sets.to_numpy(), sort=False)
    by_set = groups[column]
    best = by_set.transform("min" if least else "max")
    # By position, not by index: concatenated tables may contain a run twice.
    flipped = [
        rank_change_counts(runs.iloc[where], column).set_axis(where)
        for where in groups.indices.values()
    ]
    leading = {
        "rank": by_set.rank(method="min", ascending=least).astype("Int64"),
        column: runs[column],
        "diff_to_best": runs[column] - best,
        "rank_changes": pd.concat(flipped).sort_index().to_numpy(),
    }
    shown = pd.DataFrame(leading, index=runs.index)
    rest = [
        *(name for name in RANK_METRICS if name in runs and runs[name].notna().any()),
        *([eval_set_fingerprint_column(runs, column)] if ranked.nunique() > 1 else []),
        *differing_columns(runs, [name for name in _CONTEXT_COLUMNS if name in runs]),
        *varying(runs).columns,
        *columns,
        *(name for name in ("name", "uri") if name in runs),
    ]
    others = [name for name in dict.fromkeys(rest) if name not in shown]
    table = pd.concat([shown, runs[others]], axis=1)
    size = sets.map(ranked.value_counts()).fillna(0).astype("int64").to_numpy()
    order = pd.DataFrame({"last": ~has, "size": -size, "set": sets.to_numpy()})
    order["rank"] = table["rank"].to_numpy()
    return table.iloc[order.sort_values(["last", "size", "set", "rank"], kind="stable").index]


def styled(runs: RunsLike, metric: str | None = None) -> Styler:
    """Style a leaderboard with bars for the metric, shades for the others and short numbers.

    Names, notes and parameters are escaped, in cells and in column headers. Calling ``format`` on
    the result turns this off for its columns, since pandas does not escape by default.

    Args:
        runs: A leaderboard, as `board` returns it; or runs, which are ranked. ``uri`` is hidden.
        metric: The column with the bars; None selects the first ``metrics.*``.

    Returns:
        A pandas Styler, which a notebook shows.

    Raises:
        TableError: If the column does not exist.
        MissingExtra: If jinja2 is not installed, which pandas needs to style a table.
    """
    import numpy as np

    table = load_rows(runs)
    if "rank" not in table:
        table = board(table, metric or "metrics.f1")
    try:
        style = table.reset_index().rename_axis(columns=None).style
    except (ImportError, AttributeError) as exc:
        raise MissingExtra("A styled table needs jinja2: pip install jinja2") from exc
    metrics = [c for c in table.columns if str(c).startswith("metrics.")]
    column = metric_column(table, metric or next(iter(metrics), "metrics.f1"))
    numbers: list[Any] = list(table.select_dtypes("float").columns)
    style = style.hide(axis="index").format(_escape, na_rep="–")
    style = style.format_index(_escape, axis="columns")
    scores: list[Any] = [c for c in numbers if c in metrics or c == "diff_to_best"]
    style = style.format("{:.4f}", na_rep="–", subset=scores)
    # A learning rate of 3e-05 would be 0.0000 with four decimals.
    rest = [c for c in numbers if c not in scores]
    style = style.format("{:.4g}", na_rep="–", subset=rest)
    if "uri" in table:
        style = style.hide(["uri"], axis="columns")
    low, high = float(table[column].min()), float(table[column].max())
    if low < high:  # pandas divides by their difference
        # The bars begin below the worst run, so that the differences can be seen.
        start = max(0.0, low - (high - low)) if low >= 0 else None
        style = style.bar(subset=[column], color="#9ecae1", vmin=start, vmax=high)
    for other in metrics:
        if other != column and np.isfinite(table[other].to_numpy(dtype=float)).any():
            style = style.background_gradient(subset=[other], cmap="Blues", low=0.1, high=0.6)
    return style


def _escape(value: object) -> str:
    """Return a cell or a column header as HTML text.

    pandas' own ``escape="html"`` does not escape values that are not strings, such as a list of
    names.
    """
    from markupsafe import escape

    return str(escape(f"{value:.4g}" if isinstance(value, float) else str(value)))


def _eval_set_ids(
    runs: pd.DataFrame, column: str, has: NDArray[np.bool_], across_sets: bool
) -> pd.Series[str]:
    """Return the evaluation set of each run, ``""`` where none is recorded."""
    import pandas as pd

    if across_sets or column not in runs:
        return pd.Series("", index=runs.index, dtype="object")
    found = runs[column].astype("object").where(runs[column].notna(), "")
    ranked = found.to_numpy()[has]
    known, unknown = len({*ranked} - {""}), int((ranked == "").sum())
    if known > 1 or (known and unknown):
        unrecorded = f"{unknown} of these {len(ranked)} runs {'has' if unknown == 1 else 'have'}"
        parts = [
            f"These runs were evaluated on {known} different sets of scenes, labels or classes."
            if known > 1
            else "",
            describe_sets(runs[has], column) if known > 1 else "",
            f"{unrecorded} no record of the evaluation set." if unknown else "",
        ]
        warn_user(
            f"{' '.join(filter(None, parts))} Each set is ranked separately (column {column!r}). "
            "across_sets=True ranks them in one list.",
        )
    return found
