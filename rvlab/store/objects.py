"""Keys and bytes: the few calls on object storage that everything else is made of.

obstore serves S3 and local folders, because it is ten to twenty times faster than fsspec on many
small keys and knows conditional puts; every other URI goes through fsspec.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from rvlab.errors import (
    KeyChanged,
    KeyExists,
    KeyMissing,
    StoreBusy,
    StoreError,
    StoreUnreachable,
)
from rvlab.model.limits import too_large
from rvlab.store.access import S3Access
from rvlab.store.clock import Clock
from rvlab.store.scan import Unscannable, scan

# A dead endpoint has to be told within 15 s, one that takes connections and says nothing included;
# a slow answer of a live one may take longer.
S3_CONNECT_TIMEOUT_S, S3_READ_TIMEOUT_S, S3_REQUEST_TIMEOUT_S, S3_RETRY_TIMEOUT_S = 4, 10, 30, 8

METADATA_ADDRESS = "169.254.169.254"
"""Where obstore asks an Amazon machine for credentials when it has none; elsewhere, nobody."""

MAX_KEYS_PER_PAGE = 1000
"""So many keys are listed by one request to S3."""

BUSY = ("408", "429", "500", "502", "503", "504")
"""HTTP statuses of a server that may give the answer when it is asked again."""

BROKEN_OFF = ("HTTP error", "error sending request", "timed out", "Got invalid", "error decoding")
"""What obstore says of answers that did not come, or not in full."""

AWAY = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN)
"""What a folder on the network says while its server is away."""

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_STATUS = re.compile(r"status code: (\d{3})")

ENDPOINT_PATTERN = re.compile(r"https?://[!-~]+")


class Objects(Protocol):
    """What a store needs of a kind of storage; keys are relative and use ``/``."""

    def get(self, key: str, limit: int | None = None) -> bytes:
        """The bytes of a key; KeyMissing if there is none, RecordBroken if it has more."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Some of the bytes of a key; KeyMissing if there is none."""

    def size(self, key: str) -> int:
        """How many bytes a key has; KeyMissing if there is none."""

    def get_with_etag(self, key: str, limit: int | None = None) -> tuple[bytes, str | None]:
        """`get`, and the key's ETag as `pages` has it."""

    def etag(self, key: str) -> str | None:
        """The ETag of a key, as `pages` has it; KeyMissing if there is none."""

    def last_modified(self, key: str) -> datetime:
        """When a key was last written, in UTC; KeyMissing if there is none."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write a key, whole or not at all; KeyExists if it is there and must not be."""

    def replace(self, key: str, data: bytes, tag: str | None) -> str | None:
        """Write a key if its ETag is still `tag`, or it is missing and `tag` is None.

        Returns:
            Its new ETag. None where the kind of storage has no such write: then it is a `put`.

        Raises:
            KeyChanged: If the key is another by now; it is not written.
        """

    def delete(self, key: str) -> None:
        """Remove a key; a missing one is no error."""

    def last_modified_by_key(self, prefix: str) -> dict[str, datetime | None]:
        """When each key below a prefix was last written, in UTC; None where that is not known.

        Sorted by key.
        """

    def now(self) -> datetime | None:
        """The time by the clock of the storage, in UTC; None where it cannot be asked."""

    def files(self, prefix: str) -> list[tuple[str, int]]:
        """All keys below a prefix with their sizes in bytes, sorted by key."""

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below a prefix, sorted."""

    def pages(self, prefix: str, after: str | None) -> Iterator[dict[str, str | None]]:
        """The ETag of each key below a prefix, or of those after a key, page by page.

        None where a kind of storage has none. A key that is written anew gets another. On S3 keys
        are sorted, and a page is asked for when it is wanted; elsewhere `after` says nothing.
        """


def open_objects(uri: str, access: S3Access) -> Objects:
    """The storage behind a root URI."""
    scheme = urlsplit(uri).scheme
    if scheme == "s3":
        return ObstoreObjects.s3(uri, access)
    if not scheme:
        return ObstoreObjects.local(uri)
    from rvlab.store.fsspec_objects import FsspecObjects

    return FsspecObjects(uri)


class ObstoreObjects:
    """S3 or a local folder through obstore."""

    def __init__(
        self,
        store: Any,
        where: str,
        folder: Path | None = None,
        *,
        sent_once: Any = None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._where = where
        self._folder = folder
        self._sent_once = sent_once or store
        self._clock = clock

    @classmethod
    def s3(cls, uri: str, access: S3Access) -> ObstoreObjects:
        """A bucket and prefix on S3."""
        from obstore.store import S3Store

        if access.endpoint and not ENDPOINT_PATTERN.fullmatch(access.endpoint):
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

        def store(max_retries: int) -> Any:
            return S3Store(
                bucket,
                prefix=prefix or None,
                **settings,
                client_options={
                    "allow_http": access.plain_http,
                    "connect_timeout": timedelta(seconds=S3_CONNECT_TIMEOUT_S),
                    "read_timeout": timedelta(seconds=S3_READ_TIMEOUT_S),
                    "timeout": timedelta(seconds=S3_REQUEST_TIMEOUT_S),
                },
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
        # A create that obstore sends again answers "already exists" if the first one had arrived,
        # and does not say that it was sent twice. So it is sent once; see `rvlab.store.patience`.
        endpoint = access.endpoint or f"https://s3.{access.region}.amazonaws.com"
        return cls(store(4), where, sent_once=store(0), clock=Clock(endpoint))

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
        return cls(LocalStore(path, automatic_cleanup=True), f"The folder {path}", path)

    def get(self, key: str, limit: int | None = None) -> bytes:
        """See Objects."""
        return self._read(key, limit)[0]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Objects."""
        import obstore

        with self._translate_errors(key):
            return bytes(obstore.get_range(self._store, key, start=start, length=length))

    def size(self, key: str) -> int:
        """See Objects."""
        import obstore

        with self._translate_errors(key):
            return int(obstore.head(self._store, key)["size"])

    def get_with_etag(self, key: str, limit: int | None = None) -> tuple[bytes, str | None]:
        """See Objects."""
        return self._read(key, limit)

    def _read(self, key: str, limit: int | None) -> tuple[bytes, str | None]:
        import obstore

        with self._translate_errors(key):
            found = obstore.get(self._store, key)
        size = found.meta["size"]
        if limit is not None and size > limit:
            too_large(key, size, limit)  # its body is never asked for
        with self._translate_errors(key):
            return bytes(found.bytes()), found.meta["e_tag"]

    def etag(self, key: str) -> str | None:
        """See Objects."""
        import obstore

        with self._translate_errors(key):
            return obstore.head(self._store, key)["e_tag"]

    def last_modified(self, key: str) -> datetime:
        """See Objects."""
        import obstore

        with self._translate_errors(key):
            return obstore.head(self._store, key)["last_modified"].astimezone(UTC)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """See Objects."""
        import obstore

        with self._translate_errors(key):
            if if_absent:
                obstore.put(self._sent_once, key, data, mode="create")
            else:
                obstore.put(self._store, key, data, mode="overwrite")

    def replace(self, key: str, data: bytes, tag: str | None) -> str | None:
        """See Objects."""
        import obstore

        if self._folder is None:
            with self._translate_errors(key), contextlib.suppress(NotImplementedError):
                mode: Any = "create" if tag is None else {"e_tag": tag}
                return obstore.put(self._sent_once, key, data, mode=mode)["e_tag"]
        self.put(key, data)
        return None

    def delete(self, key: str) -> None:
        """See Objects."""
        import obstore

        with self._translate_errors(key), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, key)

    def files(self, prefix: str) -> list[tuple[str, int]]:
        """See Objects."""
        import obstore

        with self._translate_errors(prefix):
            pages = list(obstore.list(self._store, prefix or None))
        return sorted((meta["path"], meta["size"]) for page in pages for meta in page)

    def last_modified_by_key(self, prefix: str) -> dict[str, datetime | None]:
        """See Objects."""
        import obstore

        with self._translate_errors(prefix):
            pages = list(obstore.list(self._store, prefix or None))
        times = {
            one["path"]: one["last_modified"].astimezone(UTC) for page in pages for one in page
        }
        return dict(sorted(times.items()))

    def now(self) -> datetime | None:
        """See Objects; a folder has the clock of this machine."""
        return self._clock.now() if self._clock else datetime.now(UTC)

    def folders(self, prefix: str) -> list[str]:
        """See Objects."""
        import obstore

        with self._translate_errors(prefix):
            found = obstore.list_with_delimiter(self._store, prefix or None)["common_prefixes"]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def pages(self, prefix: str, after: str | None) -> Iterator[dict[str, str | None]]:
        """See Objects."""
        import obstore

        if self._folder is not None:
            with contextlib.suppress(Unscannable):
                yield scan(self._folder, prefix)
                return
        with self._translate_errors(prefix):
            pages = obstore.list(
                self._store, prefix, offset=after, chunk_size=MAX_KEYS_PER_PAGE, return_arrow=True
            )
            for page in pages:
                keys, tags = page.column("path").to_pylist(), page.column("e_tag").to_pylist()
                yield dict(zip(keys, tags, strict=True))

    @contextmanager
    def _translate_errors(self, key: str) -> Iterator[None]:
        """Translate obstore's errors; their text is long and is kept as the cause only."""
        from obstore import exceptions as ob

        try:
            yield
        except FileNotFoundError as exc:
            if "NoSuchBucket" in str(exc):
                raise self._store_error(key, str(exc)) from exc
            raise KeyMissing(f"{self._where} has no key {key!r}.") from exc
        except ob.PreconditionError as exc:
            raise KeyChanged(f"{self._where} has another content of {key!r} by now.") from exc
        except ob.AlreadyExistsError as exc:
            raise KeyExists(f"{self._where} has the key {key!r} already.") from exc
        except (ob.PermissionDeniedError, ob.UnauthenticatedError) as exc:
            if "RequestTimeTooSkewed" in str(exc):
                raise StoreError(
                    f"{self._where} refuses requests from this machine, whose clock is wrong: it "
                    f"shows {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Set it."
                ) from exc
            raise StoreError(
                f"{self._where} refused the credentials for {key!r}. Check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and what they are allowed to do."
            ) from exc
        except ob.BaseError as exc:
            raise self._store_error(key, str(exc)) from None
        except ValueError as exc:
            raise StoreError(f"{key!r} cannot be a key: {exc}.") from exc
        except OSError as exc:
            raise StoreError(f"{self._where} failed on {key!r}: {exc.strerror or exc}.") from exc

    def _store_error(self, key: str, text: str) -> StoreError:
        if "NoSuchBucket" in text:
            text = f"{self._where} does not exist. Make it first, or name another store."
            return StoreError(text)
        if METADATA_ADDRESS in text:
            return StoreError(
                f"{self._where} needs credentials, and there are none. Set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY."
            )
        if away := self._unreachable(key, text):
            return away
        for word in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "credential"):
            if word in text:
                return StoreError(f"{self._where} refused the credentials ({word}).")
        first = text.splitlines()[0] if text else "unknown error"
        return StoreError(f"{self._where} failed on {key!r}: {first[:300]}")

    def _unreachable(self, key: str, text: str) -> StoreUnreachable | None:
        """What waiting may cure: no answer, half of one, or that the server is busy."""
        status = _STATUS.search(text)
        if status and (status[1] in BUSY or "<Code>RequestTimeout" in text):
            return StoreBusy(
                f"{self._where} failed on {key!r}: it is busy or out of order (HTTP status "
                f"{status[1]}). Try again later."
            )
        if any(word in text for word in BROKEN_OFF):
            return StoreUnreachable(
                f"{self._where} cannot be reached. Is it running, and is AWS_ENDPOINT_URL right?"
            )
        number = _OS_ERROR.search(text)
        if number and int(number[1]) in AWAY:
            why = os.strerror(int(number[1]))
            return StoreUnreachable(f"{self._where} cannot be reached: {why}.")
        return None
