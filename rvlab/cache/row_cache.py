"""Read rows through the caches: on this machine first, then in the store, then from the runs.

The end record of a run does not change. Rows that were read from it are valid while a listing shows
the same ETag, wherever they are cached. Only rows with the current ETag are used, so a cache cannot
make a table wrong.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rvlab.cache.arrow import has_run_row_schema
from rvlab.cache.background import DeferredWrites
from rvlab.cache.block import RowBlock, concat_blocks
from rvlab.cache.block_file import key_count_in_name
from rvlab.cache.local import LocalRowCache
from rvlab.cache.shared import SharedRowCache
from rvlab.errors import StoreError, StoreUnreachable
from rvlab.model import CACHE_DIR, Run
from rvlab.store import Store
from rvlab.store.store import page_boundaries
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import pyarrow as pa

    from rvlab.cache.query import Query

FEW_KEYS = 32
"""Largest number of missing keys that are read from the runs without reading shared blocks."""

MIN_SHARED_KEYS, MAX_SHARED_KEYS = 500, 100_000
"""Bounds of the number of keys of a shared block.

No block with fewer keys is written, and blocks are not merged to one with more keys.
"""

KEYS_PER_READ = 2000
"""Maximum number of keys per read: their rows are converted to Arrow before the next read starts.

This bounds the memory.
"""

ETags = Mapping[str, str | None]
Read = Callable[[Sequence[str]], RowBlock]
"""Reads the rows of keys. Unreadable keys are left out; rows that are not final have no ETag."""


@dataclass(frozen=True)
class CachedTable:
    """A table whose rows are cached.

    Args:
        name: The name of the table.
        matches: Returns whether rows have the columns that this version of rvlab writes.
        is_shared: Whether blocks are written to the store for other readers.
        is_one_file: Whether the local cache is one file rather than several.
    """

    name: str
    matches: Callable[[pa.Table], bool]
    is_shared: bool = True
    is_one_file: bool = False


def _has_annotation_schema(table: pa.Table) -> bool:
    return [(one.name, str(one.type)) for one in table.schema] == [("text", "string")]


CACHED_RUNS = CachedTable("runs", has_run_row_schema, is_one_file=True)
"""The rows of runs that have ended; their shared blocks have page boundaries."""

ANNOTATIONS = CachedTable("edits", _has_annotation_schema)
"""Tags, notes and archiving, as JSON text."""

_read_only: set[str] = set()
"""Stores to which a write of this process has failed."""

_evictions: Counter[str] = Counter()
"""How often this process has evicted runs, by the URI of the store."""


def read_through(
    query: Query,
    table: CachedTable,
    experiment: str,
    current_etags: ETags,
    read: Read,
    *,
    is_complete: bool,
    cache_keys: Sequence[str] | None = None,
) -> RowBlock:
    """Return the rows of keys, and read only those that are not cached.

    Args:
        query: The query, which caches blocks.
        table: The table.
        experiment: The experiment of the keys.
        current_etags: The current ETag of each key; a key without one is always read.
        read: Reads keys.
        is_complete: Whether `current_etags` has all keys of the experiment, so that cached rows of
            other keys can be dropped.
        cache_keys: See `SharedRowCache`.

    Returns:
        The rows in the order of `current_etags`, without the keys that cannot be read.

    Warns:
        UserWarning: For a cached block that is damaged.
    """
    kept = _matching_blocks(table, query.local_blocks(experiment, table.name))
    if (
        is_complete
        and len(kept) == 1
        and (only := next(iter(kept.values()))).etag_by_key == current_etags
    ):
        return only.select(list(current_etags))  # no ETag is None: such a row is not cached
    evictions = _evictions[query.store.uri]
    pieces = _valid_rows(reversed(kept.values()), current_etags)
    missing = _missing_keys(current_etags, pieces)
    fresh: list[RowBlock] = []
    shared = query.shared_cache(experiment, table.name, cache_keys)
    if table.is_shared and len(missing) > FEW_KEYS:
        known = {name for piece in pieces for name in piece.shared_block_names if name}
        wanted = {key: current_etags[key] for key in missing} if pieces else current_etags
        fresh += _valid_rows(_read_unknown_blocks(shared, known, table), wanted)
        missing = _missing_keys(wanted, fresh)
        _report_damaged(query, shared, table)
    steps = range(0, len(missing), KEYS_PER_READ)
    fresh += [read(missing[i : i + KEYS_PER_READ]) for i in steps]
    new = concat_blocks(fresh)
    found = concat_blocks([*pieces, new])

    def write() -> None:
        if _evictions[query.store.uri] != evictions:
            return  # some of the rows have been evicted meanwhile
        rows = found
        if new.can_be_cached and is_complete and table.is_shared:
            rows = _write_shared(query.store, shared, table, found)
        local = LocalRowCache(query.store, experiment, table.name)
        _write_local(local, kept, rows, new, table=table, is_complete=is_complete)

    dropped = is_complete and table.is_one_file and len(found) < sum(map(len, kept.values()))
    if new.can_be_cached or dropped:
        query.write_later(write)
    return found.select([key for key in current_etags if key in found.position])


def evict(store: Store, runs: Iterable[Run]) -> None:
    """Delete the rows of runs from every block, after the runs were deleted.

    Args:
        store: The store of the runs.
        runs: The deleted runs.

    Raises:
        StoreError: If the store refuses.
    """
    _evictions[store.uri] += 1
    DeferredWrites.flush(store.uri)
    ids: dict[str, set[str]] = {}
    for run in runs:
        ids.setdefault(run.experiment, set()).add(run.id)
    for experiment, gone in ids.items():
        cache_keys = [key for key, _ in store.files(f"{experiment}/{CACHE_DIR}/")]
        for table in SharedRowCache.tables(experiment, cache_keys):
            shared = SharedRowCache(store, experiment, table, cache_keys)
            _evict_from(shared, shared.read_many(shared.names()), gone)
            if table == CACHED_RUNS.name:
                shared.remove_page_boundaries(gone)
        for table in LocalRowCache.tables(store, experiment):
            local = LocalRowCache(store, experiment, table)
            _evict_from(local, local.blocks(), gone)


def _evict_from(
    cache: LocalRowCache | SharedRowCache,
    blocks: Mapping[str, RowBlock | None],
    deleted_ids: set[str],
) -> None:
    for name, block in blocks.items():
        left = (
            [key for key in block.keys if key.partition("/")[0] not in deleted_ids] if block else []
        )
        if block is not None and len(left) == len(block):
            continue
        if block is not None and left:
            new = cache.write(block.select(left))
            if (
                new is not None
                and isinstance(cache, SharedRowCache)
                and cache.table == CACHED_RUNS.name
            ):
                cache.write_page_boundaries(new, page_boundaries(left))
        cache.remove([name])
    cache.remove_older_formats()


def _matching_blocks(table: CachedTable, blocks: Mapping[str, RowBlock]) -> dict[str, RowBlock]:
    return {name: block for name, block in blocks.items() if table.matches(block.table)}


def _missing_keys(current: ETags, pieces: Sequence[RowBlock]) -> list[str]:
    if len(pieces) == 1 and pieces[0].etag_by_key == current:
        return []
    have = {key for piece in pieces for key in piece.keys}
    return [key for key in current if key not in have]


def _valid_rows(blocks: Iterable[RowBlock], current: ETags) -> list[RowBlock]:
    """Return the valid rows of each block, each key once."""
    have: set[str] = set()
    found = []
    for block in blocks:
        if not have and block.etag_by_key == current and None not in current.values():
            return [block]
        keys = [key for key in block.valid_keys(current) if key not in have]
        have.update(keys)
        if keys:
            found.append(block.select(keys))
    return found


def _read_unknown_blocks(
    shared: SharedRowCache, known: set[str], table: CachedTable
) -> list[RowBlock]:
    """Read the shared blocks that are not known, and return them, the largest first."""
    found: dict[str, RowBlock | None] = {}
    for _ in range(3):  # retry, since another process may merge a block while it is read
        names = [name for name in shared.names() if name not in known and name not in found]
        found |= shared.read_many(names)
        if None not in found.values():
            break
        shared.forget_listing()
    blocks = [(name, block) for name, block in sorted(found.items(), reverse=True) if block]
    others = [name for name, block in blocks if not table.matches(block.table)]
    shared.ignored |= dict.fromkeys(
        others, "it has other columns than this version of rvlab writes"
    )
    return [block for name, block in blocks if name not in others]


def _report_damaged(query: Query, shared: SharedRowCache, table: CachedTable) -> None:
    """Warn of shared blocks that failed a check, and delete the damaged ones if allowed."""
    damaged = list(shared.damaged)
    for name, reason in (shared.damaged | shared.ignored).items():
        warn_user(
            f"A shared cache block of {table.name!r} in {query.store.uri} is ignored, and the runs "
            f"are read instead: {name}: {reason}.",
        )

    def remove() -> None:
        with contextlib.suppress(StoreError):  # this process may only read
            shared.remove(damaged)

    if damaged and query.store.uri not in _read_only:
        query.write_later(remove)


def _write_local(
    local: LocalRowCache,
    kept: Mapping[str, RowBlock],
    rows: RowBlock,
    new: RowBlock,
    *,
    table: CachedTable,
    is_complete: bool,
) -> None:
    """Write new rows to the local cache as one block, merged with smaller blocks."""

    def is_valid(key: str, etag: str | None) -> bool:
        return rows.etag_by_key[key] == etag if key in rows.position else not is_complete

    start = rows if table.is_one_file else new
    batch, size, merged = [start], len(start), []
    taken = set(start.keys)
    for name, block in kept.items():
        if not table.is_one_file and key_count_in_name(name) > size:
            break
        pairs = block.etag_by_key.items()
        keys = [key for key, etag in pairs if key not in taken and is_valid(key, etag)]
        taken.update(keys)
        batch.append(block.select(keys))
        size += len(keys)
        merged.append(name)
    one = concat_blocks(batch)
    one = one.select(sorted(key for key, etag in one.etag_by_key.items() if etag is not None))
    written = local.write(one)
    if written is not None:
        local.remove(old for old in merged if old != written)


def _write_shared(
    store: Store, shared: SharedRowCache, table: CachedTable, rows: RowBlock
) -> RowBlock:
    """Write rows that are in no shared block to the store, merged with smaller blocks.

    Returns:
        The same rows with the names of the blocks that they are in now.
    """
    if store.uri in _read_only or _count_unshared(rows, rows.shared_block_names) < MIN_SHARED_KEYS:
        return rows
    try:
        return _merge_shared(shared, table, rows)
    except StoreUnreachable:  # the rows are written after a later query
        return rows
    except StoreError:  # a reader without write access gets no warning
        _read_only.add(store.uri)
        return rows


def _merge_shared(shared: SharedRowCache, table: CachedTable, rows: RowBlock) -> RowBlock:
    names = shared.names()
    in_block = [name if name in names else None for name in rows.shared_block_names]
    for name, block in shared.read_many(n for n in names if n not in set(in_block)).items():
        is_usable = block is not None and table.matches(block.table)
        for key in block.valid_keys(rows.etag_by_key) if block and is_usable else ():
            in_block[rows.position[key]] = in_block[rows.position[key]] or name
    if _count_unshared(rows, in_block) < MIN_SHARED_KEYS:
        return rows.with_shared_block_names(in_block)
    pairs = zip(rows.keys, in_block, strict=True)
    batch = {key for key, name in pairs if name is None and rows.etag_by_key[key] is not None}
    merged = []
    for name in names:
        if (
            key_count_in_name(name) > len(batch)
            or len(batch) + key_count_in_name(name) > MAX_SHARED_KEYS
        ):
            break
        batch |= {key for key, other in zip(rows.keys, in_block, strict=True) if other == name}
        merged.append(name)
    keys = [key for key in rows.keys if key in batch]
    new = shared.write(rows.select(keys))
    if new is None:  # it would be too large
        return rows.with_shared_block_names(in_block)
    if table.name == CACHED_RUNS.name:
        shared.write_page_boundaries(new, page_boundaries(keys))
    shared.remove(name for name in merged if name != new)
    if table.name == CACHED_RUNS.name:
        shared.remove_page_boundaries()
    pairs = zip(rows.keys, in_block, strict=True)
    return rows.with_shared_block_names([new if key in batch else name for key, name in pairs])


def _count_unshared(rows: RowBlock, in_block: Sequence[str | None]) -> int:
    """Count the keys that could be shared and are in no shared block."""
    pairs = zip(rows.etags, in_block, strict=True)
    return sum(name is None and etag is not None for etag, name in pairs)
