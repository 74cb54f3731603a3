"""What is asked of a table: columns that are to be there, and words that are to be in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rvlab.errors import TableError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


_METRICS_PREFIX = "metrics."


def require_columns(
    table: pd.DataFrame | pd.Series[Any], names: Iterable[str], what: str
) -> pd.DataFrame:
    """The table, its named index levels as columns where one of them is asked for.

    Args:
        table: Left as it is. A row of a table is a table of one row.
        names: Columns that must be there.
        what: What the table is called in the message.

    Raises:
        TableError: If one is missing; it names the nearest. Or if it is no table.
    """
    import pandas as pd

    if isinstance(table, pd.Series):
        table = row_to_table(table)
    if not isinstance(table, pd.DataFrame):
        raise TableError(
            f"A {type(table).__name__} is no {what}. Give the table, such as lab.runs(run)."
        )
    wanted = list(names)
    levels = [n for n in table.index.names if n in wanted and n not in table.columns]
    out = table.reset_index(levels) if levels else table
    for name in wanted:
        if name not in out.columns:
            known = [str(c) for c in out.columns]
            raise TableError(f"The {what} has no column {name!r}. {suggest_column(name, known)}")
    return out


def suggest_column(word: str, known: Sequence[str], *, metric: bool = False) -> str:
    """What leads from a wrong column to the right one, and from a wrong metric to all there are.

    Args:
        word: What was asked for; ``f1`` leads to ``metrics.f1``.
        known: The columns that exist.
        metric: Whether it was to be a metric, although it does not begin with ``metrics.``.
    """
    metrics = [name for name in known if name.startswith(_METRICS_PREFIX)]
    is_metric = (metric or word.startswith(_METRICS_PREFIX)) and bool(metrics)
    whole = [name for name in known if name.partition(".")[2] == word]
    said = did_you_mean(word, metrics if is_metric else known)
    if whole:
        said = f"Did you mean {' or '.join(map(repr, whole[:3]))}?"
    if not is_metric:
        return said
    near = f"{said} " if said.startswith("Did") else ""
    return f"{near}Metrics that exist: {', '.join(metrics)}."


def row_to_table(row: pd.Series[Any]) -> pd.DataFrame:
    """A row of a table as a table, whose index is called ``run`` unless a column is."""
    table = row.to_frame().T.infer_objects()
    return table if "run" in table else table.rename_axis("run")


def require_known(word: str, known: Sequence[Any], what: str) -> None:
    """Whether a table has rows of that name.

    Args:
        word: What was asked for.
        known: What there is.
        what: The sentence's beginning, such as ``No run was evaluated on the group``.

    Raises:
        TableError: If it has none; it names the nearest.
    """
    words = [str(one) for one in known]
    if word not in words:
        raise TableError(f"{what} {word!r}. {did_you_mean(word, words)}")
