"""The data folder of a recipe, local or on S3, shared by its runs."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from rvlab.errors import StoreError

SharedFolder: TypeAlias = str | None
"""Annotation of a recipe's parameter that receives the URI of a folder for its data.

All runs of the recipe in a store share the folder. The parameter is a location, not a column
``params.*``. In `rastervision run` it is an ordinary argument. A parameter with any other
annotation, even if it is named ``data_uri``, gets only the value that the user passes.
"""


SharedFile: TypeAlias = str
"""Annotation of a parameter that receives the URI of a file; a location like `SharedFolder`."""


def data_folder(root_uri: str, data_uri: str | None, *parts: str) -> str:
    """Return the URI of a folder below `data_uri`, by default ``{root_uri}/data``.

    A local folder becomes absolute, since later steps run elsewhere.
    """
    top = data_uri or f"{root_uri.rstrip('/')}/data"
    if "://" not in top:
        top = os.path.abspath(top)
    return "/".join([top.rstrip("/"), *parts])


def list_names(uri: str, suffix: str = "") -> list[str]:
    """List the names in a folder, sorted; empty if the folder does not exist.

    Args:
        uri: The folder, local or any URI that Raster Vision can list.
        suffix: List only names with this suffix.

    Raises:
        StoreError: If the folder cannot be listed.
    """
    if "://" not in uri:
        # Raster Vision's own listing interprets [ and * in a local path as a pattern.
        found = os.listdir(uri) if os.path.isdir(uri) else []
        return sorted(name for name in found if name.endswith(suffix))
    from rastervision.pipeline.file_system import list_paths

    try:
        paths = list_paths(uri, ext=suffix)
    except Exception as exc:  # Raster Vision lets through whatever the store's client raises.
        raise StoreError(f"{uri} cannot be listed: {exc}") from exc
    return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths)


def upload(path: Path, uri: str) -> None:
    """Copy a file to `uri` atomically.

    Raises:
        StoreError: If it cannot be written.
    """
    from rastervision.pipeline.file_system import upload_or_copy

    try:
        if "://" in uri:
            upload_or_copy(str(path), uri)  # An object appears on S3 only when it is complete.
            return
        Path(uri).parent.mkdir(parents=True, exist_ok=True)
        part = f"{uri}.{secrets.token_hex(4)}.part"
        upload_or_copy(str(path), part)
        os.replace(part, uri)
    except Exception as exc:
        raise StoreError(f"{uri} cannot be written: {exc}") from exc


def make_missing(uri: str, makers: Mapping[str, Callable[[Path], object]]) -> dict[str, str]:
    """Create the missing files of a folder.

    Two runs may do this at the same time: files are written atomically, and makers are
    deterministic.

    Args:
        uri: The folder.
        makers: By file name, a function that writes the file at the local path it is given.

    Returns:
        By file name, its URI.

    Raises:
        StoreError: If the folder cannot be read or written.
    """
    missing = sorted(set(makers) - set(list_names(uri)))
    with tempfile.TemporaryDirectory() as tmp:
        for name in missing:
            local = Path(tmp, name)
            makers[name](local)
            upload(local, f"{uri}/{name}")
    return {name: f"{uri}/{name}" for name in makers}
