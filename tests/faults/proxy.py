"""An HTTP proxy in front of an S3 server that answers a share of the requests with a fault.

It passes requests on unchanged, ``Host`` included, so that their signatures stay valid.
"""

from __future__ import annotations

import http.client
import random
import re
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)

DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
)
"""The answer, with status 403, to the fault ``denied``, which no retry cures."""

FAULTS = ("reset", "reset_after", "503", "503_after", "cut", "held", "stall", "stall_after")
"""The faults:

* ``reset``: the connection is reset before the server sees the request;
* ``reset_after``: the server processes the request, then the connection is reset;
* ``503``: the answer is 503 SlowDown, the server does not see the request;
* ``503_after``: the server processes the request, but the answer is 503;
* ``cut``: the answer is truncated in its body, or in its headers if it has no body;
* ``held``: the connection is reset, and the server sees the request at `Proxy.deliver`, however
  much later that is;
* ``stall``: no answer for `Proxy.stall_s`, then a reset; the server does not see the request;
* ``stall_after``: the same, after the server has processed the request.
"""


class Proxy:
    """A proxy on a free port of this machine.

    Args:
        target: The endpoint of the server, such as ``http://127.0.0.1:8333``.
        shares: The share of requests with each fault, by its name.
        only: A pattern of ``METHOD /path``; other requests get no fault. None matches all.
        seed: The seed of the random choice of faults.
        stall_s: Duration of a stall, in seconds.

    Attributes:
        shares, only: May be changed at any time.
        seen: The number of requests with each fault, without one (``passed``), and without an
            answer of the server (``away``).
    """

    def __init__(
        self,
        target: str,
        shares: Mapping[str, float] | None = None,
        *,
        only: str | None = None,
        seed: int = 0,
        stall_s: float = 30.0,
    ) -> None:
        self.target = urlsplit(target).netloc
        self.shares, self.only, self.stall_s = dict(shares or {}), only, stall_s
        self.seen: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._script: deque[str] = deque()
        self._lock = threading.Lock()
        self.held: list[Callable[[], object]] = []
        self.stopped = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def script(self, *faults: str) -> None:
        """Answer the next requests with these faults, one each, instead of an earlier script."""
        with self._lock:
            self._script = deque(faults)

    def choose(self, request: str) -> str:
        """Choose the fault of a request, given as ``METHOD /path``, or ``passed``."""
        with self._lock:
            if self.only is not None and not re.search(self.only, request):
                fault = "passed"
            else:
                fault = self._script.popleft() if self._script else self._draw_fault()
            self.seen[fault] += 1
        return fault

    def deliver(self) -> None:
        """Pass on the requests that were held, in their order."""
        while self.held:
            self.held.pop(0)()

    def note_away(self, fault: str) -> None:
        """Count a request as ``away`` instead of its fault or ``passed``."""
        with self._lock:
            self.seen[fault] -= 1
            self.seen["away"] += 1

    def _draw_fault(self) -> str:
        at = self._random.random()
        for fault, share in self.shares.items():
            at -= share
            if at < 0:
                return fault
        return "passed"

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self.stopped.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    proxy: Proxy
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors, since both sides often lose connections here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Suppress the log."""

    def _answer(self) -> None:
        proxy = self.server.proxy
        body = self._body()
        fault = proxy.choose(f"{self.command} {self.path}")
        if fault == "held":
            proxy.held.append(lambda: self._forward(body))
            return self._reset()
        if fault in ("stall", "reset", "503", "denied"):
            return self._fail(fault)
        try:
            status, reason, headers, data = self._forward(body)
        except (OSError, http.client.HTTPException):
            proxy.note_away(fault)
            return self._reset()
        if fault.endswith("_after"):
            return self._fail(fault.removesuffix("_after"))
        return self._reply(status, reason, headers, data, cut=fault == "cut")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return found

    def _forward(self, body: bytes) -> tuple[int, str, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.proxy.target, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "transfer-encoding", "expect"):
                    connection.putheader(name, value)
            if "Content-Length" not in self.headers and body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            data = response.read()
            return response.status, response.reason, response.getheaders(), data
        finally:
            connection.close()

    def _reply(
        self, status: int, reason: str, headers: list[tuple[str, str]], data: bytes, *, cut: bool
    ) -> None:
        lines = [f"HTTP/1.1 {status} {reason}"]
        dropped = {"connection", "transfer-encoding", "keep-alive"}
        if self.command != "HEAD":
            dropped.add("content-length")
            if status != 204:
                lines.append(f"Content-Length: {len(data)}")
        lines += [f"{name}: {value}" for name, value in headers if name.lower() not in dropped]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        if cut:
            self.wfile.write(head + data[: len(data) // 2] if data else head[: len(head) // 2])
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(head + data)

    def _fail(self, fault: str) -> None:
        if fault in ("503", "denied"):
            data = SLOW_DOWN if fault == "503" else DENIED
            data = b"" if self.command == "HEAD" else data
            self.send_response_only(*((503, "Slow Down") if fault == "503" else (403, "Forbidden")))
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        if fault == "stall":
            self.server.proxy.stopped.wait(self.server.proxy.stall_s)
        self._reset()

    def _reset(self) -> None:
        """Close the connection with RST instead of FIN."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.wfile.close()
            self.connection.close()
