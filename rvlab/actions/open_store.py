"""Open the store that a lab is given: an address, a path, or the embedded S3 server."""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rvlab.errors import SpecError
from rvlab.settings import store_setting
from rvlab.store import S3Access, Store
from rvlab.store.access import DEFAULT_PROFILE
from rvlab.store.addresses import access_of_open_store, path_exists

if TYPE_CHECKING:
    from rvlab.settings import Profile

EMBEDDED = "embedded"


def store_text(store: str | Path | None) -> str:
    """Return the address of a store: the argument, else ``$RVLAB_STORE``, else ``embedded``."""
    return str(store or os.environ.get("RVLAB_STORE") or EMBEDDED)


def open_store(
    store: str | Path | None, profile: Profile | None = None, *, remote: bool = False
) -> Store:
    """Open a store by its address; start the embedded S3 server for ``embedded``.

    Args:
        store: An address, a path, or None for the profile's store, then the default.
        profile: The engine's profile; its S3 endpoint and region override the environment.
        remote: Whether runs execute on other machines, which cannot reach an embedded server.

    Raises:
        SpecError: If the address is malformed, or remote runs have no bucket.
    """
    text = store_text(store or (profile.store if profile else None))
    kind, _, folder = text.partition(":")
    if remote and kind == EMBEDDED:
        which = store_setting(store, profile)
        raise SpecError(
            f"Runs on a cluster need a store in a bucket, got {text!r} ({which}), a server of this "
            "machine that pods cannot reach. Name a bucket: `store` in rvlab.toml, $RVLAB_STORE, "
            "or Lab('s3://bucket/prefix', ...)."
        )
    is_near = difflib.get_close_matches(kind.lower(), [EMBEDDED], cutoff=0.85)
    if kind != EMBEDDED and is_near and not path_exists(text):
        raise SpecError(
            f"The folder {text!r} does not exist. Did you mean 'embedded'? Write ./{text} to "
            "create a folder of that name."
        )
    if kind != EMBEDDED:
        plain = Store(text)
        access = _access_in_session(plain) or plain.access
        if profile and profile.s3.endpoint:
            access = replace(access, endpoint=profile.s3.endpoint)
        if profile and profile.s3.region:
            access = replace(access, region=profile.s3.region)
        return Store(text, access)
    from rvlab.store import server

    found = server.start_server(folder or None)
    access = S3Access(found.endpoint, found.access_key, found.secret_key, region=found.region)
    return Store(f"s3://{found.bucket}", access)


def _access_in_session(store: Store) -> S3Access | None:
    """Return the access with which this session has opened another store in the same bucket.

    A report names its store by its address alone, ``Lab('s3://bucket')``. None if the environment
    says where the bucket is, or with whose credentials.
    """
    opened = access_of_open_store(store.bucket) if store.bucket else None
    if opened is None:
        return None
    found, has_other_endpoint = store.access, store.access.endpoint != opened.endpoint
    if has_other_endpoint and found.endpoint is None:
        return opened
    has_own_credentials = (
        found.access_key or found.anonymous or found.profile not in (None, DEFAULT_PROFILE)
    )
    return None if has_other_endpoint or has_own_credentials else opened
