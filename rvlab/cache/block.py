"""A block of cached rows with the ETag of each source key, to check that the rows are valid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class RowBlock:
    """Rows of a table, grouped by the key that they were read from, in the order of `keys`.

    Its length is the number of keys.

    A row is valid while its key has the ETag that it had when the row was read.

    Args:
        table: The rows.
        keys: The source keys, such as the ids of runs.
        etags: The ETag of each key; None if the rows must not be cached.
        row_counts: The number of rows of each key, which may be 0; by default 1 each.
        shared_block_names: The name of the shared block with the rows of each key; None if the rows
            are in no known shared block.

    Raises:
        ValueError: If the lengths do not agree.
    """

    table: pa.Table
    keys: Sequence[str]
    etags: Sequence[str | None]
    row_counts: Sequence[int] = ()
    shared_block_names: Sequence[str | None] = field(default=())

    def __post_init__(self) -> None:
        if not self.row_counts:
            object.__setattr__(self, "row_counts", [1] * len(self.keys))
        if not self.shared_block_names:
            object.__setattr__(self, "shared_block_names", [None] * len(self.keys))
        lengths = {
            len(self.keys),
            len(self.etags),
            len(self.row_counts),
            len(self.shared_block_names),
        }
        if len(lengths) > 1 or sum(self.row_counts) != len(self.table):
            raise ValueError("The keys of a block do not match its rows.")

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def etag_by_key(self) -> dict[str, str | None]:
        """The ETag of each key."""
        return dict(zip(self.keys, self.etags, strict=True))

    @cached_property
    def position(self) -> dict[str, int]:
        """The position of each key in the block."""
        return {key: i for i, key in enumerate(self.keys)}

    @property
    def can_be_cached(self) -> bool:
        """Whether any row may be cached."""
        return any(etag is not None for etag in self.etags)

    def select(self, keys: Sequence[str]) -> RowBlock:
        """Return a block with the rows of the given keys, in the order of `keys`."""
        if list(keys) == list(self.keys):
            return self
        import numpy as np

        where = np.fromiter((self.position[key] for key in keys), np.int64, len(keys))
        counts = np.asarray(self.row_counts, np.int64)
        starts, mine = (np.cumsum(counts) - counts)[where], counts[where]
        before = np.cumsum(mine) - mine
        rows = np.repeat(starts - before, mine) + np.arange(int(mine.sum()))
        return RowBlock(
            self.table.take(rows),
            list(keys),
            [self.etags[i] for i in where],
            mine.tolist(),
            [self.shared_block_names[i] for i in where],
        )

    def with_shared_block_names(self, names: Sequence[str | None]) -> RowBlock:
        """Return the same rows with other names of shared blocks."""
        return replace(self, shared_block_names=list(names))

    def valid_keys(self, current: Mapping[str, str | None]) -> list[str]:
        """Return the keys whose rows are valid, given the current ETag of each key."""
        pairs = zip(self.keys, self.etags, strict=True)
        return [key for key, etag in pairs if etag is not None and current.get(key) == etag]


def concat_blocks(blocks: Iterable[RowBlock]) -> RowBlock:
    """Concatenate blocks without common keys, ordered by the smallest key of each block."""
    some = sorted((one for one in blocks if len(one)), key=lambda one: min(one.keys))
    if len(some) == 1:
        return some[0]
    return RowBlock(
        concat_rows([one.table for one in some]),
        [key for one in some for key in one.keys],
        [etag for one in some for etag in one.etags],
        [count for one in some for count in one.row_counts],
        [name for one in some for name in one.shared_block_names],
    )


def concat_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of all tables; a column that a table lacks is missing in its rows.

    Empty tables may have no columns, so they are skipped. If all tables are empty, the result has
    the columns of the last one.
    """
    import pyarrow as pa

    some = [table for table in tables if len(table)] or list(tables[-1:])
    if len(some) == 1:
        return some[0]
    return pa.concat_tables(some, promote_options="default") if some else pa.table({})
