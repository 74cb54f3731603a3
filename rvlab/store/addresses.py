"""Addresses: the open store of a URI, and whether an address that a record names may be opened.

Anyone who can write to a store can put any address into a record. So an address from a record is
opened only if it is below the store, on S3, or below a folder or URL that the settings list
(``[read] allow`` in rvlab.toml, or ``$RVLAB_READ__ALLOW``). A file on this machine is also opened
if the store itself is a local folder or the embedded server, whose records the user wrote.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

from cachetools import LRUCache

from rvlab.errors import NotFound, RasterError, RvlabError, SpecError
from rvlab.store.access import S3Access
from rvlab.store.store import Store, normalize_uri

FILE, CONFIG = "rvlab.toml", "RVLAB_CONFIG"
ALLOW = "RVLAB_READ__ALLOW"

REFUSED = "refused:"
"""Prefix of an address that must not be opened; no library opens it by mistake."""

MAX_FOUND = 10_000
"""Number of URIs whose store is remembered, if stores with several accesses are open."""

_registered: dict[tuple[str, S3Access], Store] = {}

_embedded: set[str] = set()

_found: set[tuple[str, str, S3Access]] = set()
"""URI, and URI and access of the store in which `store_for_uri` has found it; see `MAX_FOUND`."""

_unregistered: LRUCache[tuple[str, S3Access], Store] = LRUCache(64)
"""Buckets that `store_for_uri` opened itself; a client of S3 takes 5 ms to create."""

_lock = Lock()


def register_store(store: Store) -> Store:
    """Register a store, so that `store_for_uri` returns it for the URIs below it.

    A store at the same address with another access does not replace it: both stay open.
    """
    _registered[store.uri, store.access] = store
    return store


def registered_stores() -> list[Store]:
    """List the stores that are registered in this process, the newest first."""
    return list(_registered.values())[::-1]


def access_of_open_store(bucket: str) -> S3Access | None:
    """Return the access of the store that was opened first in a bucket, if any is open."""
    return next((one.access for one in _registered.values() if one.bucket == bucket), None)


def store_for_uri(uri: str) -> Store:
    """Return the store that contains a URI: a registered one, else one from the environment.

    A URI beside a registered store in the same bucket is opened with that store's access. If stores
    in one bucket are registered with several accesses, the first one that finds the URI is used.

    Plots receive tables with URIs but without credentials; this function joins the two.
    """
    clean = normalize_uri(uri)
    if "://" not in clean:
        return _deepest(clean, _registered.values()) or Store(Path(clean).anchor)
    parts = urlsplit(clean)
    root = f"{parts.scheme}://{parts.netloc}"
    beside: dict[S3Access, list[Store]] = {}
    for store in _registered.values():
        if f"{store.uri}/".startswith(f"{root}/"):
            beside.setdefault(store.access, []).append(store)
    if not beside:
        return _unregistered_store(Store(root))
    found = [_deepest(clean, stores) or _at_root(root, stores[-1]) for stores in beside.values()]
    return found[0] if len(found) == 1 else _first_that_finds(clean, found)


def _deepest(uri: str, stores: Iterable[Store]) -> Store | None:
    above = [one for one in stores if uri == one.uri or uri.startswith(f"{one.uri}/")]
    return max(above, key=lambda one: len(one.uri), default=None)


def _at_root(root: str, store: Store) -> Store:
    return _unregistered_store(Store(root, store.access, patience_s=store.patience_s))


def _unregistered_store(store: Store) -> Store:
    """Return the store that was opened before at the same address, with its connections."""
    if not store.is_s3:
        return store
    with _lock:
        found = _unregistered.setdefault((store.uri, store.access), store)
    return found if found.patience_s == store.patience_s else store


def _first_that_finds(uri: str, stores: Sequence[Store]) -> Store:
    """Return the first store that has a key at or below a URI; the first one if none has."""
    for store in stores:
        known = (uri, store.uri, store.access)
        if known in _found:
            return store
        try:
            if store.has_keys_below(uri):
                if len(_found) > MAX_FOUND:
                    _found.clear()
                _found.add(known)
                return store
        except RvlabError:  # its endpoint or its credentials are not those of this bucket
            continue
    return stores[0]


def trust_embedded_server(endpoint: str) -> None:
    """Trust the S3 server at an endpoint as one that this user has started on this machine."""
    _embedded.add(endpoint)


def mark_if_refused(uri: str, store: Store) -> str:
    """Return an address from a record, marked with `REFUSED` if it must not be opened."""
    return uri if is_allowed(uri, store) else f"{REFUSED}{uri}"


def is_allowed(uri: str, store: Store) -> bool:
    """Return whether an address from a record may be opened."""
    scheme = urlsplit(uri).scheme
    path = unquote(uri.partition("://")[2] if scheme else uri)
    if "\0" in uri or (scheme not in ("", "file") and ".." in path.split("/")):
        return False
    if scheme in ("", "file"):
        if absolute_local_path(uri).startswith("/vsi"):
            return False  # GDAL's virtual file systems
        if "://" not in store.uri or store.access.endpoint in _embedded:
            return True
    elif uri.startswith(f"{store.uri}/") or (scheme == "s3" and urlsplit(uri).netloc):
        return True
    return any(_is_below(uri, prefix) for prefix in allowed_prefixes())


def require_not_refused(uri: str) -> None:
    """Raise for an address that `mark_if_refused` has marked.

    Raises:
        RasterError: If the address is refused; the message names the setting that allows it.
    """
    if uri.startswith(REFUSED):
        raise RasterError(
            f"{uri.removeprefix(REFUSED):.300} is not opened: a record names it, and it is "
            "neither in the store nor on S3. If you trust it, add its folder to `allow` below "
            f"[read] in {FILE}, or to ${ALLOW}."
        )


def absolute_local_path(uri: str) -> str:
    """Return the absolute path of a local address, so that GDAL parses no part as a driver."""
    path = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
    return "/" + os.path.abspath(path).lstrip("/")


def path_exists(path: str | Path) -> bool:
    """Return whether a path exists; False for text that cannot be a path, such as a long name.

    `pathlib.Path.exists` raises OSError for it before Python 3.12.
    """
    return os.path.exists(path)  # noqa: PTH110


def allowed_prefixes() -> tuple[str, ...]:
    """Return the folders and URLs that the settings list.

    Raises:
        SpecError: If the settings cannot be read.
        NotFound: If ``$RVLAB_CONFIG`` does not name a file.
    """
    text = os.environ.get(ALLOW)
    if text:
        try:
            found = json.loads(text)
        except ValueError as exc:
            raise SpecError(f"${ALLOW} is {text!r}, but it must hold a JSON list.") from exc
        return _require_string_list(found, f"${ALLOW}")
    file = settings_file()
    return _prefixes_in_file(file, file.stat().st_mtime_ns) if file else ()


def settings_file() -> Path | None:
    """Return ``$RVLAB_CONFIG``, else the ``rvlab.toml`` in this folder or the nearest parent.

    Raises:
        NotFound: If the variable does not name a file.
    """
    named = os.environ.get(CONFIG)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise NotFound(f"${CONFIG} names {named!r}, which is not a file.")
        return path
    here = Path.cwd()
    return next((f for d in (here, *here.parents) if (f := d / FILE).is_file()), None)


@lru_cache(maxsize=8)
def _prefixes_in_file(file: Path, _changed: int) -> tuple[str, ...]:
    try:
        read = tomllib.loads(file.read_text(encoding="utf-8")).get("read", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SpecError(f"{file} cannot be read: {exc}.") from exc
    unknown = sorted(set(read) - {"allow"}) if isinstance(read, dict) else ["read"]
    if unknown:
        raise SpecError(f"[read] in {file} has the unknown key {unknown[0]!r}; use `allow`.")
    return _require_string_list(read.get("allow", []), f"`allow` below [read] in {file}")


def _require_string_list(values: Any, what: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(one, str) and one for one in values):
        raise SpecError(f"{what} must be a list of folders and URLs, got {values!r:.100}.")
    return tuple(values)


def _is_below(uri: str, prefix: str) -> bool:
    if urlsplit(prefix).scheme in ("", "file"):
        if urlsplit(uri).scheme not in ("", "file"):
            return False
        # Resolve symbolic links: a link in an allowed folder may point out of it.
        root = os.path.realpath(absolute_local_path(str(Path(prefix).expanduser())))
        return Path(os.path.realpath(absolute_local_path(uri))).is_relative_to(root)
    root = prefix.rstrip("/")
    return uri == root or uri.startswith(f"{root}/")
