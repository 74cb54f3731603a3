"""Cached blocks in the store, which all readers of the store share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future

from rvlab.cache import block_file
from rvlab.cache.block import RowBlock
from rvlab.cache.block_file import FORMAT, BlockDamaged
from rvlab.cache.local import is_older_format
from rvlab.errors import KeyMissing, RvlabError
from rvlab.model import CACHE_DIR
from rvlab.store import Store

_BOUNDARIES = ".pages/"
"""Follows the name of a block, without its suffix, in the keys of its page boundaries."""


class SharedRowCache:
    """The blocks of one table of an experiment in the store.

    A block never changes, and it can be deleted at any time: the runs are read instead.

    Args:
        store: The store of the runs.
        experiment: The experiment of the runs.
        table: The name of the table.
        cache_keys: The keys of the experiment's cache; None lists them when they are needed.

    Attributes:
        prefetched: Futures of the blocks that are being read in the background, by name.
        damaged: The blocks that were read and failed a check, each with the reason.
        ignored: The blocks with other columns, which another version of rvlab may have written,
            each with the reason.
    """

    def __init__(
        self, store: Store, experiment: str, table: str, cache_keys: Sequence[str] | None = None
    ) -> None:
        self._store = store
        self.table = table
        self._prefix = f"{experiment}/{CACHE_DIR}/{table}-{FORMAT}/"
        self._listed = cache_keys
        self.prefetched: dict[str, Future[RowBlock | None]] = {}
        self.damaged: dict[str, str] = {}
        self.ignored: dict[str, str] = {}

    @staticmethod
    def tables(experiment: str, cache_keys: Iterable[str]) -> list[str]:
        """Return the names of the tables that have blocks among the keys of a cache."""
        start = len(f"{experiment}/{CACHE_DIR}/")
        folders = {key[start:].partition("/")[0] for key in cache_keys}
        return sorted({name.rpartition("-")[0] for name in folders} - {""})

    def names(self) -> list[str]:
        """Return the names of all blocks, those with the fewest keys first; listed once."""
        return sorted(name for name in self._below() if block_file.FILE_NAME.fullmatch(name))

    def forget_listing(self) -> None:
        """List the store again at the next call of `names`."""
        self._listed = None

    def _below(self) -> list[str]:
        if self._listed is None:
            self._listed = [key for key, _ in self._store.files(self._prefix)]
        start = len(self._prefix)
        return [key[start:] for key in self._listed if key.startswith(self._prefix)]

    def read_many(self, names: Iterable[str]) -> dict[str, RowBlock | None]:
        """Read several blocks at once; see `read`."""
        found: dict[str, RowBlock | None] = self._store.map_concurrently(self.read, names)
        return found

    def read(self, name: str) -> RowBlock | None:
        """Read a block; None if it cannot be read, or fails a check and is added to `damaged`."""
        started = self.prefetched.pop(name, None)
        if started is not None and not started.cancelled():
            return started.result()
        return self.fetch(name)

    def fetch(self, name: str) -> RowBlock | None:
        """Read a block from the store; see `read`."""
        import pyarrow as pa

        try:
            data = self._bytes(f"{self._prefix}{name}")
            block_file.check_digest(name, self.table, data)
            block = block_file.decode_block(block_file.decompress_block(data))
            block_file.check_key_count(name, block)
        except RvlabError:
            return None
        except BlockDamaged as exc:
            self.damaged[name] = str(exc)
            return None
        del data
        pa.default_memory_pool().release_unused()  # what decompression took
        return block.with_shared_block_names([name] * len(block))

    def _bytes(self, key: str) -> bytes:
        """Return the content of a block file, without reading more than `MAX_FILE_BYTES`."""
        limit = block_file.MAX_FILE_BYTES
        try:
            data = self._store.get_range(key, 0, limit + 1)
        except KeyMissing:
            raise
        except RvlabError:
            if self._store.size(key):
                raise
            return b""  # a range of no bytes is an error on S3
        if len(data) > limit:
            raise BlockDamaged(f"it has {self._store.size(key)} bytes; the limit is {limit}")
        return data

    def write(self, block: RowBlock) -> str | None:
        """Write a block and return its name; None if it is too large, and is not written.

        Raises:
            StoreError: If the store refuses, for instance because it is read-only.
        """
        data = block_file.encode_block(block.with_shared_block_names([None] * len(block)))
        if len(data) > block_file.MAX_BLOCK_BYTES or len(block.table) > block_file.MAX_ROWS:
            return None
        compressed = block_file.compress_block(data)
        if len(compressed) > block_file.MAX_FILE_BYTES:
            return None
        name = block_file.block_file_name(len(block), self.table, compressed, "zst")
        self._store.put(f"{self._prefix}{name}", compressed)
        return name

    def remove(self, names: Iterable[str]) -> None:
        """Delete blocks, but not their page boundaries; see `remove_page_boundaries`.

        Raises:
            StoreError: If the store refuses.
        """
        self._store.delete(f"{self._prefix}{name}" for name in names)

    def remove_older_formats(self) -> None:
        """Delete the blocks that earlier versions of rvlab wrote.

        Raises:
            StoreError: If the store refuses.
        """
        start = self._prefix.removesuffix(f"{self.table}-{FORMAT}/")
        folders = {key: key[len(start) :].split("/")[0] for key, _ in self._store.files(start)}
        old = [key for key, folder in folders.items() if is_older_format(folder, self.table)]
        self._store.delete(old)

    def page_boundaries(self) -> list[str]:
        """Return the source keys at which a listing of the source keys can be split, sorted."""
        names = (name.partition(_BOUNDARIES) for name in self._below())
        return sorted(key for _, separator, key in names if separator)

    def write_page_boundaries(self, name: str, keys: Iterable[str]) -> None:
        """Write page boundaries of a block as empty keys; only S3 lists in pages.

        Raises:
            StoreError: If the store refuses.
        """
        if self._store.is_s3:
            start = f"{self._prefix}{name.partition('.')[0]}{_BOUNDARIES}"
            self._store.map_concurrently(lambda key: self._store.put(f"{start}{key}", b""), keys)

    def remove_page_boundaries(self, keys: Collection[str] = ()) -> None:
        """Delete the page boundaries of deleted blocks, and those at the given keys.

        Raises:
            StoreError: If the store refuses.
        """
        self.forget_listing()
        there = {name.partition(".")[0] for name in self.names()}
        found = [name.partition(_BOUNDARIES) for name in self._below() if _BOUNDARIES in name]
        old = ["".join(one) for one in found if one[0] not in there or one[2] in keys]
        self._store.delete(f"{self._prefix}{name}" for name in old)
