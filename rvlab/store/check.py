"""Checks of a store before the first run: each call that records need, on a key of their own."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable

from rvlab.errors import KeyExists, RvlabError, StoreBusy, StoreError, StoreUnreachable
from rvlab.model.check_result import CheckResult
from rvlab.store.store import Store

CHECK_DIR = "_check"
"""Folder of the keys of checks; no experiment's name starts with ``_``."""


def check_store(store: Store) -> list[CheckResult]:
    """Put, get, list, put conditionally and delete a key; after a failed put only delete it.

    Returns:
        One result per call, in this order.
    """
    key, data = f"{CHECK_DIR}/{secrets.token_hex(8)}", b'{"schema": 1}'

    def get() -> str | None:
        return None if store.get(key) == data else "The store returned other bytes than were put."

    def find() -> str | None:
        found = {name for name, _ in store.files(CHECK_DIR)}
        return None if key in found else "The listing does not contain a key that was just put."

    def put_if_absent() -> str | None:
        try:
            store.put(key, data + b" ", if_absent=True)
        except KeyExists:
            return None
        return "A conditional put replaced an existing key."

    calls: dict[str, Callable[[], str | None]] = {
        "put": lambda: store.put(key, data),
        "get": get,
        "list": find,
        "conditional put": put_if_absent,
        "delete": lambda: store.delete([key]),
    }
    results: list[CheckResult] = []
    for name, call in calls.items():
        if results and results[0].state == "failed":
            results.append(CheckResult("store", name, "not checked"))
            continue
        results.append(_result(store, name, call))
    if results[-1].state == "not checked":  # a put whose answer was lost may have been stored
        with contextlib.suppress(StoreError):
            store.delete([key])
    return results


def _result(store: Store, name: str, call: Callable[[], str | None]) -> CheckResult:
    try:
        trouble = call()
    except RvlabError as exc:
        return CheckResult("store", name, "failed", str(exc), _remedy(store, name, exc))
    if trouble is None:
        return CheckResult("store", name, "ok", store.uri)
    return CheckResult("store", name, "failed", trouble, _remedy(store, name, None))


def _remedy(store: Store, name: str, exc: RvlabError | None) -> str:
    if name == "conditional put":
        return (
            "Use a storage with conditional puts (If-None-Match): without them two processes can "
            "end one run."
        )
    if not store.is_s3:
        return "Check the free space and the permissions of the folder."
    where = store.access.endpoint or "Amazon S3"
    if isinstance(exc, StoreUnreachable) and not isinstance(exc, StoreBusy):
        return f"Check the endpoint, {where}: is its port forwarded, and is the address right?"
    return (
        f"Check the bucket and the keys for {where}: they need s3:GetObject, s3:PutObject, "
        "s3:DeleteObject and s3:ListBucket."
    )
