"""The store argument in the Python lines of a report."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab.model import Run
from rvlab.report.run_summary import store_argument
from rvlab.store import S3Access, Store, register_store, server
from rvlab.store.server import Server

ID = "20261123-154200-ffffff"


def test_store_argument_is_embedded_for_the_default_server(
    s3: Server, s3_access: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rvlab.store.addresses._registered", {})
    register_store(Store(f"s3://{s3.bucket}", s3_access))
    run = Run(f"s3://{s3.bucket}", "towns", ID)
    assert store_argument(run) == run.store  # this server is not the default of the machine
    monkeypatch.setattr(server, "default_server_folder", lambda: s3.folder)
    assert store_argument(run) == "embedded"
    for store in (f"s3://{s3.bucket}/deeper", "s3://another", str(tmp_path)):
        assert store_argument(Run(store, "towns", ID)) == store
    monkeypatch.setattr("rvlab.store.addresses._registered", {})
    register_store(Store(f"s3://{s3.bucket}", S3Access("http://elsewhere:9000")))
    assert store_argument(run) == run.store
