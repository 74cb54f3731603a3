"""Several files as one raster: a virtual raster (VRT), as gdalbuildvrt writes it.

The program gdalbuildvrt, which Raster Vision calls, is not part of rasterio's wheels. A VRT is a
small XML file that rasterio's own GDAL reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any
from xml.etree import ElementTree

from cachetools import TTLCache

from rvlab.errors import RasterError
from rvlab.raster.config import describe_files
from rvlab.raster.gdal import (
    gdal_errors,
    ignore_missing_georeference,
    is_vrt,
    open_raster,
    raster_environment,
    vsi_path,
)
from rvlab.raster.sidecars import KEEP_S, known_sidecars

READERS = 16
_STEP = 1e-3  # in pixels: smaller deviations of offsets and sizes from whole numbers are rounding

_made: TTLCache[tuple[str, ...], bytes] = TTLCache(64, KEEP_S)
_lock = Lock()


@dataclass(frozen=True)
class RasterHeader:
    """The properties of a file that a VRT needs.

    Args:
        path: Path as GDAL opens it.
        width: Columns.
        height: Rows.
        transform: The ``affine.Affine`` to map coordinates.
        crs: The ``rasterio.crs.CRS``.
        dtypes: Type of each band.
        nodata: Nodata value of each band.
        colors: Color interpretation of each band.
        masked: Whether the file has an alpha band or a mask.
        block: Rows and columns of a block.
    """

    path: str
    width: int
    height: int
    transform: Any
    crs: Any
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    colors: tuple[str, ...]
    masked: bool
    block: tuple[int, int]

    @classmethod
    def of(cls, path: str, dataset: Any) -> RasterHeader:
        """Return the header of an open rasterio dataset."""
        from rasterio.enums import ColorInterp, MaskFlags

        colors = dataset.colorinterp
        flags = dataset.mask_flag_enums[0]
        return cls(
            path,
            dataset.width,
            dataset.height,
            dataset.transform,
            dataset.crs,
            tuple(dataset.dtypes),
            tuple(dataset.nodatavals),
            tuple(color.name for color in colors),
            ColorInterp.alpha in colors or MaskFlags.per_dataset in flags,
            tuple(dataset.block_shapes[0]),
        )


@contextmanager
def open_mosaic(files: tuple[str, ...]) -> Iterator[Any]:
    """Open several files as one raster.

    Raises:
        RasterError: If a file cannot be opened, or they do not form a mosaic.
    """
    from rasterio.io import MemoryFile

    text = _mosaic_of(files)
    beside = [name for uri in files for name in known_sidecars(uri)]
    try:
        with (
            ignore_missing_georeference(),
            raster_environment(files[0], [*beside, *files[1:]] if beside else ()),
            MemoryFile(text, ext="vrt") as memory,
            memory.open() as dataset,
        ):
            yield dataset
    except gdal_errors() as exc:
        raise RasterError(f"{describe_files(files)} cannot be read: {exc}.") from exc


def _mosaic_of(files: tuple[str, ...]) -> bytes:
    with _lock:
        if files in _made:
            return _made[files]
    if redirects := [uri for uri in files if is_vrt(uri)]:
        raise RasterError(f"{redirects[0]} is a VRT, which cannot be part of a mosaic of files.")
    text = mosaic_vrt(files, open_raster, vsi_path)
    with _lock:
        _made[files] = text
    return text


def mosaic_vrt(
    files: Sequence[str], opened: Callable[[str], Any], path_of: Callable[[str], str]
) -> bytes:
    """Return the XML of a virtual raster of several files; later ones cover earlier ones.

    Args:
        files: Addresses.
        opened: Context manager that opens one.
        path_of: Function that returns the path by which GDAL opens it.

    Raises:
        RasterError: If a file has no position, is rotated, or has another CRS, other bands or
            types than the first.
    """

    def header(uri: str) -> RasterHeader:
        with opened(uri) as dataset:
            return RasterHeader.of(path_of(uri), dataset)

    with ThreadPoolExecutor(min(READERS, len(files))) as pool:
        headers = list(pool.map(header, files))
    for uri, one in zip(files, headers, strict=True):
        _require_compatible(uri, one, files[0], headers[0])
    return ElementTree.tostring(_tree(headers))


def _require_compatible(uri: str, one: RasterHeader, first_uri: str, first: RasterHeader) -> None:
    t = one.transform
    if one.crs is None and t.is_identity:
        raise RasterError(f"{uri} has no position, so it cannot be part of a mosaic of files.")
    if t.b or t.d or t.a <= 0 or t.e >= 0:
        raise RasterError(f"{uri} is rotated or not north-up, so it cannot be part of a mosaic.")
    for what, own, other in (
        ("the CRS", one.crs, first.crs),
        ("bands of the types", ", ".join(one.dtypes), ", ".join(first.dtypes)),
    ):
        if own != other:
            raise RasterError(
                f"The files of a scene must be alike: {uri} has {what} {own!s:.60}, {first_uri} "
                f"{other!s:.60}."
            )


def _tree(headers: Sequence[RasterHeader]) -> ElementTree.Element:
    across = sum(h.transform.a for h in headers) / len(headers)
    down = sum(-h.transform.e for h in headers) / len(headers)
    left = min(h.transform.c for h in headers)
    top = max(h.transform.f for h in headers)
    right = max(h.transform.c + h.width * h.transform.a for h in headers)
    bottom = min(h.transform.f + h.height * h.transform.e for h in headers)
    first = headers[0]

    def place(one: RasterHeader) -> list[float]:
        t = one.transform
        corner = [(t.c - left) / across, (top - t.f) / down]
        size = [one.width * t.a / across, one.height * -t.e / down]
        return [_near(value) for value in (*corner, *size)]

    root = ElementTree.Element(
        "VRTDataset",
        rasterXSize=str(int((right - left) / across + 0.5)),
        rasterYSize=str(int((top - bottom) / down + 0.5)),
    )
    if first.crs is not None:
        _add(root, "SRS", first.crs.to_wkt())
    _add(root, "GeoTransform", f"{left!r}, {across!r}, 0.0, {top!r}, 0.0, {-down!r}")
    for number, dtype in enumerate(first.dtypes):
        band = ElementTree.SubElement(
            root, "VRTRasterBand", dataType=_gdal_type(dtype), band=str(number + 1)
        )
        nodata = first.nodata[number]
        if nodata is not None:
            _add(band, "NoDataValue", repr(nodata))
        color = first.colors[number]
        _add(band, "ColorInterp", "Gray" if color == "palette" else color.capitalize())
        for one in headers:
            _add_source(band, one, number, place(one))
    if any(one.masked for one in headers) and "alpha" not in first.colors:
        mask = ElementTree.SubElement(
            ElementTree.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte"
        )
        for one in headers:
            _add_source(mask, one, None, place(one))
    return root


def _add_source(
    band: ElementTree.Element,
    one: RasterHeader,
    number: int | None,
    place: Sequence[float],
) -> None:
    """Add a file to a band, or with `number` None, its mask to the mask of the VRT."""
    nodata = None if number is None else one.nodata[number]
    masked = number is not None and one.masked
    kind = "ComplexSource" if nodata is not None or masked else "SimpleSource"
    source = ElementTree.SubElement(band, kind)
    _add(source, "SourceFilename", one.path, relativeToVRT="0")
    _add(source, "SourceBand", "mask,1" if number is None else str(number + 1))
    dtype = one.dtypes[0 if number is None else number]
    ElementTree.SubElement(
        source,
        "SourceProperties",
        RasterXSize=str(one.width),
        RasterYSize=str(one.height),
        DataType="Byte" if number is None else _gdal_type(dtype),
        BlockXSize=str(one.block[1]),
        BlockYSize=str(one.block[0]),
    )
    whole = {"xOff": "0", "yOff": "0", "xSize": str(one.width), "ySize": str(one.height)}
    ElementTree.SubElement(source, "SrcRect", whole)
    names = ("xOff", "yOff", "xSize", "ySize")
    ElementTree.SubElement(
        source, "DstRect", {n: repr(value) for n, value in zip(names, place, strict=True)}
    )
    if nodata is not None:
        _add(source, "NODATA", repr(nodata))
    if masked and nodata is None:
        _add(source, "UseMaskBand", "true")


def _add(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, tag, attributes).text = text


def _near(value: float) -> float:
    whole = round(value)
    return float(whole) if abs(value - whole) < _STEP else value


def _gdal_type(dtype: str) -> str:
    from rasterio.dtypes import _gdal_typename

    return str(_gdal_typename(dtype))
