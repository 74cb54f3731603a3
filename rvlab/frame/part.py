"""Rows that were read from some keys, kept together, with what tells whether they still hold."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

HEADER = b"rvlab"


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


def header(part: Part) -> bytes:
    """All of a part but its rows, as JSON."""
    rest: dict[str, Any] = {"keys": list(part.keys), "tags": list(part.tags)}
    if set(part.counts) != {1}:
        rest["counts"] = list(part.counts)
    if set(part.places) != {None}:
        rest["places"] = [(place, len(list(same))) for place, same in groupby(part.places)]
    return json.dumps(rest).encode()


def with_header(part: Part) -> pa.Table:
    """The rows, with all the rest in the table's own description."""
    return part.table.replace_schema_metadata({HEADER: header(part)})


def small(text: bytes) -> bytes:
    """A header in fewer bytes, which `from_header` takes as well."""
    return base64.b64encode(zlib.compress(text))


def from_header(table: pa.Table) -> Part:
    """A part from its rows with its `header`.

    Raises:
        ValueError: If it is something else.
    """
    try:
        text = (table.schema.metadata or {})[HEADER]
        if not text.startswith(b"{"):
            text = zlib.decompress(base64.b64decode(text))
        rest = json.loads(text)
        named: Any = {name: rest[name] for name in ("keys", "tags")}
        named |= {"counts": rest["counts"]} if "counts" in rest else {}
        places = ([place] * number for place, number in rest.get("places", ()))
        named["places"] = list(chain.from_iterable(places))
        good = all(isinstance(values, list) for values in named.values())
    except (KeyError, TypeError, zlib.error) as exc:
        raise ValueError("This table has no header of a part.") from exc
    if not good:
        raise ValueError("The header of this part is not whole.")
    return Part(table.replace_schema_metadata(None), **named)
