"""Virtual rasters (VRT): XML that names other files, looked through before GDAL opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rvlab.errors import RasterError
from rvlab.model.limits import VRT_BYTES

_SOURCES = ("SimpleSource", "ComplexSource", "AveragedSource", "KernelFilteredSource")

_BANDS = (None, "VRTSourcedRasterBand")
"""Others compute pixels by code, warp, or read any file as if it were pixels."""

_HEAD_BYTES = 64


def is_vrt(name: str) -> bool:
    """Whether GDAL's name of a file says that it is a virtual raster."""
    return name.lower().endswith(".vrt")


@contextmanager
def opened_vrt(path: str) -> Iterator[Any]:
    """Open a virtual raster whose sources are plain raster files on this machine.

    What was checked is what GDAL is given, from memory: the file may change meanwhile.

    Args:
        path: An absolute path.

    Yields:
        rasterio's ``DatasetReader``.

    Raises:
        RasterError: If it is no file on this machine, or names anything else than such files.
    """
    from rasterio.io import MemoryFile

    if path.startswith("/vsi") or "://" in path:
        raise RasterError(
            f"{path} is not opened: a VRT names other files. Copy it with gdal_translate -of COG."
        )
    with MemoryFile(checked_vrt(Path(path)), ext="vrt") as memory, memory.open() as dataset:
        yield dataset


def checked_vrt(path: Path) -> bytes:
    """The XML of a virtual raster, its sources as absolute paths.

    Raises:
        RasterError: As `opened_vrt`.
    """
    try:
        size = path.stat().st_size
        if size > VRT_BYTES:
            raise RasterError(f"{path} has {size:,} bytes; more than {VRT_BYTES:,} are not read.")
        text = path.read_bytes()
        if b"<!" in text.replace(b"<!--", b""):
            raise RasterError(f"{path} is not opened: it declares a document type.")
        root = ElementTree.fromstring(text)  # noqa: S314  # without entities, which need "<!"
    except FileNotFoundError as exc:
        raise RasterError(f"{path} does not exist.") from exc
    except (ElementTree.ParseError, ValueError, RecursionError) as exc:
        raise RasterError(f"{path} is no VRT: {exc}.") from exc
    except OSError as exc:
        if isinstance(exc, RasterError):
            raise
        raise RasterError(f"{path} cannot be read: {exc.strerror}.") from exc
    if root.tag != "VRTDataset" or root.get("subClass"):
        raise RasterError(f"{path} is not opened: only a VRT of plain bands is.")
    allowed = set()
    for parent in root.iter():
        if parent.tag == "VRTRasterBand" and parent.get("subClass") not in _BANDS:
            raise RasterError(f"{path} is not opened: it has a {parent.get('subClass')!r:.60}.")
        for one in parent:
            if one.tag == "SourceFilename" and parent.tag in _SOURCES:
                allowed.add(one)
                one.text = _source(path, one)
                one.set("relativeToVRT", "0")
            elif one.tag == "OpenOptions" or (
                one not in allowed and one.tag.lower().endswith(("filename", "dataset"))
            ):
                raise RasterError(f"{path} is not opened: it has a {one.tag[:60]}.")
    return ElementTree.tostring(root)


def _source(vrt: Path, named: ElementTree.Element) -> str:
    text = (named.text or "").strip()
    source = vrt.parent / text if named.get("relativeToVRT") == "1" else Path(text)
    if not source.is_absolute() or str(source).startswith("/vsi") or not source.is_file():
        raise RasterError(f"{vrt} is not opened: its source {text!r:.200} is no file here.")
    with source.open("rb") as file:
        head = file.read(_HEAD_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"<", b"{")) or is_vrt(str(source)):
        raise RasterError(f"{vrt} is not opened: its source {text!r:.200} is no plain raster.")
    return str(source)
