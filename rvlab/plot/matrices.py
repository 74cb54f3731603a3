"""Confusion matrices out of the long table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import TableError
from rvlab.frame.validate import require_known
from rvlab.model.classes import NULL_CLASS

if TYPE_CHECKING:
    import pandas as pd

CountMatrix = NDArray[np.float64]


def select_rows(table: pd.DataFrame, group: str, scene: str | None) -> pd.DataFrame:
    """The rows of a group, over all its scenes or of one.

    Raises:
        TableError: If there is no such group or scene.
    """
    require_known(
        group, table["group"].dropna().unique().tolist(), "No run was evaluated on the group"
    )
    part = table[table["group"] == group]
    if scene is None:
        return part[part["scene"].isna()]
    require_known(scene, part["scene"].dropna().unique().tolist(), f"In {group} there is no scene")
    return part[part["scene"] == scene]


def build_matrices(
    part: pd.DataFrame, order: Sequence[Any]
) -> tuple[dict[Any, CountMatrix], list[str]]:
    """Counts by truth and prediction, of the classes that any of the runs has.

    Args:
        part: Rows of one group or scene.
        order: The runs.

    Returns:
        A matrix per run, NaN where a run does not have the class; the names of its rows and
        columns, without ``null`` where no pixel is, or was predicted, so.

    Raises:
        TableError: If two counts are given for one cell.
    """
    if part.duplicated(["run", "truth", "prediction"]).any():
        raise TableError("The table of confusion has two counts for one cell: was it put twice?")
    counted = part[part["count"] > 0]
    seen = {*counted["truth"], *counted["prediction"]}
    classes = [c for c in part["truth"].unique().tolist() if c != NULL_CLASS or c in seen]
    out = {}
    for run in order:
        rows = part[part["run"] == run].pivot(index="truth", columns="prediction", values="count")
        out[run] = rows.reindex(index=classes, columns=classes).to_numpy(dtype=float)
    return out, classes


def normalize_counts(
    matrix: CountMatrix, classes: Sequence[str], normalize: str | None
) -> CountMatrix:
    """Counts as shares of the ``truth`` (row) or ``prediction`` (column); None leaves counts.

    Pixels that are truly ``null`` have no label: no column's sum has them.
    """
    if normalize is None:
        return matrix
    real = np.array([name != NULL_CLASS for name in classes])
    axis = 1 if normalize == "truth" else 0
    counted = matrix if axis == 1 else matrix[real]
    # A class that the run does not have is missing, and one without a pixel has no share.
    whole = np.nansum(counted, axis=axis, keepdims=True)
    out = np.full(matrix.shape, np.nan)
    np.divide(matrix, whole, out=out, where=np.broadcast_to(whole > 0, matrix.shape))
    if normalize == "prediction":
        out[~real] = np.nan
    return out
