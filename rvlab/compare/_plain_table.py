"""Tables that every writer of pandas accepts."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from rvlab.frame.params import is_missing

if TYPE_CHECKING:
    import pandas as pd

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


def plain_table(table: pd.DataFrame) -> pd.DataFrame:
    r"""Return a copy of a table for ``to_excel``, ``to_parquet`` and other writers.

    Excel has no time zones and no control characters, and a Parquet file has one type per column:

    * times with a time zone become times in UTC without one;
    * lists and dicts become JSON, and other values of columns of mixed types become text, as do
      integers of more than 64 bits;
    * control characters become escapes, such as ``\x1b``, also in column names.

    >>> compare.plain_table(lab.runs("towns")).to_excel("towns.xlsx")

    Args:
        table: Any table of rvlab.
    """
    import pandas as pd

    columns = [_plain_column(table.iloc[:, i]) for i in range(table.shape[1])]
    out = pd.concat(columns, axis=1) if columns else table.copy()
    return out.set_axis(table.columns.map(_plain_name), axis=1)


def _plain_name(name: Any) -> Any:
    return _CONTROL.sub(_escape, name) if isinstance(name, str) else name


def _plain_column(values: pd.Series[Any]) -> pd.Series[Any]:
    import numpy as np
    import pandas as pd

    if isinstance(values.dtype, pd.DatetimeTZDtype):
        times: pd.Series[Any] = values.dt.tz_convert("UTC").dt.tz_localize(None)
        return times
    if isinstance(values.dtype, pd.StringDtype):
        out: pd.Series[Any] = values.str.replace(_CONTROL, _escape, regex=True)
        return out
    if values.dtype != object:
        return values
    present = [value for value in values if not is_missing(value)]
    kinds = {type(value) for value in present}
    is_number = all(issubclass(kind, int | float | np.number) for kind in kinds - {bool})
    if kinds <= {bool} or (is_number and bool not in kinds and all(map(_fits, present))):
        return values.infer_objects()
    texts = [None if is_missing(value) else _text(value) for value in values]
    return pd.Series(texts, index=values.index, name=values.name, dtype="string")


def _fits(number: Any) -> bool:
    """Return whether a number fits a column of 64 bits."""
    return not isinstance(number, int) or -(2**63) <= number < 2**63


def _text(value: Any) -> str:
    if getattr(value, "ndim", 0):
        value = value.tolist()
    is_container = isinstance(value, list | tuple | dict)
    return _CONTROL.sub(_escape, json.dumps(value, default=str) if is_container else str(value))


def _escape(found: re.Match[str]) -> str:
    return f"\\x{ord(found.group()):02x}"
