"""Values of the table of runs as text in a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rvlab.frame.params import PARAMS_PREFIX, value_codes
from rvlab.report.run_summary import MISSING_TEXT, format_metric, shorten_text

if TYPE_CHECKING:
    import pandas as pd

MAX_VALUES = 8
"""Values of a column that are listed."""


class Cell(NamedTuple):
    """A cell of a sortable table: its text, and the value to sort by (the text if it is empty)."""

    text: str
    value: str = ""


def short_column_name(column: object) -> str:
    """Return the name of a column without ``params.`` or ``metrics.``."""
    return str(column).removeprefix(PARAMS_PREFIX).removeprefix("metrics.")


def list_different_values(values: pd.Series[Any]) -> str:
    """Return the different values of a column as text, or their range if there are many numbers."""
    import pandas as pd

    different = values[~pd.Series(value_codes(values)).duplicated().to_numpy()]
    known = different[different.notna()]
    if pd.api.types.is_numeric_dtype(known) or values.dtype != object:
        known = known.sort_values()
    texts = [shorten_text(value, 60) for value in known]
    missing = ", or none" if len(known) < len(different) else ""
    if len(texts) <= MAX_VALUES:
        return f"{', '.join(texts)}{missing}"
    if pd.api.types.is_numeric_dtype(known):
        return f"{len(texts)} values from {texts[0]} to {texts[-1]}{missing}"
    return f"{', '.join(texts[:MAX_VALUES])} and {len(texts) - MAX_VALUES} more{missing}"


def format_cell(column: str, value: Any) -> Cell:
    """Return the cell of a column; scores with three decimals, other numbers as they are."""
    import pandas as pd

    if isinstance(value, list | tuple | dict) or getattr(value, "ndim", None):
        return Cell(shorten_text(value, 80))
    if value is None or bool(pd.isna(value)):
        return Cell(MISSING_TEXT, "nan")
    if isinstance(value, pd.Timedelta):
        return Cell(shorten_text(value), repr(value.total_seconds()))
    if isinstance(value, bool | str) or not isinstance(value, float | int):
        number = value.item() if hasattr(value, "item") else value
        if isinstance(number, bool | str) or not isinstance(number, float | int):
            return Cell(shorten_text(value, 120))
        value = number
    if column.startswith("metrics.") or "_to_best" in column or _is_statistic(column):
        sign = "+" if "_to_best" in column and value else ""
        text = f"{value:{sign}.3f}" if sign else format_metric(value)
        return Cell(text, repr(value))
    return Cell(str(value) if isinstance(value, int) else f"{value:.6g}", repr(value))


def _is_statistic(column: str) -> bool:
    return column.endswith((".mean", ".std", "_low", "_high"))
