"""Validation of tables: required columns, and values that a column must contain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from rvlab.errors import TableError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


METRICS_PREFIX = "metrics."


def require_columns(
    table: pd.DataFrame | pd.Series[Any], names: Iterable[str], table_name: str
) -> pd.DataFrame:
    """Return the table after checking its columns; required index levels become columns.

    Args:
        table: The table, which is not changed; a Series is a table of one row.
        names: Required columns.
        table_name: The name of the table in messages.

    Raises:
        TableError: If a column is missing, with a suggestion, or `table` is not a table.
    """
    import pandas as pd

    if isinstance(table, pd.Series):
        table = row_to_table(table)
    if not isinstance(table, pd.DataFrame):
        raise TableError(
            f"The {table_name} must be a DataFrame, got {type(table).__name__}. Pass the table, "
            "such as lab.runs(run)."
        )
    wanted = list(names)
    levels = [n for n in table.index.names if n in wanted and n not in table.columns]
    out = table.reset_index(levels) if levels else table
    # pandas refuses to group by a name that is a column and an index level.
    twins = [n for n in out.index.names if n in out.columns]
    out = out.reset_index(twins, drop=True) if twins else out
    for name in wanted:
        if name not in out.columns:
            known = [str(c) for c in out.columns]
            raise TableError(
                f"The {table_name} has no column {name!r}. {suggest_column(name, known)}"
            )
    return out


def is_uri_column(runs: object) -> TypeGuard[pd.Series[Any]]:
    """Return whether a selection is the column ``uri`` of a table of runs."""
    is_series = hasattr(runs, "to_dict") and not hasattr(runs, "columns")
    return is_series and getattr(runs, "name", None) == "uri"


def full_metric_name(table: pd.DataFrame, name: str) -> str:
    """Return ``metrics.f1`` for ``f1`` if the table has only the former; else the name itself."""
    known = {*table.columns, *table.index.names}
    full = f"{METRICS_PREFIX}{name}"
    return full if name not in known and full in known else name


def eval_set_column(runs: pd.DataFrame, metric: str) -> str:
    """Return the column with the fingerprint of the evaluation set of a metric.

    Args:
        runs: The table of runs.
        metric: A metric's column: ``metrics.f1`` is of ``eval_set``, ``metrics.test.f1`` of
            ``eval_set.test``.
    """
    group = metric.removeprefix("metrics.").partition(".")[0]
    return f"eval_set.{group}" if f"eval_set.{group}" in runs else "eval_set"


def suggest_column(word: str, known: Sequence[str], *, metric: bool = False) -> str:
    """Suggest a column for a misspelt one, and list all metrics for a misspelt metric.

    Args:
        word: The requested column; for ``f1`` the suggestion is ``metrics.f1``.
        known: The existing columns.
        metric: Whether a metric is requested, even if `word` does not begin with ``metrics.``.
    """
    metrics = [name for name in known if name.startswith(METRICS_PREFIX)]
    is_metric = (metric or word.startswith(METRICS_PREFIX)) and bool(metrics)
    same_name = [name for name in known if name.partition(".")[2] == word]
    hint = did_you_mean(word, metrics if is_metric else known)
    if same_name:
        hint = f"Did you mean {' or '.join(map(repr, same_name[:3]))}?"
    if not is_metric:
        return hint
    suggestion = f"{hint} " if hint.startswith("Did") else ""
    return f"{suggestion}Metrics that exist: {', '.join(metrics)}."


def row_to_table(row: pd.Series[Any]) -> pd.DataFrame:
    """Convert a row to a table; its index is named ``run`` unless a column has that name."""
    table = row.to_frame().T.infer_objects()
    return table if "run" in table else table.rename_axis("run")


def require_known(word: str, known: Sequence[Any], message: str) -> None:
    """Require that a value is one of the known ones.

    Args:
        word: The requested value.
        known: The existing values.
        message: The beginning of the message, such as ``No run was evaluated on the group``.

    Raises:
        TableError: If it is not, with a suggestion.
    """
    words = [str(one) for one in known]
    if word not in words:
        raise TableError(f"{message} {word!r}. {did_you_mean(word, words)}")
