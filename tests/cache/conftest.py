"""A store in a folder, and a writer of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab.store import Store
from tests.frame.samples import Made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


@pytest.fixture
def made(store: Store) -> Made:
    """A writer of runs in the store."""
    return Made(store)
