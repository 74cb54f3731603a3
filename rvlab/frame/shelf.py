"""Where parts are kept: on this machine, and in the store.

A part never changes once it is there, so it needs no lock. It can be removed at any time: whoever
misses one reads what the runs wrote, which is what parts are made of.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rvlab.errors import RvlabError
from rvlab.frame.part import HEADER, Part, from_header, header, small, with_header
from rvlab.model import INDEX
from rvlab.store import Store
from rvlab.store.home import cache_folder

if TYPE_CHECKING:
    import pyarrow as pa

FORM = 2
"""The number of the form of parts; those of another are not looked at."""

MOST_BYTES = 2 * 2**30
"""So much is kept on this machine, of all stores; what was not used for longest goes first."""

_NAME = re.compile(r"(\d{9})-[0-9a-f]{16}\.(arrow|parquet)")


class Shelf(Protocol):
    """Parts of one table of an experiment, by name."""

    def names(self) -> list[str]:
        """Of all parts there are, those of the fewest keys first."""

    def read(self, name: str) -> Part | None:
        """A part; None if it is gone, or is none."""

    def write(self, part: Part) -> str:
        """Keep a part; the same part has the same name."""

    def remove(self, names: Iterable[str]) -> None:
        """Keep some no more; those that are gone are no error."""


def keys_in(name: str) -> int:
    """How many keys the part of that name has."""
    return int(name[:9])


class LocalShelf:
    """In the cache folder of this machine, as Arrow files that are mapped, not read."""

    def __init__(self, store: Store, experiment: str, what: str) -> None:
        where = f"{store.uri}\n{store.access.endpoint if store.is_s3 else ''}"
        digest = hashlib.sha256(where.encode()).hexdigest()[:16]
        self._root = cache_folder() / "tables"
        self._folder = self._root / digest / experiment / f"{what}-{FORM}"

    def names(self) -> list[str]:
        """See Shelf."""
        try:
            names = sorted(name for name in os.listdir(self._folder) if _NAME.fullmatch(name))
        except OSError:
            names = []
        there = {str(self._folder / name) for name in names}
        for path in [one for one in list(_mapped) if Path(one).parent == self._folder]:
            if path not in there:  # another process has merged it
                _mapped.pop(path, None)
        return names

    def read(self, name: str) -> Part | None:
        """See Shelf."""
        import pyarrow as pa

        path = str(self._folder / name)
        part = _mapped.get(path)
        if part is None:
            try:
                os.utime(path)  # it is of use still
                part = from_header(pa.ipc.open_file(pa.memory_map(path)).read_all())
            except (OSError, ValueError, TypeError, pa.ArrowException):
                return None  # somebody has removed it, or it was cut off: it is made anew
            _mapped[path] = part
        return part

    def write(self, part: Part) -> str:
        """See Shelf; where the folder cannot be written, nothing is kept."""
        import pyarrow as pa

        table = with_header(part).combine_chunks()
        name = _name(part)
        path = self._folder / name
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = path.with_name(f"{name}.{secrets.token_hex(4)}.new")
            try:
                with pa.OSFile(str(new), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
                    out.write_table(table)
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)
            _trim(self._root, path)
        return name

    def remove(self, names: Iterable[str]) -> None:
        """See Shelf."""
        for name in names:
            _mapped.pop(str(self._folder / name), None)
            with contextlib.suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)


_mapped: dict[str, Part] = {}
"""Parts that this process has open, by their paths; a path never has another content."""


class StoreShelf:
    """Beside the runs, as parquet, for everybody who opens the store.

    Args:
        store: Where the runs lie.
        experiment: Of which experiment they are.
        what: The name of the table.
        listed: The keys of the index, if they have been listed already.
    """

    def __init__(
        self, store: Store, experiment: str, what: str, listed: Sequence[str] | None = None
    ) -> None:
        self._store = store
        self._mine = experiment, what
        self._prefix = f"{experiment}/{INDEX}/{what}-{FORM}/"
        self._read: dict[str, Part | None] = {}
        self.listed = listed

    @property
    def store(self) -> str:
        """The URI of the store."""
        return self._store.uri

    def local(self) -> LocalShelf:
        """The shelf of the same table on this machine."""
        return LocalShelf(self._store, *self._mine)

    def names(self) -> list[str]:
        """See Shelf; listed once, unless `listed` is forgotten."""
        return sorted(name for name in self._below() if _NAME.fullmatch(name))

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
        import pyarrow.parquet  # noqa: F401  # here, not in several threads at once

        found: dict[str, Part | None] = self._store.each(self.read, names)
        return found

    def read(self, name: str) -> Part | None:
        """See Shelf."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if mine := self._read.get(name):
            return mine
        try:
            data = self._store.get(f"{self._prefix}{name}")
            part = from_header(pq.read_table(pa.BufferReader(data)))
        except (RvlabError, OSError, ValueError, TypeError, pa.ArrowException):
            return None
        pa.default_memory_pool().release_unused()  # what decoding took
        return part.placed([name] * len(part))

    def write(self, part: Part) -> str:
        """See Shelf.

        Raises:
            StoreError: If the store refuses, as it does who may only read.
        """
        import pyarrow.parquet as pq

        name, data = _name(part, "parquet"), io.BytesIO()
        rows = part.table
        texts = [one.name for one in rows.schema if str(one.type) == "string"]
        # Without Arrow's own schema, which would hold the header once more.
        options: Any = {"compression": "zstd", "use_dictionary": texts, "store_schema": False}
        with pq.ParquetWriter(data, rows.schema, **options) as out:
            out.write_table(rows)
            out.add_key_value_metadata({HEADER: small(header(part.placed([None] * len(part))))})
        # Over one of that name, if there is one: it is the same, or was harmed.
        self._store.put(f"{self._prefix}{name}", data.getvalue())
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


def _name(part: Part, kind: str = "arrow") -> str:
    """By what is in it; the columns too, so that no name ever stands for two contents."""
    digest = hashlib.sha256()
    for values in (part.keys, part.tags, part.counts, part.places):
        digest.update("\0".join(map(str, values)).encode())
    digest.update(str(_schema(part.table)).encode())
    return f"{len(part):09d}-{digest.hexdigest()[:16]}.{kind}"


def _schema(table: pa.Table) -> list[tuple[str, str]]:
    return [(one.name, str(one.type)) for one in table.schema]


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
