"""Checks of a store before the first run."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab.errors import StoreError
from rvlab.store import S3Access, Store
from rvlab.store.check import check_store
from rvlab.store.server import Server

CALLS = ["put", "get", "list", "conditional put", "delete"]


@pytest.mark.parametrize("kind", ["s3", "folder"])
def test_a_working_store_passes_and_nothing_remains(
    kind: str, tmp_path: Path, s3: Server, s3_access: S3Access
) -> None:
    store = Store(tmp_path) if kind == "folder" else Store(f"s3://{s3.bucket}/check", s3_access)
    results = check_store(store)
    assert [(one.check, one.state, one.remedy) for one in results] == [(c, "ok", "") for c in CALLS]
    assert store.files() == []


def test_an_endpoint_without_a_server_fails_at_the_first_call() -> None:
    store = Store("s3://bucket/x", S3Access("http://127.0.0.1:9", "key", "secret"), patience_s=0)
    first, *others = check_store(store)
    assert (first.check, first.state) == ("put", "failed")
    assert first.remedy.startswith("Check the endpoint, http://127.0.0.1:9: is its port forwarded")
    assert [(one.check, one.state) for one in others] == [(c, "not checked") for c in CALLS[1:]]


def test_refused_credentials_say_what_to_check(s3: Server) -> None:
    store = Store(f"s3://{s3.bucket}/check", S3Access(s3.endpoint, "somebody", "else"))
    first = check_store(store)[0]
    assert (first.check, first.state) == ("put", "failed")
    assert first.remedy.startswith(f"Check the bucket and the keys for {s3.endpoint}")


@pytest.mark.parametrize("call", ["get", "list", "conditional put", "delete"])
def test_each_call_is_reported_by_itself(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break one call of a real store at a time."""
    put = Store.put

    def refuse(*_: object, **__: object) -> None:
        raise StoreError("AccessDenied.")

    def replace(self: Store, key: str, data: bytes, *, if_absent: bool = False) -> None:
        put(self, key, data)

    if call == "conditional put":
        monkeypatch.setattr(Store, "put", replace)
    else:
        monkeypatch.setattr(Store, {"list": "files"}.get(call, call), refuse)
    results = {one.check: one for one in check_store(Store(tmp_path))}
    assert [name for name, one in results.items() if one.state == "failed"] == [call]
    assert results[call].remedy
    expected = {"conditional put": "A conditional put replaced an existing key."}
    assert results[call].detail == expected.get(call, "AccessDenied.")


def test_a_store_that_returns_other_bytes_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "get", lambda *_: b"old")
    monkeypatch.setattr(Store, "files", lambda *_: [])
    states = {one.check: one.state for one in check_store(Store(tmp_path))}
    assert (states["get"], states["list"], states["put"]) == ("failed", "failed", "ok")
