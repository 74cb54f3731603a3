"""Open and download the files of runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit

from rvlab.errors import NotFound, RasterError, SpecError, did_you_mean
from rvlab.store import Store
from rvlab.store.addresses import absolute_local_path, mark_if_refused, require_not_refused

if TYPE_CHECKING:
    import fsspec
    import pandas as pd

DOWNLOADS = 8
"""Files that are downloaded at a time."""

CHUNK_BYTES = 8 * 2**20


def open_file(store: Store, uri: str) -> BinaryIO:
    """Open a file of a store; see `rvlab.Lab.open`."""
    address = mark_if_refused(str(uri), store)
    try:
        require_not_refused(address)
    except RasterError as exc:
        raise SpecError(str(exc)) from exc
    files, path = _file_system(store, address)
    try:
        return cast("BinaryIO", files.open(path, "rb"))
    except (FileNotFoundError, IsADirectoryError) as exc:
        raise NotFound(
            f"The file {uri!r} is not in the store. lab.artifacts(run) lists the files."
        ) from exc


def download_files(
    store: Store, table: pd.DataFrame, kind: str | Sequence[str] | None, to: str | Path
) -> pd.DataFrame:
    """Download the files of a table of artifacts; see `rvlab.Lab.download`."""
    kinds = [kind] if isinstance(kind, str) else list(kind or [])
    known = table["kind"].dropna().unique().tolist()
    for name in kinds:
        if name not in known:
            raise NotFound(
                f"The runs have no files of the kind {name!r}. {did_you_mean(name, known)}"
            )
    rows = table[table["kind"].isin(kinds)] if kinds else table
    folder = Path(to).expanduser().resolve()
    paths = [
        _target(folder, str(run), str(uri))
        for run, uri in zip(rows["run"], rows["uri"], strict=True)
    ]
    with _translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        list(
            pool.map(
                lambda uri, size, path: download_file(store, uri, size, path),
                rows["uri"],
                rows["bytes"],
                paths,
            )
        )
    return (
        rows.drop(columns="uri").assign(path=[str(path) for path in paths]).reset_index(drop=True)
    )


def _target(folder: Path, run: str, uri: str) -> Path:
    """Return where a file is written, which is below the folder for any address in a record."""
    below = urlsplit(uri).path.partition(f"/{run}/")[2] or urlsplit(uri).path
    parts = [part for part in below.split("/") if part not in ("", ".", "..")]
    parts = parts[1:] if parts[:1] == ["rv"] else parts
    path = folder.joinpath(run, *parts)
    if not parts or not path.resolve().is_relative_to(folder):
        raise SpecError(f"{uri!r} of the run {run} cannot be written below {folder}.")
    return path


def download_file(
    store: Store, uri: str, size: int, path: Path, *, overwrite: bool = False
) -> None:
    """Download a file; an interrupted download leaves none, or the earlier one.

    Args:
        store: The store.
        uri: The file.
        size: Its size in bytes. A local file of this size is not downloaded again.
        path: Where to.
        overwrite: Download it in any case.
    """
    if not overwrite and path.is_file() and path.stat().st_size == size:
        return
    with _translate_os_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    with open_file(store, uri) as source, contextlib.ExitStack() as stack:
        with _translate_os_errors(partial):
            target = stack.enter_context(partial.open("wb"))
        while data := source.read(CHUNK_BYTES):
            with _translate_os_errors(partial):
                target.write(data)
    with _translate_os_errors(path):
        os.replace(partial, path)


@contextlib.contextmanager
def _translate_os_errors(path: Path) -> Iterator[None]:
    """Turn an error of this machine's files into a sentence."""
    try:
        yield
    except OSError as exc:
        raise SpecError(f"{path} cannot be written: {exc.strerror}. Name another folder.") from exc


def _file_system(store: Store, uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    import fsspec

    scheme = urlsplit(uri).scheme
    if scheme in ("", "file"):
        return fsspec.filesystem("file"), absolute_local_path(uri)
    options: dict[str, Any] = store.storage_options if scheme == "s3" else {}
    return fsspec.filesystem(scheme, **options), uri
