"""Rows of runs as Arrow columns, in which they are kept, and those as the columns of a DataFrame.

A parameter may be a number in one run and text in another, and an Arrow column has one type. So
each kind of value has a column of its own, ``params:float:lr`` beside ``params:text:lr``, and
tables of any runs can be put below one another.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from rvlab.frame.dtypes import RUNS, TEXT, TIME, WHOLE, fits, is_exact, typed

if TYPE_CHECKING:
    import pyarrow as pa

GROUPS = {"params": "params", "metrics": "metrics", "costs": "costs", "eval_sets": "eval_set"}
"""What a row holds by name, and what its columns begin with, in their order."""

ELSEWHERE = ("experiment", "tags", "note", "archived", "duration", "uri")
"""Columns of the table that are not the run's own: they are known when it is made."""

NUMBERS = ("metrics", "costs")
"""What holds nothing but numbers, and is float64 even where none is known."""

_ARROW = {TIME: "timestamp[ns, tz=UTC]", TEXT: "string", WHOLE: "int64", "boolean": "bool"}

KINDS = ("none", "flag", "int", "float", "text", "big")
"""Of values; ``none`` is a name without a value, ``big`` a number of more than 64 bits."""


def packed(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as Arrow columns: those of `RUNS` that are the run's own, then values by name.

    Args:
        rows: With the names of `RUNS` and `GROUPS`; any may be missing.
    """
    import pyarrow as pa

    columns: dict[str, pa.Array] = {}
    for name, dtype in RUNS.items():
        if name not in ELSEWHERE:
            columns[name] = _array([row.get(name) for row in rows], dtype)
    for group in GROUPS:
        columns.update(_by_kind(group, [row.get(group) or {} for row in rows]))
    return pa.table(columns)


def is_packed(table: pa.Table) -> bool:
    """Whether a table is of the form that `packed` gives it today."""
    kinds = {"none": "bool", "flag": "bool", "int": "int64", "float": "double"}
    for one in table.schema:
        group, _, rest = one.name.partition(":")
        kind = rest.partition(":")[0]
        dtype = RUNS.get(one.name)
        wanted = _ARROW.get(dtype) if dtype else kinds.get(kind, "string")
        if str(one.type) != wanted or (not dtype and (group not in GROUPS or kind not in KINDS)):
            return False
    return set(RUNS) - set(ELSEWHERE) <= set(table.column_names)


def _array(values: list[Any], dtype: Any) -> pa.Array:
    import pyarrow as pa

    if dtype == TIME:
        try:
            return pa.array(values, pa.string()).cast(pa.timestamp("ns", tz="UTC"))
        except pa.ArrowException:  # one is no time, or not as we write it
            return pa.Array.from_pandas(typed(values, TIME))
    if dtype == WHOLE:
        return pa.array([v if v is None or fits(v, WHOLE) else None for v in values], pa.int64())
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
    for name, column in zip(names, _values(names, rows), strict=True):
        only = _only_kind(group, column)
        values = {only: column} if only else _sorted_out(group, column)
        for kind, array in values.items():
            found[f"{group}:{kind}:{name}"] = pa.array(array, types[kind])
    return found


def _values(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Sequence[Any]]:
    """What rows have by each name."""
    if len(names) > 1:
        with contextlib.suppress(KeyError):  # mostly all rows have all names
            return list(zip(*map(itemgetter(*names), rows), strict=True))
    return [[row.get(name, _ABSENT) for row in rows] for name in names]


def _sorted_out(group: str, column: Sequence[Any]) -> Mapping[str, Sequence[Any]]:
    """A column for each kind of value in one."""
    found: dict[str, list[Any]] = {}
    for i, value in enumerate(column):
        if value is not _ABSENT:
            kind, plain = _plain(group, value)
            found.setdefault(kind, [None] * len(column))[i] = plain
    return found


_ABSENT = object()
_ONLY = {float: "float", str: "text", bool: "flag", int: "int"}


def _only_kind(group: str, column: Sequence[Any]) -> str | None:
    """The kind of a column that has one; most have, and their values need no second look."""
    types = set(map(type, column))
    kind = _ONLY.get(types.pop()) if len(types) == 1 else None
    if group in NUMBERS:
        return kind if kind == "float" else None
    return (
        None
        if kind == "int" and not (fits(min(column), WHOLE) and fits(max(column), WHOLE))
        else kind
    )


def _plain(group: str, value: Any) -> tuple[str, Any]:
    """A value and its kind; lists and dicts are JSON text."""
    if value is None or (group in NUMBERS and not fits(value, "float64")):
        return "none", True
    if group in NUMBERS:
        return "float", float(value)
    if isinstance(value, bool):
        return "flag", value
    if isinstance(value, int):
        return ("int", value) if fits(value, WHOLE) else ("big", str(value))
    if isinstance(value, float):
        return "float", value
    return "text", value if isinstance(value, str) else json.dumps(value)


def columns_of(table: pa.Table) -> dict[str, Any]:
    """The columns of a DataFrame from those of `packed` tables that were put below one another.

    Returns:
        Those of `RUNS` that are the run's own, then ``params.*``, ``metrics.*``, ``costs.*`` and
        ``eval_set.*``. A column of parameters is int64, or Int64 where some are missing; float64
        where one is a float; bool or boolean; string; object where text and numbers are mixed, a
        number has more than 64 bits, or one beside floats more than float64 can tell apart.
    """
    found: dict[str, Any] = {}
    for name, dtype in RUNS.items():
        if name not in ELSEWHERE:
            found[name] = _column(table.column(name), dtype)
    named: dict[tuple[str, str], dict[str, pa.ChunkedArray]] = {}
    for column in table.column_names:
        if column.count(":") >= 2:
            group, kind, name = column.split(":", 2)
            if table.column(column).null_count < len(table):
                named.setdefault((group, name), {})[kind] = table.column(column)
    # By the first run that has it, whichever rows were read together.
    named = dict(sorted(named.items(), key=lambda one: _first(one[1].values())))
    for group, prefix in GROUPS.items():
        for (of, name), kinds in named.items():
            if of == group:
                empty = "float64" if group in NUMBERS else TEXT
                found[f"{prefix}.{name}"] = _joined(kinds, len(table), empty)
    return found


def _first(arrays: Iterable[pa.ChunkedArray]) -> int:
    import pyarrow.compute as pc

    return min(int(pc.index(pc.is_valid(array), True).as_py()) for array in arrays)


def _column(array: pa.ChunkedArray, dtype: Any) -> Any:
    import pandas as pd

    if dtype == TIME:
        return array.to_pandas().astype(TIME).array
    if dtype == "float64":
        return array.to_numpy().copy()  # what is mapped from a file cannot be written to
    if dtype == TEXT:
        return _texts(array)
    kinds: Any = {WHOLE: pd.Int64Dtype(), "boolean": pd.BooleanDtype()}
    return kinds[dtype].__from_arrow__(array)


def _texts(array: pa.ChunkedArray) -> Any:
    """A column of text in which what is equal is one object: much of it is the same in all runs."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    one = array.dictionary_encode().combine_chunks()
    values = np.array([*one.dictionary.to_pylist(), pd.NA], dtype=object)
    codes = one.indices.fill_null(pa.scalar(len(values) - 1, one.indices.type)).to_numpy()
    return pd.array(values[codes], dtype=TEXT)


def _joined(kinds: Mapping[str, pa.ChunkedArray], rows: int, empty: Any) -> Any:
    """One column of the kinds that a name has; what is missing in all of them is missing."""
    import numpy as np
    import pandas as pd

    have = {kind: array for kind, array in kinds.items() if kind != "none"}
    if not have:
        return pd.array([None] * rows, dtype=empty) if empty == TEXT else np.full(rows, np.nan)
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
    if set(have) == {"int", "float"} and all(map(is_exact, mixed)):
        return np.array([np.nan if v is None else v for v in mixed], np.float64)
    return pd.Series(mixed, dtype="object")  # as an array it would be guessed at once more
