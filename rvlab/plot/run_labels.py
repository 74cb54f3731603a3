"""Labels of the runs of a long table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rvlab.plot.titles import run_titles

if TYPE_CHECKING:
    import pandas as pd


def run_labels(table: pd.DataFrame, label: str | None = None) -> dict[Any, list[str]]:
    """Return for each run of a long table the lines of its label.

    Args:
        table: A table with a column ``run`` and optionally ``params.*`` and ``seed``.
        label: A column to use; None uses the ``params.*`` in which the runs differ, else the ids
            without their common prefix.
    """
    first = table.drop_duplicates("run")
    runs = first["run"].tolist()
    lines = run_titles(first, label)
    ids = [str(run) for run in runs]
    if len(runs) > 1 and lines == [[one] for one in ids]:
        lines = [[one] for one in strip_common_prefix(ids)]
    return dict(zip(runs, lines, strict=True))


def strip_common_prefix(ids: Sequence[str]) -> list[str]:
    """Return ids without their common prefix of parts separated by ``-``."""
    parts = [one.split("-") for one in ids]
    same = 0
    while all(len(p) > same + 1 and p[same] == parts[0][same] for p in parts):
        same += 1
    return [f"…{'-'.join(p[same:])}" for p in parts] if same and len(ids) > 1 else list(ids)
