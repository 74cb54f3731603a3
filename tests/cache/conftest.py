"""Fixtures: a store in a folder, and a writer of sample runs."""

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
