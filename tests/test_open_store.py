"""Several labs on one bucket in one session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab, plot
from rvlab.store import S3Access, Store, store_for_uri
from rvlab.store.server import Server
from tests.raster.samples import Experiment


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Forget stores that other tests opened, and the settings of the machine."""
    monkeypatch.setattr("rvlab.store.addresses._registered", {})
    monkeypatch.setattr("rvlab.store.addresses._found", set())
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def first(s3: Server, tmp_path: Path) -> Lab:
    """A lab on the embedded server, opened with its keys."""
    access = S3Access(s3.endpoint, s3.access_key, s3.secret_key)
    lab = Lab(Store(f"s3://{s3.bucket}/{tmp_path.name}", access))
    lab.store.put("towns/a.txt", b"of the first")
    return lab


def test_line_that_a_report_prints_opens_the_same_store_again(first: Lab) -> None:
    second = Lab(first.store.uri)
    assert second.store.access == first.store.access
    assert second.store.get("towns/a.txt") == b"of the first"
    below = Lab(f"{first.store.uri}/towns")
    assert below.store.get("a.txt") == b"of the first"


OTHERS: dict[str, Any] = {
    "wrong keys": lambda lab: S3Access(lab.store.access.endpoint, "wrong", "wrong-secret"),
    "another server": lambda lab: S3Access("http://127.0.0.1:9", "key", "secret"),
    "no keys": lambda lab: S3Access(lab.store.access.endpoint, anonymous=True),
}


@pytest.mark.parametrize("below", ["", "/towns"])
@pytest.mark.parametrize("other", OTHERS)
def test_second_lab_with_other_settings_does_not_break_the_first(
    first: Lab, other: str, below: str
) -> None:
    Lab(Store(f"{first.store.uri}{below}", OTHERS[other](first), patience_s=0))
    uri = f"{first.store.uri}/towns/a.txt"
    found = store_for_uri(uri)
    assert found.access == first.store.access
    assert found.get(found.key(uri)) == b"of the first"
    assert first.store.get("towns/a.txt") == b"of the first"


def test_environment_that_names_another_server_opens_that_one(
    first: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    second = Lab(first.store.uri)
    assert second.store.access.endpoint == "http://127.0.0.1:9"
    assert store_for_uri(f"{first.store.uri}/towns/a.txt").access == first.store.access


def test_uris_of_a_second_server_with_the_same_bucket_are_read_there(
    first: Lab, s3: Server, tmp_path: Path
) -> None:
    # The same server by another name represents another server.
    endpoint = s3.endpoint.replace("127.0.0.1", "localhost")
    access = S3Access(endpoint, s3.access_key, s3.secret_key)
    Lab(Store(first.store.uri, S3Access(s3.endpoint, "wrong", "wrong-secret")))
    third = Lab(Store(f"s3://{s3.bucket}/{tmp_path.name}-other", access))
    third.store.put("b.txt", b"of the third")
    uri = f"{third.store.uri}/b.txt"
    found = store_for_uri(uri)
    assert found.get(found.key(uri)) == b"of the third"


def test_pictures_of_the_first_lab_are_drawn_after_a_second_was_opened(
    first: Lab, tmp_path: Path
) -> None:
    made = Experiment(tmp_path / "made", scenes=1, size=(20, 30))
    made.add(0.1)
    runs = made.runs
    names = {}
    for path in (tmp_path / "made").rglob("*"):
        if path.is_file():
            key = path.relative_to(tmp_path).as_posix()
            text = path.read_bytes()
            if path.suffix == ".json":
                text = text.replace(str(tmp_path).encode(), first.store.uri.encode())
            first.store.put(key, text)
            names[str(path)] = key
    runs["uri"] = [uri.replace(str(tmp_path), first.store.uri) for uri in runs["uri"]]
    Lab(Store(first.store.uri, S3Access("http://127.0.0.1:9", "key", "secret"), patience_s=0))
    assert plot.predictions(runs).axes
