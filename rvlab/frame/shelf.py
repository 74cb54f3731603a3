"""Where parts are kept: on this machine, and in the store.

A part never changes once it is there, so it needs no lock. It can be removed at any time: whoever
misses one reads what the runs wrote, which is what parts are made of.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol

from cachetools import LRUCache

from rvlab.errors import KeyMissing, RvlabError
from rvlab.frame import block_file, private_dir
from rvlab.frame.block_file import BlockDamaged
from rvlab.frame.part import Part
from rvlab.model import INDEX
from rvlab.store import Store
from rvlab.store.home import cache_folder

FORM = 3
"""The number of the form of parts; those of another are not looked at."""

MOST_BYTES = 2 * 2**30
"""So much is kept on this machine, of all stores; what was not used for longest goes first."""

MEMORY_BYTES = 256 * 2**20
"""Size of the local blocks that this process holds in memory."""


class Shelf(Protocol):
    """Parts of one table of an experiment, by name."""

    def names(self) -> list[str]:
        """Of all parts there are, those of the fewest keys first."""

    def read(self, name: str) -> Part | None:
        """A part; None if it is gone, or is none."""

    def write(self, part: Part) -> str | None:
        """Keep a part; the same part has the same name."""

    def remove(self, names: Iterable[str]) -> None:
        """Keep some no more; those that are gone are no error."""


class LocalShelf:
    """In the cache folder of this machine, as files that are verified when they are read.

    They are read, not mapped: a mapped file that another program truncates or changes would end
    the process with SIGBUS, or change a table that was verified.
    """

    def __init__(self, store: Store, experiment: str, what: str) -> None:
        where = f"{store.uri}\n{store.access.endpoint if store.is_s3 else ''}"
        digest = hashlib.sha256(where.encode()).hexdigest()[:16]
        self._root = cache_folder() / "tables"
        self._folder = self._root / digest / experiment / f"{what}-{FORM}"
        self._context = f"{digest}/{experiment}/{what}"
        self._what = what

    def names(self) -> list[str]:
        """See Shelf."""
        try:
            found = os.listdir(self._folder) if private_dir.is_private(self._root) else []
        except OSError:
            found = []
        names = sorted(name for name in found if block_file.NAME.fullmatch(name))
        there = {str(self._folder / name) for name in names}
        with _loaded_lock:
            for path in [one for one in _loaded if Path(one).parent == self._folder]:
                if path not in there:  # another process has merged it
                    _loaded.pop(path, None)
        return names

    def read(self, name: str) -> Part | None:
        """See Shelf; a file that is damaged is deleted.

        Warns:
            UserWarning: For a file that is damaged.
        """
        path = self._folder / name
        with _loaded_lock:
            part = _loaded.get(str(path))
        if part is not None:
            return part
        try:
            data = private_dir.read(path)
        except OSError:
            return None  # another process has removed it
        try:
            block_file.check_name(name, self._context, data)
            part = block_file.check_keys(name, block_file.decode(data))
        except BlockDamaged as exc:
            self.remove([name])
            warnings.warn(
                f"The cache file {path} was damaged and is deleted: {exc}. What it held is read "
                "from the store.",
                stacklevel=2,
            )
            return None
        _remember(str(path), part)
        return part

    def write(self, part: Part) -> str:
        """See Shelf; where the folder cannot be written, nothing is kept."""
        data = block_file.encode(part)
        name = block_file.file_name(len(part), self._context, data, "arrow")
        with contextlib.suppress(OSError):
            if private_dir.is_private(self._root):
                private_dir.write(self._folder / name, data)
                _trim(self._root, self._folder / name)
        return name

    def remove(self, names: Iterable[str]) -> None:
        """See Shelf."""
        for name in names:
            with _loaded_lock:
                _loaded.pop(str(self._folder / name), None)
            with contextlib.suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)

    def remove_older(self) -> None:
        """Delete the blocks that earlier versions of rvlab wrote."""
        for folder in self._folder.parent.glob(f"{self._what}-*"):
            if _is_older(folder.name, self._what):
                shutil.rmtree(folder, ignore_errors=True)


def _size(part: Part) -> int:
    return int(part.table.nbytes) + 200 * len(part)


_loaded: LRUCache[str, Part] = LRUCache(MEMORY_BYTES, getsizeof=_size)
"""Parts that this process has read, by their paths; a path never has another content."""

_loaded_lock = Lock()


def _remember(path: str, part: Part) -> None:
    if _size(part) <= MEMORY_BYTES:
        with _loaded_lock:
            _loaded[path] = part


def _is_older(folder: str, what: str) -> bool:
    number = re.fullmatch(rf"{re.escape(what)}-(\d{{1,9}})", folder)
    return number is not None and int(number[1]) < FORM


class StoreShelf:
    """Beside the runs, as parquet, for everybody who opens the store.

    Args:
        store: Where the runs lie.
        experiment: Of which experiment they are.
        what: The name of the table.
        listed: The keys of the index, if they have been listed already.

    Attributes:
        damaged: The blocks that were read and failed a check, each with the reason.
        ignored: The blocks that another version of rvlab may have written, each with the reason.
    """

    def __init__(
        self, store: Store, experiment: str, what: str, listed: Sequence[str] | None = None
    ) -> None:
        self._store = store
        self._mine = experiment, what
        self._prefix = f"{experiment}/{INDEX}/{what}-{FORM}/"
        self._what = what
        self._read: dict[str, Part | None] = {}
        self.listed = listed
        self.damaged: dict[str, str] = {}
        self.ignored: dict[str, str] = {}

    @property
    def store(self) -> str:
        """The URI of the store."""
        return self._store.uri

    def local(self) -> LocalShelf:
        """The shelf of the same table on this machine."""
        return LocalShelf(self._store, *self._mine)

    def names(self) -> list[str]:
        """See Shelf; listed once, unless `listed` is forgotten."""
        return sorted(name for name in self._below() if block_file.NAME.fullmatch(name))

    def _below(self) -> list[str]:
        if self.listed is None:
            self.listed = [key for key, _ in self._store.files(self._prefix)]
        start = len(self._prefix)
        return [key[start:] for key in self.listed if key.startswith(self._prefix)]

    def cuts(self) -> list[str]:
        """Keys at which a listing of all keys can be cut into pages, sorted."""
        return sorted(name.partition(".cuts/")[2] for name in self._below() if ".cuts/" in name)

    def read_ahead(self) -> list[Part]:
        """Read all parts there are, so that they are here when they are asked for."""
        self._read = self.read_many(self.names())
        return [part for part in self._read.values() if part]

    def read_many(self, names: Iterable[str]) -> dict[str, Part | None]:
        """Several parts at once."""
        found: dict[str, Part | None] = self._store.each(self.read, names)
        return found

    def read(self, name: str) -> Part | None:
        """See Shelf; one that fails a check is noted in `damaged`."""
        if mine := self._read.get(name):
            return mine
        try:
            data = self._bytes(f"{self._prefix}{name}")
            block_file.check_name(name, self._what, data)
            part = block_file.decode(block_file.decompress(data))
            block_file.check_keys(name, part)
        except RvlabError:
            return None
        except BlockDamaged as exc:
            self.damaged[name] = str(exc)
            return None
        return part.placed([name] * len(part))

    def _bytes(self, key: str) -> bytes:
        """The content of a block; no more than a block may have is read."""
        limit = block_file.MAX_FILE_BYTES
        try:
            data = self._store.get_range(key, 0, limit + 1)
            if len(data) > limit:
                size = self._store.size(key)
                raise BlockDamaged(f"it has {size} bytes; the limit is {limit}")
            return data
        except KeyMissing:
            raise
        except RvlabError:
            if self._store.size(key):
                raise
            return b""  # a range of no bytes is an error on S3

    def write(self, part: Part) -> str | None:
        """See Shelf; None if the block is too large, and is not written.

        Raises:
            StoreError: If the store refuses, as it does who may only read.
        """
        data = block_file.encode(part.placed([None] * len(part)))
        if len(data) > block_file.MAX_BLOCK_BYTES or len(part.table) > block_file.MAX_ROWS:
            return None
        small = block_file.compress(data)
        if len(small) > block_file.MAX_FILE_BYTES:
            return None
        name = block_file.file_name(len(part), self._what, small, "zst")
        # Over one of that name, if there is one: it is the same, or was harmed.
        self._store.put(f"{self._prefix}{name}", small)
        return name

    def cut(self, name: str, keys: Iterable[str]) -> None:
        """Let `cuts` tell some keys of a part, by empty keys; only on S3 a listing has pages.

        Raises:
            StoreError: If the store refuses.
        """
        if self._store.is_s3:
            start = f"{self._prefix}{name.partition('.')[0]}.cuts/"
            self._store.each(lambda key: self._store.put(f"{start}{key}", b""), keys)

    def drop_cuts(self, gone: Collection[str] = ()) -> None:
        """Remove the cuts of parts that are not there any more, and those of some keys.

        Raises:
            StoreError: If the store refuses.
        """
        self.listed = None
        there = {name.partition(".")[0] for name in self.names()}
        cuts = [name.partition(".cuts/") for name in self._below() if ".cuts/" in name]
        old = ["".join(cut) for cut in cuts if cut[0] not in there or cut[2] in gone]
        self._store.delete(f"{self._prefix}{name}" for name in old)

    def remove(self, names: Iterable[str]) -> None:
        """See Shelf; their cuts stay, until `drop_cuts`."""
        self._store.delete(f"{self._prefix}{name}" for name in names)

    def remove_older(self) -> None:
        """Delete the blocks that earlier versions of rvlab wrote.

        Raises:
            StoreError: If the store refuses.
        """
        start = self._prefix.removesuffix(f"{self._what}-{FORM}/")
        keys = [key for key, _ in self._store.files(start)]
        names = [key.removeprefix(start).partition("/")[0] for key in keys]
        pairs = zip(keys, names, strict=True)
        self._store.delete([key for key, name in pairs if _is_older(name, self._what)])


def _trim(root: Path, new: Path) -> None:
    """Remove what was not used for longest, until the rest is small enough; never what is new."""
    found = []
    for path in root.rglob("*"):
        with contextlib.suppress(OSError):
            stat = path.stat()
            if path.is_file():
                found.append((stat.st_mtime, stat.st_size, path))
    left = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if left <= MOST_BYTES:
            return
        if path != new:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            left -= size
