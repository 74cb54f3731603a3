"""Reading from an S3 that is busy or hangs up; from an event loop and from threads."""

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
from rvlab.store.layout import record_layout
from rvlab.store.server import Server
from tests.frame.samples import Made

BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"

Trouble = Callable[[str, int], str | None]
"""What happens to a request, told its target and how often that was asked for before."""


class Moody(ThreadingHTTPServer):
    """Hands requests on to S3, or does not."""

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
        """A client that is gone is no news."""


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
        """Print nothing."""


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
    """Runs on S3, made without a detour."""
    store = Store(f"s3://{s3.bucket}/{tmp_path.name}", s3_access)
    for n in range(12):
        Made(store).ended({"lr": n}, {"f1": n / 12})
    return store


@pytest.fixture
def near(store: Store, moody: Moody, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """The same store, seen through the moody server, with nothing kept."""
    monkeypatch.setenv("RVLAB_CACHE", str(tmp_path / "cache"))
    record_layout(store)
    mine = store.access
    endpoint = f"http://127.0.0.1:{moody.server_port}"
    return Store(store.uri, S3Access(endpoint, mine.access_key, mine.secret_key))


def table(store: Store) -> pd.DataFrame:
    return frame.runs_table(store, None)


@pytest.mark.parametrize("what", ["busy", "hang up"])
def test_what_fails_for_a_moment_is_asked_for_again(near: Store, moody: Moody, what: str) -> None:
    moody.trouble = lambda _, before: what if before < 2 else None
    assert list(table(near)["params.lr"]) == list(range(12))
    assert set(moody.asked.values()) == {3}


def test_a_key_that_cannot_be_had_is_named_and_the_others_are_there(
    near: Store, moody: Moody
) -> None:
    bad = near.files("towns/runs/ended/")[3][0]
    moody.trouble = lambda target, _: "busy" if bad in target else None
    found = table(near)  # it gives up
    assert found["state"].tolist() == ["succeeded"] * 3 + ["broken"] + ["succeeded"] * 8
    assert f"failed on '{bad}'" in found["error"].iloc[3]
    moody.trouble = lambda *_: None
    assert table(near)["state"].tolist() == ["succeeded"] * 12


def test_a_listing_that_never_comes_is_told(near: Store, moody: Moody) -> None:
    moody.trouble = lambda target, _: "busy" if "list-type" in target else None
    with pytest.raises(StoreError, match=r"failed on '' ?|failed on 'towns"):
        table(near)


def test_so_many_are_asked_for_at_once_and_no_more(
    near: Store, moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rvlab.store.concurrency.IN_FLIGHT", 4)
    moody.trouble = lambda *_: time.sleep(0.05)
    assert len(table(near)) == 12
    assert 2 <= moody.most <= 5  # and one listing of what people added


def test_it_works_where_an_event_loop_runs_and_in_threads(near: Store) -> None:
    async def cell() -> pd.DataFrame:
        await asyncio.sleep(0)
        return table(near)

    whole = asyncio.run(cell())
    assert len(whole) == 12
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(table, [near] * 12):
            pd.testing.assert_frame_equal(found, whole)


def test_a_lab_reads_as_a_store_does(near: Store) -> None:
    assert len(Lab(near).runs()) == 12
