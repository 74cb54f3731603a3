"""Keys and bytes: the few calls on object storage that everything else is made of.

obstore serves S3 and local folders, because it is ten to twenty times faster than fsspec on many
small keys and knows conditional puts; every other URI goes through fsspec.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from rvlab.errors import (
    KeyExists,
    KeyMissing,
    MissingExtra,
    SpecError,
    StoreError,
    StoreUnreachable,
)
from rvlab.store.access import S3Access

# A dead endpoint has to be told within 15 s, one that takes connections and says nothing included;
# a slow answer of a live one may take longer.
CONNECT_S, SILENT_S, ANSWER_S, RETRY_S = 4, 10, 30, 8

NO_CREDENTIALS = "169.254.169.254"
"""Where obstore asks an Amazon machine for credentials when it has none; elsewhere, nobody."""


ENDPOINT = re.compile(r"https?://[!-~]+")


class Objects(Protocol):
    """What a store needs of a kind of storage; keys are relative and use ``/``."""

    def get(self, key: str) -> bytes:
        """The bytes of a key; KeyMissing if there is none."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Some of the bytes of a key; KeyMissing if there is none."""

    def size(self, key: str) -> int:
        """How many bytes a key has; KeyMissing if there is none."""

    def modified(self, key: str) -> datetime:
        """When a key was last written, in UTC; KeyMissing if there is none."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write a key, whole or not at all; KeyExists if it is there and must not be."""

    def delete(self, key: str) -> None:
        """Remove a key; a missing one is no error."""

    def files(self, prefix: str) -> list[tuple[str, int]]:
        """All keys below a prefix with their sizes in bytes, sorted by key."""

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below a prefix, sorted."""


def objects_at(uri: str, access: S3Access) -> Objects:
    """The storage behind a root URI."""
    scheme = urlsplit(uri).scheme
    if scheme == "s3":
        return ObstoreObjects.s3(uri, access)
    if not scheme:
        return ObstoreObjects.local(uri)
    return FsspecObjects(uri)


class ObstoreObjects:
    """S3 or a local folder through obstore."""

    def __init__(self, store: Any, where: str) -> None:
        self._store = store
        self._where = where

    @classmethod
    def s3(cls, uri: str, access: S3Access) -> ObstoreObjects:
        """A bucket and prefix on S3."""
        from obstore.store import S3Store

        if access.endpoint and not ENDPOINT.fullmatch(access.endpoint):
            raise StoreError(
                f"The S3 endpoint {access.endpoint!r} is no URL. Write AWS_ENDPOINT_URL as "
                "http://host:port or https://host."
            )
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        settings: dict[str, Any] = {"region": access.region}
        # obstore fills in from the environment what it is not told, and would take an endpoint or
        # a token that is meant for another S3.
        if access.endpoint:
            settings |= dict.fromkeys(("endpoint", "aws_endpoint_url_s3"), access.endpoint)
            settings["virtual_hosted_style_request"] = False
        if access.access_key and access.secret_key:
            settings |= {"access_key_id": access.access_key, "secret_access_key": access.secret_key}
            settings["session_token"] = access.session_token or ""
        store = S3Store(
            bucket,
            prefix=prefix or None,
            **settings,
            client_options={
                "allow_http": access.plain_http,
                "connect_timeout": timedelta(seconds=CONNECT_S),
                "read_timeout": timedelta(seconds=SILENT_S),
                "timeout": timedelta(seconds=ANSWER_S),
            },
            retry_config={
                "max_retries": 4,
                "retry_timeout": timedelta(seconds=RETRY_S),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=2),
                    "base": 2,
                },
            },
        )
        where = f"The bucket {bucket!r} at {access.endpoint or 'Amazon'}"
        return cls(store, where)

    @classmethod
    def local(cls, uri: str) -> ObstoreObjects:
        """A local folder, made if it is missing."""
        from obstore.store import LocalStore

        path = Path(uri)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreError(f"The store folder {path} cannot be made: {exc.strerror}.") from exc
        if not os.access(path, os.R_OK | os.X_OK):
            raise StoreError(f"The store folder {path} cannot be read. Check its permissions.")
        # Folders that a deletion empties go too: an empty one would be listed as a run for ever.
        return cls(LocalStore(path, automatic_cleanup=True), f"The folder {path}")

    def get(self, key: str) -> bytes:
        """See Objects."""
        import obstore

        with self._said(key):
            return bytes(obstore.get(self._store, key).bytes())

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Objects."""
        import obstore

        with self._said(key):
            return bytes(obstore.get_range(self._store, key, start=start, length=length))

    def size(self, key: str) -> int:
        """See Objects."""
        import obstore

        with self._said(key):
            return int(obstore.head(self._store, key)["size"])

    def modified(self, key: str) -> datetime:
        """See Objects."""
        import obstore

        with self._said(key):
            return obstore.head(self._store, key)["last_modified"].astimezone(UTC)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """See Objects."""
        import obstore

        with self._said(key):
            obstore.put(self._store, key, data, mode="create" if if_absent else "overwrite")

    def delete(self, key: str) -> None:
        """See Objects."""
        import obstore

        with self._said(key):
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                return

    def files(self, prefix: str) -> list[tuple[str, int]]:
        """See Objects."""
        import obstore

        with self._said(prefix):
            pages = list(obstore.list(self._store, prefix or None))
        return sorted((meta["path"], meta["size"]) for page in pages for meta in page)

    def folders(self, prefix: str) -> list[str]:
        """See Objects."""
        import obstore

        with self._said(prefix):
            found = obstore.list_with_delimiter(self._store, prefix or None)["common_prefixes"]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    @contextmanager
    def _said(self, key: str) -> Iterator[None]:
        """Translate obstore's errors; their text is long and is kept as the cause only."""
        from obstore import exceptions as ob

        try:
            yield
        except FileNotFoundError as exc:
            if "NoSuchBucket" in str(exc):
                raise self._other(key, str(exc)) from exc
            raise KeyMissing(f"{self._where} has no key {key!r}.") from exc
        except ob.AlreadyExistsError as exc:
            raise KeyExists(f"{self._where} has the key {key!r} already.") from exc
        except (ob.PermissionDeniedError, ob.UnauthenticatedError) as exc:
            raise StoreError(
                f"{self._where} refused the credentials for {key!r}. Check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and what they are allowed to do."
            ) from exc
        except ob.BaseError as exc:
            raise self._other(key, str(exc)) from None
        except ValueError as exc:
            raise StoreError(f"{key!r} cannot be a key: {exc}.") from exc
        except OSError as exc:
            raise StoreError(f"{self._where} failed on {key!r}: {exc.strerror or exc}.") from exc

    def _other(self, key: str, text: str) -> StoreError:
        if "NoSuchBucket" in text:
            return StoreError(
                f"{self._where} does not exist. Make it first, or name another store."
            )
        if NO_CREDENTIALS in text:
            return StoreError(
                f"{self._where} needs credentials, and there are none. Set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY."
            )
        if "HTTP error" in text or "error sending request" in text or "timed out" in text:
            return StoreUnreachable(
                f"{self._where} cannot be reached. Is it running, and is AWS_ENDPOINT_URL right?"
            )
        for word in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "credential"):
            if word in text:
                return StoreError(f"{self._where} refused the credentials ({word}).")
        first = text.splitlines()[0] if text else "unknown error"
        return StoreError(f"{self._where} failed on {key!r}: {first[:300]}")


class FsspecObjects:
    """Any other URI through fsspec, such as ``gs://`` or ``memory://``."""

    def __init__(self, uri: str) -> None:
        import fsspec

        try:
            self._fs, self._root = fsspec.core.url_to_fs(uri, use_listings_cache=False)
        except (ImportError, ModuleNotFoundError) as exc:
            raise MissingExtra(f"The store {uri!r} needs another package: {exc}") from exc
        except ValueError as exc:
            raise SpecError(f"{uri!r} is no store that fsspec knows: {exc}") from exc
        self._uri = uri

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}" if key else self._root

    def get(self, key: str) -> bytes:
        """See Objects."""
        with self._said(key):
            return bytes(self._fs.cat_file(self._path(key)))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Objects."""
        with self._said(key):
            return bytes(self._fs.cat_file(self._path(key), start=start, end=start + length))

    def size(self, key: str) -> int:
        """See Objects."""
        with self._said(key):
            return int(self._fs.size(self._path(key)))

    def modified(self, key: str) -> datetime:
        """See Objects; StoreError if this kind of storage keeps no times."""
        with self._said(key):
            try:
                found: datetime = self._fs.modified(self._path(key))
            except NotImplementedError as exc:
                raise StoreError(f"{self._uri} does not tell when {key!r} was written.") from exc
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """See Objects; with `if_absent`, two that write at the same moment may both succeed."""
        path = self._path(key)
        with self._said(key):
            if if_absent and self._fs.exists(path):
                raise FileExistsError(key)
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._fs.pipe_file(path, data)

    def delete(self, key: str) -> None:
        """See Objects."""
        with self._said(key):
            if self._fs.exists(self._path(key)):
                self._fs.rm_file(self._path(key))

    def files(self, prefix: str) -> list[tuple[str, int]]:
        """See Objects."""
        with self._said(prefix):
            found = self._fs.find(self._path(prefix.rstrip("/")), detail=True)
        start = len(self._path("").rstrip("/")) + 1
        keys = ((path[start:], int(info["size"])) for path, info in found.items())
        return sorted((key, size) for key, size in keys if key != prefix)

    def folders(self, prefix: str) -> list[str]:
        """See Objects."""
        with self._said(prefix):
            try:
                found = self._fs.ls(self._path(prefix.rstrip("/")), detail=True)
            except FileNotFoundError:
                return []
        names = (i["name"].rstrip("/").rsplit("/", 1)[-1] for i in found)
        kinds = (i["type"] for i in found)
        return sorted(n for n, kind in zip(names, kinds, strict=True) if kind == "directory")

    @contextmanager
    def _said(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as exc:
            raise KeyMissing(f"{self._uri} has no key {key!r}.") from exc
        except FileExistsError as exc:
            raise KeyExists(f"{self._uri} has the key {key!r} already.") from exc
        except ConnectionError as exc:
            raise StoreUnreachable(f"{self._uri} cannot be reached: {exc}.") from exc
        except OSError as exc:
            raise StoreError(f"{self._uri} failed on {key!r}: {exc}.") from exc
