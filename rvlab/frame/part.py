"""Rows that were read from some keys, kept together, with what tells whether they still hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Part:
    """Rows of a table, those of one key below those of another.

    A row holds as long as its key has the tag that it had when the row was read.

    Args:
        table: The rows.
        keys: What they were read from, such as the ids of runs.
        tags: The tag that each key had; None where the storage has none.
        counts: How many rows are each key's; a key may have none.
        places: In which part in the store the rows of each key are, as far as it is known.
    """

    table: pa.Table
    keys: Sequence[str]
    tags: Sequence[str | None]
    counts: Sequence[int] = ()
    places: Sequence[str | None] = field(default=())

    def __post_init__(self) -> None:
        if not self.counts:
            object.__setattr__(self, "counts", [1] * len(self.keys))
        if not self.places:
            object.__setattr__(self, "places", [None] * len(self.keys))
        lengths = {len(self.keys), len(self.tags), len(self.counts), len(self.places)}
        if len(lengths) > 1 or sum(self.counts) != len(self.table):
            raise ValueError("The keys of a part are not those of its rows.")

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def tagged(self) -> dict[str, str | None]:
        """The tag of each key."""
        return dict(zip(self.keys, self.tags, strict=True))

    @cached_property
    def at(self) -> dict[str, int]:
        """Where each key stands in the part."""
        return {key: i for i, key in enumerate(self.keys)}

    def of(self, keys: Sequence[str]) -> Part:
        """The rows of some of its keys, in their order."""
        if list(keys) == list(self.keys):
            return self
        import numpy as np

        where = np.fromiter((self.at[key] for key in keys), np.int64, len(keys))
        counts = np.asarray(self.counts, np.int64)
        starts, mine = (np.cumsum(counts) - counts)[where], counts[where]
        before = np.cumsum(mine) - mine
        rows = np.repeat(starts - before, mine) + np.arange(int(mine.sum()))
        return Part(
            self.table.take(rows),
            list(keys),
            [self.tags[i] for i in where],
            mine.tolist(),
            [self.places[i] for i in where],
        )

    def placed(self, places: Sequence[str | None]) -> Part:
        """The same, told where its rows are in the store."""
        return replace(self, places=list(places))

    def valid(self, current: Mapping[str, str | None]) -> list[str]:
        """The keys whose rows hold, told the tags that keys have now."""
        pairs = zip(self.keys, self.tags, strict=True)
        return [key for key, tag in pairs if tag is not None and current.get(key) == tag]


def empty() -> Part:
    """A part without a row."""
    import pyarrow as pa

    return Part(pa.table({}), [], [])


def joined(parts: Iterable[Part]) -> Part:
    """Parts that have no key in common below one another, the one with the first key first."""
    import pyarrow as pa

    some = sorted((part for part in parts if len(part)), key=lambda part: min(part.keys))
    if len(some) < 2:
        return some[0] if some else empty()
    # A part whose keys have no rows has no columns, and says nothing of them.
    tables = [part.table for part in some if len(part.table)] or [some[0].table]
    return Part(
        pa.concat_tables(tables, promote_options="default"),
        [key for part in some for key in part.keys],
        [tag for part in some for tag in part.tags],
        [count for part in some for count in part.counts],
        [place for part in some for place in part.places],
    )
