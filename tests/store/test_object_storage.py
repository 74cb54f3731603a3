"""The storage contract for each kind of storage, and the errors of unreachable ones."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from rvlab.errors import MissingExtra, SpecError, StoreError, StoreUnreachable
from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from tests.contracts.storage import StorageContract

_number = itertools.count()


class TestLocalFolder(StorageContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return Store(tmp_path / "made on first use")

    def test_a_folder_without_keys_is_deleted(self, store: Store) -> None:
        store.put("towns/run/steps/train.json", b"{}")
        store.put("towns/other/spec.json", b"{}")
        store.delete(["towns/run/steps/train.json"])
        assert store.folders("towns/") == ["other"]

    def test_the_scan_of_a_folder_equals_the_listing_of_obstore(self, store: Store) -> None:
        for key in ("towns/a.json", "towns/deep/er/b", "towns/c", "roads/d"):
            store.put(key, key.encode())
        scanned = store.etags("towns/")
        store.put("towns/an odd name", b"")  # a name that obstore must list
        listed = store.etags("towns/")
        assert listed.pop("towns/an odd name")
        assert scanned == listed
        assert all(scanned.values())

    def test_another_process_reads_plain_files(self, store: Store) -> None:
        store.put("towns/run/spec.json", b"{}")
        assert (Path(store.uri) / "towns" / "run" / "spec.json").read_bytes() == b"{}"


class TestS3(StorageContract):
    @pytest.fixture
    def store(self, s3: Server) -> Store:
        return Store(f"s3://{s3.bucket}/objects [{next(_number)}] +ü", access(s3))


class TestMemory(StorageContract):
    atomic = False

    @pytest.fixture
    def store(self) -> Store:
        return Store(f"memory://objects-{next(_number)}/prefix")


def access(s3: Server, **changed: Any) -> S3Access:
    settings = {"endpoint": s3.endpoint, "access_key": s3.access_key, "secret_key": s3.secret_key}
    return S3Access(**{**settings, **changed})


# Where a store stops being reachable


SECRET = "s3cr3t-that-must-not-be-seen"


@pytest.fixture
def closed() -> str:
    """Return an address on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """Yield an address that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def calls(store: Store) -> dict[str, Any]:
    return {
        "get": lambda: store.get("k"),
        "put": lambda: store.put("k", b"v"),
        "files": lambda: store.files("k"),
        "folders": store.folders,
        "delete": lambda: store.delete(["k"]),
    }


def check_unreachable(endpoint: str) -> None:
    """Check that every call fails soon, names the endpoint and hides the secret."""
    store = Store("s3://bucket/prefix", S3Access(endpoint, "the-key", SECRET))

    def failure(call: Any) -> tuple[StoreUnreachable, float]:
        start = time.monotonic()
        with pytest.raises(StoreUnreachable) as caught:
            call()
        return caught.value, time.monotonic() - start

    with ThreadPoolExecutor(5) as pool:
        failures = dict(zip(calls(store), pool.map(failure, calls(store).values()), strict=True))
    for name, (exc, took_s) in failures.items():
        assert isinstance(exc, ConnectionError)
        assert took_s < 120, name  # obstore by itself tries for 180 s
        assert str(exc) == (
            f"The bucket 'bucket' at {endpoint} cannot be reached. "
            "Check that it runs, and AWS_ENDPOINT_URL."
        )
        check_no_secret(exc, SECRET)


def check_no_secret(exc: BaseException, secret: str) -> None:
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [exc]
    while todo:
        one = todo.pop()
        if one is not None and one not in seen:
            seen.append(one)
            todo += [one.__cause__, one.__context__]
    shown = [repr(one) + str(one) + repr(one.args) for one in seen]
    shown += traceback.format_exception(exc)
    assert not [text for text in shown if secret in text]


def test_a_closed_port_is_reported_with_its_address_and_without_the_secret(closed: str) -> None:
    check_unreachable(closed)


def test_a_socket_that_never_answers_is_reported_as_unreachable(silent: str) -> None:
    check_unreachable(silent)


def test_a_host_without_an_address_is_reported_as_unreachable(closed: str) -> None:
    check_unreachable("http://no-such-host.invalid:9000")


@pytest.mark.parametrize("endpoint", ["localhost:9000", "127.0.0.1:9000", "http://", "no url"])
def test_an_endpoint_that_is_not_a_url_is_refused_before_any_request(endpoint: str) -> None:
    store = Store("s3://bucket", S3Access(endpoint, "the-key", SECRET))
    with pytest.raises(
        StoreError, match=r"is not a URL\. Set AWS_ENDPOINT_URL as http://host:port"
    ):
        store.get("k")


@pytest.mark.parametrize("wrong", [{"secret_key": SECRET}, {"access_key": "nobody"}])
def test_wrong_credentials_are_reported_and_not_shown(s3: Server, wrong: Any) -> None:
    used = access(s3, **wrong)
    for name, call in calls(Store(f"s3://{s3.bucket}/refused", used)).items():
        with pytest.raises(StoreError, match="refused the credentials") as caught:
            call()
        assert not isinstance(caught.value, StoreUnreachable), name
        assert f"The bucket {s3.bucket!r} at {s3.endpoint}" in str(caught.value)
        check_no_secret(caught.value, str(used.secret_key))


def test_a_missing_bucket_is_reported(s3: Server) -> None:
    with pytest.raises(
        StoreError,
        match=r"^The bucket 'nosuch' at .* does not exist\. Create it first, or name another store",
    ):
        Store("s3://nosuch/prefix", access(s3)).get("k")


# SeaweedFS lists a missing bucket as empty; Amazon, MinIO and Ceph answer like this.
class _NoBucket(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<Error><Code>NoSuchBucket</Code><Message>no</Message></Error>"
        self.send_response(404)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def test_listing_a_missing_bucket_is_reported_in_the_same_way() -> None:
    with HTTPServer(("127.0.0.1", 0), _NoBucket) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        store = Store("s3://b/p", S3Access(f"http://127.0.0.1:{server.server_port}", "k", SECRET))
        try:
            for call in (store.files, store.folders):
                with pytest.raises(StoreError, match=r"^The bucket 'b' at .* does not exist\. "):
                    call()
        finally:
            server.shutdown()
            thread.join()


def test_environment_variables_of_another_s3_are_ignored(
    s3: Server, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-another-account")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", closed)
    monkeypatch.setenv("AWS_ENDPOINT_URL", closed)
    store = Store(f"s3://{s3.bucket}/environment", access(s3))
    store.put("k", b"v")
    assert store.get("k") == b"v"


def test_a_child_process_opens_the_store_with_any_inherited_variables(
    s3: Server, closed: str
) -> None:
    store = Store(f"s3://{s3.bucket}/child", access(s3))
    store.put("k", b"from the parent")
    inherited = {"AWS_SESSION_TOKEN": "of-another-account", "AWS_ENDPOINT_URL_S3": closed}
    code = f"""
import json, boto3
from rvlab.store import Store
body = boto3.client("s3").get_object(Bucket={s3.bucket!r}, Key="child/k")["Body"].read()
print(json.dumps([Store({store.uri!r}).get("k").decode(), body.decode()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **inherited, **store.environ()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["from the parent", "from the parent"]


# Invalid stores


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(
        StoreError, match=r"^The store folder .*/file/store cannot be created: Not a"
    ):
        Store(tmp_path / "file" / "store").files()


def test_a_read_only_folder_is_reported(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root can write to any folder")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match=f"^The folder {tmp_path} "):
            Store(tmp_path).put("towns/run/spec.json", b"{}")
    finally:
        tmp_path.chmod(0o700)


def test_a_key_cannot_leave_its_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^'\.\./x' is not a valid key: "):
        Store(tmp_path / "store").put("../x", b"")
    assert not (tmp_path / "x").exists()


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(SpecError, match="fsspec cannot open 'teapot://short' as a store"):
        Store("teapot://short").files()


def test_a_scheme_whose_package_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtra, match=r"'gs://bucket' needs another package: .*gcsfs"):
        Store("gs://bucket").files()
