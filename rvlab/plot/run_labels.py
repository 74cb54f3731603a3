"""What runs are called in a picture that is made from a long table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rvlab.plot.titles import run_titles

if TYPE_CHECKING:
    import pandas as pd


def run_labels(table: pd.DataFrame, label: str | None = None) -> dict[Any, list[str]]:
    """For each run of a long table the lines that tell it from the others.

    Args:
        table: Has a column ``run`` and, where they were joined, ``params.*`` and ``seed``.
        label: A column to use; None takes the ``params.*`` in which the runs differ, else the ids
            without what all of them begin with.
    """
    first = table.drop_duplicates("run")
    runs = first["run"].tolist()
    lines = run_titles(first, label)
    ids = [str(run) for run in runs]
    if len(runs) > 1 and lines == [[one] for one in ids]:
        lines = [[one] for one in strip_common_prefix(ids)]
    return dict(zip(runs, lines, strict=True))


def strip_common_prefix(ids: Sequence[str]) -> list[str]:
    """Ids without the parts, cut at ``-``, with which all of them begin."""
    parts = [one.split("-") for one in ids]
    same = 0
    while all(len(p) > same + 1 and p[same] == parts[0][same] for p in parts):
        same += 1
    return [f"…{'-'.join(p[same:])}" for p in parts] if same and len(ids) > 1 else list(ids)
