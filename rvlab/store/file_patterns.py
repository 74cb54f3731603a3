"""Files that a user names: a file, the rasters of a folder, or the files that match a pattern."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rvlab.errors import NotFound, SpecError, StoreError
from rvlab.store.addresses import store_for_uri
from rvlab.store.rv_outputs import key_below

RASTER_SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2", ".img", ".png", ".jpg", ".jpeg")
VECTOR_SUFFIXES = (
    *(".geojson", ".json", ".geojsonl", ".ndjson"),
    *(".gpkg", ".fgb", ".shp", ".kml", ".zip"),
)

_PATTERN = re.compile(r"[*?\[]")


def expand_file_pattern(files: str | Path, suffixes: Sequence[str] = RASTER_SUFFIXES) -> list[str]:
    """Return the files that a path, a URI, a folder or a pattern means, sorted.

    Patterns of local files and of object storage have ``*``, ``?``, ``[…]`` and, for any number of
    folders, ``**``. A local path becomes absolute. A remote file is not looked up.

    Args:
        files: The path, URI, folder or pattern. A file of this name is not a pattern.
        suffixes: The ends of the names that count in a folder.

    Raises:
        NotFound: If the file does not exist, or none matches.
        SpecError: If the name of a bucket is a pattern.
        StoreError: If a folder of object storage cannot be listed.
    """
    text = str(files)
    scheme = urlsplit(text).scheme if "://" in text else ""
    is_pattern = bool(_PATTERN.search(text))
    what = "matches no file" if is_pattern else "does not exist"
    if scheme in ("", "file"):
        path = Path(unquote(urlsplit(text).path) if scheme else text).expanduser().absolute()
        if path.is_file():
            return [str(path)]
        if path.is_dir():
            found, what = _with_suffix(map(str, path.iterdir()), suffixes), "has no such files"
        else:
            found = glob.glob(str(path), recursive=True)  # noqa: PTH207  absolute patterns
        found = [name for name in found if Path(name).is_file()]
    elif scheme in ("http", "https"):
        return [text]
    elif is_pattern:
        found = _matching_objects(text)
    elif text.lower().endswith((*RASTER_SUFFIXES, *VECTOR_SUFFIXES)):
        return [text]
    else:
        folder = text.rstrip("/")
        here = [one for one in _objects_below(folder) if "/" not in one.removeprefix(f"{folder}/")]
        found = _with_suffix(here, suffixes)
        what = "has no such files"
    if not found:
        raise NotFound(f"{text} {what}.")
    return sorted(found)


def _with_suffix(names: Iterable[str], suffixes: Sequence[str]) -> list[str]:
    return [name for name in names if name.lower().endswith(tuple(suffixes))]


def _objects_below(folder: str) -> list[str]:
    """Return the URIs of all objects below a folder."""
    home = store_for_uri(folder)
    try:
        keys = [key for key, _ in home.files(key_below(home, folder))]
    except StoreError as exc:
        raise type(exc)(f"{folder} cannot be listed: {exc}") from exc
    return [f"{home.uri.rstrip('/')}/{key}" for key in keys]


def _matching_objects(pattern: str) -> list[str]:
    """Return the URIs of the objects that match a pattern."""
    parts = pattern.split("/")
    first = next(number for number, part in enumerate(parts) if _PATTERN.search(part))
    if first < 3:  # scheme, nothing, bucket
        raise SpecError(f"{pattern!r}: a bucket must be named without a pattern.")
    below = [one.split("/") for one in _objects_below("/".join(parts[:first]))]
    return ["/".join(names) for names in below if _matches(names[first:], parts[first:])]


def _matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Return whether the names of a path match a pattern; ``**`` matches any folders."""
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_matches(names[n:], parts[1:]) for n in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _matches(names[1:], parts[1:])
