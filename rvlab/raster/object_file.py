"""TIFFs on S3: obstore requests the bytes, several ranges at once, and GDAL opens them.

All threads share the connections of the store, and ranges that are close together are one request.
GDAL's own reader of S3 opens connections in each thread and merges only adjacent ranges. Both give
the same pixels.

Imported only when a raster on S3 is opened, as it imports rasterio.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rasterio
from rasterio.abc import MultiByteRangeResourceContainer

from rvlab.errors import StoreError
from rvlab.store import Store

if TYPE_CHECKING:
    from rvlab.raster.gdal import Heads

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

PAGE_BYTES = 16384
"""Bytes of a read of metadata; the first one has the header of a COG of 10,000 x 10,000 px."""

_NAME = "raster.tif"
"""The name of the object for GDAL, in a folder without other files."""


class ObjectHead:
    """The size of an object on S3, and a cache of its small reads, such as metadata.

    Args:
        store: The store of the object.
        key: Its key.

    Raises:
        KeyMissing: If the object does not exist.
        StoreError: If it cannot be read.
    """

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        first, self.size = store.get_start(key, PAGE_BYTES)
        self._pages = {0: first}

    @property
    def is_tiff(self) -> bool:
        """Whether the object starts as a TIFF does."""
        return self._pages[0].startswith(TIFF_MAGIC)

    def read(self, start: int, length: int) -> bytes:
        """Return bytes, fewer than `length` at the end; cache those of small reads."""
        stop = min(start + length, self.size)
        if stop <= start:
            return b""
        if stop - start > PAGE_BYTES:
            return self._store.get_range(self._key, start, stop - start)
        numbers = range(start // PAGE_BYTES, (stop - 1) // PAGE_BYTES + 1)
        for number in numbers:
            if number not in self._pages:
                at = number * PAGE_BYTES
                size = min(PAGE_BYTES, self.size - at)
                self._pages[number] = self._store.get_range(self._key, at, size)
        found = b"".join(self._pages[number] for number in numbers)
        at = numbers[0] * PAGE_BYTES
        return found[start - at : stop - at]

    def read_ranges(self, starts: list[int], lengths: list[int]) -> list[bytes]:
        """Return ranges of bytes, requested concurrently; StoreError beyond the end."""
        if any(start + length > self.size for start, length in zip(starts, lengths, strict=True)):
            raise StoreError(f"It ends after {self.size:,} bytes, before the end of its pixels.")
        return self._store.get_ranges(self._key, starts, lengths)


def head_of(uri: str, store: Store, heads: Heads | None = None) -> ObjectHead:
    """Return the head of an object, requested by the first of the threads that share `heads`.

    Args:
        uri: The address of the object.
        store: Its store.
        heads: The heads that one picture reads; None requests the head.
    """
    if heads is None:
        return ObjectHead(store, store.key(uri))
    own: Future[ObjectHead] = Future()
    found = heads.setdefault(uri, own)
    if found is own:
        try:
            own.set_result(ObjectHead(store, store.key(uri)))
        except BaseException as exc:
            own.set_exception(exc)
            raise
    return found.result()


class ObjectOpener(MultiByteRangeResourceContainer):  # type: ignore[misc]
    """The file system with one object that GDAL opens.

    Args:
        head: The head of the object.
    """

    def __init__(self, head: ObjectHead) -> None:
        self.head = head
        self.error: StoreError | None = None

    def open(self, path: str, mode: str = "r", **_: Any) -> ObjectFile:
        """See rasterio.abc.FileContainer."""
        return ObjectFile(self)

    def isfile(self, path: str) -> bool:
        """See rasterio.abc.FileContainer."""
        return path.endswith(f"/{_NAME}")

    def isdir(self, path: str) -> bool:
        """See rasterio.abc.FileContainer."""
        return False

    def ls(self, path: str) -> list[str]:
        """See rasterio.abc.FileContainer."""
        return []

    def mtime(self, path: str) -> int:
        """See rasterio.abc.FileContainer."""
        return 0

    def rm(self, path: str) -> None:
        """See rasterio.abc.FileContainer; nothing is deleted."""

    def size(self, path: str) -> int:
        """See rasterio.abc.FileContainer."""
        return self.head.size


class ObjectFile:
    """An open file of an `ObjectOpener`.

    Its methods do not raise, because GDAL calls them: an error is raised by `opened_object`.
    """

    def __init__(self, opener: ObjectOpener) -> None:
        self._opener, self._at = opener, 0

    def __enter__(self) -> ObjectFile:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._opener.head.size}
        self._at = origin[whence] + offset
        return self._at

    def read(self, length: int = -1) -> bytes:
        """Return the next bytes; none after an error."""
        try:
            found = self._opener.head.read(self._at, length)
        except StoreError as exc:
            self._opener.error = exc
            return b""
        self._at += len(found)
        return found

    def get_byte_ranges(self, offsets: list[int], sizes: list[int]) -> list[bytes]:
        """Return ranges of bytes; zeros after an error, as GDAL expects the given sizes."""
        try:
            return self._opener.head.read_ranges(offsets, sizes)
        except StoreError as exc:
            self._opener.error = exc
            return [bytes(size) for size in sizes]


@contextmanager
def opened_object(head: ObjectHead) -> Iterator[Any]:
    """Open a TIFF by its head, within a rasterio Env.

    Yields:
        rasterio's ``DatasetReader``.

    Raises:
        StoreError: If bytes could not be read, also when the body has used them.
    """
    opener = ObjectOpener(head)
    try:
        with rasterio.open(_NAME, driver="GTiff", sharing=False, opener=opener) as dataset:
            yield dataset
    finally:
        if opener.error is not None:
            raise opener.error
