"""Keys and bytes through fsspec, for storage that is neither S3 nor a local folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rvlab.errors import (
    KeyExists,
    KeyMissing,
    MissingExtra,
    SpecError,
    StoreError,
    StoreUnreachable,
)
from rvlab.model.limits import too_large


class FsspecStorage:
    """Storage at any other URI, through fsspec, such as ``gs://`` or ``memory://``."""

    def __init__(self, uri: str) -> None:
        import fsspec

        try:
            self._fs, self._root = fsspec.core.url_to_fs(uri, use_listings_cache=False)
        except (ImportError, ModuleNotFoundError) as exc:
            raise MissingExtra(f"The store {uri!r} needs another package: {exc}") from exc
        except ValueError as exc:
            raise SpecError(f"fsspec cannot open {uri!r} as a store: {exc}") from exc
        self._uri = uri

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}" if key else self._root

    def get(self, key: str, limit: int | None = None) -> bytes:
        """See ObjectStorage."""
        if limit is not None and (found := self.size(key)) > limit:
            too_large(key, found, limit)
        with self._translate_errors(key):
            return bytes(self._fs.cat_file(self._path(key)))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See ObjectStorage."""
        with self._translate_errors(key):
            return bytes(self._fs.cat_file(self._path(key), start=start, end=start + length))

    def get_start(self, key: str, length: int) -> tuple[bytes, int]:
        """See ObjectStorage."""
        return self.get_range(key, 0, length), self.size(key)

    def get_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """See ObjectStorage; ranges are requested one after another."""
        pairs = zip(starts, lengths, strict=True)
        return [self.get_range(key, start, length) for start, length in pairs]

    def size(self, key: str) -> int:
        """See ObjectStorage."""
        with self._translate_errors(key):
            return int(self._fs.size(self._path(key)))

    def get_with_etag(self, key: str, limit: int | None = None) -> tuple[bytes, str | None]:
        """See ObjectStorage."""
        tag = self.etag(key)  # before the bytes: if they change in between, they are read again
        return self.get(key, limit), tag

    def etag(self, key: str) -> str | None:
        """See ObjectStorage."""
        with self._translate_errors(key):
            self._fs.invalidate_cache()
            return _etag(self._fs.info(self._path(key)))

    def last_modified(self, key: str) -> datetime:
        """See ObjectStorage; StoreError if this kind of storage records no times."""
        with self._translate_errors(key):
            try:
                found: datetime = self._fs.modified(self._path(key))
            except NotImplementedError as exc:
                raise StoreError(f"{self._uri} does not report when {key!r} was written.") from exc
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """See ObjectStorage; with `if_absent`, two concurrent writers may both succeed."""
        path = self._path(key)
        with self._translate_errors(key):
            if if_absent and self._fs.exists(path):
                raise FileExistsError(key)
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._fs.pipe_file(path, data)

    def put_file(self, key: str, path: Path) -> None:
        """See ObjectStorage."""
        target = self._path(key)
        with self._translate_errors(key):
            self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            self._fs.put_file(str(path), target)

    def replace(self, key: str, data: bytes, etag: str | None) -> str | None:
        """See ObjectStorage; fsspec has no such write."""
        self.put(key, data)
        return None

    def delete(self, key: str) -> None:
        """See ObjectStorage."""
        with self._translate_errors(key):
            if self._fs.exists(self._path(key)):
                self._fs.rm_file(self._path(key))

    def files(self, prefix: str) -> list[tuple[str, int]]:
        """See ObjectStorage."""
        with self._translate_errors(prefix):
            found = self._fs.find(self._path(prefix.rstrip("/")), detail=True)
        start = len(self._path("").rstrip("/")) + 1
        keys = ((path[start:], int(info["size"])) for path, info in found.items())
        return sorted((key, size) for key, size in keys if key != prefix)

    def last_modified_by_key(self, prefix: str) -> dict[str, datetime | None]:
        """See ObjectStorage."""
        with self._translate_errors(prefix):
            self._fs.invalidate_cache()
            found = self._fs.find(self._path(prefix.rstrip("/")), detail=True)
        start = len(self._path("").rstrip("/")) + 1
        times = {path[start:]: _last_modified(info) for path, info in found.items()}
        return {key: times[key] for key in sorted(times) if key != prefix}

    def now(self) -> datetime | None:
        """Return None: fsspec has no call for it."""
        return None

    def folders(self, prefix: str) -> list[str]:
        """See ObjectStorage."""
        with self._translate_errors(prefix):
            try:
                found = self._fs.ls(self._path(prefix.rstrip("/")), detail=True)
            except FileNotFoundError:
                return []
        names = (i["name"].rstrip("/").rsplit("/", 1)[-1] for i in found)
        kinds = (i["type"] for i in found)
        return sorted(n for n, kind in zip(names, kinds, strict=True) if kind == "directory")

    def pages(self, prefix: str, after: str | None) -> Iterator[dict[str, str | None]]:
        """See ObjectStorage."""
        with self._translate_errors(prefix):
            self._fs.invalidate_cache()
            found = self._fs.find(self._path(prefix.rstrip("/")), detail=True)
        start = len(self._path("").rstrip("/")) + 1
        yield {path[start:]: _etag(info) for path, info in found.items() if path[start:] != prefix}

    @contextmanager
    def _translate_errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as exc:
            raise KeyMissing(f"{self._uri} has no key {key!r}.") from exc
        except FileExistsError as exc:
            raise KeyExists(f"{self._uri} has the key {key!r} already.") from exc
        except ConnectionError as exc:
            raise StoreUnreachable(f"{self._uri} cannot be reached: {exc}.") from exc
        except NotImplementedError as exc:
            raise StoreError(f"{self._uri} does not support this write: {exc}.") from exc
        except OSError as exc:
            raise StoreError(f"{self._uri} failed on {key!r}: {exc}.") from exc


def _last_modified(info: Mapping[str, Any]) -> datetime | None:
    """Return when a key was written, from the fields that file systems use."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
        found = info.get(name)
        if isinstance(found, datetime):
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(found, int | float) and found:
            return datetime.fromtimestamp(found, UTC)
    return None


def _etag(info: Mapping[str, Any]) -> str | None:
    """Return an ETag or a substitute for one, from the fields that file systems use."""
    for name in ("ETag", "etag", "e_tag", "md5Hash", "content_md5"):
        if info.get(name):
            return str(info[name])
    changed = next((info[n] for n in ("mtime", "last_modified", "created") if info.get(n)), None)
    # Some file systems return another type for one key than for many.
    if isinstance(changed, datetime):
        changed = changed.timestamp()
    return f"{changed:.6f}-{info.get('size')}" if isinstance(changed, int | float) else None
