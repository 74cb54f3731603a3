"""Reads from an S3 that is busy or closes connections, in an event loop and in threads."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest

from rvlab import Lab, frame
from rvlab.errors import StoreError
from rvlab.store import S3Access, Store
from rvlab.store.layout import write_layout_number
from rvlab.store.server import Server
from tests.frame.samples import Made

BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"

Trouble = Callable[[str, int], str | None]
"""The fault of a request, given its target and the number of earlier requests of it."""


class Moody(ThreadingHTTPServer):
    """A proxy of S3 that injects faults."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        parts = urlsplit(behind)
        self.host, self.port = str(parts.hostname), int(parts.port or 80)
        self.trouble: Trouble = lambda *_: None
        self.asked: Counter[str] = Counter()
        self.most = 0
        self._now = 0
        self._lock = Lock()

    def met(self, target: str) -> str | None:
        with self._lock:
            self.asked[target] += 1
            before = self.asked[target] - 1
        return self.trouble(target, before)

    def count(self, change: int) -> None:
        with self._lock:
            self._now += change
            self.most = max(self.most, self._now)

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that have disconnected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Moody

    def _any(self) -> None:
        self.server.count(1)
        try:
            self._answer()
        finally:
            self.server.count(-1)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _any  # noqa: N815

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        what = self.server.met(unquote(self.path))
        if what == "hang up":
            self.close_connection = True
            return
        if what == "busy":
            self._reply(503, {}, BUSY)
            return
        inner = http.client.HTTPConnection(self.server.host, self.server.port)
        try:
            inner.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                inner.putheader(name, value)
            inner.endheaders(body)
            answer = inner.getresponse()
            self._reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            inner.close()

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    def log_message(self, *_: Any) -> None:
        """Suppress the log."""


@pytest.fixture
def moody(s3: Server) -> Iterator[Moody]:
    with Moody(s3.endpoint) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def store(s3: Server, s3_access: S3Access, tmp_path: Path) -> Store:
    """Return a store on S3 with twelve runs, without the proxy."""
    store = Store(f"s3://{s3.bucket}/{tmp_path.name}", s3_access)
    for n in range(12):
        Made(store).ended({"lr": n}, {"f1": n / 12})
    return store


@pytest.fixture
def near(store: Store, moody: Moody, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """Return the same store behind the proxy, with an empty cache."""
    monkeypatch.setenv("RVLAB_CACHE", str(tmp_path / "cache"))
    write_layout_number(store)
    access = store.access
    endpoint = f"http://127.0.0.1:{moody.server_port}"
    return Store(store.uri, S3Access(endpoint, access.access_key, access.secret_key))


def table(store: Store) -> pd.DataFrame:
    return frame.runs_table(store, None).drop(columns="age")


@pytest.mark.parametrize("what", ["busy", "hang up"])
def test_failed_requests_are_retried(near: Store, moody: Moody, what: str) -> None:
    moody.trouble = lambda _, before: what if before < 2 else None
    assert list(table(near)["params.lr"]) == list(range(12))
    assert set(moody.asked.values()) == {3}


def test_unreadable_key_is_a_broken_row_and_is_read_again_later(near: Store, moody: Moody) -> None:
    bad = near.files("towns/runs/ended/")[3][0]
    moody.trouble = lambda target, _: "busy" if bad in target else None
    found = table(near)  # after the last retry
    assert found["state"].tolist() == ["succeeded"] * 3 + ["broken"] + ["succeeded"] * 8
    assert f"failed on '{bad}'" in found["error"].iloc[3]
    moody.trouble = lambda *_: None
    assert table(near)["state"].tolist() == ["succeeded"] * 12


def test_failed_listing_raises_a_store_error(near: Store, moody: Moody) -> None:
    moody.trouble = lambda target, _: "busy" if "list-type" in target else None
    with pytest.raises(StoreError, match=r"failed on '' ?|failed on 'towns"):
        table(near)


def test_requests_in_flight_are_limited(
    near: Store, moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rvlab.store.concurrency.IN_FLIGHT", 4)
    moody.trouble = lambda *_: time.sleep(0.05)
    assert len(table(near)) == 12
    assert 2 <= moody.most <= 5  # and one listing of annotations


def test_table_can_be_read_in_an_event_loop_and_in_threads(near: Store) -> None:
    async def cell() -> pd.DataFrame:
        await asyncio.sleep(0)
        return table(near)

    with ThreadPoolExecutor(6) as pool:
        # In a thread, since another test may run an event loop in this one.
        expected = pool.submit(lambda: asyncio.run(cell())).result()
        assert len(expected) == 12
        for found in pool.map(table, [near] * 12):
            pd.testing.assert_frame_equal(found, expected)


def test_lab_reads_through_the_same_store(near: Store) -> None:
    assert len(Lab(near).runs()) == 12
