"""Windows of plain tiled TIFFs on S3, decoded without opening each file with GDAL.

Opening a file with GDAL, and its block cache, take several times the processor time of
decompressing the tiles of a window. What a header says is still asked of GDAL, but once for all
files whose tags are equal except for the addresses of tiles and the upper left corner. Whatever is
not plain is read by GDAL.

Imported only when a raster on S3 is opened.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from rvlab.raster.gdal import gdal_errors

if TYPE_CHECKING:
    from rvlab.raster.object_file import ObjectHead

# Tags of TIFF 6.0 and GeoTIFF 1.1.
_KIND_OF_IMAGE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _COUNTS = 284, 317, 322, 323, 324, 325
_SCALE, _TIEPOINT, _MATRIX = 33550, 33922, 34264
_DESCRIBING = (269, 270, 271, 272, 280, 281, 282, 283, 296, 305, 306, 315, 320, 42112, 42113)
_POSITION = (_SCALE, _TIEPOINT, _MATRIX, 34735, 34736, 34737)
_KNOWN = frozenset(
    (
        *(_KIND_OF_IMAGE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 277, _PLANAR),
        *(_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _COUNTS, 338, 339),
        *_DESCRIBING,
        *_POSITION,
    )
)
"""Tags of a plain TIFF. A file with any other, such as a bit order, is read by GDAL."""

_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_ADDRESSES = ((4, 3), (4, 4), (16, 3), (16, 4), (16, 16))  # types of tile offsets and sizes
_SIX_DOUBLES = (12, 6)
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TYPE_BYTES |= {13: 4, 16: 8, 17: 8, 18: 8}
_MOST_HASHED = 2**17
"""Bytes of directories and their values, without the addresses of tiles, of a plain TIFF."""

_ATTRIBUTES = (
    *("width", "height", "count", "dtypes", "crs", "transform", "colorinterp", "mask_flag_enums"),
    *("block_shapes", "interleaving", "descriptions", "scales", "offsets", "nodata"),
)
_READ_OPTIONS = frozenset(("window", "out_shape", "resampling"))


class _Tag(NamedTuple):
    kind: int
    length: int  # number of its values
    at: int  # their position in the file


@dataclass(frozen=True)
class _Header:
    """What GDAL says of a header.

    Args:
        values: Values of `_ATTRIBUTES`.
        overviews: Factors of the overviews.
        overview_tags: The tags of GDAL's domain ``OVERVIEWS``.
        has_corner: Whether the position is that of the upper left corner in the tags.
        is_plain: Whether `PlainTiff` can decode the pixels.
        is_compressed: Whether the tiles are compressed with Deflate.
        is_differenced: Whether values are differences from the pixel to the left.
    """

    values: dict[str, Any]
    overviews: list[int]
    overview_tags: dict[str, str]
    has_corner: bool
    is_plain: bool
    is_compressed: bool
    is_differenced: bool


_headers: LRUCache[tuple[bytes, tuple[float, float] | None], _Header] = LRUCache(256)
"""Headers by their hash, and by their upper left corner unless it is the position of the raster."""

_lock = Lock()


def open_plain(head: ObjectHead, open_dataset: Callable[[], Any]) -> Any:
    """Open a TIFF by its head, plain or not.

    Args:
        head: The head of the object.
        open_dataset: Opens it with GDAL, as rasterio's ``DatasetReader``.

    Returns:
        A `PlainTiff`, or what `open_dataset` returns.

    Raises:
        StoreError: If bytes could not be read.
    """
    try:
        tags, key = _read_tags(head)
        corner = _corner(head, tags)
    except (struct.error, ValueError, LookupError):
        return open_dataset()
    dataset = None
    with _lock:
        header = _headers.get((key, None)) or _headers.get((key, corner))
        if header is None:
            dataset = open_dataset()
            try:
                header = _describe(dataset, tags, head)
            except gdal_errors(ValueError):  # of values that the reader may not need
                return dataset
            _headers[key, None if header.has_corner else corner] = header
    if header.is_plain:
        return PlainTiff(head, tags, header, (lambda: dataset) if dataset else open_dataset)
    return dataset or open_dataset()


class PlainTiff:
    """An open TIFF with the attributes of rasterio's ``DatasetReader``.

    A window at full resolution is decoded here, everything else is asked of GDAL.

    Args:
        head: The head of the object.
        tags: The tags of its first directory.
        header: What GDAL says of its header.
        open_dataset: Opens it with GDAL.
    """

    width: int
    height: int
    count: int
    dtypes: Sequence[str]
    block_shapes: Sequence[tuple[int, int]]

    def __init__(
        self,
        head: ObjectHead,
        tags: dict[int, _Tag],
        header: _Header,
        open_dataset: Callable[[], Any],
    ) -> None:
        self._head, self._tags, self._header, self._open = head, tags, header, open_dataset
        vars(self).update(header.values)
        corner = _corner(head, tags)
        if header.has_corner and corner is not None:
            t, (x, y) = header.values["transform"], corner
            self.transform = type(t)(t.a, t.b, x, t.d, t.e, y)

    @cached_property
    def _dataset(self) -> Any:
        return self._open()

    @property
    def _tile_bytes(self) -> int:
        tall, wide = self.block_shapes[0]
        return tall * wide * self.count * np.dtype(self.dtypes[0]).itemsize

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def overviews(self, band: int) -> list[int]:
        """Return the factors of the overviews, which are those of all bands."""
        return self._header.overviews

    def tags(self, bidx: int = 0, ns: str | None = None) -> dict[str, str]:
        """Return the tags of a domain of GDAL."""
        is_known = (bidx, ns) == (0, "OVERVIEWS")
        return self._header.overview_tags if is_known else dict(self._dataset.tags(bidx, ns))

    def read(self, indexes: Any = None, **options: Any) -> NDArray[Any]:
        """Read pixels, as rasterio's ``DatasetReader.read``."""
        area = options.get("window")
        if isinstance(indexes, list) and area is not None and options.keys() <= _READ_OPTIONS:
            left, top, width, height = area.flatten()
            if (
                all(isinstance(n, int) for n in (left, top, width, height))
                and 0 <= left < left + width <= self.width
                and 0 <= top < top + height <= self.height
                and all(1 <= band <= self.count for band in indexes)
                and options.get("out_shape") == (len(indexes), height, width)
            ):
                found = self._decode(indexes, left, top, width, height)
                if found is not None:
                    return found
        return np.asarray(self._dataset.read(indexes, **options))

    def _decode(
        self, bands: Sequence[int], left: int, top: int, width: int, height: int
    ) -> NDArray[Any] | None:
        """Decode a window; return None if a tile is absent or damaged."""
        tall, wide = self.block_shapes[0]
        most = 2 * self._tile_bytes + 1024  # Deflate makes no tile larger than this
        columns = range(left // wide, -(-(left + width) // wide))
        rows = range(top // tall, -(-(top + height) // tall))
        try:
            starts, lengths = (self._of_tiles(tag, rows, columns) for tag in (_OFFSETS, _COUNTS))
        except ValueError:
            return None
        ends = (start + length for start, length in zip(starts, lengths, strict=True))
        if not all(0 < length <= most for length in lengths) or max(ends) > self._head.size:
            return None
        out = np.empty((len(bands), height, width), self.dtypes[0])
        samples = [band - 1 for band in bands]
        corners = [(row * tall - top, column * wide - left) for row in rows for column in columns]
        for (y, x), data in zip(corners, self._head.read_ranges(starts, lengths), strict=True):
            tile = self._decode_tile(data)
            if tile is None:
                return None
            part = tile[max(0, -y) : height - y, max(0, -x) : width - x]
            there = out[:, max(0, y) : y + tall, max(0, x) : x + wide]
            for band, sample in zip(there, samples, strict=True):
                band[:] = part[..., sample]
        return out

    def _of_tiles(self, tag: int, rows: range, columns: range) -> list[int]:
        """Return the offsets or the sizes of tiles."""
        across = -(-self.width // self.block_shapes[0][1])
        found: list[int] = []
        for row in rows:
            first = row * across + columns.start
            found += _integers(self._head, self._tags[tag], first, len(columns))
        return found

    def _decode_tile(self, data: bytes) -> NDArray[Any] | None:
        """Return the pixels of a tile, shape (rows, columns, bands); None if it is damaged."""
        dtype, size = np.dtype(self.dtypes[0]), self._tile_bytes
        if self._header.is_compressed:
            try:
                data = zlib.decompressobj().decompress(data, size)
            except zlib.error:
                return None
        if len(data) < size:
            return None
        values = np.frombuffer(data, dtype.newbyteorder("<"), size // dtype.itemsize)
        tile = values.reshape(*self.block_shapes[0], self.count)
        return np.add.accumulate(tile, 1, dtype) if self._header.is_differenced else tile


def _read_tags(head: ObjectHead) -> tuple[dict[int, _Tag], bytes]:
    """Return the tags of the first directory, and a hash of what all directories say.

    The addresses of tiles and the upper left corner are not in the hash.

    Raises:
        ValueError, LookupError, struct.error: If the file is big-endian, unusual or malformed.
    """
    start = head.read(0, 16)
    is_big = start.startswith(b"II+\0")
    if not is_big and not start.startswith(b"II*\0"):
        raise ValueError("big-endian")
    pointer = struct.Struct("<Q" if is_big else "<I")
    number = struct.Struct("<Q" if is_big else "<H")
    entry = struct.Struct("<HHQ" if is_big else "<HHI")
    step = entry.size + pointer.size
    (at,) = pointer.unpack_from(start, 8 if is_big else 4)
    first: dict[int, _Tag] | None = None
    digest, left = hashlib.sha256(start[:4]), _MOST_HASHED
    while at:
        (count,) = number.unpack(head.read(at, number.size))
        at, left = at + number.size, left - step * (count + 1)
        if left < 0:
            raise ValueError("too many tags")
        rows = head.read(at, count * step + pointer.size)
        tags: dict[int, _Tag] = {}
        for i in range(0, count * step, step):
            tag, kind, n = entry.unpack_from(rows, i)
            size, where = _TYPE_BYTES[kind] * n, at + i + entry.size
            if size > pointer.size:
                (where,) = pointer.unpack_from(rows, i + entry.size)
            tags[tag] = _Tag(kind, n, where)
            digest.update(rows[i : i + entry.size])
            if tag in (_OFFSETS, _COUNTS):
                continue
            if tag == _TIEPOINT and (kind, n) == _SIX_DOUBLES:
                size = 24  # the pixel, without its place on the map
            left -= size
            if left < 0:
                raise ValueError("too long values")
            digest.update(_bytes(head, where, size))
        first = tags if first is None else first
        (at,) = pointer.unpack_from(rows, count * step)
        digest.update(b"next" if at else b"end")
    if first is None:
        raise ValueError("no directory")
    return first, digest.digest()


def _describe(dataset: Any, tags: dict[int, _Tag], head: ObjectHead) -> _Header:
    """Describe a header as GDAL understands it."""
    from rasterio.enums import MaskFlags

    values = {name: getattr(dataset, name) for name in _ATTRIBUTES}
    compression, predictor = (_integer(head, tags, tag) for tag in (_COMPRESSION, _PREDICTOR))
    is_compressed = compression in (8, 32946)  # the number of TIFF, and an older one
    is_differenced = is_compressed and predictor == 2
    tall, wide = values["block_shapes"][0]
    tiles = -(-dataset.width // wide) * -(-dataset.height // tall)
    try:
        dtype = np.dtype(values["dtypes"][0])
    except TypeError:  # complex integers, which numpy does not have
        dtype = np.dtype(object)
    is_plain = (
        tags.keys() <= _KNOWN
        and all(MaskFlags.all_valid in flags for flags in dataset.mask_flag_enums)
        and (compression == 1 or is_compressed)
        and (not is_compressed or predictor in (None, 1) or (is_differenced and dtype.kind in "iu"))
        and dtype.kind in "iuf"
        and len(set(values["dtypes"])) == 1
        and _integer(head, tags, _BITS) == 8 * dtype.itemsize
        and _integer(head, tags, _PLANAR) in (None, 1)
        and _integer(head, tags, _PHOTOMETRIC) in (1, 2, 3)  # grey, RGB, palette
        and _integer(head, tags, _KIND_OF_IMAGE) in (None, 0)
        and (_integer(head, tags, _TILE_HEIGHT), _integer(head, tags, _TILE_WIDTH)) == (tall, wide)
        and {_OFFSETS, _COUNTS} <= tags.keys()
        and (tags[_OFFSETS].kind, tags[_COUNTS].kind) in _ADDRESSES
        and tags[_OFFSETS].length == tags[_COUNTS].length == tiles
    )
    t = values["transform"]
    return _Header(
        values=values,
        overviews=dataset.overviews(1),
        overview_tags=dataset.tags(ns="OVERVIEWS"),
        has_corner=_corner(head, tags) == (t.c, t.f) and _SCALE in tags and _MATRIX not in tags,
        is_plain=is_plain,
        is_compressed=is_compressed,
        is_differenced=is_differenced,
    )


def _corner(head: ObjectHead, tags: dict[int, _Tag]) -> tuple[float, float] | None:
    """Return the place on the map in the tag of the upper left corner."""
    tag = tags.get(_TIEPOINT)
    if tag is None or (tag.kind, tag.length) != _SIX_DOUBLES:
        return None
    x, y = struct.unpack("<dd", _bytes(head, tag.at + 24, 16))
    return x, y


def _integer(head: ObjectHead, tags: dict[int, _Tag], tag: int) -> int | None:
    """Return the value of a tag; None without the tag, or if it has several different ones."""
    if tag not in tags or tags[tag].kind not in _NUMBERS:
        return None
    found = set(_integers(head, tags[tag], 0, tags[tag].length))
    return found.pop() if len(found) == 1 else None


def _integers(head: ObjectHead, tag: _Tag, first: int, number: int) -> list[int]:
    size = _TYPE_BYTES[tag.kind]
    data = _bytes(head, tag.at + first * size, number * size)
    return list(struct.unpack(f"<{number}{_NUMBERS[tag.kind]}", data))


def _bytes(head: ObjectHead, at: int, size: int) -> bytes:
    """Return bytes; raise ValueError beyond the end of the file."""
    found = head.read(at, size)
    if len(found) != size:
        raise ValueError("beyond the end")
    return found
