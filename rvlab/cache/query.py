"""One query of a store: its listings, cached blocks, prefetches and background writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from rvlab.cache.arrow import columns_from_arrow, has_run_row_schema, run_rows_to_arrow
from rvlab.cache.background import DeferredWrites
from rvlab.cache.block import RowBlock
from rvlab.cache.local import LocalRowCache
from rvlab.cache.row_cache import ANNOTATIONS, CACHED_RUNS
from rvlab.cache.shared import SharedRowCache
from rvlab.model import ANNOTATIONS_DIR, CACHE_DIR, Run, is_valid_name
from rvlab.store import Store
from rvlab.store.layout import check_layout
from rvlab.store.run_listing import (
    RunListing,
    active_prefix,
    end_record_keys,
    ended_prefix,
    listing_from_keys,
    listing_of_named_runs,
)
from rvlab.store.store import PAGES_IN_FLIGHT, page_boundaries

if TYPE_CHECKING:
    import pyarrow as pa

EtagByKey = dict[str, str | None]
"""The ETag of each key."""

PREFETCH_THREADS = 64

_T = TypeVar("_T")


class Prefetcher:
    """Runs calls in threads; the result of a call is requested later by the name of the call.

    A call whose result is never requested costs time but cannot change a table.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(PREFETCH_THREADS, thread_name_prefix="rvlab-prefetch")
        self._started: dict[Hashable, Future[Any]] = {}

    def submit(self, call: Callable[..., _T], *args: Any) -> Future[_T]:
        """Start a call, and return its future."""
        return self._pool.submit(call, *args)

    def start(self, name: Hashable, call: Callable[..., Any], *args: Any) -> None:
        """Start a call unless a call of that name has been started."""
        if name not in self._started:
            self._started[name] = self.submit(call, *args)

    def result(self, name: Hashable, call: Callable[..., _T], *args: Any) -> _T:
        """Return the result of the call of that name; if none has been started, call now."""
        started: Future[_T] | None = self._started.get(name)
        return started.result() if started else call(*args)

    def close(self) -> None:
        """Wait for the calls that are running, and cancel those that have not started."""
        self._pool.shutdown(cancel_futures=True)


@cache
def _load_libraries() -> None:
    """Import and warm up libraries while requests are in flight."""
    import pydantic_core  # noqa: F401  # parses records

    columns_from_arrow(run_rows_to_arrow([{}]))


class Query:
    """The listings, cached blocks, annotations and background writes of one query.

    At the end of the context, prefetches that have not started are cancelled, and the rows that
    were read are cached in the background.

    Args:
        store: The store of the runs.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._prefetcher = Prefetcher()
        self._writes: DeferredWrites | None = None
        self._local: dict[tuple[str, str], dict[str, RowBlock]] = {}
        self._shared: dict[tuple[str, str], SharedRowCache] = {}
        self._annotations: dict[str, list[Future[EtagByKey]]] = {}

    def __enter__(self) -> Query:
        return self

    def __exit__(self, *_: object) -> None:
        self._prefetcher.close()
        if self._writes is not None:
            self._writes.start()

    def write_later(self, job: Callable[[], None]) -> None:
        """Add a job that starts at the end of the query."""
        if self._writes is None:
            self._writes = DeferredWrites(self.store.uri)
        self._writes.submit(job)

    def local_blocks(self, experiment: str, table: str) -> dict[str, RowBlock]:
        """Return the blocks on this machine, by file name; they are read once."""
        found = self._local.get((experiment, table))
        if found is None:
            if DeferredWrites.running:
                DeferredWrites.flush(self.store.uri)
            found = LocalRowCache(self.store, experiment, table).blocks()
            self._local[experiment, table] = found
        return found

    def shared_cache(
        self, experiment: str, table: str, cache_keys: Sequence[str] | None = None
    ) -> SharedRowCache:
        """Return the cache of a table in the store, whose blocks may have been prefetched."""
        found = self._shared.get((experiment, table))
        if found is None:
            found = SharedRowCache(self.store, experiment, table, cache_keys)
            self._shared[experiment, table] = found
        return found

    def list_runs(
        self, experiments: Iterable[str] | None = None, *, prefetch: bool = True
    ) -> list[RunListing]:
        """List the runs of experiments, and prefetch what the table of runs will need.

        Args:
            experiments: Names of experiments; None lists all.
            prefetch: Whether to prefetch; False makes fewer requests, for a caller that needs only
                the ids.

        Returns:
            The listings of the experiments that have runs.

        Raises:
            StoreError: If the store does not answer or refuses.
        """
        folders = self.store.folders() if experiments is None else experiments
        names = [name for name in folders if is_valid_name(name)]
        known = {name: _keys_of(self.local_blocks(name, CACHED_RUNS.name)) for name in names}
        if prefetch:
            self._prefetch_local(names)
        list_all = self.store.etags_between
        submit = self._prefetcher.submit
        layout = None if self.store.layout_checked else submit(check_layout, self.store)
        active = {name: submit(list_all, active_prefix(name), "", None) for name in names}
        unknown = [name for name in names if known[name] is None] if prefetch else []
        cache_listings = {
            name: submit(list_all, f"{name}/{CACHE_DIR}/", "", None) for name in unknown
        }
        _load_libraries()
        ranges: list[tuple[str, str, str | None]] = []
        keys: dict[str, list[str]] = {}
        for name in names:
            if name in cache_listings:
                keys[name] = list(cache_listings[name].result())
                boundaries = self._prefetch_blocks(name, keys[name], alone=len(names) == 1)
            else:
                boundaries = page_boundaries(known[name] or ())
            split = self.store.listing_ranges(end_record_keys(name, boundaries))
            ranges += [(name, start, end) for start, end in split.items()]
        # List active runs before ended ones: a run that ends meanwhile is in both listings.
        going = {name: list(future.result()) for name, future in active.items()}
        ended: dict[str, EtagByKey] = {name: {} for name in names}
        pages: list[Future[EtagByKey]] = []
        for i, (name, start, end) in enumerate(ranges):
            if i >= PAGES_IN_FLIGHT:
                pages[i - PAGES_IN_FLIGHT].result()
            pages.append(submit(list_all, ended_prefix(name), start, end))
        for (name, _, _), page in zip(ranges, pages, strict=True):
            ended[name] |= page.result()
        if layout is not None:
            layout.result()
        found = []
        for name in names:
            known_ids, listed = known[name] or (), keys.get(name)
            one = listing_from_keys(
                self.store, name, going[name], ended[name], known_ids=known_ids, cache_keys=listed
            )
            found += [one] if one.ids else []
        return found

    def _prefetch_local(self, experiments: Sequence[str]) -> None:
        """Start listing annotations, and converting the cached block of a single experiment."""
        if len(experiments) == 1:
            blocks = self.local_blocks(experiments[0], CACHED_RUNS.name)
            if len(blocks) == 1:
                self._prefetch_columns(*blocks.values())
        self.prefetch_annotations(experiments)

    def list_named_runs(self, runs: Sequence[Run]) -> list[RunListing]:
        """Look up runs by name, whether they exist or not.

        Returns:
            One listing for each experiment, or more where the order of the runs mixes them.

        Raises:
            StoreError: If the store does not answer or refuses.
        """
        ids: dict[str, list[str]] = {}
        for run in runs:
            ids.setdefault(run.experiment, []).append(run.id)
        mine = {}
        for name, some in ids.items():
            known = _keys_of(self.local_blocks(name, CACHED_RUNS.name))
            mine[name] = listing_of_named_runs(self.store, name, some, known or ())
        together = groupby(runs, key=lambda run: run.experiment)
        return [mine[name].subset(run.id for run in some) for name, some in together]

    def _prefetch_blocks(
        self, experiment: str, cache_keys: Sequence[str], *, alone: bool
    ) -> list[str]:
        """Start reading the shared blocks of runs, and return their page boundaries."""
        shared = self.shared_cache(experiment, CACHED_RUNS.name, cache_keys)
        names = shared.names()

        def read(name: str) -> RowBlock | None:
            block = shared.fetch(name)
            if block is not None and alone and len(names) == 1:
                self._prefetch_columns(block)
            return block

        shared.prefetched = {name: self._prefetcher.submit(read, name) for name in names}
        return shared.page_boundaries()

    def _prefetch_columns(self, block: RowBlock) -> None:
        if has_run_row_schema(block.table):
            # The call holds a reference to the table, so that its id is not reused.
            self._prefetcher.start(("columns", id(block.table)), columns_from_arrow, block.table)

    def columns(self, table: pa.Table) -> dict[str, Any]:
        """Convert rows to the columns of a DataFrame; see `columns_from_arrow`."""
        return self._prefetcher.result(("columns", id(table)), columns_from_arrow, table)

    def prefetch_annotations(self, experiments: Iterable[str]) -> None:
        """Start listing the annotations of runs."""
        for name in experiments:
            if name not in self._annotations:
                start = f"{name}/{ANNOTATIONS_DIR}/"
                blocks = self.local_blocks(name, ANNOTATIONS.name).values()
                known = page_boundaries(key for block in blocks for key in block.keys)
                ranges = self.store.listing_ranges([f"{start}{key}" for key in known])
                self._annotations[name] = [
                    self._prefetcher.submit(self.store.etags_between, start, *one)
                    for one in ranges.items()
                ]

    def annotation_etags(self, experiment: str) -> EtagByKey:
        """Return the ETag of each annotation of an experiment's runs, ``{run}/{edit}.json``."""
        self.prefetch_annotations([experiment])
        start = len(f"{experiment}/{ANNOTATIONS_DIR}/")
        found: EtagByKey = {}
        for page in self._annotations[experiment]:
            found |= page.result()
        return {key[start:]: found[key] for key in sorted(found) if key.count("/") == 3}


def _keys_of(blocks: Mapping[str, RowBlock]) -> Collection[str] | None:
    """Return the keys of all blocks; None without blocks."""
    if len(blocks) == 1:
        (block,) = blocks.values()
        return block.etag_by_key
    return {key for block in blocks.values() for key in block.keys} if blocks else None


def list_experiment(store: Store, experiment: str) -> RunListing | None:
    """List the runs of an experiment; None if it has none.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    with Query(store) as query:
        return next(iter(query.list_runs([experiment])), None)


def merge_by_experiment(listings: Sequence[RunListing]) -> dict[str, RunListing]:
    """Merge listings to one for each experiment."""
    found: dict[str, RunListing] = {}
    for one in listings:
        other = found.get(one.experiment)
        if other is None:
            found[one.experiment] = one
        else:
            ids = list(dict.fromkeys([*other.ids, *one.ids]))
            ends = {**other.end_etags, **one.end_etags}
            both = other.is_complete or one.is_complete
            found[one.experiment] = RunListing(
                one.store, one.experiment, ids, ends, both, other.cache_keys
            )
    return found
