"""Reading of untrusted parquet files: size limits and schema validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rvlab.errors import RecordBroken
from rvlab.model.limits import (
    FOOTER_BYTES,
    TABLE_COLUMNS,
    TABLE_DECODED_BYTES,
    TABLE_ROWS,
    too_large,
)
from rvlab.model.schema import TableSchema
from rvlab.store.table_file import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

_SMALL_BYTES = 2**25
"""A file that cannot decode to more than this is decoded in one step."""

_BATCH_VALUES = 2**21


def decode_parquet(key: str, data: bytes) -> pa.Table:
    """Read a parquet file within the limits of `rvlab.model.limits`.

    The footer is checked before any data is decoded. Text is decoded as a dictionary first, since
    a few bytes can encode a million copies of a text. Page checksums are verified if the file has
    them.

    Args:
        key: The key of the file, for messages.
        data: The content of the file.

    Raises:
        RecordBroken: If it is not a parquet file, has two columns of the same name, or exceeds a
            limit; the message has both numbers.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    footer = int.from_bytes(data[-8:-4], "little") if data[-4:] == b"PAR1" else 0
    if footer > FOOTER_BYTES:
        too_large(f"The footer of {key}", footer, FOOTER_BYTES)
    try:
        options: Any = {
            "thrift_container_size_limit": 100_000,
            "thrift_string_size_limit": FOOTER_BYTES,
            "page_checksum_verification": True,
        }
        file = pq.ParquetFile(pa.BufferReader(data), **options)
        names, raw = _check_metadata(key, file)
        # A single value cannot be larger than the whole file.
        if file.metadata.num_rows * max(raw, len(data)) <= _SMALL_BYTES:
            return file.read(use_threads=False)
        texts = [one.name for one in file.schema_arrow if _is_text(one.type)]
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts, **options)
        return _decode(key, file, names)
    except (pa.ArrowException, OSError, ValueError, TypeError) as exc:
        if isinstance(exc, RecordBroken):
            raise
        first = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise broken_table_error(key, first) from exc


def broken_table_error(key: str, why: object) -> RecordBroken:
    """Return the error for a file that does not have the content that rvlab writes."""
    return RecordBroken(f"{key} is not the parquet file that rvlab writes: {why!s:.300}")


def conform_to_schema(
    key: str,
    table: pa.Table,
    wanted: TableSchema,
) -> pa.Table:
    """Select and cast the columns of a schema; text and bools are not cast to numbers.

    Args:
        key: The key of the file, for messages.
        table: The content of the file.
        wanted: The columns; other columns are dropped.

    Raises:
        RecordBroken: If a column is missing, has another type or has an invalid value: none where
            the schema requires one, or a negative integer.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    schema = arrow_schema(wanted)
    for declared, want in zip(wanted.columns, schema, strict=True):
        where = table.schema.get_all_field_indices(want.name)
        if not where and declared.is_new:
            columns.append(pa.nulls(len(table), want.type))
            continue
        if len(where) != 1:
            raise broken_table_error(key, f"it has {len(where)} columns {want.name!r}.")
        column = table.column(where[0])
        if not _fits(column.type, want.type):
            raise broken_table_error(key, f"{want.name!r} is {column.type}, not {want.type}.")
        try:
            column = column.cast(want.type)
        except (pa.ArrowException, ValueError) as exc:
            raise broken_table_error(key, f"{want.name!r} is not {want.type}: {exc}") from exc
        if declared.never_missing and column.null_count:
            raise broken_table_error(
                key, f"{want.name!r} is missing in {column.null_count:,} rows."
            )
        if pa.types.is_integer(want.type) and len(column):
            least = pc.min(column).as_py()
            if least is not None and least < 0:
                raise broken_table_error(key, f"{want.name!r} is {least}, less than 0.")
        if pa.types.is_string(want.type):
            _require_unicode(key, want.name, column)
        columns.append(column)
    return pa.table(columns, schema=schema).replace_schema_metadata(table.schema.metadata)


def _check_metadata(key: str, file: Any) -> tuple[Sequence[str], int]:
    """Return the column names and the uncompressed size, after checking both against limits."""
    meta = file.metadata
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    raw = sum(max(0, int(group.total_byte_size)) for group in groups)
    for what, found, limit in (
        ("rows", max(meta.num_rows, sum(abs(group.num_rows) for group in groups)), TABLE_ROWS),
        ("columns", meta.num_columns, TABLE_COLUMNS),
        ("bytes without compression", raw, TABLE_DECODED_BYTES),
    ):
        if found > limit:
            too_large(key, found, limit, what)
    # Do not read the columns of each row group here: pyarrow aborts if a group lacks one.
    if meta.num_rows != sum(group.num_rows for group in groups):
        raise broken_table_error(key, "its row groups do not have the row count of its footer.")
    names: Sequence[str] = file.schema_arrow.names
    twice = next((name for name, n in Counter(names).items() if n > 1), None)
    if twice is not None:
        raise broken_table_error(key, f"it has two columns {twice!r}.")
    return names, raw


def _decode(key: str, file: Any, names: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    batches, size, rows = [], 0, 0
    step = max(1, _BATCH_VALUES // max(1, len(names)))
    for batch in file.iter_batches(step, use_threads=False):
        rows += len(batch)
        size += sum(_decoded_bytes(column) for column in batch.columns)
        if rows > TABLE_ROWS:
            too_large(key, rows, TABLE_ROWS, "rows or more")
        if size > TABLE_DECODED_BYTES:
            too_large(key, size, TABLE_DECODED_BYTES, "bytes or more once it is decoded")
        batches.append(batch)
    if not batches:
        return file.schema_arrow.empty_table()
    table = pa.Table.from_batches(batches)
    plain = [
        pa.field(one.name, pa.string()) if pa.types.is_dictionary(one.type) else one
        for one in table.schema
    ]
    return table.cast(pa.schema(plain, table.schema.metadata)).select(list(names))


def _decoded_bytes(column: pa.Array) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0) + 8 * len(column)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    if types.is_null(found):
        return True
    if types.is_string(wanted):
        if types.is_dictionary(found):
            return _is_text(found.value_type)
        return _is_text(found)
    if types.is_integer(wanted):
        return bool(types.is_integer(found))
    return bool(types.is_floating(found) or types.is_integer(found))


def _require_unicode(key: str, name: str, column: pa.ChunkedArray) -> None:
    """Validate that text is UTF-8, which Arrow does not check until it creates Python objects."""
    import pyarrow as pa

    try:
        column.validate(full=True)
    except pa.ArrowException as exc:
        raise broken_table_error(key, f"{name!r} has invalid text: {exc}") from exc
