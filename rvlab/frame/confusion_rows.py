"""Counts of objects, or of pixels near contours, as confusion matrices of each scored scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvlab.frame.tables import scene_fingerprints_table
from rvlab.store import Store
from rvlab.store.run_listing import RunListing

if TYPE_CHECKING:
    import pandas as pd

NO_OBJECT = "(no object)"
"""In these matrices, the truth of false positives and the prediction of false negatives."""


def confusion_rows_from_counts(
    store: Store,
    listings: Sequence[RunListing],
    counts: pd.DataFrame,
    predictions: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return counts by scene and class in the form of the table of confusion matrices.

    Args:
        store: The store of the runs.
        listings: The runs.
        counts: ``run group scene class tp fp fn``; a scene or class without counts may be missing.
        predictions: Single predicted objects, ``run group scene class score matched_at``, that
            `counts` does not include.

    Returns:
        ``run group scene truth prediction count``, of each scored scene. For each class of `counts`
        there are a row of its true positives and rows of its false negatives and false positives,
        whose other side is `NO_OBJECT`. With `predictions`, there is another row for each of them,
        and the columns ``score`` and ``matched_at``, which are missing in all other rows.
    """
    import pandas as pd

    scored = scene_fingerprints_table(store, listings)[["run", "group", "scene"]]
    pairs = {"tp": (0, 0), "fn": (0, 1), "fp": (1, 0)}
    cells = pd.DataFrame(
        [
            (name, kind, *((name, NO_OBJECT)[i] for i in pair))
            for name in sorted(counts["class"].unique())
            for kind, pair in pairs.items()
        ],
        columns=["class", "kind", "truth", "prediction"],
    )
    keys = ["run", "group", "scene", "class"]
    placed = _in_scored_groups(scored, counts)
    long = placed.melt(keys, list(pairs), var_name="kind", value_name="count")
    table = scored.merge(cells, how="cross").merge(long, on=[*keys, "kind"], how="left")
    table["count"] = table["count"].fillna(0).astype("int64")
    names = ["run", "group", "scene", "truth", "prediction", "count"]
    if predictions is None:
        return table[names]
    rows = _in_scored_groups(scored, predictions)
    rows["prediction"], rows["count"] = rows["class"], 1
    rows["truth"] = rows["class"].where(rows["matched_at"] % 2 == 1, NO_OBJECT)
    more = ["score", "matched_at"]
    whole = table[names].assign(**dict.fromkeys(more, float("nan")))
    return pd.concat([whole, rows[[*names, *more]].astype(dict.fromkeys(more, "float64"))])


def _in_scored_groups(scored: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Assign rows to the groups of their scenes, including groups that the user defines."""
    import pandas as pd

    own = scored["group"].isin(["validation", "test"])
    # A group of the user consists of validation and test scenes. A scene that is predicted in both
    # has two copies: the group counts that of validation, the last of the two names.
    first = rows.groupby(["run", "scene"])["group"].transform("max")
    once = rows[rows["group"] == first].drop(columns="group")
    return pd.concat(
        [
            scored[own].merge(rows, on=["run", "group", "scene"]),
            scored[~own].merge(once, on=["run", "scene"]),
        ],
        ignore_index=True,
    )
