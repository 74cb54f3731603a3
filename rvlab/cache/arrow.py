"""Conversion of the rows of runs to Arrow columns, which are cached, and to DataFrame columns.

A parameter may be a number in one run and text in another, and an Arrow column has one type. So
each kind of value has a column of its own, ``params:float:lr`` beside ``params:text:lr``, and
tables of any runs can be put below one another.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from rvlab.cache.dtypes import cast_or_missing, fits_64_bits, is_exact_as_float64
from rvlab.model.schema import ARROW_TYPES, TEXT, TIME, TIME_S, WHOLE
from rvlab.model.tables import RUNS_TABLE

if TYPE_CHECKING:
    import pyarrow as pa

VALUE_GROUPS = {"params": "params", "metrics": "metrics", "costs": "costs", "eval_sets": "eval_set"}
"""Key of each mapping in a row -> prefix of its columns in a DataFrame, in the order of columns."""

RECORDED = {one.name: one.dtype for one in RUNS_TABLE.columns if one.record}
"""The columns that are cached, and their dtypes; the others are computed for each table."""

NUMBERS = ("metrics", "costs")
"""Groups that hold numbers only: float64, even if all are missing."""

KINDS = ("none", "flag", "int", "float", "text", "big")
"""Kinds of values: ``none`` is a name without a value, ``big`` an integer of more than 64 bits."""


def run_rows_to_arrow(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Convert rows to Arrow columns: the columns `RECORDED`, then values by name.

    Args:
        rows: Dicts with keys of `RECORDED` and `VALUE_GROUPS`; any key may be missing.
    """
    import pyarrow as pa

    columns: dict[str, pa.Array] = {}
    for name, dtype in RECORDED.items():
        columns[name] = _array([row.get(name) for row in rows], dtype)
    for group in VALUE_GROUPS:
        columns.update(_by_kind(group, [row.get(group) or {} for row in rows]))
    return pa.table(columns)


def has_run_row_schema(table: pa.Table) -> bool:
    """Return whether a table has the columns and types that `run_rows_to_arrow` writes."""
    kinds = {"none": "bool", "flag": "bool", "int": "int64", "float": "double"}
    for one in table.schema:
        group, _, rest = one.name.partition(":")
        kind = rest.partition(":")[0]
        dtype = RECORDED.get(one.name)
        wanted = ARROW_TYPES.get(dtype) if dtype else kinds.get(kind, "string")
        if str(one.type) != wanted or (
            not dtype and (group not in VALUE_GROUPS or kind not in KINDS)
        ):
            return False
    return set(RECORDED) <= set(table.column_names)


def _array(values: list[Any], dtype: Any) -> pa.Array:
    import pyarrow as pa

    if dtype in (TIME, TIME_S):
        try:
            return pa.array(values, pa.string()).cast(pa.timestamp("ns", tz="UTC"))
        except pa.ArrowException:  # a value is not a time, or has another format
            return pa.Array.from_pandas(cast_or_missing(values, TIME))
    if dtype == WHOLE:
        return pa.array(
            [v if v is None or fits_64_bits(v, WHOLE) else None for v in values], pa.int64()
        )
    if dtype == "float64":
        values = [v if v is None or fits_64_bits(v, dtype) else None for v in values]
        return pa.array(list(map(float, values)) if None not in values else values, pa.float64())
    return pa.array(values, pa.string() if dtype == TEXT else pa.bool_())


def _by_kind(group: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    import pyarrow as pa

    types = {
        "none": pa.bool_(),
        "flag": pa.bool_(),
        "int": pa.int64(),
        "float": pa.float64(),
        "text": pa.string(),
        "big": pa.string(),
    }
    found: dict[str, pa.Array] = {}
    names = list(dict.fromkeys(chain.from_iterable(rows)))
    for name, column in zip(names, _columns_of(names, rows), strict=True):
        only = _only_kind(group, column)
        values = {only: column} if only else _split_by_kind(group, column)
        for kind, array in values.items():
            found[f"{group}:{kind}:{name}"] = pa.array(array, types[kind])
    return found


def _columns_of(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Sequence[Any]]:
    """Return the values of all rows for each name."""
    if len(names) > 1:
        with contextlib.suppress(KeyError):  # most often all rows have all names
            return list(zip(*map(itemgetter(*names), rows), strict=True))
    return [[row.get(name, _ABSENT) for row in rows] for name in names]


def _split_by_kind(group: str, column: Sequence[Any]) -> Mapping[str, Sequence[Any]]:
    """Split a column into one column per kind of value."""
    found: dict[str, list[Any]] = {}
    for i, value in enumerate(column):
        if value is not _ABSENT:
            kind, plain = _kind_and_value(group, value)
            found.setdefault(kind, [None] * len(column))[i] = plain
    return found


_ABSENT = object()
_ONLY = {float: "float", str: "text", bool: "flag", int: "int"}


def _only_kind(group: str, column: Sequence[Any]) -> str | None:
    """Return the kind of a column whose values have one type, else None."""
    types = set(map(type, column))
    kind = _ONLY.get(types.pop()) if len(types) == 1 else None
    if group in NUMBERS:
        return kind if kind == "float" else None
    return (
        None
        if kind == "int"
        and not (fits_64_bits(min(column), WHOLE) and fits_64_bits(max(column), WHOLE))
        else kind
    )


def _kind_and_value(group: str, value: Any) -> tuple[str, Any]:
    """Return the kind of a value and the value; lists and dicts become JSON text."""
    if value is None or (group in NUMBERS and not fits_64_bits(value, "float64")):
        return "none", True
    if group in NUMBERS:
        return "float", float(value)
    if isinstance(value, bool):
        return "flag", value
    if isinstance(value, int):
        return ("int", value) if fits_64_bits(value, WHOLE) else ("big", str(value))
    if isinstance(value, float):
        return "float", value
    return "text", value if isinstance(value, str) else json.dumps(value)


def columns_from_arrow(table: pa.Table, names: Collection[str] | None = None) -> dict[str, Any]:
    """Convert concatenated tables of `run_rows_to_arrow` to the columns of a DataFrame.

    Args:
        table: The rows.
        names: The columns to convert; None converts all.

    Returns:
        The columns `RECORDED`, then ``params.*``, ``metrics.*``, ``costs.*`` and
        ``eval_set.*``. A column of parameters is int64, or Int64 if some are missing; float64 if
        one is a float; bool or boolean; string; object if text and numbers are mixed, an integer
        has more than 64 bits, or an integer beside floats is not exact as float64.
    """
    found: dict[str, Any] = {}
    for name, dtype in RECORDED.items():
        if names is None or name in names:
            found[name] = _column(table.column(name), dtype)
    for column, (group, kinds) in _values_by_column(table).items():
        if names is None or column in names:
            empty = "float64" if group in NUMBERS else TEXT
            found[column] = _combine_kinds(kinds, len(table), empty)
    return found


def _values_by_column(table: pa.Table) -> dict[str, tuple[str, dict[str, pa.ChunkedArray]]]:
    """Return the group of each column of values, and its Arrow columns by kind of value."""
    named: dict[tuple[str, str], dict[str, pa.ChunkedArray]] = {}
    for column in table.column_names:
        if column.count(":") >= 2:
            group, kind, name = column.split(":", 2)
            if table.column(column).null_count < len(table):
                named.setdefault((group, name), {})[kind] = table.column(column)
    # Order names by the first run that has them, in whichever order rows were read.
    named = dict(sorted(named.items(), key=lambda one: _first_valid_row(one[1].values())))
    return {
        f"{prefix}.{name}": (group, kinds)
        for group, prefix in VALUE_GROUPS.items()
        for (value_group, name), kinds in named.items()
        if value_group == group
    }


def differing_param_columns(table: pa.Table) -> list[str]:
    """List the columns ``params.*``, and ``seed`` after them, in which rows have different values.

    Values are compared as in `rvlab.frame.params.value_key`, without a loop over rows. A row
    without a spec, of a run whose records cannot be read, is not compared.

    Args:
        table: Concatenated tables of `run_rows_to_arrow`.

    Returns:
        First the parameters with two different values, in the order of the recipe. Then, in the
        same order, the parameters that some rows lack and that are equal in all other rows, such
        as parameters that only one of several recipes has.
    """
    import pyarrow.compute as pc

    if table.column("recipe").null_count:
        table = table.filter(pc.is_valid(table.column("recipe")))
    different, partial = [], []
    for column, (group, kinds) in _values_by_column(table).items():
        if group == "params":
            values, count = _extremes(kinds)
            if len(values) > 1:
                different.append(column)
            elif 0 < count < len(table):
                partial.append(column)
    seeds, _ = _extremes({"int": table.column("seed")})
    return [*different, *partial, *(["seed"] if len(seeds) > 1 else [])]


def _extremes(kinds: Mapping[str, pa.ChunkedArray]) -> tuple[set[tuple[str, Any]], int]:
    """Return the smallest and the largest value of each kind, and the number of values.

    The set has one element only if all values are equal. Numbers are one kind.
    """
    import pyarrow.compute as pc

    found: set[tuple[str, Any]] = set()
    count = 0
    for kind, array in kinds.items():
        own = pc.sum(pc.invert(pc.is_null(array, nan_is_null=True))).as_py()
        if kind != "none" and own:
            for value in pc.min_max(array).as_py().values():
                plain = "number" if kind in ("int", "float", "big") else kind
                found.add((plain, int(value) if kind == "big" else value))
            count += own
    return found, count


def _first_valid_row(arrays: Iterable[pa.ChunkedArray]) -> int:
    import pyarrow.compute as pc

    return min(int(pc.index(pc.is_valid(array), True).as_py()) for array in arrays)


def _column(array: pa.ChunkedArray, dtype: Any) -> Any:
    import pandas as pd

    if dtype in (TIME, TIME_S):
        return array.to_pandas().astype(dtype).array
    if dtype == "float64":
        return array.to_numpy().copy()  # Arrow's memory is read-only
    if dtype == TEXT:
        return _interned_texts(array)
    kinds: Any = {WHOLE: pd.Int64Dtype(), "boolean": pd.BooleanDtype()}
    return kinds[dtype].__from_arrow__(array)


def _interned_texts(array: pa.ChunkedArray) -> Any:
    """Convert text so that equal values share one object, since most texts repeat in all runs."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    one = array.dictionary_encode().combine_chunks()
    values = np.array([*one.dictionary.to_pylist(), pd.NA], dtype=object)
    codes = one.indices.fill_null(pa.scalar(len(values) - 1, one.indices.type)).to_numpy()
    return pd.array(values[codes], dtype=TEXT)


def _combine_kinds(kinds: Mapping[str, pa.ChunkedArray], rows: int, dtype_if_empty: Any) -> Any:
    """Combine the columns of a name, one per kind of value, into one."""
    import numpy as np
    import pandas as pd

    have = {kind: array for kind, array in kinds.items() if kind != "none"}
    if not have:
        return (
            pd.array([None] * rows, dtype=dtype_if_empty)
            if dtype_if_empty == TEXT
            else np.full(rows, np.nan)
        )
    if set(have) == {"text"}:
        return _column(have["text"], TEXT)
    if len(have) == 1 and "big" not in have:
        ((kind, array),) = have.items()
        if kind == "float" or array.null_count == 0:
            return array.to_numpy().copy()
        return _column(array, WHOLE if kind == "int" else "boolean")
    mixed: list[Any] = [None] * rows
    for kind, array in have.items():
        for i, value in enumerate(array.to_pylist()):
            if value is not None:
                mixed[i] = int(value) if kind == "big" else value
    if set(have) == {"int", "float"} and all(map(is_exact_as_float64, mixed)):
        return np.array([np.nan if v is None else v for v in mixed], np.float64)
    return pd.Series(mixed, dtype="object")  # pd.array would infer another dtype
