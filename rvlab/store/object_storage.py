"""Keys and bytes: the basic calls on object storage.

obstore serves S3 and local folders: for many small keys it is ten to twenty times faster than
fsspec, and it supports conditional puts. fsspec serves every other URI.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from rvlab.errors import KeyExists, KeyMissing, StoreError
from rvlab.model.limits import too_large
from rvlab.store.access import DEFAULT_PROFILE, S3Access
from rvlab.store.clock import Clock
from rvlab.store.local_folders import Unscannable, scan_etags
from rvlab.store.obstore_errors import NoConditionalPut, to_store_error

_log = logging.getLogger("rvlab")

# A dead endpoint must be reported within 15 s, and so must one that accepts connections and never
# answers. A slow answer may take longer.
S3_CONNECT_TIMEOUT_S, S3_READ_TIMEOUT_S, S3_REQUEST_TIMEOUT_S, S3_RETRY_TIMEOUT_S = 4, 10, 30, 8

MAX_KEYS_PER_PAGE = 1000
"""Maximum number of keys that S3 lists in one response."""

MERGED_GAP_BYTES = 2**17
"""Largest gap in bytes between two ranges of one request; a second request costs more."""

NOT_ATOMIC = (
    "rvlab checks whether a record exists before it writes one that must be new; two processes "
    "that write the same record at the same moment may both succeed."
)
"""Consequence of a storage without conditional puts, for a warning."""

ENDPOINT_PATTERN = re.compile(r"https?://[!-~]+")


class ObjectStorage(Protocol):
    """The calls that a store needs from its storage; keys are relative and use ``/``."""

    def get(self, key: str, limit: int | None = None) -> bytes:
        """Return the bytes of a key; KeyMissing or RecordBroken (above the limit)."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return a range of the bytes of a key; KeyMissing if the key does not exist."""

    def get_start(self, key: str, length: int) -> tuple[bytes, int]:
        """Return the first bytes of a key, and its size; KeyMissing if the key does not exist."""

    def get_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Return ranges of the bytes of a key, requested concurrently; StoreError beyond its end.

        Ranges that are at most `MERGED_GAP_BYTES` apart are one request.
        """

    def size(self, key: str) -> int:
        """Return the size of a key in bytes; KeyMissing if the key does not exist."""

    def get_with_etag(self, key: str, limit: int | None = None) -> tuple[bytes, str | None]:
        """Return the bytes of a key, as `get`, and its ETag, as in `pages`."""

    def etag(self, key: str) -> str | None:
        """Return the ETag of a key, as in `pages`; KeyMissing if the key does not exist."""

    def last_modified(self, key: str) -> datetime:
        """Return when a key was last written, in UTC; KeyMissing if the key does not exist."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write a key atomically; KeyExists if `if_absent` and the key exists."""

    def put_file(self, key: str, path: Path) -> None:
        """Write a local file, which may be larger than memory, to a key atomically."""

    def replace(self, key: str, data: bytes, etag: str | None) -> str | None:
        """Write a key if its ETag is still `etag`; an `etag` of None requires a missing key.

        Returns:
            Its new ETag. None where the kind of storage has no such write: then it is a `put`.

        Raises:
            KeyChanged: If its ETag is another by now; it is not written.
            KeyExists: If `etag` is None and the key exists.
        """

    def delete(self, key: str) -> None:
        """Delete a key; a missing one is not an error."""

    def last_modified_by_key(self, prefix: str) -> dict[str, datetime | None]:
        """Return by sorted key when it was last written, in UTC; None if that is unknown."""

    def now(self) -> datetime | None:
        """Return the time by the clock of the storage, in UTC; None if it has none."""

    def files(self, prefix: str) -> list[tuple[str, int]]:
        """List all keys below a prefix with their sizes in bytes, sorted by key."""

    def folders(self, prefix: str) -> list[str]:
        """List the names of the folders directly below a prefix, sorted."""

    def pages(self, prefix: str, after: str | None) -> Iterator[dict[str, str | None]]:
        """Yield the ETag of each key below a prefix, or of those after a key, page by page.

        None where the storage has no ETags. A key that is rewritten gets another one. On S3 keys
        are sorted and each page is requested when the iterator advances; elsewhere `after` is
        ignored.
        """


def open_storage(uri: str, access: S3Access) -> ObjectStorage:
    """Open the storage behind a root URI."""
    scheme = urlsplit(uri).scheme
    if scheme == "s3":
        return ObstoreStorage.s3(uri, access)
    if not scheme:
        return ObstoreStorage.local(uri)
    from rvlab.store.fsspec_storage import FsspecStorage

    return FsspecStorage(uri)


def _advice(access: S3Access) -> str:
    """Say what to check when the credentials of a bucket are refused."""
    if access.anonymous:
        return "Requests are not signed, because AWS_NO_SIGN_REQUEST is set; unset it."
    if access.access_key:
        return "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their permissions."
    return f"Check the AWS profile {access.profile or DEFAULT_PROFILE!r} and its permissions."


class ObstoreStorage:
    """Storage on S3 or in a local folder, through obstore."""

    def __init__(
        self,
        store: Any,
        description: str,
        folder: Path | None = None,
        *,
        store_without_retries: Any = None,
        clock: Clock | None = None,
        advice: str = "",
    ) -> None:
        self._store = store
        self._where = description
        self._folder = folder
        self._sent_once = store_without_retries or store
        self._clock = clock
        self._advice = advice
        self.conditional_puts = True

    @classmethod
    def s3(cls, uri: str, access: S3Access) -> ObstoreStorage:
        """Open a bucket and prefix on S3."""
        from obstore.store import S3Store

        if access.endpoint and not ENDPOINT_PATTERN.fullmatch(access.endpoint):
            raise StoreError(
                f"The S3 endpoint {access.endpoint!r} is not a URL. Set AWS_ENDPOINT_URL as "
                "http://host:port or https://host."
            )
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        settings = access.obstore_options(bucket)
        client: Any = {
            **settings.pop("client_options"),
            "connect_timeout": timedelta(seconds=S3_CONNECT_TIMEOUT_S),
            "read_timeout": timedelta(seconds=S3_READ_TIMEOUT_S),
            "timeout": timedelta(seconds=S3_REQUEST_TIMEOUT_S),
        }

        def store(max_retries: int) -> Any:
            return S3Store(
                bucket,
                prefix=prefix or None,
                **settings,
                client_options=client,
                retry_config={
                    "max_retries": max_retries,
                    "retry_timeout": timedelta(seconds=S3_RETRY_TIMEOUT_S),
                    "backoff": {
                        "init_backoff": timedelta(milliseconds=100),
                        "max_backoff": timedelta(seconds=2),
                        "base": 2,
                    },
                },
            )

        where = f"The bucket {bucket!r} at {access.endpoint or 'Amazon'}"
        # obstore repeats a put. If the first attempt had arrived, the repeated one fails with
        # "already exists". So conditional puts are sent once; `rvlab.store.patience` repeats them.
        endpoint = access.endpoint or f"https://s3.{access.region}.amazonaws.com"
        clock = Clock(endpoint, access.ca_bundle)
        return cls(
            store(4), where, store_without_retries=store(0), clock=clock, advice=_advice(access)
        )

    @classmethod
    def local(cls, uri: str) -> ObstoreStorage:
        """Open a local folder and create it if it is missing."""
        from obstore.store import LocalStore

        path = Path(uri)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StoreError(f"The store folder {path} cannot be created: {exc.strerror}.") from exc
        if not os.access(path, os.R_OK | os.X_OK):
            raise StoreError(f"The store folder {path} cannot be read. Check its permissions.")
        # Delete folders that become empty: an empty one would be listed as a run.
        return cls(LocalStore(path, automatic_cleanup=True), f"The folder {path}", path)

    def get(self, key: str, limit: int | None = None) -> bytes:
        """See ObjectStorage."""
        return self._read(key, limit)[0]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See ObjectStorage."""
        import obstore

        with self._translate_errors(key):
            return bytes(obstore.get_range(self._store, key, start=start, length=length))

    def get_start(self, key: str, length: int) -> tuple[bytes, int]:
        """See ObjectStorage."""
        import obstore

        with self._translate_errors(key):
            found = obstore.get(self._store, key, options={"range": (0, length)})
            return bytes(found.bytes()), found.meta["size"]

    def get_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """See ObjectStorage."""
        import obstore

        with self._translate_errors(key):
            found = obstore.get_ranges(
                self._store, key, starts=starts, lengths=lengths, coalesce=MERGED_GAP_BYTES
            )
            return [bytes(part) for part in found]

    def size(self, key: str) -> int:
        """See ObjectStorage."""
        import obstore

        with self._translate_errors(key):
            return int(obstore.head(self._store, key)["size"])

    def get_with_etag(self, key: str, limit: int | None = None) -> tuple[bytes, str | None]:
        """See ObjectStorage."""
        return self._read(key, limit)

    def _read(self, key: str, limit: int | None) -> tuple[bytes, str | None]:
        import obstore

        with self._translate_errors(key):
            found = obstore.get(self._store, key)
        size = found.meta["size"]
        if limit is not None and size > limit:
            too_large(key, size, limit)  # its body is not requested
        with self._translate_errors(key):
            return bytes(found.bytes()), found.meta["e_tag"]

    def etag(self, key: str) -> str | None:
        """See ObjectStorage."""
        import obstore

        with self._translate_errors(key):
            return obstore.head(self._store, key)["e_tag"]

    def last_modified(self, key: str) -> datetime:
        """See ObjectStorage."""
        import obstore

        with self._translate_errors(key):
            return obstore.head(self._store, key)["last_modified"].astimezone(UTC)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """See ObjectStorage."""
        import obstore

        if if_absent and self._put_if_absent(key, data):
            return
        with self._translate_errors(key):
            obstore.put(self._store, key, data, mode="overwrite")

    def put_file(self, key: str, path: Path) -> None:
        """See ObjectStorage."""
        import obstore

        with self._translate_errors(key):
            obstore.put(self._store, key, path, mode="overwrite")

    def _put_if_absent(self, key: str, data: bytes) -> bool:
        """Write a key if it is missing; return False if the caller has to write it."""
        import obstore

        if self.conditional_puts:
            try:
                with self._translate_errors(key):
                    obstore.put(self._sent_once, key, data, mode="create")
            except NoConditionalPut as exc:
                self.forgo_conditional_puts(str(exc))
            else:
                return True
        with contextlib.suppress(KeyMissing):
            self.size(key)
            raise KeyExists(f"{self._where} has the key {key!r} already.")
        return False

    def forgo_conditional_puts(self, reason: str) -> None:
        """Check before each conditional put, because this storage has none."""
        if self.conditional_puts:
            self.conditional_puts = False
            _log.warning("%s %s", reason, NOT_ATOMIC)

    def replace(self, key: str, data: bytes, etag: str | None) -> str | None:
        """See ObjectStorage."""
        import obstore

        if self._folder is None:
            mode: Any = "create" if etag is None else {"e_tag": etag}
            with (
                contextlib.suppress(NotImplementedError, NoConditionalPut),
                self._translate_errors(key),
            ):
                return obstore.put(self._sent_once, key, data, mode=mode)["e_tag"]
        self.put(key, data)
        return None

    def delete(self, key: str) -> None:
        """See ObjectStorage."""
        import obstore

        with self._translate_errors(key), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    def files(self, prefix: str) -> list[tuple[str, int]]:
        """See ObjectStorage."""
        import obstore

        with self._translate_errors(prefix):
            pages = list(obstore.list(self._store, prefix or None))
        return sorted((meta["path"], meta["size"]) for page in pages for meta in page)

    def last_modified_by_key(self, prefix: str) -> dict[str, datetime | None]:
        """See ObjectStorage."""
        import obstore

        with self._translate_errors(prefix):
            pages = list(obstore.list(self._store, prefix or None))
        times = {
            one["path"]: one["last_modified"].astimezone(UTC) for page in pages for one in page
        }
        return dict(sorted(times.items()))

    def now(self) -> datetime | None:
        """See ObjectStorage; for a folder, the clock of this machine."""
        return self._clock.now() if self._clock else datetime.now(UTC)

    def folders(self, prefix: str) -> list[str]:
        """See ObjectStorage."""
        import obstore

        with self._translate_errors(prefix):
            found = obstore.list_with_delimiter(self._store, prefix or None)["common_prefixes"]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def pages(self, prefix: str, after: str | None) -> Iterator[dict[str, str | None]]:
        """See ObjectStorage."""
        import obstore

        if self._folder is not None:
            with contextlib.suppress(Unscannable):
                yield scan_etags(self._folder, prefix)
                return
        with self._translate_errors(prefix):
            pages = obstore.list(
                self._store, prefix, offset=after, chunk_size=MAX_KEYS_PER_PAGE, return_arrow=True
            )
            for page in pages:
                keys, tags = page.column("path").to_pylist(), page.column("e_tag").to_pylist()
                yield dict(zip(keys, tags, strict=True))

    @contextlib.contextmanager
    def _translate_errors(self, key: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as exc:
            if isinstance(exc, FileNotFoundError) and "NoSuchBucket" not in str(exc):
                raise KeyMissing(f"{self._where} has no key {key!r}.") from exc
            raise to_store_error(exc, self._where, key, self._advice)  # noqa: B904  sets its cause
