"""Counts of objects, or of pixels near contours, as confusion matrices of each scored scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rvlab.frame.tables import scenes_table
from rvlab.store import Store
from rvlab.store.run_listing import RunListing

if TYPE_CHECKING:
    import pandas as pd

NO_OBJECT = "(no object)"
"""In these matrices, the truth of false positives and the prediction of false negatives."""


def matrices_of_counts(
    store: Store, listings: Sequence[RunListing], counts: pd.DataFrame
) -> pd.DataFrame:
    """Return counts by scene and class in the form of the table of confusion matrices.

    Args:
        store: The store of the runs.
        listings: The runs.
        counts: ``run group scene class tp fp fn``; a scene or class without counts may be missing.

    Returns:
        ``run group scene truth prediction count``, of each scored scene. For each class of `counts`
        there are a row of its true positives and rows of its false negatives and false positives,
        whose other side is `NO_OBJECT`.
    """
    import pandas as pd

    scored = scenes_table(store, listings)[["run", "group", "scene"]]
    own = scored["group"].isin(["validation", "test"])
    placed = pd.concat(
        [
            scored[own].merge(counts, on=["run", "group", "scene"]),
            # A scene group of the user consists of validation and test scenes.
            scored[~own].merge(counts.drop(columns="group"), on=["run", "scene"]),
        ]
    )
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
    long = placed.melt(keys, list(pairs), var_name="kind", value_name="count")
    table = scored.merge(cells, how="cross").merge(long, on=[*keys, "kind"], how="left")
    table["count"] = table["count"].fillna(0).astype("int64")
    return table[["run", "group", "scene", "truth", "prediction", "count"]]
