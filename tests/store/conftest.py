"""Fixtures for several kinds of stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab.store import S3Access, Store
from rvlab.store.server import Server


@pytest.fixture(params=["folder", "s3", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return an empty store of each kind."""
    if request.param == "folder":
        return Store(tmp_path / "store")
    if request.param == "memory":
        return Store(f"memory://{tmp_path.name}")
    server: Server = request.getfixturevalue("s3")
    access: S3Access = request.getfixturevalue("s3_access")
    return Store(f"s3://{server.bucket}/{tmp_path.name}", access)
