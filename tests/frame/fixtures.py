"""Fixtures of the tests of tables and caches: a store in a folder, and a writer of sample runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab.store import Store
from tests.frame.samples import Made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store(tmp_path / "store")


@pytest.fixture
def made(store: Store) -> Made:
    """Return a writer of sample runs in the store."""
    return Made(store)


@pytest.fixture
def read(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the keys that are read, in order."""
    keys: list[str] = []
    for name in ("get", "get_range", "get_with_etag"):
        plain = getattr(store._objects, name)
        monkeypatch.setattr(
            store._objects, name, lambda *a, plain=plain: keys.append(a[0]) or plain(*a)
        )
    return keys
