"""Confusion matrices from the long table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import TableError
from rvlab.frame.input_tables import require_known
from rvlab.metrics import NULL_CLASS

if TYPE_CHECKING:
    import pandas as pd

CountMatrix = NDArray[np.float64]


def select_group_rows(table: pd.DataFrame, group: str, scene: str | None) -> pd.DataFrame:
    """Return the rows of a group, aggregated over its scenes or of one scene.

    Raises:
        TableError: If the group or scene does not exist.
    """
    require_known(
        group, table["group"].dropna().unique().tolist(), "No run was evaluated on the group"
    )
    part = table[table["group"] == group]
    if scene is None:
        return part[part["scene"].isna()]
    require_known(scene, part["scene"].dropna().unique().tolist(), f"{group} has no scene")
    return part[part["scene"] == scene]


def build_matrices(
    part: pd.DataFrame, order: Sequence[Any]
) -> tuple[dict[Any, CountMatrix], list[str]]:
    """Build a matrix of counts per run, over the classes of all runs.

    Args:
        part: Rows of one group or scene.
        order: The runs.

    Returns:
        A matrix per run (rows truth, columns prediction), NaN where the run does not have the
        class; and the class names, without ``null`` if no pixel has it in truth or prediction.

    Raises:
        TableError: If a cell has two counts.
    """
    require_single_counts(part)
    counted = part[part["count"] > 0]
    seen = {*counted["truth"], *counted["prediction"]}
    classes = [c for c in part["truth"].unique().tolist() if c != NULL_CLASS or c in seen]
    out = {}
    for run in order:
        rows = part[part["run"] == run].pivot(index="truth", columns="prediction", values="count")
        out[run] = rows.reindex(index=classes, columns=classes).to_numpy(dtype=float)
    return out, classes


def require_single_counts(part: pd.DataFrame) -> None:
    """Require one count per run and cell in the rows of one group or scene.

    Raises:
        TableError: If a cell has two counts.
    """
    if part.duplicated(["run", "truth", "prediction"]).any():
        raise TableError(
            "The table of confusion has two counts for one cell. Drop the duplicate rows."
        )


def normalize_counts(
    matrix: CountMatrix, classes: Sequence[str], normalize: str | None
) -> CountMatrix:
    """Divide counts by the sum of their ``truth`` row or ``prediction`` column, if given.

    Pixels whose truth is ``null`` have no label and are excluded from the sums of columns.
    """
    if normalize is None:
        return matrix
    labelled = np.array([name != NULL_CLASS for name in classes])
    axis = 1 if normalize == "truth" else 0
    counted = matrix if axis == 1 else matrix[labelled]
    # NaN: the run does not have the class, or the class has no pixel.
    total = np.nansum(counted, axis=axis, keepdims=True)
    out = np.full(matrix.shape, np.nan)
    np.divide(matrix, total, out=out, where=np.broadcast_to(total > 0, matrix.shape))
    if normalize == "prediction":
        out[~labelled] = np.nan
    return out
