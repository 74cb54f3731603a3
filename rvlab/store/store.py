"""A store: the root URI of experiments and their runs, and the access to it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from rvlab.errors import KeyMissing, RecordBroken, RvlabError, SpecError
from rvlab.model.limits import RECORD_BYTES
from rvlab.store import patience
from rvlab.store.access import S3Access
from rvlab.store.aws import resolve_access, variables_for_other_buckets
from rvlab.store.concurrency import map_concurrently
from rvlab.store.object_storage import ObjectStorage, ObstoreStorage, open_storage
from rvlab.store.patience import BRIEF_PATIENCE_S, RetryingStorage

PAGE_KEYS = 950  # known keys between two page boundaries; a page of 1,000 has room for new ones

PAGES_IN_FLIGHT = 16
"""Concurrent page requests of 1,000 keys and half a megabyte each; more slow a server down."""

_URI_LIKE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(\s*[:;]\s*[/\\]*)")
"""Pattern of a scheme and its separator, correct or not; ``C:`` is a drive, not a scheme."""

_NO_COLON = re.compile(r"(s3|gs|gcs|az|abfss?|https?|file)([/\\]{2,})", re.IGNORECASE)
_NO_ACCESS = S3Access()  # of a store that is not on S3

_T = TypeVar("_T")


class Store:
    """Keys below one root URI. Objects are written as a whole, and read as a whole or in ranges.

    Args:
        uri: A local folder, ``s3://bucket/prefix``, or any URI that fsspec opens.
        access: S3 endpoint and credentials; by default from the standard AWS variables and
            ``~/.aws``, see `rvlab.store.aws`.
        patience_s: Seconds for which a request is retried while the storage does not answer; a
            step has more patience than a notebook, see `with_patience`.
    """

    def __init__(
        self,
        uri: str | Path,
        access: S3Access | None = None,
        *,
        patience_s: float = BRIEF_PATIENCE_S,
    ) -> None:
        self.uri = normalize_uri(uri)
        self.access = access or (resolve_access(self.bucket) if self.bucket else _NO_ACCESS)
        self.patience_s = patience_s
        self.layout_checked = self.layout_recorded = False  # set by rvlab.store.layout

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def __getstate__(self) -> dict[str, Any]:
        # Cached properties hold obstore's objects with the credentials; they are created again.
        state: dict[str, Any] = {}
        for name, value in vars(self).items():
            if not isinstance(getattr(type(self), name, None), cached_property):
                state[name] = value
        return state

    @cached_property
    def _objects(self) -> ObjectStorage:
        return RetryingStorage(self._storage, self.patience_s)

    @cached_property
    def _storage(self) -> ObjectStorage:
        return open_storage(self.uri, self.access)

    def with_patience(self, patience_s: float | None = None) -> Store:
        """Return the same store with more patience, for a caller that can wait for it.

        Args:
            patience_s: In seconds; None is ``$RVLAB_PATIENCE_S``, else ten minutes.

        Raises:
            SpecError: If the variable does not hold a number of seconds.
        """
        wait_s = patience.patience_s() if patience_s is None else patience_s
        store = type(self)(self.uri, self.access, patience_s=wait_s)
        store.__dict__["_storage"] = self._storage  # share the connections
        return store

    @property
    def bucket(self) -> str | None:
        """The bucket on S3; None for another kind of storage."""
        return urlsplit(self.uri).netloc if self.is_s3 else None

    @property
    def is_s3(self) -> bool:
        """Whether the store is on S3."""
        return self.uri.startswith("s3://")

    @property
    def storage_options(self) -> dict[str, object]:
        """Options of ``pd.read_parquet(uri, storage_options=…)`` and fsspec, with the secret."""
        return self.access.storage_options() if self.is_s3 else {}

    def environ(self, *, elsewhere: bool = False) -> dict[str, str]:
        """Return the variables with which a child process opens this store, with the secret.

        They also keep the settings of this process for other buckets.

        Args:
            elsewhere: As for `S3Access.environ`.
        """
        if not self.bucket:
            return {}
        found = self.access.environ(elsewhere=elsewhere)
        return found | ({} if elsewhere else variables_for_other_buckets(self.bucket, found))

    def key(self, uri: str) -> str:
        """Return the key of a URI below this store's root.

        Raises:
            SpecError: If the URI is not below the root.
        """
        clean = normalize_uri(uri)
        root = f"{self.uri.rstrip('/')}/"
        if not clean.startswith(root) or ".." in clean.split("/"):
            raise SpecError(f"{uri!r} is not in the store {self.uri!r}.")
        return clean.removeprefix(root)

    def get(self, key: str, *, limit: int | None = None) -> bytes:
        """Return the bytes of a key.

        Args:
            key: The key.
            limit: Maximum size in bytes; see `rvlab.model.limits`.

        Raises:
            KeyMissing: If the key does not exist.
            RecordBroken: If it is larger than `limit`; nothing is read then.
            StoreUnreachable: If the store does not answer.
        """
        return self._objects.get(key, limit)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes of a key from `start` on; fewer than `length` at its end."""
        return self._objects.get_range(key, start, length)

    def get_start(self, key: str, length: int) -> tuple[bytes, int]:
        """Return the first bytes of a key, and its size; KeyMissing without such a key."""
        return self._objects.get_start(key, length)

    def get_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Return ranges of the bytes of a key, requested concurrently; close ones are merged."""
        return self._objects.get_ranges(key, starts, lengths)

    def get_with_etag(self, key: str) -> tuple[bytes, str | None]:
        """Return the bytes of a key and its ETag, as in `etags`.

        Raises:
            KeyMissing: If the key does not exist.
        """
        return self._objects.get_with_etag(key)

    def etag(self, key: str) -> str | None:
        """Return the ETag of a key, as in `etags`.

        Raises:
            KeyMissing: If the key does not exist.
        """
        return self._objects.etag(key)

    def size(self, key: str) -> int:
        """Return the size of a key in bytes.

        Raises:
            KeyMissing: If the key does not exist.
        """
        return self._objects.size(key)

    def last_modified(self, key: str) -> datetime:
        """Return when a key was last written, in UTC.

        Raises:
            KeyMissing: If the key does not exist.
            StoreError: If this kind of storage records no times.
        """
        return self._objects.last_modified(key)

    def get_json(self, key: str) -> dict[str, Any]:
        """Read a record.

        Raises:
            KeyMissing: If the key does not exist.
            RecordBroken: If it does not hold a JSON object.
        """
        return parse_record(key, self.get(key, limit=RECORD_BYTES))

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes | RvlabError]:
        """Read several records concurrently; a failure is returned in place of the bytes."""

        def one(key: str) -> bytes | RvlabError:
            try:
                return self.get(key, limit=RECORD_BYTES)
            except RvlabError as exc:
                return exc

        return self.map_concurrently(one, keys)

    def read_many(
        self, keys: Iterable[str], read: Callable[[str, bytes], _T]
    ) -> dict[str, tuple[_T, str | None] | RvlabError]:
        """Read and parse several records; return each result with its ETag, or the error.

        Each record is parsed while others are read, and its bytes are not retained.
        """

        def one(key: str) -> tuple[_T, str | None] | RvlabError:
            try:
                data, tag = self._objects.get_with_etag(key, RECORD_BYTES)
                return read(key, data), tag
            except RvlabError as exc:
                return exc

        return self.map_concurrently(one, keys)

    def map_concurrently(self, call: Callable[[str], Any], keys: Iterable[str]) -> dict[str, Any]:
        """Call a function for each key, concurrently; the first exception stops the rest."""
        unique = list(dict.fromkeys(keys))
        return map_concurrently(call, unique)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write a key atomically.

        Raises:
            KeyExists: If `if_absent` and the key exists.
        """
        self._objects.put(key, data, if_absent=if_absent)

    def put_file(self, key: str, path: Path) -> None:
        """Write a local file, which may be larger than memory, to a key atomically."""
        self._objects.put_file(key, path)

    def forgo_conditional_puts(self) -> None:
        """Check before each put with `if_absent`, because the storage has ignored the condition."""
        if isinstance(self._storage, ObstoreStorage):
            self._storage.forgo_conditional_puts(
                f"The storage of {self.uri} ignores the condition of a put (If-None-Match)."
            )

    def put_json(self, key: str, record: Mapping[str, Any], *, if_absent: bool = False) -> None:
        """Write a record; ValueError for NaN, which JSON cannot represent."""
        text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
        self.put(key, text.encode(), if_absent=if_absent)

    def replace_json(self, key: str, record: Mapping[str, Any], etag: str | None) -> str | None:
        """Write a record that the caller alone writes, each time with other bytes.

        An earlier write that failed on the way and arrives after this one is refused by the store.

        Args:
            key: The key.
            record: The record.
            etag: The key's ETag, as the last call returned it or as it was read; None if the key
                must not exist.

        Returns:
            The new ETag; None where the kind of storage cannot write on condition of an ETag.
        """
        text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
        return self._objects.replace(key, text.encode(), etag)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete keys; missing ones are not an error."""
        self.map_concurrently(self._objects.delete, keys)

    def exists(self, key: str) -> bool:
        """Return whether a key exists."""
        try:
            self.get(key)
        except KeyMissing:
            return False
        return True

    def has_keys_below(self, uri: str) -> bool:
        """Return whether there is a key at a URI or below it."""
        key = "" if normalize_uri(uri) == self.uri else self.key(uri)
        if next(iter(self._objects.pages(key, None)), {}):
            return True
        with contextlib.suppress(KeyMissing):
            return bool(key) and self.size(key) >= 0
        return False

    def files(self, prefix: str = "") -> list[tuple[str, int]]:
        """List all keys below a prefix with their sizes in bytes, sorted by key."""
        return self._objects.files(prefix)

    def etags(self, prefix: str, boundaries: Sequence[str] = ()) -> dict[str, str | None]:
        """Return the ETag of each key below a prefix; None where the storage has no ETags.

        Args:
            prefix: A folder.
            boundaries: Keys, sorted, at which the listing is split into ranges that are requested
                concurrently; see `page_boundaries`. They need not exist any longer.
        """
        ranges = self.listing_ranges(boundaries)

        def listed(start: str) -> dict[str, str | None]:
            return self.etags_between(prefix, start, ranges[start])

        pieces = map_concurrently(listed, list(ranges), PAGES_IN_FLIGHT)
        return {key: tag for found in pieces.values() for key, tag in found.items()}

    def listing_ranges(self, boundaries: Sequence[str]) -> dict[str, str | None]:
        """Return the end of each range of a split listing, by its start; for `etags_between`.

        Args:
            boundaries: Keys, sorted. Only S3 lists in pages: elsewhere there is one range.
        """
        starts = ["", *boundaries] if self.is_s3 else [""]
        return dict(zip(starts, [*starts[1:], None], strict=True))

    def etags_between(self, prefix: str, start: str, end: str | None) -> dict[str, str | None]:
        """Return the ETag of each key below a prefix after `start`, at least up to `end`."""
        found: dict[str, str | None] = {}
        for page in self._objects.pages(prefix, start or None):
            found |= page
            if end is not None and page and next(reversed(page)) >= end:
                break
        return found

    def last_modified_by_key(self, prefix: str) -> dict[str, datetime | None]:
        """Return when each key below a prefix was last written, in UTC; None if unknown.

        Sorted by key; `now` uses the same clock.
        """
        return self._objects.last_modified_by_key(prefix)

    def now(self) -> datetime:
        """Return the time by the clock of the store; of this machine if the store has none."""
        return self._objects.now() or datetime.now(UTC)

    def folders(self, prefix: str = "") -> list[str]:
        """List the names of the folders directly below a prefix, sorted."""
        return self._objects.folders(prefix)


def page_boundaries(keys: Iterable[str]) -> list[str]:
    """Select the known keys at which `Store.etags` can split a listing into pages."""
    return sorted(keys)[PAGE_KEYS::PAGE_KEYS]


def normalize_uri(uri: str | Path) -> str:
    """Return a store's address in normal form: no trailing slash, folders as absolute paths.

    ``pathlib`` turns ``s3://bucket`` into ``s3:/bucket``, which is accepted, too.

    Raises:
        SpecError: If the address is empty, has no bucket, or looks like a misspelt URI.
    """
    text = str(uri).strip()
    match = _URI_LIKE.match(text) or _NO_COLON.match(text)
    if match:
        scheme, separator = match[1].lower(), match[2]
        if separator != ":/" and not separator.startswith("://"):
            raise SpecError(
                f"{str(uri)!r} is not the address of a store. Write {scheme}://… for a URI, or "
                f"./{text} for a folder of that name."
            )
        slashes = separator.removeprefix("://") if separator != ":/" else ""
        text = f"{scheme}://{slashes}{text[match.end() :]}"
    scheme = urlsplit(text).scheme if "://" in text else ""
    if not text or (scheme == "s3" and not urlsplit(text).netloc):
        raise SpecError(
            f"{str(uri)!r} is not the address of a store. Give a folder or s3://bucket/prefix."
        )
    if scheme == "file":
        text = unquote(urlsplit(text).path)
    elif scheme:
        return text.rstrip("/")
    return str(Path(text).expanduser().resolve())


def parse_record(key: str, data: bytes) -> dict[str, Any]:
    """Parse the JSON object of a record; RecordBroken if the bytes do not hold one.

    Text must be UTF-8 without lone surrogates, with at most 200 levels of nesting. Writers of
    records satisfy this, and few libraries can read anything else.
    """
    from pydantic_core import from_json  # in a third of the time of json.loads

    try:
        record = from_json(data)
    except ValueError as exc:
        raise RecordBroken(f"{key} is not whole JSON: {exc}.") from exc
    if not isinstance(record, dict):
        raise RecordBroken(f"{key} holds {type(record).__name__}, not a JSON object.")
    return record
