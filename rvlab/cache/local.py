"""Cached blocks on this machine, as files that are verified when they are read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from cachetools import LRUCache

from rvlab.cache import block_file, private_files
from rvlab.cache.block import RowBlock
from rvlab.cache.block_file import FORMAT, BlockDamaged
from rvlab.store import Store
from rvlab.store.local_folders import user_cache_dir
from rvlab.user_warning import warn_user

MAX_DISK_BYTES = 2 * 2**30
"""Maximum size in bytes of the cached files of all stores.

Above it, the least recently used files are deleted.
"""

MAX_MEMORY_BYTES = 256 * 2**20
"""Maximum size in bytes of the blocks that this process caches in memory."""


class LocalRowCache:
    """The blocks of one table of an experiment in the user's cache folder.

    A block never changes, so no lock is needed, and it can be deleted at any time. Files are read,
    not mapped: a mapped file that another program truncates or changes would end the process with
    SIGBUS, or change a table that was verified.

    Args:
        store: The store of the runs.
        experiment: The experiment of the runs.
        table: The name of the table.
    """

    def __init__(self, store: Store, experiment: str, table: str) -> None:
        address = f"{store.uri}\n{store.access.endpoint if store.is_s3 else ''}"
        digest = hashlib.sha256(address.encode()).hexdigest()[:16]
        self._root = user_cache_dir() / "tables"
        self._folder = self._root / digest / experiment / f"{table}-{FORMAT}"
        self._context = f"{digest}/{experiment}/{table}"
        self._table = table

    @classmethod
    def tables(cls, store: Store, experiment: str) -> list[str]:
        """Return the names of the tables of an experiment that have blocks on this machine."""
        try:
            folders = os.listdir(cls(store, experiment, "runs")._folder.parent)
        except OSError:
            return []
        return sorted({name.rpartition("-")[0] for name in folders} - {""})

    def names(self) -> list[str]:
        """Return the file names of all blocks, those with the fewest keys first."""
        try:
            found = os.listdir(self._folder)
        except OSError:
            found = []
        names = sorted(name for name in found if block_file.FILE_NAME.fullmatch(name))
        there = {str(self._folder / name) for name in names}
        with _in_memory_lock:
            for path in [one for one in _in_memory if Path(one).parent == self._folder]:
                if path not in there:  # another process has merged or deleted it
                    _in_memory.pop(path, None)
        return names

    def blocks(self) -> dict[str, RowBlock]:
        """Read all blocks, by file name."""
        found = {}
        for name in self.names():
            block = self.read(name)
            if block is not None:
                found[name] = block
        return found

    def read(self, name: str) -> RowBlock | None:
        """Read a block; None if it does not exist. A damaged file is deleted.

        Warns:
            UserWarning: For a damaged file.
        """
        path = self._folder / name
        with _in_memory_lock:
            block: RowBlock | None = _in_memory.get(str(path))
        if block is not None:
            return block
        try:
            data = (
                private_files.read_private(path)
                if private_files.try_make_private_folder(self._root)
                else None
            )
        except OSError:
            return None  # another process has deleted it
        if data is None:
            return None
        try:
            block_file.check_digest(name, self._context, data)
            block = block_file.check_key_count(name, block_file.decode_block(data))
        except BlockDamaged as exc:
            self.remove([name])
            warn_user(
                f"The cache file {path} was damaged and is deleted: {exc}. Its rows are read from "
                "the store.",
            )
            return None
        if _memory_bytes(block) <= MAX_MEMORY_BYTES:
            with _in_memory_lock:
                _in_memory[str(path)] = block
        return block

    def write(self, block: RowBlock) -> str | None:
        """Write a block and return its file name; None if the folder cannot be written."""
        import pyarrow as pa

        def fill(out: BinaryIO) -> str:
            file = block_file.ContentAddressedFile(len(block), self._context, out)
            block_file.stream_block(block, file)
            return file.name("arrow")

        path = None
        with contextlib.suppress(OSError):
            if private_files.try_make_private_folder(self._root):
                path = private_files.write_atomically(self._folder, fill)
                _trim(self._root, path)
        pa.default_memory_pool().release_unused()
        return path.name if path else None

    def remove(self, names: Iterable[str]) -> None:
        """Delete blocks; missing ones are ignored."""
        for name in names:
            with _in_memory_lock:
                _in_memory.pop(str(self._folder / name), None)
            with contextlib.suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)

    def remove_older_formats(self) -> None:
        """Delete the blocks that earlier versions of rvlab wrote."""
        for folder in self._folder.parent.glob(f"{self._table}-*"):
            if is_older_format(folder.name, self._table):
                shutil.rmtree(folder, ignore_errors=True)


def is_older_format(folder: str, table: str) -> bool:
    """Return whether a folder has the blocks of a table in an earlier format."""
    number = re.fullmatch(rf"{re.escape(table)}-(\d{{1,9}})", folder)
    return number is not None and int(number[1]) < FORMAT


def _memory_bytes(block: RowBlock) -> int:
    return int(block.table.nbytes) + 200 * len(block)


_in_memory: LRUCache[str, RowBlock] = LRUCache(MAX_MEMORY_BYTES, getsizeof=_memory_bytes)
"""Blocks that this process has read, by path; the content of a path never changes."""

_in_memory_lock = Lock()


def _trim(root: Path, new: Path) -> None:
    """Delete the least recently used files above `MAX_DISK_BYTES`, but never `new`."""
    found = []
    for path in root.rglob("*"):
        with contextlib.suppress(OSError):
            stat = path.stat()
            if path.is_file():
                found.append((stat.st_mtime, stat.st_size, path))
    left = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if left <= MAX_DISK_BYTES:
            return
        if path != new:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            left -= size
