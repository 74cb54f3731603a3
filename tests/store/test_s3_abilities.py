"""S3 servers that lack an ability: conditional puts, or an answer without an error page."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from rvlab import Lab
from rvlab.errors import KeyExists, StoreError
from rvlab.store import S3Access, Store
from rvlab.store.layout import write_layout_number
from rvlab.store.object_storage import NOT_ATOMIC
from rvlab.store.server import Server
from tests.store.gateway import running_gateways


@pytest.fixture(scope="module")
def gateways(s3: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with running_gateways(s3, tmp_path_factory.mktemp("gateways")) as found:
        yield found


def store_at(endpoint: str, s3: Server, name: str) -> Store:
    access = S3Access(endpoint, s3.access_key, s3.secret_key)
    return Store(f"s3://{s3.bucket}/{name}", access)


def test_store_without_conditional_puts_checks_before_it_writes(
    s3: Server, gateways: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_at(gateways["no conditions"], s3, tmp_path.name)
    with caplog.at_level(logging.WARNING, "rvlab"):
        store.put("claim.json", b"first", if_absent=True)
        with pytest.raises(KeyExists, match=r"has the key 'claim\.json' already"):
            store.put("claim.json", b"second", if_absent=True)
    assert store.get("claim.json") == b"first"
    assert [record.getMessage() for record in caplog.records] == [
        f"The bucket {s3.bucket!r} at {gateways['no conditions']} does not support conditional "
        f"puts (If-None-Match). {NOT_ATOMIC}"
    ]


def test_record_is_replaced_without_conditional_puts(
    s3: Server, gateways: dict[str, str], tmp_path: Path
) -> None:
    store = store_at(gateways["no conditions"], s3, tmp_path.name)
    assert store.replace_json("r.json", {"n": 1}, None) is None
    assert store.replace_json("r.json", {"n": 2}, "an-etag") is None
    assert store.get_json("r.json") == {"n": 2}


def test_store_that_ignores_conditions_is_noticed_when_the_next_run_is_submitted(
    s3: Server, gateways: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_at(gateways["ignores conditions"], s3, tmp_path.name)
    with caplog.at_level(logging.WARNING, "rvlab"):
        write_layout_number(store)
        assert not caplog.records
        write_layout_number(store)
        write_layout_number(store)
    assert [record.getMessage() for record in caplog.records] == [
        f"The storage of {store.uri} ignores the condition of a put (If-None-Match). {NOT_ATOMIC}"
    ]
    store.put("claim.json", b"first", if_absent=True)
    with pytest.raises(KeyExists):
        store.put("claim.json", b"second", if_absent=True)


def test_store_with_conditions_is_not_warned_about(
    s3: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_at(s3.endpoint, s3, tmp_path.name)
    write_layout_number(store)
    write_layout_number(store)
    assert not caplog.records


def test_untrusted_certificate_is_named_with_the_variable(
    s3: Server, gateways: dict[str, str]
) -> None:
    with pytest.raises(StoreError, match=r"has a TLS certificate that .* Set AWS_CA_BUNDLE to"):
        store_at(gateways["TLS"], s3, "x").get("k")


PAGE = (
    "<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message>"
    "<RequestId>17</RequestId></Error>"
)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "InvalidArgument", "failed on 'k': HTTP status 400 Bad Request, InvalidArgument."),
        (405, "MethodNotAllowed", "failed on 'k': HTTP status 405 Method Not Allowed, MethodNot"),
        (411, "MissingContentLength", "failed on 'k': HTTP status 411 Length Required, Missing"),
        (400, "ExpiredToken", "refused the credentials (ExpiredToken)."),
        (403, "ExpiredToken", "refused the credentials for 'k': they have expired. Obtain new"),
        (403, "AccessDenied", "refused the credentials for 'k'. Check AWS_ACCESS_KEY_ID"),
        (400, "AuthorizationHeaderMalformed", "is in another region. Set AWS_REGION to the buck"),
        (301, "PermanentRedirect", "is in another region. Set AWS_REGION to the bucket's."),
        (501, "NotImplemented", "does not support conditional puts (If-None-Match)."),
        (404, "NoSuchBucket", "does not exist. Create it first, or name another store."),
        (418, "<html>", "failed on 'k': HTTP status 418"),
    ],
)
@pytest.mark.parametrize("verb", ["put", "get"])
def test_errors_have_no_xml(status: int, code: str, expected: str, verb: str) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            data = PAGE.format(code=code).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        store = Store("s3://b/p", S3Access(f"http://127.0.0.1:{server.server_port}", "k", "s"))
        with pytest.raises(StoreError) as caught:
            store.put("k", b"v") if verb == "put" else store.get("k")
        server.shutdown()
    text = str(caught.value)
    assert expected in text
    assert "<" not in text
    assert "Generic S3" not in text


def test_lab_on_a_store_without_conditional_puts_submits(
    s3: Server, gateways: dict[str, str], tmp_path: Path
) -> None:
    lab = Lab(store_at(gateways["no conditions"], s3, tmp_path.name))
    write_layout_number(lab.store)
    assert lab.runs().empty
