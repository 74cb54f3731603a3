"""Parquet files of tables, with the schemas of `rvlab.model.tables`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rvlab.model.schema import TableSchema

if TYPE_CHECKING:
    import pyarrow as pa


@lru_cache(maxsize=64)
def arrow_schema(table: TableSchema) -> pa.Schema:
    """Return the schema of a table's files."""
    import pyarrow as pa

    aliases = table.arrow_types.items()
    return pa.schema([(name, pa.type_for_alias(alias)) for name, alias in aliases])


def columns_to_arrow(table: TableSchema, columns: Sequence[Any]) -> pa.Table:
    """Return columns, in the order of the schema, as an Arrow table."""
    import pyarrow as pa

    schema = arrow_schema(table)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def rows_to_arrow(
    table: TableSchema, rows: Iterable[Mapping[str, Any] | Sequence[Any]]
) -> pa.Table:
    """Return rows as an Arrow table.

    Args:
        table: The schema.
        rows: Dicts, in which a column may be missing, or values in the order of the schema.
    """
    names = table.names
    values = [
        [one.get(name) for name in names] if isinstance(one, Mapping) else one for one in rows
    ]
    return columns_to_arrow(table, list(zip(*values, strict=True)) or [()] * len(names))


def encode_table(table: pa.Table) -> bytes:
    """Return the content of a table's file: Parquet with page checksums."""
    import pyarrow.parquet as pq

    data = io.BytesIO()
    pq.write_table(table, data, compression="zstd", write_page_checksum=True)
    return data.getvalue()
