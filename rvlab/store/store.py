"""A store: a root URI under which experiments and their runs lie, and how it is reached."""

from __future__ import annotations

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
from rvlab.store.concurrency import map_concurrently
from rvlab.store.objects import Objects, open_objects
from rvlab.store.patience import BRIEF_PATIENCE_S, RetryingObjects

PAGE_KEYS = 950
"""Known keys between two page boundaries: a page of 1,000 has room for some new ones."""

PAGES_IN_FLIGHT = 16
"""Each is a thousand keys, and half a megabyte that is held: with more a server gets slower."""

_URI_LIKE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(\s*[:;]\s*[/\\]*)")
"""A scheme of two letters or more and its separator, correct or not; ``C:`` is a drive."""

_NO_COLON = re.compile(r"(s3|gs|gcs|az|abfss?|https?|file)([/\\]{2,})", re.IGNORECASE)

_T = TypeVar("_T")

_registered: dict[str, Store] = {}


class Store:
    """Keys below one root URI, read and written whole.

    Args:
        uri: A local folder, ``s3://bucket/prefix``, or any URI that fsspec opens.
        access: How S3 is reached; by default as the standard AWS variables say.
        patience_s: For how many seconds a request is sent again while nothing answers; a step has
            more patience than a notebook, see `patient`.
    """

    def __init__(
        self,
        uri: str | Path,
        access: S3Access | None = None,
        *,
        patience_s: float = BRIEF_PATIENCE_S,
    ) -> None:
        self.uri = normalize_uri(uri)
        self.access = access or S3Access.from_environ()
        self.patience_s = patience_s
        self.layout_checked = False  # by `rvlab.store.layout`

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def __getstate__(self) -> dict[str, Any]:
        # What is cached holds obstore's objects, and they the credentials: it is made anew.
        kept: dict[str, Any] = {}
        for name, value in vars(self).items():
            if not isinstance(getattr(type(self), name, None), cached_property):
                kept[name] = value
        return kept

    @cached_property
    def _objects(self) -> Objects:
        return RetryingObjects(self._storage, self.patience_s)

    @cached_property
    def _storage(self) -> Objects:
        return open_objects(self.uri, self.access)

    def patient(self, patience_s: float | None = None) -> Store:
        """The same store, for a caller that can wait while it does not answer.

        Args:
            patience_s: For how many seconds; None is ``$RVLAB_PATIENCE_S``, else ten minutes.

        Raises:
            SpecError: If the variable is no number of seconds.
        """
        wait_s = patience.patience_s() if patience_s is None else patience_s
        store = type(self)(self.uri, self.access, patience_s=wait_s)
        store.__dict__["_storage"] = self._storage  # its connections serve both
        return store

    @property
    def is_s3(self) -> bool:
        """Whether the keys lie on S3."""
        return self.uri.startswith("s3://")

    @property
    def storage_options(self) -> dict[str, object]:
        """For ``pd.read_parquet(uri, storage_options=…)`` and fsspec. Holds the secret."""
        return self.access.storage_options() if self.is_s3 else {}

    def environ(self) -> dict[str, str]:
        """The variables with which a child process reaches this store. Holds the secret."""
        return self.access.environ() if self.is_s3 else {}

    def key(self, uri: str) -> str:
        """The key of a URI below this store's root.

        Raises:
            SpecError: If the URI lies elsewhere.
        """
        clean = normalize_uri(uri)
        root = f"{self.uri.rstrip('/')}/"
        if not clean.startswith(root) or ".." in clean.split("/"):
            raise SpecError(f"{uri!r} does not lie in the store {self.uri!r}.")
        return clean.removeprefix(root)

    def get(self, key: str, *, limit: int | None = None) -> bytes:
        """The bytes of a key.

        Args:
            key: The key.
            limit: How many bytes it may have; see `rvlab.model.limits`.

        Raises:
            KeyMissing: If there is no such key.
            RecordBroken: If it has more bytes than `limit`, of which none is read then.
            StoreUnreachable: If nobody answers.
        """
        return self._objects.get(key, limit)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Some of the bytes of a key, from `start` on; fewer where it ends before."""
        return self._objects.get_range(key, start, length)

    def get_with_etag(self, key: str) -> tuple[bytes, str | None]:
        """The bytes of a key and their ETag, as `etags` has it.

        Raises:
            KeyMissing: If there is no such key.
        """
        return self._objects.get_with_etag(key)

    def etag(self, key: str) -> str | None:
        """The ETag of a key, as `etags` has it.

        Raises:
            KeyMissing: If there is no such key.
        """
        return self._objects.etag(key)

    def size(self, key: str) -> int:
        """How many bytes a key has.

        Raises:
            KeyMissing: If there is no such key.
        """
        return self._objects.size(key)

    def last_modified(self, key: str) -> datetime:
        """When a key was last written, in UTC.

        Raises:
            KeyMissing: If there is no such key.
            StoreError: If this kind of storage does not tell.
        """
        return self._objects.last_modified(key)

    def get_json(self, key: str) -> dict[str, Any]:
        """A record.

        Raises:
            KeyMissing: If there is no such key.
            RecordBroken: If it does not hold a JSON object.
        """
        return parse_record(key, self.get(key, limit=RECORD_BYTES))

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes | RvlabError]:
        """Several records at once; one that fails gets its error in the place of its bytes."""

        def one(key: str) -> bytes | RvlabError:
            try:
                return self.get(key, limit=RECORD_BYTES)
            except RvlabError as exc:
                return exc

        return self.map_concurrently(one, keys)

    def read_many(
        self, keys: Iterable[str], read: Callable[[str, bytes], _T]
    ) -> dict[str, tuple[_T, str | None] | RvlabError]:
        """What is made of the bytes of several records, with their ETags; or the error of a key.

        Each is read while others are on their way, and its bytes are not kept.
        """

        def one(key: str) -> tuple[_T, str | None] | RvlabError:
            try:
                data, tag = self._objects.get_with_etag(key, RECORD_BYTES)
                return read(key, data), tag
            except RvlabError as exc:
                return exc

        return self.map_concurrently(one, keys)

    def map_concurrently(self, call: Callable[[str], Any], keys: Iterable[str]) -> dict[str, Any]:
        """Call something for each key, many at a time; the first exception ends it."""
        wanted = list(dict.fromkeys(keys))
        return map_concurrently(call, wanted)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write a key, whole or not at all.

        Raises:
            KeyExists: If `if_absent` and the key is there.
        """
        self._objects.put(key, data, if_absent=if_absent)

    def put_json(self, key: str, record: Mapping[str, Any], *, if_absent: bool = False) -> None:
        """Write a record; NaN is refused, since JSON has no word for it."""
        text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
        self.put(key, text.encode(), if_absent=if_absent)

    def replace_json(self, key: str, record: Mapping[str, Any], tag: str | None) -> str | None:
        """Write a record that the caller alone writes, each time with other bytes.

        An earlier write that failed on the way and arrives after this one is refused by the store.

        Args:
            key: The key.
            record: The record.
            tag: The key's ETag as this last returned it, or as it was read; None for no such key.

        Returns:
            The new ETag; None where the kind of storage has no such write.
        """
        text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
        return self._objects.replace(key, text.encode(), tag)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove keys; those that are missing are no error."""
        self.map_concurrently(self._objects.delete, keys)

    def exists(self, key: str) -> bool:
        """Whether a key is there."""
        try:
            self.get(key)
        except KeyMissing:
            return False
        return True

    def files(self, prefix: str = "") -> list[tuple[str, int]]:
        """All keys below a prefix, with their sizes in bytes, sorted by key."""
        return self._objects.files(prefix)

    def etags(self, prefix: str, boundaries: Sequence[str] = ()) -> dict[str, str | None]:
        """The ETag of each key below a prefix; None where a kind of storage has none.

        Args:
            prefix: A folder.
            boundaries: Keys, sorted, at which the listing is split into ranges that are requested
                concurrently; see `page_boundaries`. They need not exist any more.
        """
        ranges = self.ranges(boundaries)

        def listed(start: str) -> dict[str, str | None]:
            return self.tags_between(prefix, start, ranges[start])

        pieces = map_concurrently(listed, list(ranges), PAGES_IN_FLIGHT)
        return {key: tag for found in pieces.values() for key, tag in found.items()}

    def ranges(self, boundaries: Sequence[str]) -> dict[str, str | None]:
        """The end of each range that a listing can be split into, by its start; for `tags_between`.

        Args:
            boundaries: Keys, sorted. Only S3 lists in pages: elsewhere there is one range.
        """
        starts = ["", *boundaries] if self.is_s3 else [""]
        return dict(zip(starts, [*starts[1:], None], strict=True))

    def tags_between(self, prefix: str, start: str, end: str | None) -> dict[str, str | None]:
        """The ETag of each key below a prefix and after `start`, up to `end` or a page beyond."""
        found: dict[str, str | None] = {}
        for page in self._objects.pages(prefix, start or None):
            found |= page
            if end is not None and page and next(reversed(page)) >= end:
                break
        return found

    def last_modified_by_key(self, prefix: str) -> dict[str, datetime | None]:
        """When each key below a prefix was last written, in UTC; None where that is not known.

        Sorted by key; `now` is by the same clock.
        """
        return self._objects.last_modified_by_key(prefix)

    def now(self) -> datetime:
        """The time by the clock of the store; by this machine's where the store does not tell."""
        return self._objects.now() or datetime.now(UTC)

    def folders(self, prefix: str = "") -> list[str]:
        """The names of the folders directly below a prefix, sorted."""
        return self._objects.folders(prefix)


def page_boundaries(keys: Iterable[str]) -> list[str]:
    """Return those of the known keys at which `Store.etags` can split a listing into pages."""
    return sorted(keys)[PAGE_KEYS::PAGE_KEYS]


def normalize_uri(uri: str | Path) -> str:
    """Return the one spelling of a store's address: no trailing slash, folders as absolute paths.

    ``pathlib`` turns ``s3://bucket`` into ``s3:/bucket``; this is taken as the bucket.

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
    """The JSON object that a record's bytes hold; RecordBroken if they hold none.

    Text is UTF-8 without halves of surrogate pairs, and what lies deeper than 200 levels is
    refused: writers of records write neither, and few libraries can hold it.
    """
    from pydantic_core import from_json  # in a third of the time of json.loads

    try:
        record = from_json(data)
    except ValueError as exc:
        raise RecordBroken(f"{key} is not whole JSON: {exc}.") from exc
    if not isinstance(record, dict):
        raise RecordBroken(f"{key} holds {type(record).__name__}, not a JSON object.")
    return record


def register_store(store: Store) -> Store:
    """Let `store_for_uri` find this store, and how it is reached, by the URIs below it."""
    _registered[store.uri] = store
    return store


def registered_stores() -> list[Store]:
    """The stores that `register_store` was called with in this process, the last one first."""
    return list(_registered.values())[::-1]


def store_for_uri(uri: str) -> Store:
    """The store that a URI lies in: one that was opened in this process, else by the environment.

    What lies beside an opened store in the same bucket is reached as that store is.

    Pictures are drawn from tables, and a table has URIs but no credentials; this is where the two
    meet. It holds addresses only, never data.
    """
    clean = normalize_uri(uri)
    roots = [root for root in _registered if clean == root or clean.startswith(f"{root}/")]
    if roots:
        return _registered[max(roots, key=len)]
    if "://" in clean:
        parts = urlsplit(clean)
        root = f"{parts.scheme}://{parts.netloc}"
        beside = [store for store in _registered.values() if f"{store.uri}/".startswith(f"{root}/")]
        if not beside:
            return Store(root)
        return Store(root, beside[-1].access, patience_s=beside[-1].patience_s)
    return Store(Path(clean).anchor)
