"""Columns and schemas of tables: the classes with which `rvlab.model.tables` declares them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

# Any, since the stubs of pandas accept only literal dtype names, and these are passed as values.
TEXT: Any
TIME: Any
TIME_S: Any
SPAN_S: Any
WHOLE: Any
TEXT, WHOLE = "string", "Int64"
TIME, TIME_S, SPAN_S = "datetime64[ns, UTC]", "datetime64[s, UTC]", "timedelta64[s]"

ARROW_TYPES: dict[Any, str] = {
    TEXT: "string",
    WHOLE: "int64",
    "int64": "int64",
    "int32": "int32",
    "float64": "double",
    "bool": "bool",
    "boolean": "bool",
    TIME: "timestamp[ns, tz=UTC]",
    TIME_S: "timestamp[ns, tz=UTC]",
}
"""The dtype of a column in a DataFrame -> its type in files and caches, as Arrow prints it."""

_NEVER_MISSING = ("int64", "int32", "bool")

_DTYPE_BY_ANNOTATION = {
    "str": TEXT,
    "int": WHOLE,
    "bool": "boolean",
    "float": "float64",
}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: The name, also in files.
        dtype: The pandas dtype in the tables that `rvlab.Lab` returns.
        meaning: What a value means, for the documentation.
        unit: The unit of a value, such as ``s``; empty if it has none.
        required: Whether files must have a value in every row. Columns of the dtypes int64, int32
            and bool are always required.
        diff: The kind under which `rvlab.compare.diff` reports a difference in this column; None if
            it does not compare the column.
        in_report: Whether the report of a run shows it.
        is_new: Whether files of an earlier version lack it; it is missing in all their rows.
        record: ``spec`` or ``end``: the record of a run with the value; empty if it is computed.
    """

    name: str
    dtype: Any
    meaning: str
    unit: str = ""
    required: bool = False
    diff: str | None = None
    in_report: bool = False
    is_new: bool = False
    record: str = ""

    @property
    def never_missing(self) -> bool:
        """Whether a file must have a value in every row."""
        return self.required or self.dtype in _NEVER_MISSING


@dataclass(frozen=True)
class TableSchema:
    """The columns of a table.

    Args:
        name: The name of its file in ``tables/``, or of the method of `rvlab.Lab` that returns it.
        rows: What a row describes, for the documentation: "one row per" precedes it.
        columns: The columns, in order.
        others: Further columns, whose names depend on the rows; their names are patterns.
    """

    name: str
    rows: str
    columns: tuple[Column, ...]
    others: tuple[Column, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(one.name for one in self.columns)

    @property
    def report_names(self) -> list[str]:
        """The names of the columns that the report of a run shows."""
        return [one.name for one in self.columns if one.in_report]

    @cached_property
    def dtypes(self) -> dict[str, Any]:
        """The pandas dtype of each column."""
        return {one.name: one.dtype for one in self.columns}

    @cached_property
    def arrow_types(self) -> dict[str, str]:
        """The type of each column in files, as Arrow prints it."""
        return {one.name: ARROW_TYPES[one.dtype] for one in self.columns}

    def with_others(self, names: Iterable[str]) -> TableSchema:
        """Return the schema of one file, with the further columns that it has."""
        more = [replace(self.others[0], name=one) for one in names if one not in self.dtypes]
        return replace(self, columns=(*self.columns, *more), others=())

    def with_run(self) -> TableSchema:
        """Return the schema of the rows of several runs.

        `RUN_COLUMNS` come first. A column ``run`` that the table already has stays where it is, and
        the rest of `RUN_COLUMNS` follows it.
        """
        at = self.names.index("run") + 1 if "run" in self.names else 0
        added = RUN_COLUMNS[1:] if at else RUN_COLUMNS
        columns = (*self.columns[:at], *added, *self.columns[at:])
        return replace(self, columns=columns, others=(*self.others, *RUN_VALUES))

    def insert_after(self, name: str, other: Column) -> TableSchema:
        """Return the schema with a new column after the column `name`."""
        at = self.names.index(name) + 1
        return replace(self, columns=(*self.columns[:at], other, *self.columns[at:]))

    def replace_column(self, name: str, other: Column) -> TableSchema:
        """Return the schema with the column `name` replaced by another column."""
        columns = tuple(other if one.name == name else one for one in self.columns)
        return replace(self, columns=columns)


RUN_COLUMNS = (
    Column("run", "object", "The id of the run.", required=True),
    Column("name", TEXT, "The name of the run."),
)
"""The first columns of a table with rows of several runs."""

RUN_VALUES = (
    Column(
        "params.{name}",
        "by its values",
        "A parameter in which the requested runs differ; these columns follow `name`.",
    ),
    Column("seed", WHOLE, "The seed, if the requested runs differ in it; after the parameters."),
)
"""The columns after `RUN_COLUMNS` in which the requested runs differ."""


def column_field(
    meaning: str,
    *,
    dtype: Any = None,
    unit: str = "",
    diff: str | None = None,
    in_report: bool = False,
) -> dict[str, Any]:
    """Return the metadata that make a field of a record a column of a table.

    Args:
        meaning: See `Column`.
        dtype: Default: by the annotation of the field; times need `TIME` or `TIME_S`.
        unit: See `Column`.
        diff: See `Column`.
        in_report: See `Column`.
    """
    given = {"dtype": dtype, "meaning": meaning, "unit": unit, "diff": diff, "in_report": in_report}
    return {"column": given}


def columns_of(record: Any, kind: str = "") -> tuple[Column, ...]:
    """Return the columns that the fields of a record declare, in the order of the fields.

    Args:
        record: A dataclass with fields whose metadata are of `column_field`.
        kind: The record of a run: ``spec`` or ``end``.
    """
    found = []
    for one in fields(record):
        if given := dict(one.metadata.get("column", ())):
            annotation = str(one.type).removesuffix(" | None")
            given["dtype"] = given["dtype"] or _DTYPE_BY_ANNOTATION[annotation]
            found.append(Column(one.name, **given, record=kind))
    return tuple(found)
