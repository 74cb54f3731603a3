"""Validation of virtual rasters (VRT): XML that refers to other files, checked before GDAL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rvlab.errors import RasterError
from rvlab.model.limits import VRT_BYTES
from rvlab.raster.gdal import is_vrt
from rvlab.raster.sidecars import check_local_sidecars

_SOURCES = ("SimpleSource", "ComplexSource", "AveragedSource", "KernelFilteredSource")

_BANDS = (None, "VRTSourcedRasterBand")
"""Allowed values of subClass; others run code, warp, or read any file as raw pixels."""

_HEAD_BYTES = 64


@contextmanager
def open_vrt(path: str) -> Iterator[Any]:
    """Open a virtual raster whose sources are plain raster files on this machine.

    GDAL gets the checked XML from memory, because the file may change after the check.

    Args:
        path: An absolute path.

    Yields:
        rasterio's ``DatasetReader``.

    Raises:
        RasterError: If it is not a local file, or refers to anything other than such files.
    """
    from rasterio.io import MemoryFile

    require_local_vrt(path)
    with MemoryFile(read_vrt(Path(path)), ext="vrt") as memory, memory.open() as dataset:
        yield dataset


def require_local_vrt(path: str) -> None:
    """Raise for a virtual raster that is not a local file.

    Raises:
        RasterError: With the way to convert it.
    """
    if path.startswith("/vsi") or "://" in path:
        raise RasterError(
            f"{path} is not opened: a remote VRT is not supported. Copy it with gdal_translate "
            "-of COG."
        )


def read_vrt(path: Path) -> bytes:
    """Return the XML of a virtual raster, with absolute paths of its sources.

    Raises:
        RasterError: As `open_vrt`.
    """
    try:
        size = path.stat().st_size
        if size > VRT_BYTES:
            raise RasterError(f"{path} has {size:,} bytes; more than {VRT_BYTES:,} are not read.")
        text = path.read_bytes()
        if b"<!" in text.replace(b"<!--", b""):
            raise RasterError(f"{path} is not opened: it declares a document type.")
        root = ElementTree.fromstring(text)  # noqa: S314  # safe: no entities without "<!"
    except FileNotFoundError as exc:
        raise RasterError(f"{path} does not exist.") from exc
    except (ElementTree.ParseError, ValueError, RecursionError) as exc:
        raise RasterError(f"{path} is not a valid VRT: {exc}.") from exc
    except OSError as exc:
        if isinstance(exc, RasterError):
            raise
        raise RasterError(f"{path} cannot be read: {exc.strerror}.") from exc
    if root.tag != "VRTDataset" or root.get("subClass"):
        raise RasterError(f"{path} is not opened: a VRT must be a VRTDataset without subClass.")
    allowed = set()
    for parent in root.iter():
        if parent.tag == "VRTRasterBand" and parent.get("subClass") not in _BANDS:
            raise RasterError(
                f"{path} is not opened: it has a band of subClass {parent.get('subClass')!r:.60}."
            )
        for one in parent:
            if one.tag == "SourceFilename" and parent.tag in _SOURCES:
                allowed.add(one)
                one.text = _source(path, one)
                one.set("relativeToVRT", "0")
            elif one.tag == "OpenOptions" or (
                one not in allowed and one.tag.lower().endswith(("filename", "dataset"))
            ):
                raise RasterError(f"{path} is not opened: it has an element {one.tag[:60]}.")
    return ElementTree.tostring(root)


def _source(vrt: Path, named: ElementTree.Element) -> str:
    text = (named.text or "").strip()
    source = vrt.parent / text if named.get("relativeToVRT") == "1" else Path(text)
    if not source.is_absolute() or str(source).startswith("/vsi") or not source.is_file():
        raise RasterError(f"{vrt} is not opened: its source {text!r:.200} is not a local file.")
    with source.open("rb") as file:
        head = file.read(_HEAD_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"<", b"{")) or is_vrt(str(source)):
        raise RasterError(f"{vrt} is not opened: its source {text!r:.200} must contain pixels.")
    check_local_sidecars(str(source))
    return str(source)
