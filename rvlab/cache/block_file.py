"""The file format of cached blocks, and the checks that their bytes pass before they are used.

A block file is named by the digest of its content, so damage shows before Arrow reads a byte. The
content is three uncompressed Arrow IPC streams: the index (key, ETag, number of rows and shared
block of each key), the names of the shared blocks, and the rows. Shared blocks are compressed with
zstd as a whole. The size before compression precedes them, so that memory is bounded before
anything is decompressed.

The digest protects against damage only. Content with a valid digest can still have been written by
another program, so it is checked in full: sizes, types, UTF-8, and that keys and rows agree.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rvlab.cache.block import RowBlock

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 3
"""Number of the format of blocks; blocks of other formats are not read."""

MAX_FILE_BYTES = 256 * 2**20
"""Maximum size in bytes of a block file in the store."""

MAX_BLOCK_BYTES = 512 * 2**20
"""Maximum size in bytes of a shared block before compression."""

MAX_ROWS = 50_000_000
"""Maximum number of rows of a block."""

FILE_NAME = re.compile(r"(\d{9})-[0-9a-f]{32}\.(arrow|zst)")
"""File names of blocks: number of keys, digest, and a suffix for local or shared."""

_MAGIC = b"rvlab-%d\n" % FORMAT
_ALIGNMENT = 64
_SIZES = struct.Struct("<8sQQQ")
_SHARED = struct.Struct("<8sQ")
_TYPES = ("string", "int64", "double", "bool", "timestamp[ns, tz=UTC]")
_INDEX = {"key": "string", "tag": "string", "rows": "int64", "block": "int64"}


class BlockDamaged(ValueError):
    """A file is not a block, or its content does not match the digest in its name."""


def encode_block(block: RowBlock) -> pa.Buffer:
    """Return a block as uncompressed bytes."""
    import pyarrow as pa

    size = pa.MockOutputStream()
    stream_block(block, size)
    buffer = pa.allocate_buffer(size.size())  # at once, since a block may be large
    with pa.FixedSizeBufferWriter(buffer) as out:
        stream_block(block, out)
    return buffer


def stream_block(block: RowBlock, out: Any) -> None:
    """Write a block as uncompressed bytes, without a copy of its rows if they are one chunk.

    Args:
        block: The block.
        out: Anything that has ``write``.
    """
    import pyarrow as pa

    names = list(dict.fromkeys(name for name in block.shared_block_names if name is not None))
    numbers = {name: number for number, name in enumerate(names)}
    columns = (
        block.keys,
        block.etags,
        block.row_counts,
        [None if name is None else numbers[name] for name in block.shared_block_names],
    )
    types = (pa.string(), pa.string(), pa.int64(), pa.int64())
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
    index = pa.table(dict(zip(_INDEX, arrays, strict=True)))
    shared = pa.table({"name": pa.array(names, pa.string())})
    rows = block.table.replace_schema_metadata(None).combine_chunks()
    tables = index, shared, rows
    sizes = [_stream_size(table) for table in tables]
    out.write(_SIZES.pack(_MAGIC, *sizes).ljust(_ALIGNMENT, b"\0"))
    for table, size in zip(tables, sizes, strict=True):
        _write_stream(table, out)
        out.write(bytes(-size % _ALIGNMENT))


def decode_block(data: Any) -> RowBlock:
    """Read a block from its bytes, without copying the rows.

    Args:
        data: What `encode_block` returned, as anything with the buffer protocol.

    Raises:
        BlockDamaged: If it is not a block, or its streams do not agree.
    """
    import pyarrow as pa

    buffer = pa.py_buffer(data)
    try:
        index, blocks, rows = map(_read_stream, _split_streams(buffer))
    except BlockDamaged:
        raise
    except (pa.ArrowException, struct.error, ValueError, OSError, ArithmeticError) as exc:
        raise BlockDamaged(f"it cannot be read: {exc!s:.200}") from exc
    if _column_types(index) != _INDEX or _column_types(blocks) != {"name": "string"}:
        raise BlockDamaged("its index has other columns")
    keys, etags, counts, shared = (index.column(name).to_pylist() for name in _INDEX)
    if None in keys or len(set(keys)) != len(keys):
        raise BlockDamaged("its keys are not unique")
    if any(count is None or count < 0 for count in counts) or sum(counts) != len(rows):
        raise BlockDamaged(f"its index counts {sum(filter(None, counts))} rows, not {len(rows)}")
    names = blocks.column("name").to_pylist()
    if any(number is not None and not 0 <= number < len(names) for number in shared):
        raise BlockDamaged("its index names a shared block that is not listed")
    shared_block_names = [None if number is None else names[number] for number in shared]
    return RowBlock(rows, keys, etags, counts, shared_block_names)


def compress_block(data: pa.Buffer) -> bytes:
    """Return a block's bytes as they are stored beside the runs."""
    import pyarrow as pa

    body: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return _SHARED.pack(_MAGIC, len(data)) + body


def decompress_block(data: bytes) -> pa.Buffer:
    """Return the bytes of a block that `compress_block` compressed.

    Raises:
        BlockDamaged: If they are not a block, or larger than `MAX_BLOCK_BYTES`.
    """
    import pyarrow as pa

    if len(data) < _SHARED.size or data[: len(_MAGIC)] != _MAGIC:
        raise BlockDamaged("it does not start as a block does")
    size = _SHARED.unpack_from(data)[1]
    if size > MAX_BLOCK_BYTES:
        raise BlockDamaged(
            f"it says that it has {size} bytes before compression; the limit is {MAX_BLOCK_BYTES}"
        )
    try:
        return pa.decompress(
            pa.py_buffer(data)[_SHARED.size :], decompressed_size=size, codec="zstd"
        )
    except (pa.ArrowException, OSError, MemoryError) as exc:
        raise BlockDamaged(f"it cannot be decompressed: {exc!s:.200}") from exc


class ContentAddressedFile:
    """A block file that is being written, and its name: the digest of its content.

    Args:
        key_count: The number of keys of the block.
        context: The store and table of the block: the same content has another name in others.
        file: Receives the content; None only computes the name.
    """

    closed = False

    def __init__(self, key_count: int, context: str, file: Any = None) -> None:
        self._keys, self._file = key_count, file
        self._digest = hashlib.sha256(f"{key_count}\0{context}\0".encode())

    def write(self, data: Any) -> int:
        """Add content, and return its size in bytes."""
        self._digest.update(data)
        if self._file is not None:
            self._file.write(data)
        return len(data)

    def name(self, suffix: str) -> str:
        """Return the name; the suffix is ``arrow`` or ``zst``."""
        return f"{self._keys:09d}-{self._digest.hexdigest()[:32]}.{suffix}"


def block_file_name(key_count: int, context: str, data: Any, suffix: str) -> str:
    """Return the name of a block file with some content; see `ContentAddressedFile`."""
    file = ContentAddressedFile(key_count, context)
    file.write(data)
    return file.name(suffix)


def check_digest(name: str, context: str, data: Any) -> None:
    """Check the content of a block file against its name.

    Raises:
        BlockDamaged: If the content does not have the digest in the name.
    """
    if block_file_name(key_count_in_name(name), context, data, name.rpartition(".")[2]) != name:
        raise BlockDamaged("its content does not have the digest in its name")


def check_key_count(name: str, block: RowBlock) -> RowBlock:
    """Check the number of keys of a block against its file's name.

    Raises:
        BlockDamaged: If they differ.
    """
    if len(block) != key_count_in_name(name):
        raise BlockDamaged(f"it has {len(block)} keys; its name says {key_count_in_name(name)}")
    return block


def key_count_in_name(name: str) -> int:
    """Return the number of keys of a block, from its file name."""
    return int(name[:9])


def _write_stream(table: pa.Table, sink: Any) -> None:
    import pyarrow as pa

    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)


def _stream_size(table: pa.Table) -> int:
    import pyarrow as pa

    sink = pa.MockOutputStream()
    _write_stream(table, sink)
    return int(sink.size())


def _split_streams(buffer: pa.Buffer) -> Sequence[pa.Buffer]:
    """Split a block into its three streams."""
    magic, *sizes = _SIZES.unpack_from(buffer)
    starts = [_ALIGNMENT]
    for size in sizes:
        starts.append(starts[-1] + size + -size % _ALIGNMENT)
    if magic != _MAGIC or starts[-1] != len(buffer):
        raise BlockDamaged("it does not start as a block does, or is cut off")
    return [buffer.slice(start, size) for start, size in zip(starts, sizes, strict=False)]


def _read_stream(stream: pa.Buffer) -> pa.Table:
    """Read an Arrow IPC stream without allocating memory for its values.

    Only plain types without compression are accepted, because other streams need new memory.
    """
    import pyarrow as pa

    messages = list(pa.ipc.MessageReader.open_stream(stream))
    if not messages or messages[0].type != "schema":
        raise BlockDamaged("it has no schema")
    schema = pa.ipc.read_schema(messages[0])
    for field in schema:
        if str(field.type) not in _TYPES:
            raise BlockDamaged(f"its column {field.name!r:.100} has the type {field.type!s:.100}")
    if len(set(schema.names)) != len(schema.names):
        raise BlockDamaged("two of its columns have one name")
    batches = []
    for message in messages[1:]:
        if message.type != "record batch" or _is_compressed(message.metadata):
            raise BlockDamaged("it has a compressed or unknown message")
        batches.append(pa.ipc.read_record_batch(message, schema))
    rows = sum(batch.num_rows for batch in batches)
    if rows > (MAX_ROWS if len(schema) else 0):
        raise BlockDamaged(f"it has {rows} rows; the limit is {MAX_ROWS}")
    table = pa.Table.from_batches(batches, schema)
    table.validate(full=True)
    return table


def _is_compressed(metadata: pa.Buffer) -> bool:
    """Return whether the buffers of a record batch are compressed, which pyarrow does not expose.

    Follows the flatbuffers ``Message`` (field 2 is ``header``) and ``RecordBatch`` (field 3 is
    ``compression``) of Arrow's ``format/Message.fbs``.
    """
    header = _field_offset(metadata, struct.unpack_from("<I", metadata)[0], 2)
    batch = header + struct.unpack_from("<I", metadata, header)[0]
    return _field_offset(metadata, batch, 3) != 0


def _field_offset(metadata: pa.Buffer, table: int, number: int) -> int:
    """Return the position of a field of a flatbuffers table; 0 if the table has none."""
    fields = table - struct.unpack_from("<i", metadata, table)[0]
    (size,) = struct.unpack_from("<H", metadata, fields)
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", metadata, fields + slot)[0] if slot < size else 0
    return table + int(offset) if offset else 0


def _column_types(table: pa.Table) -> dict[str, str]:
    return {field.name: str(field.type) for field in table.schema}
