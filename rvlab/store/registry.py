"""The stores that are open in this process, to find the access to a URI."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from cachetools import LRUCache

from rvlab.errors import RvlabError
from rvlab.store.access import S3Access
from rvlab.store.store import Store, normalize_uri

MAX_FOUND = 10_000
"""Number of URIs whose store is remembered, if stores with several accesses are open."""

_registered: dict[tuple[str, S3Access], Store] = {}

_found: set[tuple[str, str, S3Access]] = set()
"""Where `store_for_uri` has found URIs; see `MAX_FOUND`."""

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
    """List the stores that are registered in this process, the last one first."""
    return list(_registered.values())[::-1]


def access_of_open_store(bucket: str) -> S3Access | None:
    """Return the access of the store that was opened first in a bucket, if any is open."""
    return next((one.access for one in _registered.values() if one.bucket == bucket), None)


def store_for_uri(uri: str) -> Store:
    """Return the store that contains a URI: a registered one, else one from the environment.

    A URI beside a registered store in the same bucket is opened with that store's access. If stores
    in one bucket are registered with several accesses, the first one that finds the URI is used.

    Plots receive tables with URIs but without credentials; this function joins the two. It stores
    addresses only, never data.
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
            if store.has_below(uri):
                if len(_found) > MAX_FOUND:
                    _found.clear()
                _found.add(known)
                return store
        except RvlabError:  # its endpoint or its credentials are not those of this bucket
            continue
    return stores[0]
